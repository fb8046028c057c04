"""Which files of a folder, or of a DICOMDIR, may hold images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pydicom

from napari_medreason.errors import UnreadableImageError
from napari_medreason.io.base import ReadOptions, first_bytes
from napari_medreason.io.dicom_headers import looks_like_dicom, series_of
from napari_medreason.io.dicom_values import DAMAGED, words

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
"""Media Storage Directory Storage: the SOP class of a DICOMDIR."""
_MAX_SIBLINGS = 100
"""A viewer waits meanwhile; one of the same series is soon met."""
MISSING = "file that the DICOMDIR names and that is not there"


def is_directory_file(path: Path) -> bool:
    """Whether a file is a DICOMDIR, by its header."""
    if not path.is_file() or first_bytes(path, 132)[128:] != b"DICM":
        return False
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.get("MediaStorageSOPClassUID")) == _MEDIA_DIRECTORY  # values are read only here
    except DAMAGED:
        return False


def files_at(path: Path, options: ReadOptions) -> tuple[list[Path], Counter[str]]:
    """The files to look into: the one given, those that a DICOMDIR names, or all below a folder.

    Also counts what is missing, as words for a message.
    """
    if path.is_dir():
        return list(_below(path, options)), Counter()
    if is_directory_file(path):
        return _named(path)
    return [path], Counter()


def _below(folder: Path, options: ReadOptions) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        options.report(0, 1)
        folders.sort()
        for name in sorted(names):
            file = Path(place) / name
            if not name.startswith(".") and is_candidate(file):
                yield file


def is_candidate(file: Path) -> bool:
    """Whether a file is there and looks like DICOM."""
    try:
        return file.is_file() and looks_like_dicom(file)
    except OSError:
        return False


def beside(path: Path) -> list[Path]:
    """The files right in the folder of a file that look like DICOM, this one included."""
    try:
        return sorted(file for file in path.parent.iterdir() if is_candidate(file))
    except OSError:
        return [path]


def has_siblings(path: Path, series_uid: str) -> bool:
    """Whether one of the first files beside a file belongs to the same series."""
    if not series_uid:
        return False
    try:
        siblings = [file for file in islice(path.parent.iterdir(), _MAX_SIBLINGS) if file != path]
    except OSError:
        return False
    return any(series_of(file) == series_uid for file in siblings if is_candidate(file))


def _named(path: Path) -> tuple[list[Path], Counter[str]]:
    """The files that the records of a DICOMDIR name by Referenced File ID (0004,1500)."""
    try:
        records = pydicom.dcmread(path).get("DirectoryRecordSequence") or ()
        names = [words(record.get("ReferencedFileID")) for record in records]
    except DAMAGED as error:
        raise UnreadableImageError(f"{path.name} is damaged; open the folder it lies in") from error
    found = [_resolved(path.parent, parts) for parts in names if parts]
    files = [file for file in found if file is not None]
    if not files:
        raise UnreadableImageError(
            f"{path.name} names no file that is there; open the folder that holds the images"
        )
    missing = len(found) - len(files)
    return list(dict.fromkeys(files)), Counter({MISSING: missing} if missing else {})


def _resolved(folder: Path, parts: list[str]) -> Path | None:
    """A file below the folder, names in any case of letters; None when there is none."""
    here = folder
    for part in parts:
        if part in ("", ".", "..") or any(sign in part for sign in "/\\:"):
            return None
        found = here / part if (here / part).exists() else _in_any_case(here, part)
        if found is None:
            return None
        here = found
    return here if here.is_file() else None


def _in_any_case(folder: Path, name: str) -> Path | None:
    try:
        return next((entry for entry in folder.iterdir() if entry.name.lower() == name.lower()), None)
    except OSError:
        return None
