import numpy as np
import pytest


@pytest.fixture(scope="session")
def stored():
    """Store (k, j, i) voxels with axes permuted and flipped, every voxel where it was in the patient."""

    def store(voxels, affine, order):
        axes, flips = order
        grid = voxels.transpose(2, 1, 0).transpose(axes)
        moved = affine.copy()
        moved[:3, :3] = affine[:3, list(axes)]
        for axis in np.flatnonzero(flips):
            grid = np.flip(grid, axis)
            moved[:3, 3] += moved[:3, axis] * (grid.shape[axis] - 1)
            moved[:3, axis] *= -1
        return np.ascontiguousarray(grid.transpose(2, 1, 0)), moved

    return store
