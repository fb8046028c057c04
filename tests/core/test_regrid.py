"""A tilted gantry is sheared back: straight things are straight again, at the right millimetres."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medreason.core.geometry import index_to_lps, lps_to_index
from napari_medreason.core.regrid import SHEARED, is_sheared, regridded
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
