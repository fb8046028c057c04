"""Records that this program made of labels: where they lie, which are outdated, how they go. No Qt here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from napari_medreason.core.record import Record
from napari_medreason.errors import ExportError

RECORDS = "records.jsonl"
_BY_CONTENT = "study-"
"""What the patient of a layer begins with: named by the image, so that each image is one study."""


def records_root() -> Path:
    """Where records that this program makes lie; the environment variable MEDREASON_RECORDS names another."""
    named = os.environ.get("MEDREASON_RECORDS")
    return Path(named) if named else platformdirs.user_data_path("napari-medreason") / "records"


def made_here(file: Path) -> bool:
    """Whether records were made by this program."""
    return file.name == RECORDS and file.resolve().parent.parent == records_root().resolve()


def newest(read: Sequence[tuple[Path, tuple[Record, ...]]]) -> list[tuple[Record, ...]]:
    """The records of each file without those that a later file took the place of.

    Who labels, starts, corrects and starts again has two masks of one structure on one study; of records
    that were made here, those of the last file count. All others stay.
    """
    last = {_what(record): file for file, records in read if made_here(file) for record in records}
    return [
        tuple(r for r in records if last[_what(r)] == file) if made_here(file) else records
        for file, records in read
    ]


def _what(record: Record) -> tuple[str, str, str]:
    """Study, structure and side."""
    study = record.patient if record.patient.startswith(_BY_CONTENT) else record.image.path
    return study, record.structure or record.label, record.side


def delete_made(file: Path) -> None:
    """Delete records that were made here and their copies of images; ExportError when they stay."""
    if not made_here(file):
        raise ExportError(f"{file.name} was not made here and is not deleted; delete it where it lies")
    try:
        shutil.rmtree(file.resolve().parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExportError(
            f"the copies can't be deleted: {error.strerror}; close what uses them, or delete the folder "
            f"{file.parent.name} of {records_root().name}"
        ) from error
