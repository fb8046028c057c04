"""Qwen2.5-VL as Reasoner: MedReasoner, Lingshu, HuatuoGPT-Vision, and every other fine-tune of it.

In the form of MedReasoner: 840 pixels, absolute inclusive coordinates. Models that were trained on another
form of prompt and answer have files of their own (Seg-Zero, VLM-R1).
"""

from __future__ import annotations

from functools import partial

from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.forms import MEDREASONER, REPETITION_PENALTY, Family
from napari_medreason.models.reasoners.local import LocalReasoner

PATCH = 28
"""Pixels per image token along each side: two merged patches of 14."""
QWEN25_VL = Family(
    MEDREASONER, multiple=PATCH, exact_pixels=True, sized=False, repetition_penalty=REPETITION_PENALTY
)

REASONERS = (
    ReasonerInfo(
        id="qwen2.5-vl",
        title="Qwen2.5-VL (MedReasoner, Lingshu, HuatuoGPT-Vision)",
        summary="Writes its reasoning, a box and two key points; needs a local model folder",
        create=partial(LocalReasoner, family=QWEN25_VL),
        model_types=("qwen2_5_vl",),
        names=("medreasoner", "lingshu", "qwen2.5-vl", "qwen25-vl", "huatuogpt-vision"),
    ),
)
