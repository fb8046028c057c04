"""Records as Parquet through the `datasets` library, for training pipelines that read tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from napari_medreason import io
from napari_medreason.core.record import Record, from_line, to_line
from napari_medreason.errors import DataSetError


def write_parquet(path: Path, records: Iterable[Record]) -> None:
    """One row per record: the columns people filter by, and the whole record as JSON in `record`."""
    datasets = library()
    rows = [_row(record) for record in records]
    with io.replace_file(path) as temporary:
        datasets.Dataset.from_list(rows).to_parquet(str(temporary))


def read_parquet(path: Path) -> Iterator[Record]:
    """The records of a file that `write_parquet` wrote; DataSetError for another table."""
    library()
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=["record"])
    except (OSError, ValueError, KeyError) as error:
        raise DataSetError(
            f"{path.name} is no Parquet file of records; build one with parquet = true"
        ) from error
    for number, line in enumerate(table.column("record").to_pylist(), 1):
        yield from_line(line, f"{path.name}, row {number}")


def _row(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "system": record.system,
        "split": record.split,
        "source": record.source,
        "patient": record.patient,
        "image_path": record.image.path,
        "mask_path": record.image.mask_path,
        "axis": record.image.axis,
        "slice": record.image.index,
        "structure": record.structure,
        "label": record.label,
        "question": record.question,
        "reasoning": record.reasoning,
        "answer": record.answer,
        "box": json.dumps(record.box_plane),
        "state": record.review.state,
        "record": to_line(record),
    }


def library() -> Any:
    """The datasets library; DataSetError when it is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise DataSetError(
            "Parquet needs the datasets library; install napari-medreason[train] or leave parquet out"
        ) from error
    return datasets
