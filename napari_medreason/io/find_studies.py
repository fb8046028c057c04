"""Which studies lie below a folder, by name and header alone, with pseudonyms for what identifies them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pydicom

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import Cancelled, Format, Progress, ReadOptions, SeriesInfo, has_suffix
from napari_medreason.io.dicom_headers import looks_like_dicom
from napari_medreason.io.dicom_series import NO_UID, Stack, scan
from napari_medreason.io.dicom_values import DAMAGED
from napari_medreason.io.pseudonyms import installation_key, pseudonym
from napari_medreason.io.quiet import quiet_libraries
from napari_medreason.io.registry import formats

_MASK = re.compile(r"(^|[_\-. ])(masks?|msk|seg|segmentations?|labels?|labelmap|dseg|gt)$", re.IGNORECASE)
"""How names of label maps end that lie beside their image."""
_IMG = re.compile(r"\.img(?=(\.gz)?$)", re.IGNORECASE)
_OTHERS = ("DICOM", "DICOM segmentation", "PNG or JPEG picture")
"""Formats whose files are not taken one by one: found by folder, and left out."""
_BIDS_SUBJECT = re.compile(r"sub-[0-9A-Za-z]+")
_PLAIN = b"medreason"
"""File names stand in the work list anyway, so a digest of them needs no secret."""


@dataclass(frozen=True)
class FoundStudy:
    """One image that can be read.

    path: relative to the folder that was searched, with forward slashes. series: what `io.read` takes, ""
    for files that hold one image. patient, study: pseudonyms, from Patient ID (0010,0020) and Study
    Instance UID (0020,000D) or from the file name. shape_kji: None where only reading would tell.
    """

    path: str
    series: str
    patient: str
    study: str
    modality: str = ""
    shape_kji: tuple[int, int, int] | None = None

    @property
    def voxel_count(self) -> int:
        """Number of voxels of one frame, 0 when unknown."""
        k, j, i = self.shape_kji or (0, 0, 0)
        return k * j * i


def find_studies(
    folder: str | Path,
    *,
    series: Literal["largest", "all"] = "largest",
    left_out: Iterable[Path] = (),
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> tuple[FoundStudy, ...]:
    """The studies below a folder, by path: DICOM series, and files of volumes; pictures are left out.

    series: the largest series of each DICOM study, or all. left_out: folders that are not searched.
    Files whose names end like those of label maps ("_mask", "_seg", "_labels") are left out. Raises
    UnreadableImageError when the folder is missing, and CancelledError.
    """
    quiet_libraries()
    root = Path(folder)
    if not root.is_dir():
        raise UnreadableImageError(f"there is no folder {root.name!r} at this place; check the path")
    options = ReadOptions("", progress, cancelled)
    skipped = {path.resolve() for path in left_out}
    units, files = _units_and_files(root, skipped, options)
    stacks = [(unit, stack) for unit in units for stack in _stacks(unit, options)]
    found = [*_series(root, stacks, options)]
    if series == "largest":
        found = _largest(found)
    found += [study for path in files for study in _of_file(root, path, options)]
    return tuple(sorted(found, key=lambda study: (study.path, study.series)))


def _units_and_files(root: Path, skipped: set[Path], options: ReadOptions) -> tuple[list[Path], list[Path]]:
    """Folders with DICOM files right inside (and all below them), and files of other formats."""
    units: list[Path] = []
    files: list[Path] = []
    for place, folders, names in os.walk(root):
        options.report(0, 1)
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (here / name).resolve() not in skipped
        )
        candidates = [here / name for name in sorted(names) if not name.startswith(".")]
        inside_unit = bool(units) and units[-1] in here.parents
        if not inside_unit and any(_is_dicom(path) for path in candidates):
            units.append(here)
        files += [path for path in candidates if _format(path) is not None]
    return units, files


def _is_dicom(path: Path) -> bool:
    try:
        return path.name.upper() != "DICOMDIR" and path.is_file() and looks_like_dicom(path)
    except OSError:
        return False


def _format(path: Path) -> Format | None:
    """The format of a volume's file; None for DICOM, pictures, label maps and all else."""
    try:
        found = next((one for one in _volume_formats() if _fits(one, path)), None)
    except OSError:
        return None
    if found is None or _MASK.search(_stem(path.name, found)):
        return None
    return None if _has_header(path) else found


