"""The check list of a study: what was looked at before its sides, distances and values are trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_medreason.core.cautions import Caution, CautionKind, kind_of
from napari_medreason.core.regrid import SHEARED, is_sheared
from napari_medreason.core.volume import Volume

State = Literal["fine", "doubtful", "untold"]
"""untold: this file format, or this file, does not say."""

ANISOTROPIC = 3.0
"""From this ratio of the largest to the smallest voxel size on, cuts across slices are coarse."""

_UNTOLD = "The file holds one finished grid and does not say."
_TITLES: dict[CautionKind, tuple[str, str]] = {
    "order": ("Slice order", "Slices are in the order of their positions in the patient."),
    "gaps": ("Gaps", "Slices are evenly spaced and none is missing."),
    "duplicates": ("Duplicates", "No image is there twice."),
    "tilt": ("Tilt", "Rows, columns and slices are at right angles."),
    "mixed": ("Mixed series", "All images of the series make one grid, of one patient."),
    "orientation": ("Orientation", "The file says how the images lie in the patient."),
    "spacing": ("Sizes in mm", "Pixel size and slice distance are given."),
    "anisotropy": ("Anisotropy", "Voxels are about as long as they are wide."),
    "values": ("Grey values", "Values are used as the file means them."),
    "modality": ("Modality", "No guess about the kind of image was needed."),
    "other": ("Anything else", "Nothing else is doubtful."),
}
"""By kind, in the order of the list: title, and what is said when nothing is doubtful."""
_SINGLE = "There is one slice only."
_NEEDS_SLICES = ("order", "gaps", "duplicates", "mixed")
"""Checks that compare single images, which only series of them have."""


@dataclass(frozen=True)
class Check:
    """One line of the list: what was looked at, what was found, and what that means for the user."""

    kind: CautionKind
    title: str
    state: State
    words: str


def check_list(volume: Volume) -> tuple[Check, ...]:
    """Every check, whether something is doubtful or not, always in the same order."""
    found = [*volume.warnings, *_from_grid(volume)]
    return tuple(_check(kind, volume, [text for text in found if kind_of(text) == kind]) for kind in _TITLES)


def _check(kind: CautionKind, volume: Volume, doubts: list[str]) -> Check:
    title, fine = _TITLES[kind]
    if doubts:
        return Check(kind, title, "doubtful", " ".join(dict.fromkeys(doubts)))
    if kind in _NEEDS_SLICES and not volume.slices_checked:
        return Check(kind, title, "untold", _UNTOLD)
    single = kind in ("order", "gaps") and volume.shape_kji[0] == 1
    return Check(kind, title, "fine", _SINGLE if single else fine)


def _from_grid(volume: Volume) -> list[Caution]:
    """Doubts that follow from the grid itself, whatever format it came from."""
    kinds = {kind_of(text) for text in volume.warnings}
    doubts = [_anisotropy(volume)] if _ratio(volume) >= ANISOTROPIC and volume.calibrated else []
    if not volume.orientation_known and "orientation" not in kinds:
        doubts.append(Caution("Left and right can't be told, and no patient words are given.", "orientation"))
    if "tilt" not in kinds and is_sheared(volume.affine):
        doubts.append(Caution(f"Positions are right, but {SHEARED}.", "tilt"))
    return doubts


def _ratio(volume: Volume) -> float:
    spacing = volume.spacing_kji
    return max(spacing) / min(spacing)


def _anisotropy(volume: Volume) -> Caution:
    coarse, fine = max(volume.spacing_kji), min(volume.spacing_kji)
    return Caution(
        f"Voxels measure {coarse:.2f} mm in one direction and {fine:.2f} mm in another; cuts along the long "
        "side are coarse, and what is smaller than it may be missed.",
        "anisotropy",
    )
