"""A study in memory: voxels, where they lie in the patient, and what is doubtful about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import Affine, checked_affine, spacing_ijk
from napari_medreason.errors import QuestionError


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a regular grid.

    voxels: (k, j, i), or (frame, k, j, i) for a 4D study; any real dtype; calibrated values
        (HU for CT) when `calibrated`.
    affine: (4, 4), voxel index (i, j, k) to patient LPS mm.
    orientation_known: False when the file does not say how the grid lies in the patient; then
        patient words and letters are withheld.
    calibrated: False for pictures (PNG, JPEG): grey values and pixel size mean nothing.
    series_uid: DICOM SeriesInstanceUID (0020,000E), empty for other formats; for a segmentation, that of
        the images it was drawn on.
    warnings: what a user must know before trusting distances or sides; one sentence each, of a kind
        where it is a `cautions.Caution`.
    slices_checked: the file gives a place for each image, and these were compared with each other.
    slice_positions: (k, 3) LPS mm, centre of the first voxel of each slice, where slices do not lie as
        the affine says (unevenly spaced, or shifted); None where they do. `regrid.regridded` uses it.
    label_names: of a label map, names by value, as far as its file gives them.
    """

    voxels: NDArray[np.generic]
    affine: Affine
    modality: str = ""
    name: str = ""
    orientation_known: bool = True
    calibrated: bool = True
    series_uid: str = ""
    warnings: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)
    slices_checked: bool = False
    slice_positions: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.voxels.ndim not in (3, 4):
            raise ValueError(f"voxels are (k, j, i) or (frame, k, j, i), got {self.voxels.shape}")
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Size of one frame along k, j and i."""
        k, j, i = self.voxels.shape[-3:]
        return int(k), int(j), int(i)

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        """Distance between voxels along k, j and i in mm."""
        i, j, k = spacing_ijk(self.affine)
        return k, j, i

    @property
    def frame_count(self) -> int:
        """Number of frames of a 4D study, 1 for a plain volume."""
        return int(self.voxels.shape[0]) if self.voxels.ndim == 4 else 1

    def frame(self, index: int | None) -> Volume:
        """The 3D volume of one frame; QuestionError when a 4D study is asked without a frame."""
        if self.voxels.ndim == 3:
            if index not in (None, 0):
                raise QuestionError(f"frame {index} was asked, but this study has one frame (0)")
            return self
        last = self.frame_count - 1
        if index is None:
            raise QuestionError(
                f"this study is 4D with {self.frame_count} frames; choose one with --frame 0 to {last}"
            )
        if not 0 <= index <= last:
            raise QuestionError(f"frame {index} was asked; this study has frames 0 to {last}")
        return replace(self, voxels=self.voxels[index])


@dataclass(frozen=True)
class Window:
    """A grey-value window: `low` is shown black, `high` white, in the volume's own units."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise QuestionError(f"a window needs two numbers, low before high; got {self.low}, {self.high}")


CT_WINDOWS: dict[str, Window] = {
    name: Window(centre - width / 2, centre + width / 2)
    for name, (centre, width) in {
        "soft-tissue": (40, 400),
        "lung": (-600, 1500),
        "bone": (400, 1800),
        "brain": (40, 80),
        "liver": (60, 160),
        "mediastinum": (40, 350),
    }.items()
}
"""Usual CT presets as (centre, width) in HU."""


def default_window(volume: Volume) -> Window:
    """The window that reader, dock and command line share: CT 40/400, else percentiles 0.5 to 99.5.

    The percentiles are of the whole volume (every frame), on at most about two million voxels
    taken at regular steps; non-finite voxels are left out.
    """
    if volume.modality == "CT" and volume.calibrated:
        return CT_WINDOWS["soft-tissue"]
    return percentile_window(volume.voxels)


def percentile_window(values: NDArray[np.generic]) -> Window:
    """Percentiles 0.5 and 99.5 of the finite values, widened when the image is flat."""
    finite = finite_sample(values, 2_000_000)
    if finite.size == 0:
        raise QuestionError(
            "the image holds no finite value (only NaN or infinity); load an image with grey values"
        )
    low, high = (float(value) for value in np.percentile(finite, [0.5, 99.5]))
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    return Window(low, high if high > low else low + 1.0)


def finite_sample(values: NDArray[np.generic], wanted: int) -> NDArray[np.float64]:
    """Finite values at regular steps over an array of any shape, about `wanted` of them or all.

    No step shares a factor with the size of the array, so that no column or row is preferred.
    """
    flat = values.reshape(-1)
    step = max(1, flat.size // wanted)
    while math.gcd(step, flat.size) > 1:
        step += 1
    sample = flat[::step].astype(np.float64)
    return np.asarray(sample[np.isfinite(sample)])


def parse_window(text: str) -> Window:
    """A window from a preset name or "LOW,HIGH"; QuestionError lists what is accepted."""
    if text in CT_WINDOWS:
        return CT_WINDOWS[text]
    low, _, high = text.partition(",")
    try:
        return Window(float(low), float(high))
    except ValueError:
        names = ", ".join(CT_WINDOWS)
        raise QuestionError(f"window {text!r} is not known; use {names}, or LOW,HIGH") from None
