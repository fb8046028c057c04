"""Whether an answer fits anatomy: sides and body parts that a reader would call odd are noticed."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medreason.core.anatomy import structures
from napari_medreason.core.plane import cut, slice_count
from napari_medreason.core.plausibility import (
    body_middle,
    region_check,
    side_check,
    side_of_mask,
    usual_side,
)
from napari_medreason.core.volume import Volume, Window


def _study(*, modality="CT", orientation_known=True):
    """A body of 200 x 160 mm that lies off the centre of the image, in 2 mm voxels, LPS."""
    low, tissue = (-1000, 40) if modality == "CT" else (0, 300)
    voxels = np.full((20, 120, 160), low, np.float32)
    voxels[:, 20:100, 50:150] = tissue
    return Volume(voxels, np.diag([2.0, 2, 5, 1]), modality=modality, orientation_known=orientation_known)


def _plane(axis="axial", **options):
    study = _study(**options)
    return cut(study, axis, slice_count(study, axis) // 2, Window(-160, 240))


def _blob(plane, column):
    mask = np.zeros(plane.grid.shape, bool)
    mask[8:14, column - 3 : column + 4] = True
    return mask


MIDDLE = 99.5


@pytest.mark.parametrize(
    ("structure", "side"),
    [
        *[("liver", "right"), ("gallbladder", "right"), ("spleen", "left"), ("stomach", "left")],
        *[("heart", "left"), ("kidney", ""), ("vertebra", ""), ("lung", ""), ("no such thing", "")],
    ],
)
def test_usual_sides_come_from_the_vocabulary(structure, side):
    assert usual_side(structure) == side


def test_nothing_paired_has_one_usual_side():
    assert not [item.id for item in structures().values() if item.paired and usual_side(item.id)]


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_middle_is_that_of_the_body_not_of_the_image(modality):
    assert body_middle(_plane(modality=modality)) == pytest.approx(MIDDLE, abs=0.5)
    assert body_middle(replace(_plane(), image=np.full((120, 160), -1000, np.float32))) is None


@pytest.mark.parametrize("axis", ["axial", "coronal"])
def test_a_liver_on_the_left_is_told_in_a_sentence(axis):
    """In result planes x grows to the patient's left."""
    plane = _plane(axis)
    good = side_check(plane, "liver", _blob(plane, 70))
    bad = side_check(plane, "liver", _blob(plane, 130))
    assert good.passed
    assert not bad.passed
    assert bad.words == (
        "The liver usually lies on the patient's right; this mask lies on the left: check the orientation "
        "of the study."
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_told_side_is_compared_with_the_mask(side):
    plane = _plane()
    left = _blob(plane, 130)
    assert side_check(plane, "kidney", left, side).passed == (side == "left")
    assert side_check(plane, "kidney", left) is None
    assert side_check(plane, "kidney", left, "both") is None


def test_a_mask_near_the_middle_is_on_no_side_and_raises_no_flag():
    plane = _plane()
    mask = _blob(plane, round(MIDDLE) + 5)
    assert side_of_mask(plane, mask) == ""
    check = side_check(plane, "liver", mask)
    assert check.passed
    assert check.words == "The liver lies near the middle of the body, on no side for certain."


@pytest.mark.parametrize("plane", [_plane("sagittal"), _plane(orientation_known=False)])
def test_no_test_of_sides_where_they_mean_nothing(plane):
    assert side_check(plane, "liver", np.ones(plane.grid.shape, bool)) is None


def test_holes_of_nan_are_no_body():
    plane = _plane()
    image = plane.image.copy()
    image[:, 120:] = np.nan
    assert body_middle(replace(plane, image=image)) == pytest.approx(84.5, abs=0.5)


def test_a_bladder_in_a_chest_is_odd():
    plane = _plane()
    chest = {"lung": 20_000.0, "heart": 8_000.0, "urinary_bladder": 900.0}
    odd = region_check(plane, "urinary_bladder", chest)
    assert not odd.passed
    assert "belongs to the chest" in odd.words
    assert region_check(plane, "liver", chest).passed
    assert region_check(plane, "urinary_bladder", {"femur": 5_000.0, "colon": 300.0}).passed


def test_no_test_of_regions_where_it_means_nothing():
    seen = {"lung": 20_000.0}
    assert region_check(_plane("coronal"), "urinary_bladder", seen) is None
    assert region_check(_plane(), "vertebra", seen) is None
    assert region_check(_plane(), "lung", seen) is None
