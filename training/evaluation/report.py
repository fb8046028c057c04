"""The report of an evaluation: Markdown with its heading and tables, the tables as CSV, figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_medreason.core.evaluation_config import REPORT, SUMMARY, EvaluationConfig
from napari_medreason.io import replace_file

from ..runs import environment
from .answering import make_folder
from .asked import AskedRecords
from .contestants import Contestant
from .figures import by_group
from .scores import score_line
from .tables import COMPARED, SOUND, Resampling, Scores, Table, comparison, overview, per_group
from .tables_published import published_tables
from .words import meteor_variant

SCORES, TABLES = "scores.jsonl", "tables"
GROUPS = ("super_category", "modality", "source", "structure")
FEW_PATIENTS = 6
"""With fewer, intervals over patients are too narrow to be believed (and a test can't reach 0.05)."""


def write_report(
    out: Path,
    scores: Scores,
    entrants: Sequence[Contestant],
    asked: AskedRecords,
    *,
    config: EvaluationConfig,
    notes: Sequence[str] = (),
) -> list[Table]:
    """Write everything but the pictures into the folder; gives the tables."""
    draws = Resampling(config.seed, config.resamples)
    ours = [*overview(scores, draws), *(per_group(scores, group, draws) for group in GROUPS)]
    compared = comparison(scores, draws)
    tables = [*ours, *([compared] if compared else []), *published_tables(scores)]
    _write(out / SCORES, "".join(score_line(one) + "\n" for own in scores.values() for one in own))
    make_folder(out / TABLES)
    for table in tables:
        _write(out / TABLES / f"{table.name}.csv", table.as_csv())
    summary = _summary(scores, entrants, asked, config=config, draws=draws)
    _write(out / SUMMARY, json.dumps(summary, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    lines = [*heading(entrants, asked, config), *(f"- {note}" for note in notes)]
    _write(out / REPORT, "\n".join(lines) + "\n\n" + "\n".join(table.markdown() for table in tables))
    return tables


def heading(entrants: Sequence[Contestant], asked: AskedRecords, config: EvaluationConfig) -> list[str]:
    """What was asked, of whom, and what to beware of, as lines of Markdown."""
    lines = [
        "# Evaluation",
        "",
        "For research only, not for diagnosis.",
        "",
        f"- {len(asked.records)} records of {_patients(asked)}, splits: {', '.join(config.splits)}; "
        f"records sha256 {asked.sha256[:12]}",
    ]
    lines += [f"- left out: {number} {why}" for why, number in asked.left_out.items()]
    if asked.patients < FEW_PATIENTS:
        few = "are few" if asked.patients > 1 else "is too few"
        lines.append(
            f"- **{_patients(asked)} {few}**: another time the figures may be quite different, whatever the "
            "intervals say"
        )
    lines += ["- Intervals are 95 %, over patients (all records of a patient are drawn together).", ""]
    for entrant in entrants:
        lines += [f"- **{entrant.title}**: {_who(entrant)}", f"  - {_familiar(entrant, asked)}"]
    return lines


def _patients(asked: AskedRecords) -> str:
    return f"{asked.patients} patient{'s' if asked.patients != 1 else ''}"


def _who(entrant: Contestant) -> str:
    about = entrant.about
    if "predictions" in about:
        return f"answers of another program, from {about['predictions']}"
    weights = "".join(f", weights {sha256[:12]}" for sha256 in about.get("weights_sha256", ()))
    words = "; its words come from a template" if about.get("templated") else ""
    date = f" of {about['adapter_date']}" if about.get("adapter_date") else ""
    adapter = f", adapter “{about['adapter']}”{date}" if "adapter" in about else ""
    options = ", ".join(f"{name}={value}" for name, value in about["options"].items())
    return f"model {about['id']}{adapter}{weights}{f' ({options})' if options else ''}{words}"


def _familiar(entrant: Contestant, asked: AskedRecords) -> str:
    """Whether it has learnt from the patients that it was asked about."""
    if entrant.familiar is None:
        return f"patients: {entrant.learnt}"
    if entrant.familiar:
        return (
            f"**{entrant.familiar} of {len(asked.records)} records are of patients that it has learnt from** "
            f"({entrant.learnt}); its figures are too good"
        )
    return f"patients: none that it has learnt from ({entrant.learnt})"


def _summary(
    scores: Scores,
    entrants: Sequence[Contestant],
    asked: AskedRecords,
    *,
    config: EvaluationConfig,
    draws: Resampling,
) -> dict[str, Any]:
    return {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "environment": environment(),
        "meteor": meteor_variant() if _has_words(scores) else "",
        "records": len(asked.records),
        "patients": asked.patients,
        "splits": list(config.splits),
        "records_sha256": asked.sha256,
        "left_out": asked.left_out,
        "seed": config.seed,
        "resamples": config.resamples,
        "models": [
            {**one.about, "records_of_learnt_patients": one.familiar, "learnt": one.learnt}
            for one in entrants
        ],
        "figures": {model: _figures(own, draws) for model, own in scores.items()},
        "groups": {
            group: {
                model: {name: _figures(some, draws) for name, some in by_group(own, group).items()}
                for model, own in scores.items()
            }
            for group in GROUPS
        },
        "comparison": _comparisons(scores, draws),
    }


def _figures(own: Sequence[Any], draws: Resampling) -> dict[str, Any]:
    found = {measure.key: draws.figure(own, measure) for measure in SOUND}
    return {key: asdict(figure) for key, figure in found.items() if figure is not None}


def _comparisons(scores: Scores, draws: Resampling) -> list[dict[str, Any]]:
    (base, first), *others = scores.items()
    result = []
    for other, second in others:
        for measure in COMPARED:
            found = draws.difference(first, second, measure)
            if found is not None:
                names = {"first_model": base, "second_model": other, "measure": measure.key}
                result.append({**names, "difference": found.value, **asdict(found)})
    return result


def _has_words(scores: Mapping[str, Sequence[Any]]) -> bool:
    return any("meteor" in one.values for own in scores.values() for one in own)


def _write(file: Path, text: str) -> None:
    with replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
