"""The released MLMR-SD form (MediSee): SAMed2Dv1/ with images and 0/255 masks, and three kinds of files.

train.json: {image: {mask: class}}; pool_NN.json: {class: {"short", "long", "short_explanation",
"long_explanation"}}, from which training draws questions per class; val.jsonl and test.jsonl: one object
per mask with "image", "mask", "class_text", "long", "short" and "bbox" (left, top, right, bottom pixel
index divided by width and height, nothing added). Reading gives each training mask one pool's questions.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from napari_medreason import io
from napari_medreason.core.record import Record, Split
from napari_medreason.core.strict import parse_json
from napari_medreason.errors import DataSetError
from napari_medreason.io.records import read_lines

from .cases import CaseError, relative_path
from .dropped import Dropped
from .importers.naming import read_json
from .making import choices
from .pictures import Planes, mask_pixels, plane_name, read_mask, region_name, write_png
from .released import Given, record_of

PICTURES, TRAINING = "SAMed2Dv1", "train.json"
EVALUATION: dict[Split, str] = {"validation": "val.jsonl", "test": "test.jsonl"}
POOLS = 10
FOREGROUND = 254
"""Only the value 255 counts in the released masks."""
Line = dict[str, Any]


def write(records: Iterator[Record], target: Path, root: Path, dropped: Dropped) -> int:
    """Write pictures, lists and pools below `target`; a region needs a short and a long question."""
    planes = Planes(root)
    regions: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        regions[record.region].append(record)
    training: dict[str, dict[str, str]] = defaultdict(dict)
    pools: dict[str, list[dict[str, str]]] = defaultdict(list)
    evaluation: dict[Split, list[Line]] = defaultdict(list)
    count = 0
    for group in regions.values():
        first = group[0]
        pairs = _pairs(group, dropped)
        try:
            image, mask = _write_pictures(first, planes, target) if pairs else ("", "")
        except CaseError as error:
            dropped.add(f"record: {error.reason}", len(group))
            continue
        count += 2 * len(pairs)
        name = class_text(first)
        if first.split == "train" and pairs:
            training[image][mask] = name
            pools[name] += [_pool_entry(*pair) for pair in pairs]
        else:
            evaluation[first.split] += [_line(image, mask, name, *pair) for pair in pairs]
    _write_files(target, training, pools, evaluation)
    beyond = 2 * sum(max(0, len(entries) - POOLS) for entries in pools.values())
    dropped.add(f"record: more questions of its class than {POOLS} pools hold", beyond)
    return count - beyond


def _pairs(group: Sequence[Record], dropped: Dropped) -> list[tuple[Record, Record]]:
    """(short, long) records of one region and approach, in order."""
    by_kind: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in group:
        by_kind[record.approach, record.length].append(record)
    pairs: list[tuple[Record, Record]] = []
    for approach in dict.fromkeys(record.approach for record in group):
        short, long = by_kind[approach, "short"], by_kind[approach, "long"]
        pairs += zip(short, long, strict=False)
        dropped.add("record: short or long question missing", abs(len(short) - len(long)))
    return pairs


def class_text(record: Record) -> str:
    """The class name: side and label."""
    return " ".join(filter(None, (record.side, record.label)))


def _write_pictures(record: Record, planes: Planes, target: Path) -> tuple[str, str]:
    image, mask = f"images/{plane_name(record)}.png", f"masks/{region_name(record)}.png"
    write_png(target / PICTURES / image, planes.picture(record))
    write_png(target / PICTURES / mask, mask_pixels(record.mask))
    return image, mask


def _pool_entry(short: Record, long: Record) -> dict[str, str]:
    return {
        "long": long.question,
        "short": short.question,
        "long_explanation": long.answer,
        "short_explanation": short.answer,
    }


def _line(image: str, mask: str, name: str, short: Record, long: Record) -> Line:
    rows, columns = short.image.shape
    x0, y0, x1, y1 = short.box_plane
    box = [x0 / columns, y0 / rows, (x1 - 1) / columns, (y1 - 1) / rows]
    return {
        "image": image,
        "mask": mask,
        "class_text": name,
        "long": long.question,
        "short": short.question,
        "bbox": box,
    }


def _write_files(
    target: Path,
    training: dict[str, dict[str, str]],
    pools: dict[str, list[dict[str, str]]],
    evaluation: dict[Split, list[Line]],
) -> None:
    target.mkdir(parents=True, exist_ok=True)
    if training:
        _write_text(target / TRAINING, json.dumps(training, ensure_ascii=False, indent=1) + "\n")
        for number in range(min(POOLS, max(map(len, pools.values())))):
            pool = {name: entries[number % len(entries)] for name, entries in pools.items()}
            text = json.dumps(pool, ensure_ascii=False, indent=1) + "\n"
            _write_text(target / f"pool_{number:02d}.json", text)
    for split, lines in evaluation.items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if lines:
            _write_text(target / EVALUATION[split], text)


def _write_text(path: Path, text: str) -> None:
    with io.replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read(source: Path, root: Path, dropped: Dropped) -> Iterator[Record]:
    """The records of a folder with these files; each mask gives a short and a long question."""
    known = [TRAINING, *EVALUATION.values()]
    if not source.is_dir() or not any((source / name).is_file() for name in known):
        raise DataSetError(f"{source.name} is no MLMR-SD folder; it needs one of {', '.join(known)}")
    yield from _read_training(source, root, dropped)
    for split, name in EVALUATION.items():
        if (source / name).is_file():
            for number, text in read_lines(source / name):
                line = parse_json(text, f"{name}, line {number}")
                yield from _records(line, split, root, f"{name}, line {number}", dropped)


def _read_training(source: Path, root: Path, dropped: Dropped) -> Iterator[Record]:
    if not (source / TRAINING).is_file():
        return
    pools = [_tables(path) for path in sorted(source.glob("pool_*.json"))]
    for image, masks in _tables(source / TRAINING).items():
        for mask, name in masks.items():
            entries = [pool[name] for pool in pools if name in pool]
            if not entries:
                dropped.add("mask: no pool has questions for its class")
                continue
            line = {
                "image": image,
                "mask": mask,
                "class_text": name,
                **choices(0, image, mask).choice(entries),
            }
            yield from _records(line, "train", root, TRAINING, dropped)


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
        raise DataSetError(f"{path.name} is no object of objects; use the files of the released form")
    return content


def _records(line: Line, split: Split, root: Path, where: str, dropped: Dropped) -> Iterator[Record]:
    missing = next((key for key in ("image", "mask", "class_text", "long", "short") if key not in line), "")
    if missing:
        raise DataSetError(f"{where}: the key {missing!r} is missing; add it")
    image, mask_path = (relative_path(str(line[key]), where) for key in ("image", "mask"))
    file = root / PICTURES / mask_path
    if not file.is_file():
        dropped.add("mask: not found")
        return
    mask = read_mask(file, file.name, over=FOREGROUND)
    for length in ("short", "long"):
        given = Given(
            system="mlmr-sd",
            source=source_of(image),
            patient=patient_of(image),
            split=split,
            image_path=f"{PICTURES}/{image}",
            mask_path=f"{PICTURES}/{mask_path}",
            label=str(line["class_text"]),
            question=str(line[length]),
            answer=str(line.get(f"{length}_explanation", f"It is the {line['class_text']}.")),
            approach="unstated",
            length="short" if length == "short" else "long",
        )
        record = record_of(given, mask)
        if record is None:
            dropped.add("mask: empty")
        else:
            yield record


def source_of(image: str) -> str:
    """The set that a picture named in the manner of SA-Med2D comes from."""
    parts = Path(image).stem.split("--")
    return parts[1] if len(parts) > 2 else "mlmr-sd"


def patient_of(image: str) -> str:
    """The case in the name of a picture; the whole name where it has none."""
    parts = Path(image).stem.split("--")
    return parts[2] if len(parts) > 3 else Path(image).stem
