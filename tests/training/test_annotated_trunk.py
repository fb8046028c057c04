"""The drawn organs of the whole-trunk CT: sizes an adult can have, and each on its side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded.structures import BODY_CT
from napari_medreason_training.annotated_trunk import (
    LABELLING,
    Grid,
    annotate,
    box_around,
    read_annotations,
    stacked,
)
from napari_medreason_training.volumes import TRUNK, load_lps

PLAUSIBLE_ML = {
    "spleen": (100, 450),
    "kidney": (100, 280),
    "stomach": (50, 600),
    "heart": (380, 900),
    "aorta": (60, 300),
    "vertebra": (400, 1100),
    "spinal_canal": (40, 130),
    "ribs": (100, 400),
    "hip_bone": (250, 600),
    "sacrum": (100, 350),
    "gallbladder": (8, 70),
    "inferior_vena_cava": (25, 150),
    "oesophagus": (8, 60),
    "pancreas": (40, 150),
    "erector_spinae": (250, 1200),
    "iliopsoas": (150, 700),
    "gluteal_muscles": (500, 1800),
    "colon": (150, 1500),
}
DRAWN = {value: pair for value, pair in LABELLING.items() if value not in TRUNK}
Trunk = tuple[NDArray[np.uint8], NDArray[np.generic], tuple[float, float, float]]


@pytest.fixture(scope="module")
def trunk(real_data: Path) -> Trunk:
    folder = real_data / "labelled" / "tcia_cervical_ct"
    voxels, spacing = load_lps(folder / "cc_ct.nii.gz")
    given, _ = load_lps(folder / "cc_ct_mask.nii.gz")
    return annotate(voxels, given, read_annotations()), given, spacing


def _volumes_ml(trunk: Trunk) -> Mapping[int, float]:
    labels, _, spacing = trunk
    counts = np.bincount(labels.ravel(), minlength=256)
    return {value: counts[value] * np.prod(spacing) / 1000 for value in LABELLING}


def test_names_are_those_the_model_is_trained_for() -> None:
    assert {name for name, _ in LABELLING.values()} <= set(BODY_CT)


def test_every_outline_has_a_name() -> None:
    assert {outline.value for outline in read_annotations().outlines} <= set(DRAWN)


def test_interpolation_between_two_squares_gives_a_size_between_them() -> None:
    grid = Grid((40, 40, 5), (1.0, 1.0, 2.0), (-20.0, -20.0, 0.0))

    def square(half: float) -> list[list[tuple[float, float]]]:
        return [[(-half, -half), (half, -half), (half, half), (-half, half)]]

    mask = stacked({0.0: square(5), 8.0: square(13)}, grid)
    areas = mask.sum((0, 1))
    assert areas[0] == pytest.approx(100, rel=0.25)
    assert areas[2] == pytest.approx(18**2, rel=0.15)
    assert list(areas) == sorted(areas)


def test_another_grid_is_refused() -> None:
    small = np.zeros((4, 4, 4), np.int16)
    with pytest.raises(MedReasonError, match="whole-trunk CT"):
        annotate(small, small, read_annotations())


@pytest.mark.data
@pytest.mark.slow
class TestWholeTrunk:
    def test_volumes_are_those_of_an_adult(self, trunk: Trunk) -> None:
        volumes = _volumes_ml(trunk)
        for value, (name, side) in DRAWN.items():
            low, high = PLAUSIBLE_ML[name]
            assert low <= volumes[value] <= high, (name, side, round(volumes[value]))

    def test_pairs_are_about_equal_and_on_their_sides(self, trunk: Trunk) -> None:
        labels, _, _ = trunk
        midline = labels.shape[0] / 2
        volumes = _volumes_ml(trunk)
        value_of = {pair: value for value, pair in DRAWN.items()}
        for name, side in value_of:
            if side != "left":
                continue
            left, right = value_of[name, "left"], value_of[name, "right"]
            x_left, x_right = (np.argwhere(labels == value)[:, 0].mean() for value in (left, right))
            assert x_left > midline > x_right, name
            assert 0.65 < volumes[left] / volumes[right] < 1.55, name

    def test_what_the_mask_already_held_stays(self, trunk: Trunk) -> None:
        labels, given, _ = trunk
        held = given > 0
        assert np.array_equal(labels[held], given[held])

    def test_outlines_hardly_run_into_liver_and_lungs(self, trunk: Trunk) -> None:
        _, given, _ = trunk
        annotations = read_annotations()
        for outline in annotations.outlines:
            grid, within = box_around(outline.polygons, annotations.grid)
            drawn = stacked(outline.polygons, grid)
            taken = np.isin(given[within][drawn], (1, 2, 3, 4, 5, 6)).mean()
            assert taken < 0.1, (LABELLING[outline.value], taken)
