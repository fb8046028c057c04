"""Answers as lines of a file: what models gave here, or what another program gave for the same records.

One JSON object per line. All geometry is in the plane of the record, boxes half-open. The same form is
written and read, so the answers of one evaluation can be given to another as predictions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from napari_medreason.core.answer_text import parse_answer
from napari_medreason.core.grounding import Grounding, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Box, Point
from napari_medreason.core.record import Record, mask_of, runs_of
from napari_medreason.core.strict import from_plain, parse_json, to_plain
from napari_medreason.errors import AnswerFormatError, DataSetError
from napari_medreason.io.records import read_lines

from ..data.released_u_mrg import SIZE

Status = Literal["found", "absent", "unknown", "outside", "refused"]
DEPTH = 2**16 - 1
"""White in a picture of probabilities that is written here, which has 16 bits."""


@dataclass(frozen=True)
class Prediction:
    """What was answered to one record.

    record: its id. status: as in a Grounding; "refused" for a text that holds no usable answer. text: the
    answer in words; reasoning: before it. mask_runs: row-major run lengths of the mask as in a record. mask:
    a picture of the mask instead, whatever is not black is inside; probability: one of how likely each pixel
    is inside; both relative to this file, of the plane's size. written: the released MedReasoner's own
    text, in pixels of the 840 x 840 picture that the U-MRG form holds; box, points and reasoning are
    read from it where they are not given. box_plane, points_plane: as proposed, else those of the mask.
    reason: why it was refused. seconds: without loading. weights_sha256: of what answered. templated: the
    words come from a template and are not the model's own.
    """

    record: str
    status: Status = "found"
    text: str = ""
    reasoning: str = ""
    mask_runs: tuple[int, ...] | None = None
    mask: str = ""
    probability: str = ""
    box_plane: Box | None = None
    points_plane: tuple[Point, Point] | None = None
    confidence: float | None = None
    written: str = ""
    reason: str = ""
    seconds: float | None = None
    weights_sha256: str = ""
    templated: bool = False


def of_grounding(record: Record, grounding: Grounding) -> Prediction:
    """A model's answer; the proposed box and points where the model tells them, else those of the mask."""
    seconds, workings = grounding.provenance.seconds, grounding.workings
    return Prediction(
        record=record.id,
        status=grounding.status,
        text=grounding.answer,
        reasoning=grounding.reasoning,
        mask_runs=None if grounding.mask is None else runs_of(grounding.mask),
        box_plane=_numbers(workings.box_plane or grounding.box),
        points_plane=_points(workings.points_plane or grounding.points),
        confidence=None if grounding.confidence is None else float(grounding.confidence),
        seconds=round(seconds.reason + seconds.segment, 4),
        weights_sha256=grounding.provenance.weights_sha256,
        templated=grounding.provenance.templated,
    )


def prediction_line(prediction: Prediction) -> str:
    """One JSON line without its end; what has its default is left out."""
    empty = Prediction("")
    table = {key: value for key, value in to_plain(prediction).items() if value != getattr(empty, key)}
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def read_predictions(file: Path) -> Iterator[Prediction]:
    """The predictions of a file; DataSetError names the line that is none, or a record that comes twice."""
    seen: set[str] = set()
    for number, line in read_lines(file):
        where = f"{file.name}, line {number}"
        prediction: Prediction = from_plain(Prediction, parse_json(line, where), where)
        if prediction.record in seen:
            raise DataSetError(f"{where}: record {prediction.record!r} is there twice; keep one answer")
        seen.add(prediction.record)
        yield prediction


@dataclass(frozen=True, eq=False)
class Answer:
    """A prediction with its pictures read, in the plane of its record.

    mask: (rows, columns) bool, empty where none was given. probability: (rows, columns) float32, 0 to 1.
    """

    prediction: Prediction
    mask: NDArray[np.bool_]
    probability: NDArray[np.float32] | None
    box: Box | None
    points: tuple[Point, Point] | None

    @property
    def words(self) -> str:
        """What was said: the answer, or the reasoning where there is no other text."""
        return self.prediction.text or self.prediction.reasoning


def answer_of(prediction: Prediction, record: Record, folder: Path) -> Answer:
    """The prediction as an answer to its record; `folder` is that of the predictions' file.

    DataSetError when a picture is missing or of another size, or run lengths don't fill the plane.
    """
    shape = record.image.shape
    prediction = _with_written(prediction, shape)
    probability = _probability(prediction, shape, folder)
    mask = _mask(prediction, probability, shape, folder)
    box = prediction.box_plane or mask_box(mask)
    points = prediction.points_plane or (key_points(mask) if mask.any() else None)
    return Answer(prediction, mask, probability, box, points)


