"""Asks models the questions of records and keeps each answer at once, so that nothing done is lost."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_medreason.core.evaluation_config import ANSWERS, EvaluationConfig
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.core.record import Record
from napari_medreason.errors import AnswerFormatError, QuestionError, RunError
from napari_medreason.io import replace_file
from napari_medreason.models.base import GroundingModel

from .asked import AskedRecords, asked_planes
from .contestants import Contestant, load
from .predictions import DEPTH, Prediction, of_grounding, prediction_line, read_predictions

TELL_SECONDS = 5.0
"""Time between two lines of progress."""


class AnswerFile:
    """The answers of one model in the folder of results: a line each, appended as they come.

    RunError when the folder holds answers and `resume` is False, or when they are of another model.
    """

    def __init__(self, out: Path, contestant: Contestant, *, resume: bool) -> None:
        self.folder = out / ANSWERS
        self.file = self.folder / f"{contestant.choice.slug}.jsonl"
        self.title = contestant.title
        make_folder(self.folder)
        if self.file.exists() and not resume:
            raise RunError(
                f"{out.name} holds answers of {self.title}; add --resume to go on with them, or name a new "
                "folder with --out"
            )
        self._refuse_others(contestant.about, out)
        self.done = self._kept()

    def add(self, prediction: Prediction, grounding: Grounding | None) -> None:
        """Keep one answer, with its probabilities where the model gives them."""
        if grounding is not None and grounding.workings.probability is not None:
            prediction = self._with_probability(prediction, grounding)
        self._refuse_other_weights(prediction)
        try:
            with self.file.open("a", encoding="utf-8", newline="\n") as handle:
                handle.write(prediction_line(prediction) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise RunError(
                f"answers can't be written ({error.strerror or error}); free some space, then go on with "
                "--resume: the answers before are kept"
            ) from error
        self.done[prediction.record] = prediction

    def _refuse_others(self, about: dict[str, Any], out: Path) -> None:
        card = self.file.with_suffix(".json")
        text = json.dumps(about, ensure_ascii=False, indent=1, default=str) + "\n"
        if self.file.exists() and card.is_file() and card.read_text(encoding="utf-8") != text:
            raise RunError(
                f"the answers of {self.title} in {out.name} were given by another model or with other "
                "options; give this one another name, or name a new folder with --out"
            )
        with replace_file(card) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _kept(self) -> dict[str, Prediction]:
        """The answers of whole lines; a line that a hard stop cut off is taken away."""
        if not self.file.exists():
            return {}
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with replace_file(self.file) as temporary:
                temporary.write_bytes(whole)
        return {one.record: one for one in read_predictions(self.file)}

    def _refuse_other_weights(self, prediction: Prediction) -> None:
        known = next((one.weights_sha256 for one in self.done.values() if one.weights_sha256), "")
        if known and prediction.weights_sha256 not in ("", known):
            raise RunError(
                f"the earlier answers of {self.title} were given by other weights; name a new folder with "
                "--out to ask these everything"
            )

    def _with_probability(self, prediction: Prediction, grounding: Grounding) -> Prediction:
        name = f"{self.file.stem}/{re.sub(r'[^A-Za-z0-9-]', '_', prediction.record)}.png"
        make_folder((self.folder / name).parent)
        values = np.asarray(grounding.workings.probability, np.float64)
        pixels = np.rint(np.clip(values, 0, 1) * DEPTH).astype(np.uint16)
        with replace_file(self.folder / name) as temporary:
            Image.fromarray(pixels).save(temporary, format="PNG")
        return replace(prediction, probability=name)


def make_folder(folder: Path) -> None:
    """Make a folder for results; RunError when that can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder {folder.name} for results can't be made ({error.strerror or error}); name another "
            "one with --out"
        ) from error


class Progress:
    """Lines on standard error: how many are done, and how long the others will take."""

    def __init__(self, title: str, total: int, done: int, *, what: str = "answers") -> None:
        self._title, self._total, self._done, self._what = title, total, done, what
        self._new, self._started, self._told = 0, time.monotonic(), time.monotonic()

    def step(self) -> None:
        """One more answer."""
        self._done, self._new = self._done + 1, self._new + 1
        now = time.monotonic()
        if now - self._told >= TELL_SECONDS or self._done == self._total:
            self._told = now
            each = (now - self._started) / self._new
            left = _clock(each * (self._total - self._done))
            tell(f"{self._title}: {self._done}/{self._total} {self._what}, {each:.2f} s each, {left} left")


def tell(words: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def ask_all(
    contestant: Contestant, asked: AskedRecords, answers: AnswerFile, *, config: EvaluationConfig, base: Path
) -> None:
    """Ask a model every record that it has not answered yet, image after image."""
    waiting = [record for record in asked.records if record.id not in answers.done]
    if not waiting:
        return
    progress = Progress(contestant.title, len(asked.records), len(asked.records) - len(waiting))
    tell(f"{contestant.title}: loading")
    model = load(contestant, base)
    try:
        for plane, records in asked_planes(waiting, config, base):
            for record in records:
                answers.add(*_answered(model, record, plane))
                progress.step()
    finally:
        model.close()


def _answered(model: GroundingModel, record: Record, plane: Plane) -> tuple[Prediction, Grounding | None]:
    """The answer to one record; a text without usable answer is a refusal, as in MedReasoner's tables."""
    try:
        question = Question(record.question, plane)
        grounding = model.ask(question, on_text=lambda _: None, cancelled=lambda: False)
    except (AnswerFormatError, QuestionError) as error:
        return Prediction(record.id, status="refused", reason=str(error)), None
    return of_grounding(record, grounding), grounding


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
