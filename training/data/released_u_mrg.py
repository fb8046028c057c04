"""The released U-MRG form (MedReasoner): train.parquet and test.parquet for reinforcement learning.

Columns: data_source ("umrg"), prompt ([{role, content}]), images, masks, reward_model ({ground_truth: JSON
with bbox_2d and point_2d}), extra_info ({id, supercategory, category, ...}). Pictures are 840 x 840, the
aspect not kept, and coordinates are absolute pixels of that picture.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_medreason import io
from napari_medreason.core.plane import Box, Point
from napari_medreason.core.record import Record, Split
from napari_medreason.core.strict import parse_json
from napari_medreason.errors import DataSetError

from .cases import CaseError
from .dropped import Dropped
from .pictures import Planes, mask_pixels, png_bytes, read_mask, region_name, resized
from .released import Given, record_of

SIZE = 840
"""Side of the stored pictures: 30 x 28, so that Qwen2.5-VL leaves them as they are."""
FILES: dict[Split, str] = {
    "train": "train.parquet",
    "validation": "validation.parquet",
    "test": "test.parquet",
}
_HEALTH = {True: "Yes", False: "No", None: ""}


def write(records: Iterator[Record], target: Path, root: Path, dropped: Dropped) -> int:
    """Write one Parquet file per split below `target`."""
    datasets = _library()
    planes = Planes(root)
    rows: dict[Split, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        try:
            rows[record.split].append(_row(record, png_bytes(_square(planes.picture(record)))))
        except CaseError as error:
            dropped.add(f"record: {error.reason}")
    target.mkdir(parents=True, exist_ok=True)
    for split, lines in rows.items():
        table = datasets.Dataset.from_list(lines, features=_features(datasets))
        with io.replace_file(target / FILES[split]) as temporary:
            table.to_parquet(str(temporary))
    return sum(map(len, rows.values()))


def _square(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return resized(pixels, (SIZE, SIZE), nearest=False)


def _row(record: Record, picture: bytes) -> dict[str, Any]:
    mask = png_bytes(resized(mask_pixels(record.mask), (SIZE, SIZE), nearest=True))
    rows, columns = record.image.shape
    return {
        "data_source": "umrg",
        "prompt": [{"role": "user", "content": record.question}],
        "images": [{"bytes": picture, "path": None}],
        "masks": [{"bytes": mask, "path": None}],
        "reward_model": {"ground_truth": ground_truth(record)},
        "extra_info": {
            "id": region_name(record),
            "supercategory": record.super_category,
            "category": " ".join(filter(None, (record.side, record.label))),
            "split": record.split,
            "source": record.source,
            "patient": record.patient,
            "modal": record.image.modality,
            "health": _HEALTH[record.healthy],
            "rows": rows,
            "columns": columns,
            "think": record.reasoning,
            "answer": record.answer,
            "short_description": record.short_description,
            "long_description": record.long_description,
        },
    }


def ground_truth(record: Record) -> str:
    """Box and key points as JSON, in pixels of the square picture; the box names its first and last pixel."""
    rows, columns = record.image.shape
    box = written_box(record.box_plane, rows, columns)
    points = [_scaled(point, rows, columns) for point in record.key_points_plane]
    return json.dumps({"bbox_2d": box, "point_2d": points})


def written_box(box_plane: Box, rows: int, columns: int) -> tuple[int, int, int, int]:
    """A half-open box of a plane as it is written down: first and last pixel of the square picture."""
    x0, y0, x1, y1 = box_plane
    left, top = round(x0 * SIZE / columns), round(y0 * SIZE / rows)
    right, bottom = round(x1 * SIZE / columns) - 1, round(y1 * SIZE / rows) - 1
    return left, top, max(left, right), max(top, bottom)


def _scaled(point: Point, rows: int, columns: int) -> list[int]:
    """The square picture's pixel that shows the middle of a pixel."""
    return [int((point[0] + 0.5) * SIZE / columns), int((point[1] + 0.5) * SIZE / rows)]


def _features(datasets: Any) -> Any:
    text, number = datasets.Value("string"), datasets.Value("int64")
    words = ("id", "supercategory", "category", "split", "source", "patient", "modal", "health")
    more = ("think", "answer", "short_description", "long_description")
    info = {**dict.fromkeys(words, text), "rows": number, "columns": number, **dict.fromkeys(more, text)}
    return datasets.Features(
        {
            "data_source": text,
            "prompt": [{"role": text, "content": text}],
            "images": [datasets.Image()],
            "masks": [datasets.Image()],
            "reward_model": {"ground_truth": text},
            "extra_info": info,
        }
    )


def read(source: Path, root: Path, dropped: Dropped) -> Iterator[Record]:
    """The records of a folder of Parquet files; `root` is not needed, the pictures are inside.

    Box and key points are measured on the mask, brought back to the size that extra_info names.
    """
    from .parquet import library

    library()
    import pyarrow.parquet

    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise DataSetError(f"{source.name} holds no Parquet file; name the folder with train and test")
    for path in files:
        try:
            batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=64)
            for batch in batches:
                for row in batch.to_pylist():
                    yield from _records(row, path, dropped)
        except (OSError, ValueError) as error:
            raise DataSetError(f"{path.name} is no whole Parquet file; download it again") from error


def _records(row: dict[str, Any], path: Path, dropped: Dropped) -> Iterator[Record]:
    try:
        info = row["extra_info"]
        question = row["prompt"][-1]["content"].replace("<image>", "").strip()
        content = row["masks"][0]["bytes"]
        parse_json(row["reward_model"]["ground_truth"], path.name)
    except (KeyError, IndexError, TypeError) as error:
        raise DataSetError(f"{path.name} has not the columns of the released form") from error
    size = (int(info.get("columns") or SIZE), int(info.get("rows") or SIZE))
    mask = resized(mask_pixels(read_mask(content, path.name, over=127)), size, nearest=True) > 0
    name, split = str(info["id"]), _split(path, info)
    category = str(info["category"])
    given = Given(
        system="u-mrg",
        source=str(info.get("source") or "u-mrg"),
        patient=str(info.get("patient") or name),
        split=split,
        image_path=f"{path.name}/{name}",
        mask_path=f"{path.name}/{name}",
        label=category,
        question=question,
        answer=str(info.get("answer") or f"It is the {category}."),
        approach="reasoning",
        reasoning=str(info.get("think") or ""),
        super_category=str(info["supercategory"]),
        modality=str(info.get("modal") or ""),
        short_description=str(info.get("short_description") or ""),
        long_description=str(info.get("long_description") or ""),
        healthy={"Yes": True, "No": False}.get(str(info.get("health") or "")),
    )
    record = record_of(given, mask)
    if record is None:
        dropped.add("row: empty mask")
    else:
        yield record


def _split(path: Path, info: dict[str, Any]) -> Split:
    """By the file's name, which says more than a column that was copied from another file."""
    for split, name in FILES.items():
        if path.name.startswith(name.removesuffix(".parquet")):
            return split
    return next((split for split in FILES if info.get("split") == split), "train")


def _library() -> Any:
    from .parquet import library

    return library()
