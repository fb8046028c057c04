"""InternVL3 as Reasoner, from folders in the layout of transformers (their names end with `-hf`).

It was trained to give places in thousandths of the picture, and is asked for them. The released evaluation
of MedReasoner reads its numbers as pixels of 840; `coordinates="pixels"` does that too.
"""

from __future__ import annotations

from functools import partial

from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.reasoners.forms import MEDREASONER, Family
from napari_medreason.models.reasoners.local import LocalReasoner

REASONERS = (
    ReasonerInfo(
        id="internvl",
        title="InternVL3",
        summary="Writes its reasoning, a box and two key points; needs a local model folder",
        create=partial(LocalReasoner, family=Family(MEDREASONER, coordinates="thousandths")),
        model_types=("internvl",),
        names=("internvl",),
    ),
)
