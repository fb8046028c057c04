"""Windows to choose from: presets in HU for CT, shares of the grey values for everything else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.volume import CT_WINDOWS, Window, finite_sample
from napari_medreason.errors import QuestionError

PERCENTILES: dict[str, tuple[float, float]] = {
    "percentiles 0.5–99.5": (0.5, 99.5),
    "percentiles 2–98": (2.0, 98.0),
    "full range": (0.0, 100.0),
}
"""Name of a window, and the percentiles of the finite values that become black and white."""
_SAMPLE = 2_000_000


def preset_names(modality: str, *, calibrated: bool) -> tuple[str, ...]:
    """Names of the windows that suit an image; the first is the one that it is opened with."""
    return tuple(CT_WINDOWS) if modality == "CT" and calibrated else tuple(PERCENTILES)


def preset_window(name: str, values: NDArray[np.generic]) -> Window:
    """The window with a name; percentiles are of about two million of the finite `values`.

    QuestionError for an unknown name and for an image without a finite value.
    """
    if name in CT_WINDOWS:
        return CT_WINDOWS[name]
    if name not in PERCENTILES:
        known = ", ".join((*CT_WINDOWS, *PERCENTILES))
        raise QuestionError(f"window {name!r} is not known; choose one of {known}")
    finite = finite_sample(values, _SAMPLE)
    if finite.size == 0:
        raise QuestionError("the image holds no finite value, so no window fits it; open another image")
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES[name]))
    return Window(low, high if high > low else low + 1.0)


def sampled(values: NDArray[np.generic], wanted: int = _SAMPLE) -> NDArray[np.generic]:
    """About `wanted` values at regular steps along every axis, as a view: nothing is copied."""
    step = max(1, int((values.size / wanted) ** (1 / max(values.ndim, 1))))
    view: NDArray[np.generic] = values[(slice(None, None, step),) * values.ndim]
    return view


def dragged(window: Window, right: float, up: float, *, pixels: float = 300.0) -> Window:
    """A window after a drag of the mouse over the canvas.

    right, up: in canvas pixels. To the right widens the window, upwards lowers its centre, which makes
    the image brighter; a drag over `pixels` doubles the width or moves the centre by one width.
    """
    centre, width = (window.low + window.high) / 2, window.high - window.low
    centre -= width * up / pixels
    width *= 2.0 ** (right / pixels)
    return Window(centre - width / 2, centre + width / 2)
