"""Synthetic people: the same for a seed, with anatomy in the right places and of believable size."""

from functools import cache

import numpy as np
import pytest

from napari_medreason.core.anatomy import structures
from napari_medreason_training.phantoms import RESERVED_SEEDS_FROM, Phantom, body_ct, head_mr

BODY_SEEDS = (RESERVED_SEEDS_FROM + 10, RESERVED_SEEDS_FROM + 11, RESERVED_SEEDS_FROM + 12)
HEAD_SEEDS = (RESERVED_SEEDS_FROM + 20, RESERVED_SEEDS_FROM + 21)


@cache
def body(seed: int) -> Phantom:
    return body_ct(seed, spacing_mm=(8.0, 3.6, 3.6), pixels=110)


@cache
def head(seed: int) -> Phantom:
    return head_mr(seed, contrast="t1", spacing_mm=(2.0, 2.0, 2.0), shape=(98, 126, 96))


def centre_lps(phantom: Phantom, structure: str, side: str = "") -> np.ndarray:
    """Mean LPS position in mm, computed from the affine alone."""
    k, j, i = np.nonzero(phantom.mask(structure, side))
    assert k.size, f"{structure} {side} is missing"
    middle = np.array([i.mean(), j.mean(), k.mean(), 1.0])
    return (phantom.affine @ middle)[:3]


def millilitres(phantom: Phantom, structure: str, side: str = "") -> float:
    return float(phantom.mask(structure, side).sum() * abs(np.linalg.det(phantom.affine[:3, :3])) / 1000)


@pytest.mark.parametrize("make", [body_ct, head_mr])
def test_same_seed_same_study_other_seed_other_study(make):
    coarse = {"spacing_mm": (12.0, 6.0, 6.0)}
    coarse |= {"pixels": 64} if make is body_ct else {"shape": (16, 36, 32)}
    first, again, other = (make(seed, **coarse) for seed in (10_030, 10_030, 10_031))
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.mean(first.labels != other.labels) > 0.02


@pytest.mark.parametrize("seed", BODY_SEEDS)
def test_arrays_and_names_fit(seed):
    for phantom in (body(seed), head(HEAD_SEEDS[0])):
        assert phantom.labels.dtype == np.uint8
        assert phantom.voxels.dtype == np.float32
        assert phantom.labels.shape == phantom.voxels.shape
        assert len(phantom.structures) == len(phantom.sides) > phantom.labels.max()
        assert phantom.structures[0] == ""
        named = {name for name in phantom.structures if name}
        assert named <= set(structures())
        assert {name for name in named if phantom.mask(name).any()} == named


@pytest.mark.parametrize("seed", BODY_SEEDS)
def test_organs_lie_where_they_do_in_people(seed):
    phantom = body(seed)
    spine = centre_lps(phantom, "vertebra")
    assert centre_lps(phantom, "liver")[0] < -20
    assert centre_lps(phantom, "spleen")[0] > 60
    assert centre_lps(phantom, "heart")[0] > 5
    assert centre_lps(phantom, "stomach")[0] > 10
    assert centre_lps(phantom, "gallbladder")[0] < -20
    assert centre_lps(phantom, "aorta")[0] > centre_lps(phantom, "inferior_vena_cava")[0]
    assert centre_lps(phantom, "liver")[2] < centre_lps(phantom, "heart")[2]
    for kidney in ("left", "right"):
        assert centre_lps(phantom, "kidney", kidney)[1] > centre_lps(phantom, "small_bowel")[1] + 30
    assert centre_lps(phantom, "kidney", "left")[2] > centre_lps(phantom, "kidney", "right")[2]
    assert centre_lps(phantom, "spinal_canal")[1] > spine[1]
    assert centre_lps(phantom, "sternum")[1] < centre_lps(phantom, "heart")[1]
    assert centre_lps(phantom, "urinary_bladder")[2] < centre_lps(phantom, "sacrum")[2]


@pytest.mark.parametrize("seed", BODY_SEEDS)
def test_left_is_the_patients_left(seed):
    for phantom in (body(seed), head(HEAD_SEEDS[0])):
        paired = {name for name, side in zip(phantom.structures, phantom.sides, strict=True) if side}
        assert len(paired) >= 8
        for name in paired:
            assert centre_lps(phantom, name, "left")[0] > 2 > -2 > centre_lps(phantom, name, "right")[0], name


@pytest.mark.parametrize("seed", BODY_SEEDS)
@pytest.mark.parametrize(
    ("structure", "side", "low", "high"),
    [
        ("liver", "", 800, 2600),
        ("spleen", "", 50, 450),
        ("kidney", "left", 70, 300),
        ("kidney", "right", 70, 300),
        ("lung", "left", 900, 3600),
        ("lung", "right", 1000, 3800),
        ("heart", "", 300, 900),
        ("stomach", "", 120, 900),
        ("pancreas", "", 35, 180),
        ("gallbladder", "", 10, 120),
        ("urinary_bladder", "", 30, 600),
        ("aorta", "", 80, 400),
        ("colon", "", 250, 1600),
        ("small_bowel", "", 300, 2000),
        ("femur", "left", 60, 300),
    ],
)
def test_organ_volumes_are_plausible(seed, structure, side, low, high):
    assert low < millilitres(body(seed), structure, side) < high


