"""What a batch needs before its first question: its rows, its model, and a way to be stopped."""

from __future__ import annotations

import inspect
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from napari_medreason import models
from napari_medreason.batch.questions import Row, read_rows, rows_of_folder
from napari_medreason.batch.run import Progress
from napari_medreason.core.plane import Axis
from napari_medreason.engine.loaded import Loaded, Told, make_loaded
from napari_medreason.errors import ModelUnavailableError, QuestionError
from napari_medreason.models.adapters import named_adapter


def rows_from(
    source: Path, questions: Sequence[str], *, axis: Axis, slices: str, left_out: Path
) -> tuple[Row, ...]:
    """Rows of a table, or `questions` about all studies of a folder; QuestionError when both or neither fit.

    left_out: the folder of results, which is not searched for studies.
    """
    if source.is_dir():
        if not questions:
            raise QuestionError(
                f"{source.name} is a folder; say what to ask about its studies, --question WORDS"
            )
        return rows_of_folder(source, questions, axis=axis, slices=slices, left_out=(left_out,))
    if not source.exists():
        raise QuestionError(f"there is no file or folder {source.name!r} at this place; check the path")
    if questions:
        raise QuestionError(
            f"{source.name} holds the questions itself; leave --question out, or name a folder"
        )
    return read_rows(source)


def options_from(texts: Sequence[str]) -> dict[str, Any]:
    """Options of a model from texts such as "precision=4bit"; numbers, true and false are understood."""
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name.isidentifier():
            raise QuestionError(f"option {text!r:.60} is no NAME=VALUE; write it as precision=4bit")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def adapter_of(model_id: str) -> dict[str, str]:
    """The hash of the adapter that a model id names, {} for none: another one makes other answers."""
    found = named_adapter(model_id)
    return {} if found is None else {"adapter": found[1].sha256}


def make_model(model_id: str, options: dict[str, Any], *, told: Told) -> Loaded:
    """The model, with what was told about making it fit; errors as from `models.create`.

    ModelUnavailableError when it doesn't take an option.
    """
    create = models.info(model_id).create
    try:
        inspect.signature(create).bind(**options)
    except TypeError as error:
        raise ModelUnavailableError(f"model {model_id} does not take these options: {error}") from error
    return make_loaded(model_id, options, lambda: models.create(model_id, **options), told=told)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and a polite kill set, in place of ending the program; a second one ends it."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def in_words(progress: Progress) -> str:
    """One line about how far a batch is, with the time that is left at this pace."""
    words = f"image {progress.image} of {progress.images}, {progress.answered} answered"
    if progress.kept:
        words += f", {progress.kept} from before"
    if progress.faults:
        words += f", {progress.faults} without an answer"
    behind = progress.image - 1
    if behind > 0 and progress.answered and progress.image < progress.images:
        left = progress.seconds / behind * (progress.images - behind)
        words += f", about {max(1, round(left / 60))} min left"
    return words
