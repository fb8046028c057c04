"""A whole evaluation: records checked, models asked, answers scored, the report written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_medreason.core.evaluation_config import (
    ANSWERS,
    COPY,
    REPORT,
    EvaluationConfig,
    evaluation_config,
)
from napari_medreason.errors import RunError
from napari_medreason.io import replace_file

from .answering import AnswerFile, ask_all, tell
from .asked import AskedRecords, asked_records, check_images
from .contestants import Contestant, contestants, refuse_missing
from .figures import Figure
from .predictions import Answer, Prediction, answer_of, read_predictions
from .report import write_report
from .scores import RecordScore, record_score
from .sheets import chosen, write_sheet
from .tables import DICE, Resampling, with_interval
from .words import meteor_variant


def evaluate(config_file: Path, out: Path | None = None, *, resume: bool = False) -> Path:
    """Do an evaluation as its file says; gives the folder of results. Errors are MedReasonErrors."""
    try:
        text = config_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{config_file.name} can't be read as text ({error}); check its path") from error
    config, base = evaluation_config(text, config_file.name), config_file.absolute().parent
    out = out or base / config.out
    asked = asked_records(config, base)
    entrants = _looked_up(config, base, asked)
    _make(out)
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
    if config.pictures or any(not choice.predictions for choice in config.models):
        check_images(asked.records, config, base)
    return contestants(config, base, asked)


def _report(
    out: Path, config: EvaluationConfig, base: Path, asked: AskedRecords, entrants: tuple[Contestant, ...]
) -> None:
    tell("scoring")
    answers, notes = {}, []
    for one in entrants:
        found, note = _answers(one, asked, _file(one, out, base))
        answers[one.title] = found
        notes += [note] if note else []
    scores = {title: _scored(title, asked, found) for title, found in answers.items()}
    if any("meteor" in one.values for own in scores.values() for one in own):
        notes.append(f"METEOR: {meteor_variant()}; figures of another METEOR can't be compared with it")
    write_report(out, scores, entrants, asked, config=config, notes=notes)
    if config.pictures:
        for one in entrants:
            _sheet(out, one, scores[one.title], answers[one.title], asked, config=config, base=base)
    _tell_result(scores, config, out)


def _file(one: Contestant, out: Path, base: Path) -> Path:
    if one.choice.predictions:
        return base / one.choice.predictions
    return out / ANSWERS / f"{one.choice.slug}.jsonl"


def _answers(one: Contestant, asked: AskedRecords, file: Path) -> tuple[dict[str, Answer], str]:
    """The answers to all records; one that is missing in a file of predictions counts as refused."""
    known = {prediction.record: prediction for prediction in read_predictions(file)}
    missing = [record.id for record in asked.records if record.id not in known]
    if len(missing) == len(asked.records):
        raise RunError(
            f"{file.name} has no answer to any of the records asked; its lines name records by their `id`"
        )
    answers = {}
    for record in asked.records:
        given = known.get(record.id) or Prediction(record.id, status="refused", reason="no answer given")
        answers[record.id] = answer_of(given, record, file.parent)
    note = f"{one.title} has no answer to {len(missing)} records, which count as refused" if missing else ""
    return answers, note


def _scored(title: str, asked: AskedRecords, answers: dict[str, Answer]) -> list[RecordScore]:
    words = any(answer.words for answer in answers.values())
    return [record_score(title, record, answers[record.id], words=words) for record in asked.records]


def _sheet(
    out: Path,
    one: Contestant,
    scores: list[RecordScore],
    answers: dict[str, Answer],
    asked: AskedRecords,
    *,
    config: EvaluationConfig,
    base: Path,
) -> None:
    file = out / f"pictures-{one.choice.slug}.png"
    records = {record.id: record for record in asked.records}
    write_sheet(file, chosen(scores, config.pictures), answers, records, config=config, base=base)


def _tell_result(scores: dict[str, list[RecordScore]], config: EvaluationConfig, out: Path) -> None:
    draws = Resampling(config.seed, config.resamples)
    for title, own in scores.items():
        found: Figure | None = draws.figure(own, DICE)
        tell(f"{title}: Dice {with_interval(found)}, {_refused(own)} refused, {len(own)} records")
    tell(f"report: {out.name}/{REPORT}")


def _refused(own: Iterable[RecordScore]) -> int:
    return sum(score.status == "refused" for score in own)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder for results, {out.name}, can't be made ({error.strerror or error}); name another one"
        ) from error
