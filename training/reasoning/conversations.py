"""Records as conversations: what a reasoner is shown and asked, what it should write, and the truth.

Pictures, prompts and coordinates are those of models.reasoners, so that a reasoner is trained on what it will
be asked: the plane undistorted in a square (840 pixels), the family's prompt, and boxes as the family writes
them, such as inclusive pixels of the square.
"""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from napari_medreason.core.answer_text import format_answer
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.record import Record
from napari_medreason.core.resample import ModelFrame
from napari_medreason.core.run_check import plane_of
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.reasoners.coordinates import Coordinates, example, in_words, unit
from napari_medreason.models.reasoners.forms import Family
from napari_medreason.models.reasoners.prompt_text import Prompt, read_prompt

from ..run_data import labelled_planes

_TAGS = re.compile(r"</?(think|answer)>", re.IGNORECASE)
_THINK_BLOCK = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class Asking:
    """How a family is asked.

    square: side in pixels of what it is shown. control: words of its tokenizer that steer it, which no
    question may hold.
    """

    family: Family
    square: int
    prompt: Prompt
    direct: bool
    control: tuple[str, ...] = ()

    @property
    def coordinates(self) -> Coordinates:
        """How the family writes places."""
        return self.family.coordinates


def asking(
    family: Family, square: int, *, prompt: Path | None, direct: bool, control: Iterable[str] = ()
) -> Asking:
    """The family's way to be asked, with a prompt file of one's own or the built-in one.

    ModelUnavailableError when the prompt file can't be used.
    """
    form = family.form
    text = read_prompt(
        prompt,
        form.direct_prompt if direct else form.prompt,
        coordinates=in_words(family.coordinates, square, sized=family.sized),
        example=example(family.coordinates, square, keys=form.keys),
    )
    return Asking(family, square, text, direct, tuple(control))


@dataclass(frozen=True, eq=False)
class Conversation:
    """One record as a conversation.

    png: the square picture, packed. messages: what is asked, with one place for the picture. answer: what a
    perfect reasoner writes. truth: as JSON for training.rewards, in the numbers that the reasoner writes.
    """

    record: Record
    frame: ModelFrame
    png: bytes
    messages: tuple[dict[str, Any], ...]
    answer: str
    truth: str

    def picture(self) -> Image.Image:
        """The picture as the reasoner is shown it, RGB."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def conversations(records: Sequence[Record], images: Path, way: Asking) -> Iterator[Conversation]:
    """Conversations of records, plane after plane; RunError when an image is missing or has changed."""
    groups: dict[object, list[Record]] = defaultdict(list)
    for record in records:
        groups[plane_of(record)].append(record)
    for labelled in labelled_planes(records, images):
        key = plane_of(labelled.regions[0].record)
        yield from _of_plane(labelled.plane, groups[key], way)


def _of_plane(plane: Plane, records: Sequence[Record], way: Asking) -> Iterator[Conversation]:
    pixels, frame = letterboxed_picture(plane, way.square)
    packed = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(packed, format="PNG")
    for record in records:
        box, points = written_places(record.box_plane, record.key_points_plane, frame, way.coordinates)
        truth = json.dumps({"bbox_2d": box, "point_2d": points})
        answer = format_answer(_reasoning(record), box, points)
        yield Conversation(
            record,
            frame,
            packed.getvalue(),
            _messages(record.question, way),
            _THINK_BLOCK.sub("", answer) if way.direct else answer,
            truth,
        )


def written_places(
    box_plane: Box, points_plane: tuple[Point, Point], frame: ModelFrame, coordinates: Coordinates
) -> tuple[Box, tuple[Point, Point]]:
    """Box (half-open) and points of the plane as a family writes them for the model's square.

    "pixels": whole, inclusive pixels; "thousandths" and "fractions": of the square's sides, edge to edge.
    """
    size = frame.model_shape[0]
    edges = frame.box_to_model(box_plane)
    centres = [value for point in points_plane for value in frame.point_to_model(point)]
    if coordinates == "pixels":
        x0, y0, x1, y1 = (round(edge) for edge in edges)
        places, highest = [x0, y0, max(x0, x1 - 1), max(y0, y1 - 1), *map(round, centres)], size - 1
    else:
        highest = unit(coordinates, size)
        digits = 3 if coordinates == "fractions" else None
        shares = [*edges, *(value + 0.5 for value in centres)]
        places = [round(value / size * highest, digits) for value in shares]  # type: ignore[misc]
    x0, y0, x1, y1, *points = (min(max(value, 0), highest) for value in places)
    return (x0, y0, x1, y1), ((points[0], points[1]), (points[2], points[3]))


def _reasoning(record: Record) -> str:
    """The record's reasoning, or its answer where there is none, without the tags of the answer's form."""
    text = record.reasoning or record.answer or f"This is the {record.label}."
    return " ".join(_TAGS.sub(" ", text).split())


def _messages(question: str, way: Asking) -> tuple[dict[str, Any], ...]:
    asked = way.prompt.asked(question)
    before, after = (_plain(text, way.control) for text in (asked.before, asked.shared + asked.tail))
    parts: list[dict[str, str]] = [{"type": "text", "text": before}] if before else []
    parts.append({"type": "image"})
    parts += [{"type": "text", "text": after}] if after else []
    return ({"role": "user", "content": parts},)


def _plain(text: str, control: Iterable[str]) -> str:
    for token in control:
        text = text.replace(token, " ")
    return text
