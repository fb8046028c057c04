"""A folder with three small studies, and a work list of it."""

import numpy as np
import pytest

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.worklist import LabelDefinition, WorkList

LIVER = LabelDefinition(1, "liver", "liver", "Where is the liver?")
SPLEEN = LabelDefinition(2, "spleen", "spleen", "Where is the spleen?")
SHAPE = (6, 20, 24)


def study(seed):
    """A study with an oblique grid, so that a lost or wrong geometry shows."""
    turn = np.deg2rad(10)
    affine = np.diag([0.8, 0.9, 3.0, 1.0])
    affine[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ affine[:2, :2]
    affine[:3, 3] = (-12.5, 30.0, 7.0 * seed)
    voxels = np.random.default_rng(seed).normal(0, 100, SHAPE).astype(np.float32)
    return Volume(voxels, affine, modality="CT", name=f"study {seed}")


@pytest.fixture(autouse=True)
def _key(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))


@pytest.fixture
def studies(tmp_path):
    folder = tmp_path / "studies"
    (folder / "ward").mkdir(parents=True)
    for seed, name in enumerate(["a.nii.gz", "b.nii.gz", "ward/c.nii"]):
        io.write(folder / name, study(seed))
    return folder


@pytest.fixture
def work_list(tmp_path, studies):
    return WorkList.create(tmp_path / "list", studies, labels=[LIVER, SPLEEN], title="Livers")


@pytest.fixture
def drawn():
    """Labels with a liver whose size says which save it was."""

    def draw(size=5):
        labels = np.zeros(SHAPE, np.uint16)
        labels[1:5, 2 : 2 + size, 3:12] = 1
        labels[2, 16:18, 16:20] = 2
        return labels

    return draw
