"""The geometry card: what a user must know about a study before trusting a side or a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_medreason.core.check_list import Check, check_list
from napari_medreason.core.geometry import axis_directions, is_oblique
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.errors import QuestionError
from napari_medreason.io.base import SeriesInfo


def describe(volume: Volume, series: Sequence[SeriesInfo] = ()) -> dict[str, Any]:
    """A study as plain values for JSON.

    shape and spacing (mm) are (k, j, i); orientation holds the patient directions in which i, j and
    k grow, None when unknown; affine maps (i, j, k) to LPS mm; window is (low, high), None when no
    value is finite; checks is the check list, each with its kind, title, state ("fine", "doubtful" or
    "untold") and words; series is what `list_series` gave.
    """
    known = volume.orientation_known
    return {
        "name": volume.name,
        "shape": list(volume.shape_kji),
        "spacing": [round(value, 6) for value in volume.spacing_kji],
        "orientation": "".join(axis_directions(volume.affine)) if known else None,
        "oblique": is_oblique(volume.affine) if known else None,
        "affine": [[float(value) for value in row] for row in volume.affine],
        "modality": volume.modality,
        "calibrated": volume.calibrated,
        "frames": volume.frame_count,
        "dtype": str(volume.voxels.dtype),
        "window": _window(volume),
        "warnings": [str(text) for text in volume.warnings],
        "checks": [_check(entry) for entry in check_list(volume)],
        "series_uid": volume.series_uid,
        "series": [_series(entry) for entry in series],
    }


def _window(volume: Volume) -> list[float] | None:
    try:
        window = default_window(volume)
    except QuestionError:
        return None
    return [window.low, window.high]


def _check(entry: Check) -> dict[str, str]:
    return {"kind": entry.kind, "title": entry.title, "state": entry.state, "words": entry.words}


def _series(entry: SeriesInfo) -> dict[str, Any]:
    return {
        "uid": entry.uid,
        "modality": entry.modality,
        "number": entry.number,
        "description": entry.description,
        "shape": list(entry.shape_kji),
        "frames": entry.frame_count,
    }