def check_prediction(prediction: Prediction, record: Record, folder: Path) -> None:
    """DataSetError as of `answer_of`, for what can be told without reading the pixels of pictures."""
    where, shape = f"prediction for {prediction.record}", record.image.shape
    if prediction.mask_runs is not None:
        _mask_of_runs(prediction.mask_runs, shape, where)
    for name in filter(None, (prediction.mask, prediction.probability)):
        with _opened(folder, name, where) as picture:
            _check_size(name, (picture.height, picture.width), shape, where)


def _with_written(prediction: Prediction, shape: tuple[int, int]) -> Prediction:
    """The box, points and reasoning that the written text holds; refused when it can't be read."""
    if not prediction.written or prediction.status == "refused":
        return prediction
    try:
        parsed = parse_answer(prediction.written)
    except AnswerFormatError as error:
        return replace(prediction, status="refused", reason=str(error))
    rows, columns = shape
    box, points = prediction.box_plane, prediction.points_plane
    if box is None and parsed.box is not None:
        x0, y0, x1, y1 = parsed.box
        # Written boxes name their last pixel; those of a plane end behind it.
        box = (x0 * columns / SIZE, y0 * rows / SIZE, (x1 + 1) * columns / SIZE, (y1 + 1) * rows / SIZE)
    if points is None and parsed.points is not None:
        (ax, ay), (bx, by) = (
            ((x + 0.5) * columns / SIZE - 0.5, (y + 0.5) * rows / SIZE - 0.5) for x, y in parsed.points
        )
        points = ((ax, ay), (bx, by))
    return replace(
        prediction, box_plane=box, points_plane=points, reasoning=prediction.reasoning or parsed.think
    )


def _mask(
    prediction: Prediction, probability: NDArray[np.float32] | None, shape: tuple[int, int], folder: Path
) -> NDArray[np.bool_]:
    """As given, else where the probability is at least one half, else empty."""
    where = f"prediction for {prediction.record}"
    if prediction.status == "refused":
        return np.zeros(shape, dtype=bool)
    if prediction.mask_runs is not None:
        return _mask_of_runs(prediction.mask_runs, shape, where)
    if prediction.mask:
        return np.asarray(_picture(folder, prediction.mask, shape, where) > 0)
    return np.zeros(shape, dtype=bool) if probability is None else np.asarray(probability >= 0.5)


def _mask_of_runs(runs: tuple[int, ...], shape: tuple[int, int], where: str) -> NDArray[np.bool_]:
    try:
        return mask_of(runs, shape)
    except ValueError as error:
        raise DataSetError(f"{where}: {error}; give the mask in the plane of the record") from error


def _probability(prediction: Prediction, shape: tuple[int, int], folder: Path) -> NDArray[np.float32] | None:
    if not prediction.probability:
        return None
    pixels = _picture(folder, prediction.probability, shape, f"prediction for {prediction.record}")
    white = 255 if pixels.dtype == np.uint8 else DEPTH
    # In 32 bits every k / 255 is rounded up and reaches its threshold; in 64 bits a quarter of them don't.
    return np.asarray(pixels / white, np.float32)


def _picture(folder: Path, name: str, shape: tuple[int, int], where: str) -> NDArray[Any]:
    with _opened(folder, name, where) as opened:
        grey = opened if opened.mode in ("L", "I", "I;16") else opened.convert("L")
        pixels = np.asarray(grey)
    _check_size(name, pixels.shape, shape, where)
    return pixels


@contextmanager
def _opened(folder: Path, name: str, where: str) -> Iterator[Image.Image]:
    """A picture whose pixels are read when they are looked at; DataSetError whenever that fails."""
    try:
        with Image.open(folder / name) as opened:
            yield opened
    except (OSError, UnidentifiedImageError) as error:
        reason = getattr(error, "strerror", None) or "it is no picture"
        raise DataSetError(f"{where}: {Path(name).name} can't be read ({reason}); check its path") from error


def _check_size(name: str, found: tuple[int, ...], shape: tuple[int, int], where: str) -> None:
    if found != shape:
        raise DataSetError(
            f"{where}: {Path(name).name} has {found} pixels and its record's plane {shape}; give it in the "
            "plane's own pixels"
        )


def _numbers(box: Box | None) -> Box | None:
    return None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))


def _points(points: tuple[Point, Point] | None) -> tuple[Point, Point] | None:
    if points is None:
        return None
    (ax, ay), (bx, by) = points
    return (float(ax), float(ay)), (float(bx), float(by))
