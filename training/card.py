"""Figures into the model card's tables, and into evidence and level of every structure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_medreason.core.anatomy import structures
from napari_medreason.core.plane import AXES
from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded.experts import EXPERT_IDS, FOLDER

from .export_embedded import REGIONS, write_json

CARD = FOLDER / "MODEL_CARD.md"
BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
ENOUGH_PATIENTS = 3
GOOD_DICE = 0.5
Row = dict[str, Any]

_WAYS = {
    "direct": "question to mask",
    "pair": "composed pair",
    "prompted": "true box and points",
    "prior": "no learning",
    "generated": "whole question",
    "held_out": "unseen wording",
}


def update_card(figures: Sequence[Path]) -> None:
    """Write the tables into MODEL_CARD.md, and evidence and levels into the experts' descriptions.

    figures: files of one evaluation, or of its real and synthesised images apart.
    MedReasonError when they are of different weights, or the card has no place for tables.
    """
    measured = _joined([json.loads(file.read_text(encoding="utf-8")) for file in figures])
    text = CARD.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise MedReasonError(f"{CARD.name} has no lines {BEGIN} and {END}; put them where the tables go")
    start, rest = text.split(BEGIN, 1)
    tables = "\n".join([_summary(measured["summary"]), *_tables(measured["rows"]), *_others(measured)])
    CARD.write_text(f"{start}{BEGIN}\n\n{tables}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    for expert_id in EXPERT_IDS:
        _write_evidence(FOLDER / f"{expert_id}.json", expert_id, measured["rows"])


def _joined(parts: Sequence[Row]) -> Row:
    if len({part["weights_sha256"] for part in parts}) > 1:
        raise MedReasonError(
            "the figures are of different weights; evaluate the same weights for all of them"
        )
    joined = dict(parts[0])
    for key in ("summary", "rows"):
        joined[key] = [row for part in parts for row in part[key]]
    return joined


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _summary(groups: Sequence[Row]) -> str:
    columns = ["images", "structures", *_WAYS.values(), "box IoU", "presence F1", "calibration error"]
    lines = [
        [
            f"{group['images']} ({group['origin']})",
            str(group["structures"]),
            *(_cell(group[f"dice_{way}"]) for way in _WAYS),
            *(_cell(group[key]) for key in ("box_iou", "presence_f1", "calibration_error")),
        ]
        for group in groups
    ]
    return "### In all: mean Dice over structures\n\n" + _table(columns, lines)


def _tables(rows: Sequence[Row]) -> list[str]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["images"]].append(row)
    return [_images(name, group) for name, group in groups.items()]


def _images(name: str, rows: Sequence[Row]) -> str:
    first = rows[0]
    title = f"\n### {name[0].upper()}{name[1:]} ({first['origin']}; truth: {first['labels']})\n\n"
    planes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    columns = ["structure", "patients", "slices with it", "Dice", "95 % over patients", *planes]
    columns += ["box IoU", "circle IoU", "circle Dice", "sensitivity", "specificity"]
    per_plane = {(row["structure"], row["axis"]): row["dice_direct"] for row in rows}
    lines = [_line(row, [per_plane.get((row["structure"], axis)) for axis in planes]) for row in rows
             if row["axis"] == "all"]  # fmt: skip
    return title + _table(columns, lines)


def _line(row: Row, planes: Sequence[float | None]) -> list[str]:
    places = [_cell(row[key]) for key in ("box_iou", "circle_iou", "circle_dice")]
    presence = [_cell(row[key]) for key in ("sensitivity", "specificity")]
    dice = _cell(row["dice_direct"]) if row["slices"] else "false alarms only"
    interval = " to ".join(f"{value:.2f}" for value in row["interval"]) if row["interval"] else ""
    counts = [str(row["patients"]), str(row["slices"])]
    return [_word(row["structure"]), *counts, dice, interval, *map(_cell, planes), *places, *presence]


def _others(measured: Row) -> list[str]:
    title = "\n### {}\n\n"
    template = title.format("MNI T1 template (an average of many people; every tenth slice, three planes)")
    agreement = title.format(
        "Agreement between contrasts of one patient (open_ms, skull-stripped; no labels, so no accuracy)"
    )
    return [
        template + _table(["tissue", "Dice"], _named(measured["template"])),
        agreement + _table(["tissue and contrasts", "Dice between the two"], _named(measured["agreement"])),
    ]


def _named(table: dict[str, Row]) -> list[list[str]]:
    return [[name, _cell(row["dice"])] for name, row in table.items()]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _word(name: str) -> str:
    return structures()[name].name


def _write_evidence(file: Path, expert_id: str, rows: Sequence[Row]) -> None:
    description = json.loads(file.read_text(encoding="utf-8"))
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["expert"] == expert_id and row["axis"] == "all":
            groups[row["structure"]].append(row)
    modality, _ = REGIONS[expert_id]
    description["evidence"] = {name: evidence(name, modality, own) for name, own in groups.items()}
    description["level"] = {name: level(own) for name, own in groups.items()}
    write_json(file, description)


def evidence(name: str, modality: str, rows: Sequence[Row]) -> str:
    """One line about a structure: what real patients gave, else what synthesised images gave."""
    real = [row for row in rows if row["origin"] == "real"]
    with_it = [row for row in real if row["slices"]]
    if with_it:
        patients = sum(row["patients"] for row in with_it)
        dice = sum(row["dice_direct"] * row["patients"] for row in with_it) / patients
        who = f"{patients} held-out patient{'s' if patients > 1 else ''}"
        slices = sum(row["slices"] for row in with_it)
        return f"{_word(name)} on {modality}: Dice {dice:.2f} on {who}, {slices} slices; {level(rows)}"
    made = [row for row in rows if row["origin"] == "synthesised" and row["dice_direct"] is not None]
    alarms = [row for row in real if row["specificity"] is not None]
    parts = [f"{_word(name)} on {modality}: not measured on a held-out patient who has it in view"]
    if made:
        dice = sum(row["dice_direct"] for row in made) / len(made)
        parts.append(f"Dice {dice:.2f} on synthesised images")
    if alarms:
        wrong = 1 - sum(row["specificity"] for row in alarms) / len(alarms)
        parts.append(f"wrongly seen on {100 * wrong:.0f} % of real slices without it")
    return "; ".join(parts)


def level(rows: Sequence[Row]) -> str:
    """How far measurements carry an answer.

    "supported"; "preliminary": too few patients; "experimental": poor; or "unmeasured".
    """
    real = [row for row in rows if row["origin"] == "real" and row["slices"]]
    if not real:
        return "unmeasured"
    patients = sum(row["patients"] for row in real)
    dice = sum(row["dice_direct"] * row["patients"] for row in real) / patients
    if dice < GOOD_DICE:
        return "experimental"
    return "supported" if patients >= ENOUGH_PATIENTS else "preliminary"
