"""What is wrong with a record, in sentences a curator can act on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np

from napari_medreason.core.anatomy import SUPER_CATEGORIES, structures
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.record import SCHEMA, Record, record_id


def problems(record: Record) -> tuple[str, ...]:
    """Every fault of one record, one clause each; none for a sound record."""
    return (*_identity(record), *_paths(record), *_words(record), *_geometry(record), *_review(record))


def _identity(record: Record) -> Iterator[str]:
    if record.schema != SCHEMA:
        yield f"schema is {record.schema!r}; this program reads {SCHEMA!r}"
    if record.id != record_id(record):
        yield f"id {record.id!r} does not follow from the content; expected {record_id(record)!r}"
    if not record.patient:
        yield "patient is empty; a pseudonym is needed to split by patient"
    if record.structure and record.structure not in structures():
        yield f"structure {record.structure!r} is not in the anatomy vocabulary; use one of its ids or ''"
    if record.super_category and record.super_category not in SUPER_CATEGORIES:
        yield f"super_category {record.super_category!r} is none of the fifteen"


def _paths(record: Record) -> Iterator[str]:
    for name, path in (("path", record.image.path), ("mask_path", record.image.mask_path)):
        absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or "\\" in path
        if absolute or ".." in PurePosixPath(path).parts:
            yield f"image {name} must be relative, inside the source folder and with forward slashes"
    if not record.image.path and not record.image.mask_path:
        yield "image has neither path nor mask_path"


def _words(record: Record) -> Iterator[str]:
    for name in ("question", "answer", "label"):
        if not getattr(record, name).strip():
            yield f"{name} is empty"
    for name in ("question", "answer", "reasoning"):
        if "{" in getattr(record, name) or "}" in getattr(record, name):
            yield f"{name} holds a slot that was not filled"
    if record.question.strip() and record.question == record.answer:
        yield "question and answer are the same"


def _geometry(record: Record) -> Iterator[str]:
    if min(record.image.shape) < 1 or min(record.image.spacing) <= 0 or record.image.index < 0:
        yield "image shape, spacing and index must be positive"
        return
    try:
        mask = record.mask
    except ValueError as error:
        yield f"mask_runs: {error}"
        return
    box = mask_box(mask)
    if box is None:
        yield "the mask is empty"
    elif box != record.box_plane:
        yield f"box_plane is {list(record.box_plane)}, the mask's box is {list(box)}"
    yield from (f"key point {list(point)} lies outside the mask" for point in _outside(record, mask))


def _outside(
    record: Record, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Iterator[tuple[float, float]]:
    rows, columns = mask.shape
    for x, y in record.key_points_plane:
        column, row = round(x), round(y)
        if not (0 <= row < rows and 0 <= column < columns and mask[row, column]):
            yield (x, y)


def _review(record: Record) -> Iterator[str]:
    review = record.review
    if review.state == "waiting for review" and (review.reviewer or review.date):
        yield "the record waits for review but names a reviewer or a date"
    if review.state != "waiting for review" and not (review.reviewer and review.date):
        yield f"the record is {review.state} without reviewer and date"
