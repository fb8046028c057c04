"""Which values a label map may hold: whole numbers, 0 for background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.errors import LabelMapError


def checked_labels(labels: NDArray[Any]) -> NDArray[np.integer]:
    """The labels as integers, not copied where they are integers already.

    labels: any shape, any real dtype. bool becomes uint8. Floating-point maps are accepted when every
    value is a whole number, since many programs store masks so. Values up to 2^63 - 1 are kept as they
    are, however sparse. LabelMapError for negative, fractional, infinite and NaN values.
    """
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8)
    if labels.dtype.kind == "f":
        return _whole(labels)
    if labels.dtype.kind not in "iu":
        raise LabelMapError(f"a label map holds {labels.dtype} values; whole numbers from 0 are accepted")
    limits = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if limits[0] < 0:
        raise LabelMapError(_negative(limits[0]))
    if limits[1] > np.iinfo(np.int64).max:
        raise LabelMapError(
            f"the label map holds the value {limits[1]}; labels up to 2^63 - 1 are accepted; renumber them"
        )
    return labels


def _whole(labels: NDArray[np.generic]) -> NDArray[np.integer]:
    values = labels.astype(np.float64, copy=False)
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise LabelMapError(
            "the label map holds NaN or infinite values; whole numbers from 0 are accepted; set them to 0"
        )
    whole = values == np.rint(values)
    if not whole.all():
        found = float(values[~whole][0])
        raise LabelMapError(
            f"the label map holds {found:g}; whole numbers from 0 are accepted, so this may be a "
            "probability map: threshold it first"
        )
    if lowest < 0:
        raise LabelMapError(_negative(int(lowest)))
    if highest >= 2.0**63:
        raise LabelMapError(f"the label map holds the value {highest:g}; labels up to 2^63 - 1 are accepted")
    dtype: type[np.integer] = np.int32 if highest < 2**31 else np.int64
    return np.asarray(values.astype(dtype))


def _negative(lowest: int) -> str:
    return (
        f"the label map holds negative values (lowest {lowest}); whole numbers from 0 are accepted, "
        "0 is background; renumber or clear them"
    )
