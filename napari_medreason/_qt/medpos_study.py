"""Which study a Labels layer lies on: what can be chosen, and what is unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari.layers import Image, Labels

from napari_medreason import layers
from napari_medreason.errors import QuestionError
from napari_medreason.layers import StudyRef

NO_STUDY = "None: orientation unknown"
NOTHING_FITS = (
    "it lies on no study that was opened here; open the study, and draw on a Labels layer of the same size "
    "and place"
)
UNSURE = (
    "it has the size of a study, but no scale and place of its own; choose the study above if it lies on it"
)
SEVERAL = "studies with different geometry fit; choose one above"
CHOSEN = "no study is chosen above"


@dataclass(frozen=True, eq=False)
class StudyChoice:
    """One study that a label map may lie on; image: the layer that shows it, None when it is gone."""

    name: str
    study: StudyRef
    image: Image | None


@dataclass(frozen=True, eq=False)
class StudyChoices:
    """All that can be chosen, what is chosen at first (None: no study), and why none is."""

    offered: tuple[StudyChoice, ...]
    first: int | None
    reason: str


def study_choices(layer: Labels, images: Sequence[Image]) -> StudyChoices:
    """The studies that a layer may lie on.

    Chosen at first: the one that made the layer, else the one in its place, if that is no chance.
    """
    known = [(image, study) for image in images if (study := _study(image)) is not None]
    claimed = layers.claimed_study(layer)
    fitting = layers.fitting_studies(layer, [study for _, study in known])
    studies = {study.id: study for study in (*((claimed,) if claimed else ()), *fitting)}
    shown = {study.id: image for image, study in reversed(known)}
    offered = tuple(
        StudyChoice(shown[key].name if key in shown else study.name or "its study", study, shown.get(key))
        for key, study in studies.items()
    )
    if claimed is not None:
        return StudyChoices(offered, 0, "")
    reason = _doubt(layer, fitting)
    return StudyChoices(offered, None if reason else 0, reason)


def _study(image: Image) -> StudyRef | None:
    if image.rgb or image.multiscale:
        return None
    try:
        return layers.study_of(image)
    except QuestionError:
        return None


def _doubt(layer: Labels, fitting: Sequence[StudyRef]) -> str:
    if not fitting:
        return NOTHING_FITS
    if not layers.has_own_place(layer):
        return UNSURE
    grids = {(study.affine, study.axes_kji, study.flipped) for study in fitting}
    return SEVERAL if len(grids) > 1 else ""
