"""napari's Save: the writers that napari.yaml names; the proof of each file is shown as one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_info

from napari_medreason.errors import ExportError
from napari_medreason.io.base import has_suffix
from napari_medreason.io.exports import IMAGE_FORMATS, Drawing, export_image, export_mask, mask_format
from napari_medreason.io.proof import Receipt
from napari_medreason.layers.exporting import as_layer, drawing_of, image_of

LayerData = tuple[Any, Mapping[str, Any], str]


def write_nifti(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as a NIfTI file."""
    return _write_masks(path, layer_data, "nifti")


def write_nrrd(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as an NRRD segmentation."""
    return _write_masks(path, layer_data, "nrrd")


def write_dicom_seg(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as a DICOM segmentation of their series."""
    return _write_masks(path, layer_data, "dicom-seg")


def write_rtstruct(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as a DICOM structure set of their series."""
    return _write_masks(path, layer_data, "rtstruct")


def write_report(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as a JSON report, with the answer that they belong to."""
    return _write_masks(path, layer_data, "report")


def write_picture(path: str, layer_data: Sequence[LayerData]) -> list[str]:
    """Labels layers as a PNG picture of the slice that shows most of them."""
    return _write_masks(path, layer_data, "overlay")


def write_image(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """One image layer as NIfTI or NRRD."""
    suffixes = tuple(suffix for one in IMAGE_FORMATS for suffix in one.suffixes)
    target = _with_suffix(Path(path), suffixes)
    _told(export_image(target, image_of(as_layer(data, attributes))))
    return [str(target)]


def _write_masks(path: str, layer_data: Sequence[LayerData], form: str) -> list[str]:
    one = mask_format(form)
    target = _with_suffix(Path(path), one.suffixes)
    masks = [as_layer(data, attributes) for data, attributes, _ in layer_data]
    drawing: Drawing = drawing_of(masks, for_dicom=one.needs_dicom)
    _told(export_mask(target, drawing, form))
    return [str(target)]


def _with_suffix(path: Path, suffixes: tuple[str, ...]) -> Path:
    """The file dialog leaves out the suffix where the user types none."""
    return path if has_suffix(path, suffixes) else path.with_name(path.name + suffixes[0])


def _told(receipt: Receipt) -> None:
    if not receipt.identical:
        raise ExportError(receipt.words)
    show_info(receipt.words)
