"""The released MedPos form: a folder per source with {train,test}_{images,masks}, and a CSV per source.

Columns: image_path (of the mask, relative), image_name, split, question, answer, position. The image's
path follows from the mask's: train_masks becomes train_images, "_Segmentation" goes, and ISIC images are
JPEG (PRS-Med data loader). Fields with commas are quoted here; the released files are not, and a row
that falls apart for that reason is left out and counted.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from napari_medreason import io
from napari_medreason.core.medpos import locate
from napari_medreason.core.record import Record, Split
from napari_medreason.errors import DataSetError
from napari_medreason.io.region_files import MEDPOS_COLUMNS

from .cases import CaseError, relative_path
from .dropped import Dropped
from .pictures import Planes, mask_pixels, read_mask, region_name, write_png
from .released import Given, record_of

ANNOTATIONS = "annotation"
_FOLDER: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}
_SPLIT: dict[str, Split] = {folder: split for split, folder in _FOLDER.items()}


def write(records: Iterator[Record], target: Path, root: Path, dropped: Dropped) -> int:
    """Write pictures and CSV files below `target`; the words of the position follow the released rule."""
    planes = Planes(root)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for record in records:
        try:
            picture = planes.picture(record)
        except CaseError as error:
            dropped.add(f"record: {error.reason}")
            continue
        folder, name = _FOLDER[record.split], f"{region_name(record)}.png"
        write_png(target / record.source / f"{folder}_images" / name, picture)
        write_png(target / record.source / f"{folder}_masks" / name, mask_pixels(record.mask))
        rows[record.source].append(_row(record, f"{record.source}/{folder}_masks/{name}", folder))
    for source, lines in rows.items():
        _write_csv(target / ANNOTATIONS / f"{source}.csv", lines)
    return sum(map(len, rows.values()))


def _row(record: Record, mask_path: str, split: str) -> dict[str, str]:
    position = locate(record.mask, rule="released")
    return {
        "image_path": mask_path,
        "image_name": Path(mask_path).name,
        "split": split,
        "question": record.question,
        "position": position.label if position else "",
        "answer": record.answer,
    }


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with io.replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, MEDPOS_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read(source: Path, root: Path, dropped: Dropped) -> Iterator[Record]:
    """The records of one CSV file, or of every CSV file of an annotation folder.

    The form does not say which structure is meant, so the label is the name of the source's folder.
    """
    files = sorted(source.rglob("*.csv")) if source.is_dir() else [source]
    if not files:
        raise DataSetError(f"{source.name} holds no CSV file; name the annotation folder or one of its files")
    for file in files:
        for number, row in _rows(file):
            record = _record(row, root, f"{file.name}, row {number}", dropped)
            if record is not None:
                yield record


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = {"image_path", "split", "question", "answer"} - set(reader.fieldnames or ())
            if missing:
                raise DataSetError(
                    f"{path.name} has no column {sorted(missing)[0]!r}; needed are {MEDPOS_COLUMNS}"
                )
            yield from enumerate(reader, 2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path.name} can't be read as UTF-8 CSV; save it again") from error


def _record(row: dict[str, str], root: Path, where: str, dropped: Dropped) -> Record | None:
    if None in row or None in row.values() or row["split"] not in _SPLIT:
        dropped.add("row: unquoted commas or an unknown split")
        return None
    mask_path = relative_path(row["image_path"], where)
    if not (root / mask_path).is_file():
        dropped.add("row: mask not found")
        return None
    source = Path(mask_path).parts[0]
    given = Given(
        system="medpos",
        source=source,
        patient=Path(mask_path).stem,
        split=_SPLIT[row["split"]],
        image_path=image_path(mask_path),
        mask_path=mask_path,
        label=source,
        question=row["question"],
        answer=row["answer"],
        approach="position",
    )
    record = record_of(given, read_mask(root / mask_path, Path(mask_path).name))
    if record is None:
        dropped.add("row: empty mask")
    return record


def image_path(mask_path: str) -> str:
    """Path of the image that belongs to a mask, as the PRS-Med loader makes it."""
    path = mask_path.replace("_Segmentation", "")
    for folder in _FOLDER.values():
        path = path.replace(f"{folder}_masks", f"{folder}_images")
    return path.replace(".png", ".jpg") if "ISIC" in path else path
