"""One image with its masks as a layout on disk describes it, and reading it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_medreason import io
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import DataSetError, LabelMapError, MedReasonError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class MaskFile:
    """A file with labels, relative to the root of its case.

    name: the label's name when the file (or the union of `values` in it) is one object; "" when every
    value is a label of its own, named in `Case.names`. values: those that belong to the object, none
    for every value but 0. series: SeriesInstanceUID within a DICOM folder.
    """

    path: str
    name: str = ""
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Case:
    """One image of one patient with its masks; paths are relative to `root`, with forward slashes.

    id: unique in its source and stable. patient: the layout's own key, never written to records (see
    `pseudonym`). image: "" where only label maps exist. series: of a DICOM folder, "" for the only one.
    names: label value to name as the layout gives it. identifying: the patient key comes from DICOM
    headers and so needs a keyed pseudonym.
    """

    source: str
    id: str
    patient: str
    root: Path
    image: str
    masks: tuple[MaskFile, ...]
    names: dict[int, str] = field(default_factory=dict)
    modality: str = ""
    series: str = ""
    identifying: bool = False


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one file: voxels (k, j, i) whole numbers on the case's grid, and value to name."""

    path: str
    voxels: NDArray[np.integer[Any]]
    names: dict[int, str]


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory. volume: the image, or the geometry of the labels when there is no image."""

    case: Case
    volume: Volume
    labels: tuple[Labels, ...]
    has_pixels: bool


class CaseError(DataSetError):
    """A case can't be used; `reason` is the short form under which it is counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def load(case: Case) -> LoadedCase:
    """Read image and labels of a case; CaseError when they can't be read or don't fit each other."""
    if case.masks and case.masks[0].path.endswith(SEGMENTATION_SUFFIX):
        from .importers.dicom_seg import load_segmentation

        return load_segmentation(case)
    volume = read_image(case) if case.image else None
    labels = []
    for file in case.masks:
        mask = _read(case, file.path)
        volume = volume or mask
        if mask.shape_kji != volume.shape_kji or mask.voxels.ndim != 3:
            raise CaseError(
                "mask and image differ in size",
                f"{file.path} is {mask.voxels.shape}, its image {volume.voxels.shape}; they must agree",
            )
        _check_affine(file.path, mask, volume)
        labels.append(_labels(case, file, whole_numbers(mask.voxels, file.path)))
    if volume is None:
        raise CaseError("no mask", f"{case.id} has neither image nor mask")
    return LoadedCase(case, volume, tuple(labels), bool(case.image))


SEGMENTATION_SUFFIX = "#seg"
"""Marks the path of a DICOM segmentation object in `MaskFile.path`."""


def read_image(case: Case) -> Volume:
    """The image of a case, 3D; CaseError when it can't be read."""
    if case.image.lower().endswith(PICTURES):
        return _picture(case.root / case.image, case.modality)
    try:
        volume = io.read(case.root / case.image, series=case.series or None)
    except MedReasonError as error:
        raise CaseError("image can't be read", str(error)) from error
    if volume.voxels.ndim == 4:
        raise CaseError("image is 4D", f"{case.image} is 4D; one frame per file is accepted")
    return volume


def _picture(path: Path, modality: str) -> Volume:
    """A picture as one slice; colour becomes grey, because only its size and brightness are used."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaseError("image can't be read", f"{path.name} is not a whole picture") from error
    return Volume(
        pixels[np.newaxis], np.eye(4), modality, path.stem, orientation_known=False, calibrated=False
    )


def _read(case: Case, path: str) -> Volume:
    if path.lower().endswith(PICTURES):
        return _picture_mask(case.root / path)
    try:
        return io.read(case.root / path)
    except MedReasonError as error:
        raise CaseError("mask can't be read", str(error)) from error


def _picture_mask(path: Path) -> Volume:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image if image.mode in ("L", "P", "I", "I;16", "1") else image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CaseError("mask can't be read", f"{path.name} is not a whole picture") from error
    return Volume(
        pixels.astype(np.int32)[np.newaxis],
        np.eye(4),
        name=path.stem,
        orientation_known=False,
        calibrated=False,
    )


def whole_numbers(voxels: NDArray[np.generic], name: str) -> NDArray[np.integer[Any]]:
    """Label values as whole numbers from 0; CaseError for others (probabilities, NaN, negative)."""
    try:
        return checked_labels(voxels)
    except LabelMapError as error:
        raise CaseError("values that are no labels", f"{name}: {error}") from error


def _check_affine(path: str, mask: Volume, volume: Volume) -> None:
    if not (mask.orientation_known and volume.orientation_known):
        return
    corner = np.array([*mask.shape_kji[::-1], 0.0]) + np.array([0, 0, 0, 1.0])
    apart = np.abs((mask.affine - volume.affine) @ np.stack([corner, [0, 0, 0, 1.0]], axis=1)).max()
    if apart > 0.1 + 0.5 * min(volume.spacing_kji):
        raise CaseError(
            "mask and image lie elsewhere",
            f"{path} lies {apart:.1f} mm from its image in space; resample it to the image's grid",
        )


def _labels(case: Case, file: MaskFile, voxels: NDArray[np.integer[Any]]) -> Labels:
    if file.name:
        one = np.isin(voxels, file.values) if file.values else voxels > 0
        return Labels(file.path, one.astype(np.uint8), {1: file.name})
    if set(case.names) == {1} and voxels.max(initial=0) == 255 and set(np.unique(voxels)) <= {0, 255}:
        return Labels(file.path, (voxels > 0).astype(np.uint8), case.names)
    return Labels(file.path, voxels, case.names)


def fingerprint(case: Case) -> str:
    """SHA-256 over the bytes of a case's files; two cases with the same one are copies."""
    digest = sha256()
    for path in _files(case):
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _files(case: Case) -> Iterator[Path]:
    paths = [case.image] if case.image else []
    for relative in [*paths, *(file.path.removesuffix(SEGMENTATION_SUFFIX) for file in case.masks)]:
        path = case.root / relative
        yield from sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else (path,)


def relative_path(text: str, where: str) -> str:
    """A path inside a folder with forward slashes; DataSetError when it is absolute or leaves the folder."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(text).drive or ".." in path.parts or not path.parts:
        raise DataSetError(f"{where} names {text!r}; paths inside the folder are accepted")
    return str(path)
