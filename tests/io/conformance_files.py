"""How we read single real files, beside pydicom (DICOM) and nibabel (all else), file by file.

What should be refused, and why, follows from what these libraries find in the file, never from its name.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError

OUTCOMES = {
    "agrees": "read, every value as the other library has it",
    "segments": "a segmentation, read as labels",
    "refused": "refused for the reason that the other library's view of the file gives",
    "undecoded": "refused: the other library can't decode its pixels either",
    "unknown": "refused: no format that we read",
    "differs": "does not agree, or refused for no good reason",
}
_REASONS = {"SM": "microscopy", "RTDOSE": "radiotherapy dose"}


class FileRow(NamedTuple):
    """outcome is a key of OUTCOMES."""

    name: str
    outcome: str
    detail: str


def compare_file(path: Path) -> FileRow:
    """One row about a file that is no archive."""
    try:
        volume, said = io.read(path), ""
    except MedReasonError as error:
        volume, said = None, str(error)
    header = _dicom_header(path)
    if header is not None:
        outcome, detail = _dicom(header, volume, said)
    else:
        outcome, detail = _other(path, volume, said)
    return FileRow(path.name, outcome, detail)


def _dicom_header(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix.lower() in (".nii", ".gz", ".hdr", ".img", ".json", ".mgz", ".mgh"):
            return None
        try:
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        except (OSError, ValueError, EOFError, AttributeError, KeyError, NotImplementedError):
            return None
        return header if "SOPClassUID" in header or "Rows" in header else None


def _dicom(header: Any, volume: Volume | None, said: str) -> tuple[str, str]:
    reason = _expected_reason(header)
    if header.get("Modality") == "SEG":
        if volume is not None:
            return "segments", str(volume.voxels.shape)
        decoded = _values(header) is not None
        return _checked("refused" if decoded else "undecoded", "segment" in said or not decoded, said)
    if reason:
        return _checked("refused", volume is None and reason in said, said or f"read, expected: {reason}")
    values = _values(header)
    if values is None and volume is not None:
        values = _by_simpleitk(Path(header.filename))
    if values is None:
        reasons = ("decode", "cut short")
        return _checked("undecoded", volume is None and any(words in said for words in reasons), said)
    if volume is None:
        return "differs", said
    frames = volume.voxels.reshape(values.shape) if volume.voxels.size == values.size else volume.voxels
    return _checked("agrees", _equal(frames, values), str(volume.voxels.shape))


def _expected_reason(header: Any) -> str:
    """Words of the refusal that the header calls for; "" where it is a grey image."""
    if "Rows" not in header:
        return "without an image"
    if header.get("Modality") in _REASONS:
        return _REASONS[header.Modality]
    if header.get("SamplesPerPixel", 1) != 1 or "MONOCHROME" not in header.get(
        "PhotometricInterpretation", ""
    ):
        return "colour"
    if header.get("BitsAllocated") == 1:
        return "one-bit"
    count = header.get((0x0019, 0x100A))
    tiled = "MOSAIC" in header.get("ImageType", ()) and count is not None
    return "mosaic" if tiled and header.Rows % int(np.ceil(np.sqrt(int(count.value)))) else ""


def _values(header: Any) -> np.ndarray | None:
    """Real values by plain arithmetic, MONOCHROME1 turned over where values are not physical."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stored = pydicom.pixels.pixel_array(header.filename).astype(np.float64)
        except Exception:  # noqa: BLE001  any fault of a decoder counts as "can't decode"
            return None
    if header.PhotometricInterpretation == "MONOCHROME1" and header.get("Modality") not in ("CT", "PT"):
        stored = (-1 if header.PixelRepresentation else 2**header.BitsStored - 1) - stored
    shared = header.get("SharedFunctionalGroupsSequence", [pydicom.Dataset()])[0]
    rescale = shared.get("PixelValueTransformationSequence", [header])[0]
    values = stored * float(rescale.get("RescaleSlope") or 1) + float(rescale.get("RescaleIntercept") or 0)
    return np.asarray(values)


def _by_simpleitk(path: Path) -> np.ndarray | None:
    """Real values of a single image that pydicom can't decode, None where SimpleITK can't either."""
    try:
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    except RuntimeError:
        return None


def _equal(ours: np.ndarray, values: np.ndarray) -> bool:
    """Whether the values agree, in any order of frames (ours go by position)."""
    if ours.shape != values.shape:
        return False
    if np.allclose(ours, values, rtol=1e-5):
        return True
    by_sum = [
        np.sort(array.reshape(len(array), -1).sum(axis=1, dtype=np.float64)) for array in (ours, values)
    ]
    return bool(np.allclose(by_sum[0], by_sum[1], rtol=1e-5))


def _other(path: Path, volume: Volume | None, said: str) -> tuple[str, str]:
    if volume is None:
        known = "known; accepted" in said
        return ("unknown", "") if known else _checked("refused", _nibabel_values(path) is None, said)
    values = _nibabel_values(path)
    if values is None:
        return "differs", "read, but nibabel can't"
    ours = volume.voxels.T.reshape(values.shape) if volume.voxels.size == values.size else volume.voxels.T
    agrees = ours.shape == values.shape and np.allclose(ours, values, rtol=1e-5, equal_nan=True)
    return _checked("agrees", bool(agrees), str(volume.voxels.shape))


def _nibabel_values(path: Path) -> np.ndarray | None:
    """None where nibabel can't read the file, or reads no real values of up to four axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = nib.load(path)
            values = np.asanyarray(image.dataobj)
        except (ImageFileError, OSError, ValueError, EOFError, KeyError, nib.spatialimages.HeaderDataError):
            return None
    if isinstance(image, nib.Cifti2Image):
        return None
    return values if values.dtype.kind in "iuf" and np.squeeze(values).ndim <= 4 else None


def _checked(outcome: str, right: bool, detail: str) -> tuple[str, str]:
    return (outcome if right else "differs"), detail