def _has_header(path: Path) -> bool:
    """Whether a file is the second of a pair such as Scan.hdr and Scan.img, found by its header."""
    return any(
        path.with_name(_IMG.sub(header, path.name)).is_file()
        for header in (".hdr", ".HDR")
        if _IMG.search(path.name)
    )


def _fits(one: Format, path: Path) -> bool:
    return has_suffix(path, one.suffixes) and one.can_read(path)


def _volume_formats() -> list[Format]:
    """Formats that hold a volume in one file; DICOM files are found by folder."""
    return [one for one in formats() if one.name not in _OTHERS]


def _stem(name: str, found: Format) -> str:
    suffix = next(known for known in found.suffixes if name.lower().endswith(known))
    return name[: -len(suffix)]


def _stacks(unit: Path, options: ReadOptions) -> tuple[Stack, ...]:
    try:
        return scan(unit, options).stacks
    except UnreadableImageError:
        return ()


def _series(root: Path, stacks: list[tuple[Path, Stack]], options: ReadOptions) -> Iterator[FoundStudy]:
    """One study per DICOM series; parts of a series in several folders are joined, copies are left out."""
    places: dict[str, list[tuple[Path, Stack]]] = defaultdict(list)
    for unit, stack in stacks:
        # Images without a UID in two folders have nothing to do with each other.
        uid = stack.info.uid
        places[f"{unit}/{uid}" if uid.startswith(NO_UID) else uid].append((unit, stack))
    for parts in places.values():
        unit, stack = parts[0]
        if len(parts) > 1 and _disjoint([part for _, part in parts]):
            unit = Path(os.path.commonpath([str(folder) for folder, _ in parts]))
            joined = [one for one in _stacks(unit, options) if one.info.uid == stack.info.uid]
            stack = joined[0] if joined else stack
        yield _study(root, unit, stack)


def _disjoint(stacks: list[Stack]) -> bool:
    images = [image.instance_uid for stack in stacks for frame in stack.grid.frames for image in frame]
    return len(set(images)) == len(images)


def _study(root: Path, unit: Path, stack: Stack) -> FoundStudy:
    patient, study = _identifiers(stack.grid.frames[0][0].path)
    path = unit.relative_to(root).as_posix()
    secret = installation_key()
    return FoundStudy(
        path=path,
        series=stack.info.uid,
        patient=pseudonym("p", patient or study or path, secret),
        study=pseudonym("s", study or path, secret),
        modality=stack.info.modality,
        shape_kji=stack.info.shape_kji,
    )


def _identifiers(path: Path) -> tuple[str, str]:
    """Patient ID (0010,0020) and Study Instance UID (0020,000D); "" for what is missing."""
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, force=True, specific_tags=["PatientID", "StudyInstanceUID"]
        )
        return str(header.get("PatientID") or ""), str(header.get("StudyInstanceUID") or "")
    except DAMAGED:
        return "", ""


def _largest(found: list[FoundStudy]) -> list[FoundStudy]:
    best: dict[str, FoundStudy] = {}
    for study in found:
        if study.study not in best or study.voxel_count > best[study.study].voxel_count:
            best[study.study] = study
    return [*best.values()]


def _of_file(root: Path, path: Path, options: ReadOptions) -> Iterator[FoundStudy]:
    found = _format(path)
    if found is None:
        return
    name = path.relative_to(root).as_posix()
    key = _stem(name, found)
    subject = _BIDS_SUBJECT.search(key)
    plain = FoundStudy(
        path=name,
        series="",
        patient=pseudonym("p", subject.group() if subject else key, _PLAIN),
        study=pseudonym("s", key, _PLAIN),
    )
    inside = _series_inside(found, path, options)
    if not inside:
        yield plain
        return
    largest = inside[0]
    yield replace(plain, series=largest.uid, modality=largest.modality, shape_kji=largest.shape_kji)


def _series_inside(found: Format, path: Path, options: ReadOptions) -> tuple[SeriesInfo, ...]:
    if found.list_series is None:
        return ()
    try:
        return found.list_series(path, options)
    except UnreadableImageError:
        return ()
