"""CT or MR, for formats that do not say which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.cautions import Caution
from napari_medreason.core.volume import Volume, finite_sample

_SAMPLES = 500_000
_FEW_VALUES = 64

TAKEN_AS_CT = "The file does not say CT or MR; taken as CT because {reason}."
TAKEN_AS_MR = (
    "The file does not say CT or MR; taken as MR because the values do not look like Hounsfield units."
)


def guess_modality(volume: Volume) -> Volume:
    """The volume with `modality` filled in and a warning that says why, where the file says nothing.

    CT: at least 1 % of the voxels lie between -1100 and -900 (air) and fewer below, not counting one
    value for what was not measured; or, for crops without air, the values are whole numbers of which
    at least 5 % lie between -150 and -30 (fat) and half between -200 and 300. A modality that is
    known, and label maps (few whole values, none negative), are left as they are. Everything else is
    taken as MR, also phase images, whose values fill -4096 to 4095.
    """
    if volume.modality:
        return volume
    values = finite_sample(volume.voxels, _SAMPLES)
    if values.size == 0 or _is_label_map(values):
        return volume
    reason = _ct_reason(values)
    modality, words = ("CT", TAKEN_AS_CT.format(reason=reason)) if reason else ("MR", TAKEN_AS_MR)
    return replace(volume, modality=modality, warnings=(*volume.warnings, Caution(words, "modality")))


def _is_label_map(values: NDArray[np.float64]) -> bool:
    whole = bool((values == np.round(values)).all())
    return whole and values.min() >= 0 and np.unique(values).size <= _FEW_VALUES


def _share(values: NDArray[np.float64], low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))


def _below_air(values: NDArray[np.float64]) -> float:
    """Share of the values under -1100, without the commonest of them: CT is padded with one value."""
    counts = np.unique(values[values < -1100], return_counts=True)[1]
    return float((counts.sum() - counts.max(initial=0)) / values.size)


def _ct_reason(values: NDArray[np.float64]) -> str:
    air = _share(values, -1100, -900)
    if air >= 0.01 and _below_air(values) < air:
        return "many values lie near -1000, as air does"
    whole = bool((values == np.round(values)).all())
    like_fat, like_tissue = _share(values, -150, -30), _share(values, -200, 300)
    if whole and values.min() >= -1100 and like_fat >= 0.05 and like_tissue >= 0.5:
        return "its whole-number values lie where fat and soft tissue do"
    return ""
