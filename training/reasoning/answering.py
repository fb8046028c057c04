"""Answers of a reasoner in training, as the viewer would get them, and how good they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageDraw

from napari_medreason.core.released_answers import released_score
from napari_medreason.errors import AnswerFormatError
from napari_medreason.models.base import Reasoning
from napari_medreason.models.reasoners.proposal import read_text

from ..loop import Evaluation, Sample
from ..measures import box_iou, circle_overlap
from ..rewards import score
from .conversations import Asking, Conversation

AT_ONCE = 16
"""Answers that are written side by side."""
MAIN, SCORE = "box iou", "score"
"""The paper's measure, and the mean of box, points and form, which also tells two untrained models apart."""


@dataclass(frozen=True)
class Writing:
    """How judged answers are written: the most likely token each time, as in use."""

    max_new_tokens: int
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Judged:
    """One answer. box_iou, points_dice: with the truth in the plane, 0 where nothing usable was written.

    formed: the text has the form that rewards pay in full. refused: as the released evaluation counts it.
    """

    text: str
    box_iou: float
    points_dice: float
    formed: bool
    refused: bool


@torch.no_grad()
def answers(
    network: Any, processor: Any, asked: Sequence[Conversation], writing: Writing, *, at_once: int = AT_ONCE
) -> list[str]:
    """The network's texts, without its control words; the network is in evaluation mode afterwards."""
    network.eval()
    texts: list[str] = []
    for start in range(0, len(asked), at_once):
        inputs = prompts(processor, asked[start : start + at_once]).to(network.device)
        tokens = network.generate(**inputs, **_greedy(writing))
        new = tokens[:, inputs["input_ids"].shape[1] :]
        texts += processor.batch_decode(new, skip_special_tokens=True)
    return texts


def prompts(processor: Any, asked: Sequence[Conversation]) -> Any:
    """Conversations up to the answer as padded input of the network."""
    filled = [[_with_picture(message, one) for message in one.messages] for one in asked]
    return processor.apply_chat_template(
        filled,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"padding": True, "return_tensors": "pt"},
    )


def _with_picture(message: dict[str, Any], one: Conversation) -> dict[str, Any]:
    parts = [
        part | {"image": one.picture()} if part["type"] == "image" else part for part in message["content"]
    ]
    return message | {"content": parts}


def _greedy(writing: Writing) -> dict[str, Any]:
    settings = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}
    return settings | {
        "max_new_tokens": writing.max_new_tokens,
        "repetition_penalty": writing.repetition_penalty,
    }


def judged(text: str, asked: Conversation, way: Asking) -> Judged:
    """How good one answer is."""
    found = _read(text, asked, way)
    record = asked.record
    box = box_iou(found.box, record.box_plane) if found is not None and found.box is not None else 0.0
    points = 0.0
    if found is not None and found.points is not None:
        points = circle_overlap(found.points, record.key_points_plane).dice
    refused = released_score(text, asked.truth, think=not way.direct).failed
    return Judged(text, box, points, is_formed(text, asked.truth, direct=way.direct), refused)


def is_formed(text: str, truth: str, *, direct: bool) -> bool:
    """Whether both blocks, or the answer block alone, are as the rewards for form want them."""
    terms = score(text, truth, "soft", sound=True)
    return terms["format_seg"] == 1 and (direct or terms["format_think"] == 1)


def _read(text: str, asked: Conversation, way: Asking) -> Reasoning | None:
    try:
        return read_text(text, asked.frame, form=way.family.form, coordinates=way.coordinates)
    except AnswerFormatError:
        return None


def evaluation(
    found: Sequence[Judged], asked: Sequence[Conversation], way: Asking, *, main: str = MAIN
) -> Evaluation:
    """Means over answers and the answers themselves. main: what decides, the box or the "score"."""
    values = {
        MAIN: float(np.mean([one.box_iou for one in found])),
        "points dice": float(np.mean([one.points_dice for one in found])),
        "format rate": float(np.mean([one.formed for one in found])),
        "refusal rate": float(np.mean([one.refused for one in found])),
    }
    values[SCORE] = (values[MAIN] + values["points dice"] + values["format rate"]) / 3
    return Evaluation(values, main, tuple(_samples(found, asked, way)))


def _samples(found: Sequence[Judged], asked: Sequence[Conversation], way: Asking) -> Iterator[Sample]:
    for number, (one, conversation) in enumerate(zip(found, asked, strict=True)):
        words = {
            "question": conversation.record.question,
            "answer": one.text,
            "wanted": conversation.answer,
            MAIN: round(one.box_iou, 3),
            "formed": one.formed,
        }
        yield Sample(f"answer-{number:02d}", words, {"answer": _drawn(one, conversation, way)})


def _drawn(one: Judged, asked: Conversation, way: Asking) -> NDArray[np.uint8]:
    """(rows, columns, 3): the picture with the true box in green and the answered one in red."""
    picture = asked.picture()
    pen = ImageDraw.Draw(picture)
    found = _read(one.text, asked, way)
    boxes = [(asked.record.box_plane, (0, 255, 0))]
    if found is not None and found.box is not None:
        boxes.append((found.box, (255, 0, 0)))
    for box, colour in boxes:
        x0, y0, x1, y1 = asked.frame.box_to_model(box)
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour)
    return np.asarray(picture, dtype=np.uint8)
