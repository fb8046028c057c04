"""VLM-R1 as Reasoner: a Qwen2.5-VL trained to find what a sentence refers to (arXiv:2504.07615).

Its answer is a JSON list with one box, `bbox_2d`, in absolute pixels of what it is shown, and no points.
"""

from __future__ import annotations

from functools import partial

from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.forms import REPETITION_PENALTY, VLM_R1, Family
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.qwen25_vl import PATCH

VLM_R1_FAMILY = Family(
    VLM_R1, multiple=PATCH, exact_pixels=True, sized=False, repetition_penalty=REPETITION_PENALTY
)

REASONERS = (
    ReasonerInfo(
        id="vlm-r1",
        title="VLM-R1",
        summary="Reasons about everyday objects and gives a box; needs a local model folder",
        create=partial(LocalReasoner, family=VLM_R1_FAMILY),
        model_types=("qwen2_5_vl",),
        by_name_only=True,
        names=("vlm-r1", "qwen2.5vl-3b-vlm-r1", "qwen2.5-vl-3b-vlm-r1"),
    ),
)
