"""A whole evaluation: records checked, models asked, answers scored, the report written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from napari_medreason.core.evaluation_config import (
    ANSWERS,
    COPY,
    REPORT,
    EvaluationConfig,
    read_evaluation_config,
)
from napari_medreason.io import replace_file

from .answering import AnswerFile, Progress, ask_all, make_folder, tell
from .asked import AskedRecords, asked_records, check_images
from .contestants import Contestant, contestants, refuse_missing
from .figures import Figure
from .given import GivenAnswers, given_answers
from .report import write_report
from .scores import RecordScore, record_score
from .sheets import chosen, write_sheet
from .tables import DICE, Resampling, Scores, with_interval
from .words import meteor_variant


def evaluate(config_file: Path, out: Path | None = None, *, resume: bool = False) -> Path:
    """Do an evaluation as its file says; gives the folder of results. Errors are MedReasonErrors."""
    text, config = read_evaluation_config(config_file)
    base = config_file.absolute().parent
    out = out or base / config.out
    asked = asked_records(config, base)
    entrants = _looked_up(config, base, asked)
    make_folder(out)
    files = {one.title: AnswerFile(out, one, resume=resume) for one in entrants if not one.choice.predictions}
    with replace_file(out / COPY) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for one in entrants:
        if one.title in files:
            ask_all(one, asked, files[one.title], config=config, base=base)
    _report(out, config, base, asked, entrants)
    return out


def _looked_up(config: EvaluationConfig, base: Path, asked: AskedRecords) -> tuple[Contestant, ...]:
    """Everything that can be found wrong before the first model is loaded."""
    for choice in config.models:
        refuse_missing(choice, base)
        if choice.predictions:
            given_answers(choice.title, asked, base / choice.predictions).check(asked.records)
    if config.pictures or any(not choice.predictions for choice in config.models):
        check_images(asked.records, config, base)
    return contestants(config, base, asked)


def _report(
    out: Path, config: EvaluationConfig, base: Path, asked: AskedRecords, entrants: tuple[Contestant, ...]
) -> None:
    given = {one.title: given_answers(one.title, asked, _file(one, out, base)) for one in entrants}
    scores = {title: _scored(title, asked, own) for title, own in given.items()}
    entrants = tuple(replace(one, about=one.about | given[one.title].origin) for one in entrants)
    tell("tables and pictures")
    write_report(out, scores, entrants, asked, config=config, notes=_notes(given, scores))
    if config.pictures:
        records = {record.id: record for record in asked.records}
        for one in entrants:
            shown = chosen(scores[one.title], config.pictures)
            answers = {score.record: given[one.title].answer(records[score.record]) for score in shown}
            file = out / f"pictures-{one.choice.slug}.png"
            write_sheet(file, shown, answers, records, config=config, base=base)
    _tell_result(scores, config, out)


def _file(one: Contestant, out: Path, base: Path) -> Path:
    if one.choice.predictions:
        return base / one.choice.predictions
    return out / ANSWERS / f"{one.choice.slug}.jsonl"


def _notes(given: Mapping[str, GivenAnswers], scores: Scores) -> list[str]:
    """What else belongs in the heading."""
    notes = [
        f"{title} has no answer to {own.missing} records, which count as refused"
        for title, own in given.items()
        if own.missing
    ]
    if any("meteor" in one.values for own in scores.values() for one in own):
        notes.append(f"METEOR: {meteor_variant()}; figures of another METEOR can't be compared with it")
    return notes


def _scored(title: str, asked: AskedRecords, given: GivenAnswers) -> list[RecordScore]:
    progress = Progress(title, len(asked.records), 0, what="scored")
    scores = []
    for record in asked.records:
        scores.append(record_score(title, record, given.answer(record), words=given.words))
        progress.step()
    return scores


def _tell_result(scores: Scores, config: EvaluationConfig, out: Path) -> None:
    draws = Resampling(config.seed, config.resamples)
    for title, own in scores.items():
        found: Figure | None = draws.figure(own, DICE)
        tell(f"{title}: Dice {with_interval(found)}, {_refused(own)} refused, {len(own)} records")
    tell(f"report: {out.name}/{REPORT}")


def _refused(own: Iterable[RecordScore]) -> int:
    return sum(score.status == "refused" for score in own)