@pytest.mark.parametrize("seed", BODY_SEEDS)
def test_hounsfield_units_are_those_of_the_tissue(seed):
    phantom = body(seed)
    median = {name: float(np.median(phantom.voxels[phantom.mask(name)])) for name in phantom.structures}
    assert median["lung"] < -600
    assert median["trachea"] < -500
    assert 30 < median["liver"] < 160
    assert -15 < median["urinary_bladder"] < 60
    assert median["ribs"] > 150
    assert median["femur"] > 150
    assert phantom.voxels.min() >= -1024


def test_contrast_phases_differ_as_in_people():
    coarse = {"spacing_mm": (8.0, 3.6, 3.6), "pixels": 110, "z_range_mm": (-80.0, 80.0)}
    native, arterial, portal = (body_ct(10_040, phase=p, **coarse) for p in ("native", "arterial", "portal"))
    aorta = [float(np.median(p.voxels[p.mask("aorta")])) for p in (native, arterial, portal)]
    liver = [float(np.median(p.voxels[p.mask("liver")])) for p in (native, arterial, portal)]
    assert aorta[1] > aorta[2] + 80 > aorta[0] + 120
    assert liver[2] > liver[0] + 25


def test_anatomy_does_not_depend_on_the_grid():
    coarse, fine = (body_ct(10_050, spacing_mm=(8.0, s, s), pixels=int(400 / s)) for s in (4.0, 2.5))
    for name in ("liver", "spleen", "heart", "urinary_bladder"):
        assert np.linalg.norm(centre_lps(coarse, name) - centre_lps(fine, name)) < 4.0, name
        ratio = millilitres(coarse, name) / millilitres(fine, name)
        assert 0.85 < ratio < 1.18, name


def test_noise_is_added_on_request():
    plain, noisy = (
        body_ct(10_060, spacing_mm=(20.0, 6.0, 6.0), pixels=64, z_range_mm=(0.0, 60.0), noise_hu=n)
        for n in (0, 15)
    )
    assert np.array_equal(plain.labels, noisy.labels)
    assert np.std(noisy.voxels - plain.voxels) == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize("seed", HEAD_SEEDS)
@pytest.mark.parametrize(
    ("structure", "low", "high"),
    [
        ("cerebral_cortex", 300, 900),
        ("cerebral_white_matter", 300, 900),
        ("lateral_ventricle", 5, 80),
        ("cerebellar_cortex", 50, 190),
        ("thalamus", 5, 25),
        ("putamen", 4, 20),
        ("hippocampus", 3, 15),
        ("brainstem", 12, 50),
        ("eyeball", 8, 30),
    ],
)
def test_brain_volumes_are_plausible(seed, structure, low, high):
    assert low < millilitres(head(seed), structure) < high


@pytest.mark.parametrize("seed", HEAD_SEEDS)
def test_brain_parts_lie_where_they_do_in_people(seed):
    phantom = head(seed)
    assert centre_lps(phantom, "cerebellar_cortex")[1] > centre_lps(phantom, "brainstem")[1]
    assert centre_lps(phantom, "cerebellar_cortex")[2] < centre_lps(phantom, "cerebral_cortex")[2] - 20
    assert centre_lps(phantom, "eyeball")[1] < centre_lps(phantom, "amygdala")[1] - 30
    assert centre_lps(phantom, "fourth_ventricle")[1] > centre_lps(phantom, "brainstem")[1]
    for side in ("left", "right"):
        putamen, pallidum, thalamus = (
            abs(centre_lps(phantom, n, side)[0]) for n in ("putamen", "globus_pallidus", "thalamus")
        )
        assert putamen > pallidum > thalamus


@pytest.mark.parametrize(
    ("contrast", "brightest_first"),
    [
        ("t1", ("cerebral_white_matter", "cerebral_cortex", "lateral_ventricle")),
        ("t2", ("lateral_ventricle", "cerebral_cortex", "cerebral_white_matter")),
        ("flair", ("cerebral_cortex", "cerebral_white_matter", "lateral_ventricle")),
    ],
)
def test_mr_contrast_order(contrast, brightest_first):
    phantom = head_mr(10_070, contrast=contrast, spacing_mm=(2.5, 2.5, 2.5), shape=(78, 100, 76))
    medians = [float(np.median(phantom.voxels[phantom.mask(name)])) for name in brightest_first]
    assert medians == sorted(medians, reverse=True)


def test_rician_noise_lifts_the_background():
    grid = {"spacing_mm": (6.0, 6.0, 6.0), "shape": (32, 42, 32), "contrast": "t1"}
    plain, noisy = (head_mr(10_080, noise=n, **grid) for n in (0.0, 30.0))
    air = plain.voxels < 10
    assert noisy.voxels[air].mean() > plain.voxels[air].mean() + 15
    assert noisy.voxels.min() >= 0
