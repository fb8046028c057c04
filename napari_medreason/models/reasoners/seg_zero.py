"""Seg-Zero as Reasoner: a Qwen2.5-VL trained to find one object by box and two points (arXiv:2503.06520).

Own prompt; the answer's form and the square of 840 pixels are those that MedReasoner took over from it.
"""

from __future__ import annotations

from functools import partial

from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.forms import REPETITION_PENALTY, SEG_ZERO, Family
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.qwen25_vl import PATCH

SEG_ZERO_FAMILY = Family(
    SEG_ZERO, multiple=PATCH, exact_pixels=True, sized=False, repetition_penalty=REPETITION_PENALTY
)

REASONERS = (
    ReasonerInfo(
        id="seg-zero",
        title="Seg-Zero",
        summary="Reasons about everyday objects, gives a box and two points; needs a local model folder",
        create=partial(LocalReasoner, family=SEG_ZERO_FAMILY),
        model_types=("qwen2_5_vl",),
        by_name_only=True,
        names=("seg-zero", "segzero"),
    ),
)
