"""Files read back right after they were written, and compared with what was meant, voxel by voxel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError
from napari_medreason.io import dicom_seg, registry
from napari_medreason.io.base import counted
from napari_medreason.io.dicom_source import DicomSource
from napari_medreason.io.label_codes import LabelCode
from napari_medreason.io.rtstruct import read_rois

TOLERANCE_MM = 1e-3
"""How far a corner of the grid may be moved by the numbers that a format can hold."""


@dataclass(frozen=True)
class Receipt:
    """What was written, and what its proof found; `words` is one line for the user.

    content: such as "3 segments, 41 slices". notes: what the format could not take along, whole sentences.
    """

    name: str
    content: str
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether the file holds what was meant."""
        return not self.differences

    def as_json(self) -> dict[str, Any]:
        """The receipt as plain JSON values."""
        return {
            "file": self.name,
            "content": self.content,
            "identical": self.identical,
            "differences": list(self.differences),
            "notes": list(self.notes),
        }

    @property
    def words(self) -> str:
        """The receipt as one line."""
        if self.identical:
            proof = "read back: identical"
        else:
            proof = (
                f"but read back it differs ({'; '.join(self.differences)}); nothing was deleted, don't use it"
            )
        return " ".join([f"Wrote {self.name}: {self.content}, {proof}.", *self.notes])


def label_content(labels: NDArray[np.generic], one: str = "label", many: str = "labels") -> str:
    """How many labels are drawn, on how many slices, as words."""
    count = int(np.count_nonzero(np.unique(labels)))
    slices = int(np.count_nonzero(labels.any(axis=(-2, -1)).reshape(-1, labels.shape[-3]).any(axis=0)))
    return f"{counted(count, one, many)}, {counted(slices, 'slice', 'slices')}"


def volume_differences(path: Path, meant: Volume) -> tuple[str, ...]:
    """What a file of voxels holds otherwise than meant; nothing when it is the same."""
    try:
        found = registry.read(path)
    except MedReasonError as error:
        return (f"it can't be read: {error}",)
    return (
        *_voxel_differences(found.voxels, meant.voxels),
        *_place_differences(found, meant),
        *_name_differences(found.label_names, meant),
    )


def seg_differences(
    path: Path, labels: NDArray[np.generic], codes_of: tuple[LabelCode, ...], source: DicomSource
) -> tuple[str, ...]:
    """What a segmentation holds otherwise than these (k, j, i) labels on the slices of its source."""
    try:
        found, _ = dicom_seg.on_planes(path, source.planes)
        header = dicom_seg.open_seg(path)
    except MedReasonError as error:
        return (f"it can't be read: {error}",)
    wrong = [one.name for one in codes_of if not np.array_equal(found == one.number, labels == one.value)] + [
        segment.name
        for segment, one in zip(header.segments, codes_of, strict=False)
        if segment.number != one.number or segment.name != one.name
    ]
    references = _reference_differences(header, source)
    return (*(f"other voxels or name of {name}" for name in dict.fromkeys(wrong)), *references)


def rtstruct_differences(
    path: Path, labels: NDArray[np.generic], codes_of: tuple[LabelCode, ...], source: DicomSource
) -> tuple[str, ...]:
    """What a structure set holds otherwise than these (k, j, i) labels on the slices of its source."""
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    try:
        found = {roi.number: roi for roi in read_rois(path, source.planes)}
        wrong = [
            one.name
            for one in codes_of
            if one.number not in found
            or found[one.number].name != one.name
            or not np.array_equal(found[one.number].mask(shape), labels == one.value)
        ]
    except MedReasonError as error:
        return (f"it can't be read: {error}",)
    return tuple(f"other contours or name of {name}" for name in wrong)


def _reference_differences(header: dicom_seg.SegFile, source: DicomSource) -> tuple[str, ...]:
    """Whether every frame names the image that lies at its place."""
    for frame in header.frames:
        k = source.planes.slice_at(frame.position_lps)
        meant = None if k is None else (source.instances[k][1], source.instances[k][2])
        if frame.source != meant:
            return ("a frame refers to another source image than the one it lies on",)
    return ()


def _voxel_differences(found: NDArray[Any], meant: NDArray[Any]) -> tuple[str, ...]:
    if found.shape != meant.shape:
        return (f"{found.shape} voxels where {meant.shape} were meant",)
    same = found == meant
    if meant.dtype.kind == "f":
        same |= np.isnan(meant) & np.isnan(found)
    count = int(same.size - np.count_nonzero(same))
    return (f"{counted(count, 'voxel has another value', 'voxels have other values')}",) if count else ()


def _place_differences(found: Volume, meant: Volume) -> tuple[str, ...]:
    if found.orientation_known != meant.orientation_known:
        return ("whether its orientation is known",)
    if not meant.orientation_known:
        same = np.allclose(found.spacing_kji, meant.spacing_kji, atol=TOLERANCE_MM)
        return () if same else ("other voxel sizes",)
    upper = np.array(meant.shape_kji[::-1]) - 1
    corners = np.array(np.meshgrid(*[(0, last) for last in upper])).reshape(3, -1).T
    apart = np.linalg.norm(index_to_lps(corners, found.affine) - index_to_lps(corners, meant.affine), axis=1)
    distance = float(apart.max())
    return (f"voxels up to {distance:.3g} mm from their place",) if distance > TOLERANCE_MM else ()


def _name_differences(found: Mapping[int, str], meant: Volume) -> tuple[str, ...]:
    """Names that the file gives otherwise; formats without names give none."""
    wrong = [name for value, name in found.items() if meant.label_names.get(value, name) != name]
    return (f"other names of labels ({', '.join(wrong[:3])})",) if wrong else ()
