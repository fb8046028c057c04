"""What the viewer tells of an image's geometry: the card, and the check list that its reader made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_medreason.core.check_list import Check
from napari_medreason.core.geometry import axis_directions, is_oblique, spacing_ijk
from napari_medreason.layers.study import CHECKS_KEY, METADATA_KEY, StudyRef

NOT_OURS = Check(
    "orientation",
    "Orientation",
    "doubtful",
    "This image was not opened as a study, or was changed since, so left and right can't be told. Open the "
    "file with “Open study…” to know them.",
)


def study_card(study: StudyRef, data: Any) -> tuple[tuple[str, str], ...]:
    """Title and words of each line; data: of the layer, only its shape and type are looked at."""
    affine = np.array(study.affine)
    k, j, i = study.shape_kji
    spacing = spacing_ijk(affine)
    unit = "mm" if study.calibrated else "pixels"
    frames = f", {data.shape[0]} frames" if study.layer_ndim == 4 else ""
    return (
        ("Size", f"{i} × {j} × {k} voxels{frames}"),
        ("Voxel", " × ".join(f"{size:.4g}" for size in spacing) + f" {unit}"),
        ("Orientation", _orientation(study)),
        ("Modality", study.modality or "unknown"),
        ("Values", f"{data.dtype}" + ("" if study.calibrated else ", not calibrated")),
    )


def study_checks(study: StudyRef, metadata: Mapping[str, Any]) -> tuple[Check, ...]:
    """The check list that the reader left in a layer's metadata; that of a strange layer otherwise."""
    note = metadata.get(METADATA_KEY)
    if not isinstance(note, Mapping) or note.get("study") != study:
        return (NOT_OURS,)
    return tuple(check for check in note.get(CHECKS_KEY, ()) if isinstance(check, Check))


def _orientation(study: StudyRef) -> str:
    if not study.orientation_known:
        return "unknown"
    affine = np.array(study.affine)
    slanted = ", oblique" if is_oblique(affine) else ""
    i, j, k = axis_directions(affine)
    return f"{i}{j}{k}{slanted}: columns towards {i}, rows towards {j}, slices towards {k}"
