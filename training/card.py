"""Figures into the model card's table and into the evidence line of every structure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medreason.core.anatomy import structures
from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded.experts import EXPERT_IDS, FOLDER

from .export_embedded import REGIONS, write_json

CARD = FOLDER / "MODEL_CARD.md"
BEGIN, END = "<!-- figures begin -->", "<!-- figures end -->"
ENOUGH_PATIENTS = 3
_HEAD = (
    "| structure | patients | slices with it | Dice | of the pair | from true prompts | sensitivity "
    "| specificity |\n|---|---|---|---|---|---|---|---|\n"
)


def update_card(figures: Path, earlier: Path | None) -> None:
    """Write the tables into MODEL_CARD.md and the evidence into the descriptions of the experts."""
    measured = json.loads(figures.read_text(encoding="utf-8"))
    now = measured["scans"]
    before = json.loads(earlier.read_text(encoding="utf-8"))["scans"] if earlier else []
    finished = {scan["scan"] for scan in now}
    joined = [scan for scan in before if scan["scan"] not in finished]
    text = CARD.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise MedReasonError(f"{CARD.name} has no lines {BEGIN} and {END}; put them where the tables go")
    start, rest = text.split(BEGIN, 1)
    tables = "\n".join(_table(scan, "these weights") for scan in now)
    tables += "".join("\n" + _table(scan, "weights from before this scan joined training") for scan in joined)
    tables += _template_lines(measured["template"])
    CARD.write_text(f"{start}{BEGIN}\n\n{tables}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
    for expert_id in EXPERT_IDS:
        _write_evidence(FOLDER / f"{expert_id}.json", expert_id, now, joined)


def _table(scan: dict[str, Any], which: str) -> str:
    modality, _ = REGIONS[scan["expert"]]
    title = f"\n### {scan['scan'][0].upper()}{scan['scan'][1:]} ({modality}, {which}; {scan['labels']})\n\n"
    rows = [_row(name, row) for name, row in scan["structures"].items()]
    return title + _HEAD + "\n".join(rows) + "\n"


def _template_lines(tissues: dict[str, Any]) -> str:
    lines = [f"- {name}: Dice {row['dice']:.2f}" for name, row in tissues.items()]
    title = (
        "\n### MNI T1 template (an average of many people, no patient; every tenth slice, three planes)\n\n"
    )
    return title + "\n".join(lines) + "\n"


def _row(name: str, row: dict[str, Any]) -> str:
    keys = ("dice", "dice_pair", "dice_prompted", "sensitivity", "specificity")
    cells = [_cell(row[key]) for key in keys]
    if not row["slices"]:
        cells[:3] = ["false alarms only", "", ""]
    return f"| {_word(name)} | 1 | {row['slices']} | {' | '.join(cells)} |"


def _cell(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _word(name: str) -> str:
    return structures()[name].name


def _write_evidence(
    file: Path, expert_id: str, now: Sequence[dict[str, Any]], joined: Sequence[dict[str, Any]]
) -> None:
    description = json.loads(file.read_text(encoding="utf-8"))
    modality, _ = REGIONS[expert_id]
    evidence: dict[str, str] = {}
    for scans, remark in ((joined, ", before that scan joined training"), (now, "")):
        for name, rows in _by_structure(scans, expert_id).items():
            evidence[name] = _line(name, modality, rows, remark)
    description["evidence"] = evidence
    write_json(file, description)


def _by_structure(scans: Sequence[dict[str, Any]], expert_id: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of each structure that is in at least one slice of a scan."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for scan in scans:
        for name, row in scan["structures"].items():
            if scan["expert"] == expert_id and row["slices"] and row["dice"] is not None:
                rows.setdefault(name, []).append(row)
    return rows


def _line(name: str, modality: str, rows: Sequence[dict[str, Any]], remark: str) -> str:
    dice = sum(row["dice"] for row in rows) / len(rows)
    slices = sum(row["slices"] for row in rows)
    patients = f"{len(rows)} held-out patient{'s' if len(rows) > 1 else ''}"
    state = "" if len(rows) >= ENOUGH_PATIENTS else "; preliminary"
    return f"{_word(name)} on {modality}: Dice {dice:.2f} on {patients}, {slices} slices{remark}{state}"
