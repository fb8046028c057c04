"""What the manifest promises: which paths are read, what the samples hold, nothing heavy at import."""

import gc
import gzip
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from napari_medreason import napari_hooks
from napari_medreason.errors import UnreadableImageError

MANIFEST = Path(__file__).parents[1] / "napari.yaml"


def write_nifti(path):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])), path)
    return path


def dicom_folder(tmp_path):
    from pydicom.data import get_testdata_file

    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    (folder / "deep" / "IM0001").write_bytes(Path(get_testdata_file("CT_small.dcm")).read_bytes())
    return folder


def test_manifest_is_valid_and_claims_no_foreign_files():
    subprocess.run([sys.executable, "-m", "npe2.cli", "validate", str(MANIFEST)], check=True)
    readers = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["contributions"]["readers"]
    patterns = {pattern for reader in readers for pattern in reader["filename_patterns"]}
    volumes = ("nii", "nii.gz", "nrrd", "nhdr", "mgz", "mgh", "mha", "mhd")
    assert patterns == {"*.dcm", *(f"*.{suffix}" for suffix in volumes)}


def test_looking_at_a_path_imports_nothing_heavy(tmp_path):
    """napari imports the hooks of every plugin to find a reader."""
    path = write_nifti(tmp_path / "a.nii.gz")
    script = (
        "import sys; from napari_medreason import napari_hooks; "
        "assert napari_hooks.get_reader(sys.argv[1]) is not None; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "napari_medreason" in loaded
    assert not {"torch", "transformers", "napari", "qtpy", "scipy", "skimage", "pydicom", "nibabel"} & loaded


def test_every_command_of_the_manifest_can_be_imported():
    from importlib import import_module

    commands = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["contributions"]["commands"]
    for command in commands:
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(import_module(module), name))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nifti_file_becomes_one_image_layer_in_mm(tmp_path):
    path = write_nifti(tmp_path / "brain.nii.gz")
    ((data, attributes, kind),) = napari_hooks.get_reader(str(path))(str(path))
    assert kind == "image"
    assert data.shape == (5, 4, 3)
    assert tuple(attributes["scale"]) == (3.0, 2.0, 1.0)
    assert attributes["units"] == ("mm", "mm", "mm")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_dicom_folder_is_read_and_other_folders_are_left_to_others(tmp_path):
    folder = dicom_folder(tmp_path)
    ((data, _, kind),) = napari_hooks.get_reader(str(folder))(str(folder))
    assert kind == "image"
    assert data.shape[-2:] == (128, 128)
    (tmp_path / "empty").mkdir()
    assert napari_hooks.get_reader(str(tmp_path / "empty")) is None
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(b"\x89PNG")
    assert napari_hooks.get_reader(str(pictures)) is None


def write_ct_series(folder, count=9):
    """Slices from foot to head with their number as value; their files in the same order."""
    import pydicom
    from pydicom.data import get_testdata_file

    folder.mkdir()
    data = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    paths = []
    for k in range(count):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k + 1}"
        data.ImagePositionPatient, data.InstanceNumber = [0, 0, 5.0 * k], k + 1
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = np.full((data.Rows, data.Columns), k, np.int16).tobytes()
        paths.append(folder / f"{k}.dcm")
        data.save_as(paths[-1])
    return paths


def test_slices_of_a_ct_are_decoded_when_shown_and_a_damaged_one_leaves_the_viewer_alive(tmp_path):
    from napari.components import ViewerModel
    from napari.layers import Layer

    paths = write_ct_series(tmp_path / "study")
    paths[2].write_bytes(paths[2].read_bytes()[:-20_000])
    ((data, attributes, kind),) = napari_hooks.read_layers(str(tmp_path / "study"))
    viewer = ViewerModel()
    image = viewer.add_layer(Layer.create(data, attributes, kind))
    last = len(paths) - 1  # the first step shows the uppermost slice
    with pytest.raises(UnreadableImageError, match="can't be decoded"):
        viewer.dims.set_current_step(0, last - 2)
    for k in (3, 7):
        viewer.dims.set_current_step(0, last - k)
        assert np.unique(image._slice.image.view) == [k]


def decoding_ahead():
    from napari_medreason.io.decode_ahead import THREAD_NAME

    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


@pytest.fixture
def decoded_files(monkeypatch):
    """Names of the files that are decoded, as it happens; each takes some time."""
    from napari_medreason.io import dicom_lazy

    names, decode = [], dicom_lazy.decode_task

    def spy(task, *arguments):
        names.append(task.path.name)
        time.sleep(0.03)
        decode(task, *arguments)

    monkeypatch.setattr(dicom_lazy, "decode_task", spy)
    return names


def test_slices_of_a_ct_are_decoded_meanwhile_also_beside_a_damaged_one(tmp_path, decoded_files):
    paths = write_ct_series(tmp_path / "study")
    paths[2].write_bytes(paths[2].read_bytes()[:-20_000])
    ((data, _, _),) = napari_hooks.read_layers(str(tmp_path / "study"))
    for thread in decoding_ahead():
        thread.join(20)
    assert set(decoded_files) == {path.name for path in paths}
    decoded_files.clear()
    assert np.unique(np.asarray(data[:2])).tolist() == [7, 8]
    assert not decoded_files


def test_decoding_ends_when_the_layer_is_gone(tmp_path, decoded_files):
    paths = write_ct_series(tmp_path / "study", 40)
    layers = napari_hooks.read_layers(str(tmp_path / "study"))
    (thread,) = decoding_ahead()
    del layers
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
    assert len(set(decoded_files)) < len(paths)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gz", "a.tif", "missing.dcm"])
def test_other_files_are_left_to_others(tmp_path, name):
    if name != "missing.dcm":
        (tmp_path / name).write_bytes(b"\0" * 200)
    assert napari_hooks.get_reader(str(tmp_path / name)) is None


def test_stacks_of_several_paths_are_left_to_others(tmp_path):
    path = str(write_nifti(tmp_path / "a.nii"))
    assert napari_hooks.get_reader([path, path]) is None
    assert napari_hooks.get_reader([path]) is not None


def test_doubts_come_as_one_warning(tmp_path):
    path = str(tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), None), path)
    with pytest.warns(UserWarning, match="left and right") as caught:
        napari_hooks.read_layers(path)
    assert len(caught) == 1


def test_broken_files_say_so_in_one_line(tmp_path):
    path = tmp_path / "text.nii.gz"
    path.write_bytes(gzip.compress(b"this is no image"))
    with pytest.raises(UnreadableImageError) as error:
        napari_hooks.get_reader(str(path))(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sample", ["sample_ct", "sample_brain", "sample_real_slice"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_samples_open(sample):
    ((data, attributes, kind),) = getattr(napari_hooks, sample)()
    assert kind == "image"
    assert data.ndim == 3
    assert attributes["axis_labels"] == ("inferior", "posterior", "left")


def test_demo_slice_shows_liver_spleen_stomach_and_kidney():
    import json

    from napari_medreason import io
    from napari_medreason_sample_data import truth

    labels = io.read(truth("ct")).voxels[napari_hooks.DEMO_SLICE]
    names = json.loads((Path(truth("ct")).parent / "labels.json").read_text(encoding="utf-8"))["ct"]
    area = {}
    for value, entry in names.items():
        area[entry["structure"]] = area.get(entry["structure"], 0) + int((labels == int(value)).sum())
    assert all(area[structure] > 200 for structure in ("liver", "spleen", "stomach", "kidney"))
