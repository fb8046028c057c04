"""Gemma 3 as Reasoner, such as MedGemma 4B.

Its image processor makes 896 pixels of every picture, so the prompt says which size the coordinates are for.
"""

from __future__ import annotations

from functools import partial

from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.forms import MEDREASONER, Family
from napari_medreason.models.reasoners.local import LocalReasoner

REASONERS = (
    ReasonerInfo(
        id="gemma3",
        title="Gemma 3 (MedGemma)",
        summary="Writes its reasoning, a box and two key points; needs a local model folder",
        create=partial(LocalReasoner, family=Family(MEDREASONER)),
        model_types=("gemma3",),
        names=("medgemma", "gemma-3"),
    ),
)
