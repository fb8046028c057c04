"""Records and predictions with known scores, for tests of evaluations."""

from __future__ import annotations

import numpy as np

from napari_medreason.core.record import runs_of
from napari_medreason_training.evaluation.predictions import Prediction, answer_of
from napari_medreason_training.evaluation.scores import record_score

from .tuning_records import record

SIDE = 40


def square(x0, y0, x1, y1, side=SIDE):
    """(rows, columns) bool mask of a half-open box."""
    mask = np.zeros((side, side), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def squares_record(mask, *, patient="a", index=0, **options):
    """A record of this mask; as an (i, j, k) volume of one slice it is transposed."""
    return record(patient, "test", np.repeat(mask.T[..., None], index + 1, -1), index, **options)


def exact(asked, **changed):
    """The prediction that has everything right, but for what is changed."""
    fields = {
        "record": asked.id,
        "text": asked.answer,
        "mask_runs": runs_of(asked.mask),
        "points_plane": asked.key_points_plane,
    }
    return Prediction(**(fields | changed))


def scored(asked, prediction, folder="."):
    """The scores of one answer."""
    from pathlib import Path

    return record_score("model", asked, answer_of(prediction, asked, Path(folder)))
