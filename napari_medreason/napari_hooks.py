"""The reader and the samples that napari.yaml names; widgets are named in _qt."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medreason.core.volume import Volume
    from napari_medreason.layers import LayerDataTuple

DEMO_SLICE = 64
"""Axial slice of the synthetic CT with liver, spleen, stomach and kidneys on it."""

_FILES_TRIED = 200
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mgz", ".mgh", ".mha", ".mhd")


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerDataTuple]] | None:
    """A reader for one file of a volume, DICOM file or folder with DICOM files; None for anything else.

    Looks at names and first bytes only, and at no more than 200 files of a folder.
    """
    if not isinstance(path, str):
        if len(path) != 1:
            return None
        path = path[0]
    place = Path(path)
    if place.is_dir():
        return read_layers if any(map(_is_dicom, islice(_files(place), _FILES_TRIED))) else None
    if place.name.lower().endswith(_VOLUME_SUFFIXES) or (place.is_file() and _is_dicom(place)):
        return read_layers
    return None


def read_layers(path: str | Sequence[str]) -> list[LayerDataTuple]:
    """The study at `path` (its largest series) as one image layer; doubts come as one warning.

    A DICOM segmentation or structure set becomes a Labels layer, on the study it was drawn on where that
    is open.

    napari waits for its readers, so slices of CT are decoded when they are first shown, and the
    others in the background meanwhile: a coronal view needs them all.
    """
    from napari_medreason import io

    place = Path(path if isinstance(path, str) else path[0])
    masks = _mask_layers(place)
    if masks is not None:
        return masks
    volume = io.read_lazily(place)
    entries = _layers(volume, place)
    io.decode_ahead(volume.voxels)
    return entries


def _mask_layers(place: Path) -> list[LayerDataTuple] | None:
    """The Labels layer of a DICOM file that holds a mask; None for others."""
    from napari_medreason.io import dicom_seg, rtstruct

    if not (dicom_seg.is_segmentation(place) or rtstruct.is_rtstruct(place)):
        return None
    from napari_medreason.layers.mask_files import mask_layer

    entry, doubts = mask_layer(place)
    if doubts:
        warnings.warn(" ".join(doubts), stacklevel=2)
    return [entry]


def _layers(volume: Volume, place: Path) -> list[LayerDataTuple]:
    from napari_medreason.layers import image_layer

    if volume.warnings:
        warnings.warn(" ".join(volume.warnings), stacklevel=2)
    return [image_layer(volume, place)]


def _files(folder: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(folder):
        yield from (Path(directory) / name for name in sorted(names))


def _is_dicom(path: Path) -> bool:
    """Whether a file has the DICM mark at byte 128 (PS3.10 section 7.1)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def sample_ct_folder() -> Path:
    """Folder of the synthetic CT series."""
    return Path(_samples().ct_folder())


def sample_ct() -> list[LayerDataTuple]:
    """The synthetic CT of a trunk, a DICOM series."""
    return read_layers(str(sample_ct_folder()))


def sample_brain() -> list[LayerDataTuple]:
    """The synthetic MRI of a head, a NIfTI file."""
    from napari_medreason import io
    from napari_medreason.layers import image_layer

    # not by read_layers: the doubt whether this NIfTI file is CT or MR does not apply, we made it
    return [image_layer(io.read(_samples().brain_file()), Path(_samples().brain_file()))]


def sample_real_slice() -> list[LayerDataTuple]:
    """One real CT slice, from the test files inside the pydicom package."""
    return read_layers(str(_samples().real_slice_file()))


def _samples() -> ModuleType:
    # by name: the package is the repository's sample_data folder under its installed name
    return import_module("napari_medreason_sample_data")
