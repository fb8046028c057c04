"""Discovery of formats, guesses of modality, the geometry card, and files that are replaced whole."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError


def test_built_in_formats_are_found():
    found = {entry.name: entry for entry in io.formats()}
    assert set(found) == {
        *("DICOM", "DICOM segmentation", "MGH", "MetaImage", "NIfTI", "NRRD"),
        *("PNG or JPEG picture", "zip archive"),
    }
    assert ".nii.gz" in found["NIfTI"].suffixes
    assert [name for name, entry in found.items() if entry.write] == ["NIfTI", "NRRD"]


def test_importing_io_loads_no_reader_and_no_viewer():
    code = (
        "import sys, napari_medreason.io; "
        "print(sorted({'pydicom', 'nibabel', 'PIL', 'torch', 'napari', 'qtpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_files_are_refused_with_what_is_accepted(tmp_path):
    (tmp_path / "x.docx").write_text("text")
    with pytest.raises(UnreadableImageError, match=r"accepted: .*NIfTI"):
        io.read(tmp_path / "x.docx")
    with pytest.raises(UnreadableImageError, match="no file or folder"):
        io.read(tmp_path / "nothing.nii.gz")


def test_a_series_is_not_asked_of_a_single_image(tmp_path):
    io.write(tmp_path / "x.nii.gz", Volume(np.zeros((2, 2, 2), np.int16), np.eye(4)))
    with pytest.raises(UnreadableImageError, match="no series"):
        io.read(tmp_path / "x.nii.gz", series="1.2.3")
    assert io.list_series(tmp_path / "x.nii.gz") == ()


def ct_like(rng: np.random.Generator) -> np.ndarray:
    values = np.concatenate(
        [rng.normal(-1000, 15, 6000), rng.normal(-90, 20, 5000), rng.normal(40, 20, 9000)]
    )
    return np.round(values).astype(np.int16).reshape(20, 20, 50)


def test_modality_is_guessed_and_said():
    rng = np.random.default_rng(0)
    body = ct_like(rng)
    magnitude = np.abs(rng.normal(300, 200, (20, 20, 50))).astype(np.int16)
    cropped = np.where(body < -500, 40, body)
    resampled = body + np.float32(0.25)
    phase = rng.integers(-4096, 4096, (20, 20, 50)).astype(np.int16)
    padded = [np.where(rng.random(body.shape) < 0.3, padding, body) for padding in (-2000, -3024)]
    for voxels, expected in (
        (body, "CT"),
        (phase, "MR"),
        (padded[0], "CT"),
        (padded[1], "CT"),
        (cropped, "CT"),
        (resampled, "CT"),
        (magnitude, "MR"),
        (magnitude / 700.0, "MR"),
    ):
        guessed = io.guess_modality(Volume(voxels, np.eye(4)))
        assert guessed.modality == expected
        assert f"taken as {expected}" in guessed.warnings[-1]


def test_the_guess_sees_every_column():
    # Of 2 million voxels about every fourth is looked at; a step of four would meet one value alone.
    voxels = np.full((25, 200, 400), 40, np.int16)
    voxels[..., ::4] = 3000
    voxels[..., 1::4] = -1000
    assert io.guess_modality(Volume(voxels, np.eye(4))).modality == "CT"


def test_a_known_modality_and_a_label_map_are_left_alone():
    known = Volume(np.zeros((2, 2, 2), np.int16), np.eye(4), "PT")
    assert io.guess_modality(known) is known
    labels = Volume(np.random.default_rng(0).integers(0, 9, (8, 8, 8)).astype(np.uint8), np.eye(4))
    assert io.guess_modality(labels) is labels
    nothing = Volume(np.full((2, 2, 2), np.nan), np.eye(4))
    assert io.guess_modality(nothing) is nothing


def test_the_geometry_card_is_plain_json(tmp_path, series_maker, ramp):
    affine = np.array([[0, 0, 3, 10], [-0.5, 0, 0, 20], [0, -0.7, 0, 30], [0, 0, 0, 1.0]])
    series_maker(tmp_path, ramp, affine, series="1.2.3")
    card = json.loads(json.dumps(io.describe(io.read(tmp_path), io.list_series(tmp_path))))
    assert card["shape"] == [4, 5, 6]
    assert card["spacing"] == [3.0, 0.7, 0.5]
    assert card["orientation"] == "AIL"
    assert card["oblique"] is False
    assert card["modality"] == "CT"
    assert card["window"] == [-160, 240]
    assert card["series"][0]["uid"] == "1.2.3"
    assert "SECRET" not in json.dumps(card)


def test_replace_file_swaps_whole_files_only(tmp_path):
    target = tmp_path / "a.nii.gz"
    with io.replace_file(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".a.nii.gz")
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"

    def interrupted() -> None:
        with io.replace_file(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]


def test_replace_file_names_what_is_wrong(tmp_path):
    with pytest.raises(ExportError, match="folder"), io.replace_file(tmp_path / "no" / "a.txt"):
        pass
    (tmp_path / "taken").mkdir()
    with pytest.raises(ExportError, match="taken"), io.replace_file(tmp_path / "taken") as temporary:
        temporary.write_bytes(b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_formats_of_other_packages_are_found_and_broken_ones_left_out(monkeypatch, caplog):
    from importlib.metadata import EntryPoint

    from napari_medreason.io import registry

    points = [
        EntryPoint("good", "napari_medreason.io.picture:FORMAT", registry.ENTRY_POINT_GROUP),
        EntryPoint("gone", "no_such_package.module:FORMAT", registry.ENTRY_POINT_GROUP),
        EntryPoint("odd", "napari_medreason.io.base:ReadOptions", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry.formats.cache_clear()
    try:
        assert [entry.name for entry in io.formats()].count("PNG or JPEG picture") == 2
        assert len(io.formats()) == 9
        assert "gone" in caplog.text
        assert "odd" in caplog.text
    finally:
        registry.formats.cache_clear()


def test_more_memory_than_there_is_gives_one_clear_line():
    from napari_medreason.io.base import allocate

    with pytest.raises(UnreadableImageError, match="GiB of memory"):
        allocate((10**6, 10**6, 10**6), np.float32, "x.dcm")


def test_our_own_warnings_are_heard_while_a_study_is_read_in_another_thread(tmp_path, series_maker, ramp):
    series_maker(tmp_path, ramp, np.eye(4))
    with pytest.warns(UserWarning, match="from elsewhere") as caught:
        io.read(tmp_path, progress=lambda done, total: warnings.warn(f"from elsewhere {done}", stacklevel=1))
    # Heard all along: while headers are read, and while slices are decoded.
    assert len(caught) >= 8


def test_notes_of_the_libraries_do_not_reach_the_user(tmp_path, series_maker, ramp, caplog):
    def change(data, k):
        data["SOPInstanceUID"]._value = "1.2.no-uid"

    series_maker(tmp_path / "study", ramp, np.eye(4), change=change)
    Image.fromarray(ramp[0].astype(np.uint8)).convert("P").save(
        tmp_path / "x.png", transparency=bytes([0, 100, 255])
    )
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert io.read(tmp_path / "study").warnings == ()
        np.asarray(io.read_lazily(tmp_path / "study").voxels)
        io.read(tmp_path / "x.png")
    assert [str(entry.message) for entry in heard] == []
    assert caplog.text == ""
