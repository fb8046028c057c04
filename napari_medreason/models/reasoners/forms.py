"""Forms in which families of reasoners are asked and answer: prompt texts, and how the answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_medreason.core.answer_text import ParsedAnswer, parse_answer, parse_boxes
from napari_medreason.models.reasoners.coordinates import Coordinates

SQUARE_SIZE = 840
"""Side in pixels of the square that MedReasoner and Seg-Zero were trained on."""
REPETITION_PENALTY = 1.05
"""From the generation settings of Lingshu and Qwen2.5-VL, under which MedReasoner was evaluated."""


@dataclass(frozen=True)
class AnswerForm:
    """What a family writes.

    prompt, direct_prompt: names of built-in prompt files, with and without reasoning. keys: of the
    answer's JSON, the box first, then the points.
    """

    prompt: str
    direct_prompt: str
    keys: tuple[str, ...]
    parse: Callable[[str], ParsedAnswer]


MEDREASONER = AnswerForm(
    "medreasoner.txt", "medreasoner_direct.txt", ("bbox", "points_1", "points_2"), parse_answer
)
SEG_ZERO = AnswerForm("seg_zero.txt", "seg_zero_direct.txt", ("bbox", "points_1", "points_2"), parse_answer)
VLM_R1 = AnswerForm("vlm_r1.txt", "vlm_r1_direct.txt", ("bbox_2d",), parse_boxes)


@dataclass(frozen=True)
class Family:
    """How the models of one family are used.

    multiple: the square's side must be a multiple of this. exact_pixels: the model is shown the square's own
    pixels; otherwise its image processor resizes them. sized: the prompt says how large the square is.
    repetition_penalty: None for what the model's folder says.
    """

    form: AnswerForm
    coordinates: Coordinates = "pixels"
    multiple: int = 1
    exact_pixels: bool = False
    sized: bool = True
    repetition_penalty: float | None = None
