"""Reasoner of MedReasoner: a Qwen2.5-VL that writes its reasoning, a box and two points.

Covers Lingshu, MedReasoner and every other fine-tune with the model type `qwen2_5_vl`. The model is
shown a square of 840 pixels (30 x 28, so its own resizing changes nothing) and answers in absolute,
inclusive pixels of that square; here they become half-open boxes and points of the plane.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from napari_medreason.core.answer_text import ParsedAnswer, fit_to_image, parse_answer
from napari_medreason.core.plane import Box, Point
from napari_medreason.core.question import Question
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import AnswerFormatError, ModelUnavailableError
from napari_medreason.models.base import Cancelled, OnText, Reasoning
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.weights import weight_files, weights_sha256

SQUARE_SIZE = 840
"""Side in pixels of the square that the published models were trained on."""
PATCH = 28
"""Pixels per image token along each side: two merged patches of 14."""
_IMAGE, _QUESTION = "<image>", "{question}"


class QwenReasoner:
    """A Qwen2.5-VL in a local folder as Reasoner.

    prompt: a text file that holds `<image>` and `{question}` once each; None for the built-in one.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        prompt: str | Path | None = None,
        square_size: int = SQUARE_SIZE,
        max_new_tokens: int = 1024,
        device: str | None = None,
    ) -> None:
        if square_size < PATCH or square_size % PATCH:
            raise ModelUnavailableError(
                f"the square has {square_size} pixels; a multiple of {PATCH} is accepted, such as 840"
            )
        self._before, self._after = _read_prompt(prompt)
        self._square_size = square_size
        self._max_new_tokens = max_new_tokens
        folder = Path(folder)
        self.id = folder.name
        self.weights_sha256 = weights_sha256(weight_files(folder))
        from napari_medreason.models.reasoners.generation import VisionLanguageModel

        self._model = VisionLanguageModel(folder, device=device)

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """Answer with reasoning, box and points; AnswerFormatError when the text holds no usable answer."""
        picture, frame = letterboxed_picture(question.plane, self._square_size)
        text = self._model.write(
            picture,
            self._before.replace(_QUESTION, question.text),
            self._after.replace(_QUESTION, question.text),
            max_new_tokens=self._max_new_tokens,
            on_text=on_text,
            cancelled=cancelled,
        )
        parsed = fit_to_image(parse_answer(text), self._square_size, self._square_size)
        return reasoning_in_plane(parsed, frame)

    def close(self) -> None:
        """Give memory back; the reasoner is not used again."""
        del self._model
        give_memory_back()


def reasoning_in_plane(parsed: ParsedAnswer, frame: ModelFrame) -> Reasoning:
    """An answer in inclusive pixels of the model's square as Reasoning in the plane.

    AnswerFormatError when the box lies in the black margin beside the plane.
    """
    notes = list(parsed.notes)
    box, points = None, None
    if parsed.box is not None:
        x0, y0, x1, y1 = parsed.box
        box = _cut_box(frame.box_to_plane((x0, y0, x1 + 1, y1 + 1)), frame.plane_shape)
    if parsed.points is not None:
        first, second = (frame.point_to_plane(point) for point in parsed.points)
        points = _into_plane(first, frame.plane_shape), _into_plane(second, frame.plane_shape)
        if points != (first, second):
            notes.append("a key point beside the image was moved to its border")
    return Reasoning(
        "found", _last_sentence(parsed.think), parsed.think, box=box, points=points, notes=tuple(notes)
    )


def _read_prompt(file: str | Path | None) -> tuple[str, str]:
    """The prompt's text before and after the image."""
    built_in = resources.files(__package__) / "prompts" / "medreasoner.txt"
    source = built_in if file is None else Path(file)
    try:
        prompt = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailableError(
            f"the prompt file {source.name} can't be read as UTF-8 text; check its path and encoding"
        ) from error
    if prompt.count(_IMAGE) != 1 or prompt.count(_QUESTION) != 1:
        raise ModelUnavailableError(
            f"the prompt file {source.name} needs {_IMAGE} and {_QUESTION} once each; it has "
            f"{prompt.count(_IMAGE)} and {prompt.count(_QUESTION)}, please add or remove them"
        )
    before, after = prompt.split(_IMAGE)
    return before, after


def _cut_box(box: Box, shape: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], shape[1]), min(box[3], shape[0])
    if x0 >= x1 or y0 >= y1:
        raise AnswerFormatError(
            "the model's box lies beside the image, in the margin that made it square; ask again in "
            "other words, or choose another model"
        )
    return x0, y0, x1, y1


def _into_plane(point: Point, shape: tuple[int, int]) -> Point:
    return min(max(point[0], 0.0), shape[1] - 1.0), min(max(point[1], 0.0), shape[0] - 1.0)


def _last_sentence(think: str) -> str:
    """MedReasoner's reasoning ends by naming what was found (U-MRG, question and answer prompt)."""
    sentences = [part for part in re.split(r"(?<=[.!?])\s+", think.strip()) if part]
    return sentences[-1][:300] if sentences else "Here is the region that fits the question."


REASONERS = (
    ReasonerInfo(
        id="qwen2.5-vl",
        title="Qwen2.5-VL (MedReasoner, Lingshu)",
        summary="Writes its reasoning, a box and two key points; needs a local model folder",
        create=QwenReasoner,
        model_types=("qwen2_5_vl",),
    ),
)
