"""A CT volume as a classic DICOM series: CT Image Storage, one file per slice (DICOM PS3.3 A.3)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

_ENTROPY = "napari-medreason synthetic CT sample"
_INTERCEPT = -1024


def write_series(voxels: NDArray[np.int16], affine: NDArray[np.float64], folder: Path) -> None:
    """Write HU (k, j, i) whose rows run to the left and columns to posterior; file names are shuffled.

    Slices are numbered from the head downwards, as scanners do, and compressed without loss (JPEG-LS).
    """
    names = np.random.default_rng(len(voxels)).permutation(len(voxels))
    for number, k in enumerate(reversed(range(len(voxels))), start=1):
        position = affine[:3, 3] + affine[:3, 2] * k
        slice_set = ct_slice(voxels[k], affine, position=position, number=number)
        slice_set.save_as(folder / f"image-{names[k] + 1:04d}.dcm", enforce_file_format=True)


def ct_slice(
    image: NDArray[np.int16], affine: NDArray[np.float64], *, position: NDArray[np.float64], number: int
) -> Dataset:
    """One slice of HU (rows, columns) as a complete, losslessly compressed data set."""
    from pydicom.uid import JPEGLSLossless

    data = _study()
    data.SOPInstanceUID = _uid(f"image {number}")
    data.file_meta = _file_meta(str(data.SOPInstanceUID))
    data.InstanceNumber = number
    data.ImagePositionPatient = [f"{value:.4f}" for value in position]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.PixelSpacing = [f"{affine[1, 1]:.4f}", f"{affine[0, 0]:.4f}"]
    data.SliceThickness = f"{affine[2, 2]:.4f}"
    data.SpacingBetweenSlices = f"{affine[2, 2]:.4f}"
    data.SliceLocation = f"{position[2]:.4f}"
    _add_pixels(data, image)
    data.compress(JPEGLSLossless, generate_instance_uid=False)
    return data


def _add_pixels(data: Dataset, image: NDArray[np.int16]) -> None:
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(_INTERCEPT), "1", "HU"
    data.WindowCenter, data.WindowWidth = "40", "400"
    data.PixelData = np.ascontiguousarray(image - _INTERCEPT, dtype="<u2").tobytes()


def _study() -> Dataset:
    """Attributes that all slices share."""
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    data = Dataset()
    data.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    data.SOPClassUID = CTImageStorage
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid("study"), _uid("series")
    data.FrameOfReferenceUID = _uid("frame of reference")
    data.PositionReferenceIndicator = ""
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000"
    data.Modality, data.BodyPartExamined, data.PatientPosition = "CT", "ABDOMEN", "HFS"
    data.Manufacturer, data.ManufacturerModelName = "napari-medreason", "Procedural phantom"
    data.StudyDescription, data.SeriesDescription = "Synthetic phantom", "Trunk, portal venous phase, 5 mm"
    data.StudyID, data.AccessionNumber, data.ReferringPhysicianName = "1", "", ""
    data.SeriesNumber, data.AcquisitionNumber = 2, 1
    data.PatientName, data.PatientID = "Synthetic^Phantom", "PHANTOM-CT"
    data.PatientBirthDate, data.PatientSex = "", "O"
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "Synthetic image, no patient"
    data.KVP, data.XRayTubeCurrent, data.ExposureTime = "120", 200, 500
    data.ConvolutionKernel, data.BurnedInAnnotation = "STANDARD", "NO"
    return data


def _file_meta(instance_uid: str) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    meta.ImplementationVersionName = "MEDREASON_1"
    return meta


def _uid(what: str) -> str:
    """A UID that is the same on every run, under pydicom's root."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=[_ENTROPY, what]))
