"""Which study an image layer shows: one of ours while it is unchanged, else one of unknown orientation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from napari_medreason.errors import QuestionError
from napari_medreason.layers.study import METADATA_KEY, StudyRef, content_of, is_ours


class LayerLike(Protocol):
    """The part of a napari image layer that is read here."""

    data: Any
    ndim: int
    metadata: Mapping[str, Any]
    scale: Any
    translate: Any
    rotate: Any
    shear: Any
    affine: Any
    units: Any
    axis_labels: Any
    name: str


def study_of(layer: LayerLike) -> StudyRef:
    """The study of an image layer; of unknown orientation unless we made the layer and it is unchanged.

    Metadata alone is not trusted: other programs copy it, and data or transform may have been
    changed since. QuestionError when the layer can't be asked about.
    """
    note = layer.metadata.get(METADATA_KEY)
    claimed = note.get("study") if isinstance(note, Mapping) else None
    if isinstance(claimed, StudyRef) and is_ours(claimed) and _is_unchanged(layer, claimed):
        return claimed
    return _foreign_study(layer)


def study_wherever(layer: LayerLike) -> StudyRef:
    """As `study_of`, for a layer of ours also where it was moved, turned or scaled in the viewer.

    Good for telling directions through the layer's own transform; its voxels lie where the study's do,
    its place in the viewer does not.
    """
    note = layer.metadata.get(METADATA_KEY)
    claimed = note.get("study") if isinstance(note, Mapping) else None
    if isinstance(claimed, StudyRef) and is_ours(claimed) and content_of(layer.data) == claimed.content:
        return claimed
    return _foreign_study(layer)


def _is_unchanged(layer: LayerLike, study: StudyRef) -> bool:
    return in_place(layer, study) and content_of(layer.data) == study.content


def in_place(layer: LayerLike, study: StudyRef) -> bool:
    """Whether a layer has the axes, the shape and the transform that the layer of a study has."""
    shape = tuple(int(size) for size in layer.data.shape)
    if layer.ndim != study.layer_ndim or shape[-3:] != study.display_shape[-len(shape) :]:
        return False
    affine = np.asarray(layer.affine)
    return (
        np.allclose(layer.scale, study.scale)
        and np.allclose(layer.translate, study.translate)
        and np.allclose(layer.rotate, np.eye(study.layer_ndim))
        and np.allclose(layer.shear, 0)
        and np.allclose(affine, np.eye(affine.shape[0]))
    )


def _foreign_study(layer: LayerLike) -> StudyRef:
    shape = tuple(int(size) for size in layer.data.shape)
    if layer.ndim not in (2, 3, 4) or len(shape) != layer.ndim:
        raise QuestionError(
            f"layer “{layer.name}” has shape {shape}; a grey image with 2, 3 or 4 axes is accepted, "
            "please split colours and further axes into layers of their own"
        )
    k, j, i = (1, *shape)[-3:]
    scale = tuple(abs(float(value)) or 1.0 for value in layer.scale)
    unit_mm = [_millimetres(unit) for unit in layer.units]
    spacing = ((1.0, *scale)[-3:], (1.0, *unit_mm)[-3:])
    spacing_kji = [size * (mm or 1.0) for size, mm in zip(*spacing, strict=True)]
    affine = np.diag([*spacing_kji[::-1], 1.0])
    return StudyRef(
        id=f"layer-{layer.name}",
        shape_kji=(k, j, i),
        affine=tuple(tuple(float(value) for value in row) for row in affine),
        axes_kji=(0, 1, 2),
        flipped=(False, False, False),
        layer_ndim=layer.ndim,
        scale=scale,
        translate=tuple(float(value) for value in layer.translate),
        name=layer.name,
        orientation_known=False,
        calibrated=all(mm is not None for mm in unit_mm[-2:]),
    )


def _millimetres(unit: Any) -> float | None:
    """Millimetres in one unit of length; None for pixels and what is no length."""
    name = str(unit)
    known = {"millimeter": 1.0, "micrometer": 1e-3, "micron": 1e-3, "nanometer": 1e-6, "meter": 1e3}
    return {**known, "centimeter": 10.0}.get(name)
