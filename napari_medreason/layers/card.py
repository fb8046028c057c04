"""What the viewer tells of an image's geometry: the card, and the check list that its reader made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from napari_medreason.core.check_list import Check
from napari_medreason.core.geometry import axis_directions, is_oblique, spacing_ijk
from napari_medreason.core.regrid import is_sheared
from napari_medreason.core.volume import Volume
from napari_medreason.layers.label_maps import computed
from napari_medreason.layers.study import (
    METADATA_KEY,
    NOTES_KEY,
    ReadingNotes,
    StudyRef,
    grid_volume,
    stored_array,
)

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
    notes = reading_notes(study, metadata)
    return (NOT_OURS,) if notes is None else notes.checks


def reading_notes(study: StudyRef, metadata: Mapping[str, Any]) -> ReadingNotes | None:
    """What was found when the study was read; None for a layer that is not one of ours, or was changed."""
    note = metadata.get(METADATA_KEY)
    if not isinstance(note, Mapping) or note.get("study") != study:
        return None
    notes = note.get(NOTES_KEY)
    return notes if isinstance(notes, ReadingNotes) else None


def study_volume(data: Any, study: StudyRef, notes: ReadingNotes) -> Volume:
    """The volume that an image layer of ours shows, with what its reader found; lazy data is computed."""
    array = computed(data)
    return replace(
        grid_volume(study, notes.slice_positions),
        voxels=stored_array(array[np.newaxis] if array.ndim == 2 else array, study),
        warnings=notes.warnings,
        slices_checked=notes.slices_checked,
    )


def irregular_words(study: StudyRef, notes: ReadingNotes | None) -> str:
    """Why a study's grid should be resampled, "" where it is regular."""
    if notes is None:
        return ""
    if notes.slice_positions is not None:
        return "Slices do not lie at even steps: resample them to a regular grid as a new image"
    if is_sheared(np.array(study.affine)):
        return "Slices are shifted against each other: resample them to a right-angled grid as a new image"
    return ""


def _orientation(study: StudyRef) -> str:
    if not study.orientation_known:
        return "unknown"
    affine = np.array(study.affine)
    slanted = ", oblique" if is_oblique(affine) else ""
    i, j, k = axis_directions(affine)
    return f"{i}{j}{k}{slanted}: columns towards {i}, rows towards {j}, slices towards {k}"
