"""A tilted gantry is sheared back: straight things are straight again, at the right millimetres."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medreason.core.cautions import Caution, kind_of
from napari_medreason.core.geometry import index_to_lps, lps_to_index
from napari_medreason.core.regrid import SHEARED, UNEVENLY, is_irregular, is_sheared, regridded
from napari_medreason.core.volume import Volume


def tilted_volume(degrees: float) -> Volume:
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    affine[1, 2] = 4.0 * np.tan(np.deg2rad(degrees))
    k, j, i = np.indices((16, 60, 50))
    points = index_to_lps(np.stack([i, j, k], -1), affine)
    return Volume((points[..., 0] + 2 * points[..., 1] - points[..., 2]).astype(np.float32), affine)


@pytest.mark.parametrize("degrees", [-18.5, -8.0, 1.0, 12.0, 18.5, 25.0])
def test_every_voxel_keeps_its_place_in_the_patient_also_on_the_outermost_slices(degrees):
    source = tilted_volume(degrees)
    result = regridded(source)
    assert is_sheared(source.affine)
    assert not is_sheared(result.affine)
    k, j, i = (axis.ravel() for axis in np.indices(result.shape_kji))
    points = index_to_lps(np.stack([i, j, k], -1), result.affine)
    inside = lps_to_index(points, source.affine)
    inner = ((inside >= -1e-6) & (inside <= np.array(source.shape_kji[::-1]) - 1 + 1e-6)).all(axis=1)
    expected = points[:, 0] + 2 * points[:, 1] - points[:, 2]
    assert inner.mean() > 0.5
    assert set(k[inner]) == set(range(result.shape_kji[0]))
    np.testing.assert_allclose(result.voxels[k, j, i][inner], expected[inner], atol=1e-2)
    assert "resampled" in result.warnings[-1]


def test_a_regridded_study_is_not_called_sheared_any_more():
    source = replace(tilted_volume(12.0), warnings=("One slice is missing.", f"It is tilted, but {SHEARED}."))
    warnings = regridded(source).warnings
    assert warnings[0] == "One slice is missing."
    assert [warning for warning in warnings if "sheared" in warning or "slanted" in warning] == []


def test_a_right_angled_study_is_left_alone():
    volume = Volume(np.zeros((3, 4, 5)), np.diag([1.0, 2.0, 3.0, 1.0]))
    assert regridded(volume) is volume


def uneven_volume(levels: list[float], *, shift_mm: float = 0.0) -> Volume:
    """Slices at these places along k, each shifted by `shift_mm` per mm; values are linear in the patient."""
    origins = np.array([[0.0, shift_mm * level, level] for level in levels])
    affine = np.eye(4)
    affine[:3, 2] = (origins[-1] - origins[0]) / (len(levels) - 1)
    j, i = np.indices((40, 30))
    planes = [i + origin[0] + 2 * (j + origin[1]) - 3 * origin[2] for origin in origins]
    return Volume(np.stack(planes).astype(np.float32), affine, slice_positions=origins)


@pytest.mark.parametrize(
    ("levels", "step"),
    [([0, 2, 4, 8, 10], 2.0), ([0, 1, 2, 4, 6, 8], 1.0), ([0, 3, 3.1, 6, 9], 1.5), ([0, 2.0, 5, 7], 2.0)],
)
@pytest.mark.parametrize("shift_mm", [0.0, 0.4])
def test_uneven_slices_come_to_even_steps_each_voxel_in_its_place(levels, step, shift_mm):
    source = uneven_volume(levels, shift_mm=shift_mm)
    assert is_irregular(source)
    result = regridded(source)
    assert not is_irregular(result)
    assert result.spacing_kji[0] == pytest.approx(step, rel=0.2)
    ends = (index_to_lps((0, 0, k), result.affine)[2] for k in (0, result.shape_kji[0] - 1))
    assert list(ends) == pytest.approx([levels[0], levels[-1]])
    k, j, i = (axis.ravel() for axis in np.indices(result.shape_kji))
    points = index_to_lps(np.stack([i, j, k], -1), result.affine)
    shift = shift_mm * max(levels)
    inner = (points[:, 1] >= shift) & (points[:, 1] <= 39) & (points[:, 0] <= 29)
    assert inner.mean() > 0.4
    expected = points[:, 0] + 2 * points[:, 1] - 3 * points[:, 2]
    np.testing.assert_allclose(result.voxels[k, j, i][inner], expected[inner], atol=2e-2)


def test_a_missing_slice_is_filled_and_the_others_keep_their_values():
    source = uneven_volume([0, 2, 4, 8, 10])
    result = regridded(replace(source, voxels=source.voxels[None].repeat(2, 0)))
    assert result.voxels.shape == (2, 6, 40, 30)
    for k, own in ((0, 0), (1, 1), (2, 2), (4, 3), (5, 4)):
        np.testing.assert_allclose(result.voxels[1, k], source.voxels[own], atol=1e-4)
    np.testing.assert_allclose(result.voxels[0, 3], source.voxels[2:4].mean(axis=0), atol=1e-3)


def test_what_was_said_of_uneven_steps_goes_and_the_resampling_is_told():
    warnings = (Caution(f"Slices are missing; {UNEVENLY}: wrong by 3 mm.", "gaps"), "Left out: one.")
    result = regridded(replace(uneven_volume([0, 2, 4, 8]), warnings=warnings))
    assert [text for text in result.warnings if "wrong by" in text] == []
    assert result.warnings[0] == "Left out: one."
    assert kind_of(result.warnings[-1]) == "values"


def test_positions_that_belong_to_other_slices_are_not_used():
    source = uneven_volume([0, 2, 4, 8])
    part = replace(source, voxels=source.voxels[:2])
    assert regridded(part) is part
