"""NRRD in and out: every order of storage, spaces, detached headers, segments, damaged files."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medreason import io
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, UnreadableImageError
from napari_medreason.io.exports import Drawing, export_mask

RELAXED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def random_affine(matrix: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn = Rotation.from_euler("xyz", rng.uniform(-44, 44, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ matrix @ np.diag(rng.uniform(0.3, 6, 3))
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@RELAXED
@given(
    order=st.integers(0, 47),
    seed=st.integers(0, 2**31),
    shape=st.tuples(*[st.integers(1, 5)] * 3),
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
)
def test_volumes_come_back_and_simpleitk_sees_them_at_the_same_place(
    tmp_path, all_axis_orders, order, seed, shape, dtype
):
    rng = np.random.default_rng(seed)
    volume = Volume(
        rng.integers(0, 200, shape).astype(dtype), random_affine(all_axis_orders[order], seed), "MR"
    )
    io.write(tmp_path / "a.nrrd", volume)
    again = io.read(tmp_path / "a.nrrd")
    assert again.voxels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-9)
    other = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(other), volume.voxels)
    corner = tuple(int(count) - 1 for count in shape[::-1])
    np.testing.assert_allclose(
        other.TransformIndexToPhysicalPoint(corner), index_to_lps(corner, volume.affine), atol=1e-6
    )


def test_frames_survive_in_front(tmp_path, oblique_affine):
    voxels = np.arange(120, dtype=np.int16).reshape(5, 2, 3, 4)
    io.write(tmp_path / "t.nrrd", Volume(voxels, oblique_affine, "MR"))
    again = io.read(tmp_path / "t.nrrd")
    np.testing.assert_array_equal(again.voxels, voxels)
    np.testing.assert_allclose(again.affine, oblique_affine, atol=1e-9)


SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "LAS": (1, -1, 1),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("detached", [False, True])
def test_every_space_of_the_patient(tmp_path, ramp, oblique_affine, space, detached):
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    header = {
        "space": space,
        "space directions": oblique_affine[:3, :3].T,
        "space origin": oblique_affine[:3, 3],
        "encoding": "gzip" if detached else "raw",
    }
    nrrd.write(str(path), ramp, header, detached_header=detached, index_order="C")
    volume = io.read(path)
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert volume.orientation_known
    np.testing.assert_allclose(volume.affine, np.diag([*SPACES[space], 1]) @ oblique_affine, atol=1e-9)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed", None])
def test_other_spaces_say_nothing_about_the_patient(tmp_path, ramp, space):
    header = {"space directions": np.diag([2.0, 3.0, 4.0]), "space origin": [1.0, 2.0, 3.0]}
    header |= {"space": space} if space else {"space dimension": 3}
    nrrd.write(str(tmp_path / "a.nrrd"), ramp, header, index_order="C")
    volume = io.read(tmp_path / "a.nrrd")
    assert not volume.orientation_known
    assert "left and right" in " ".join(volume.warnings)
    assert volume.spacing_kji == (4, 3, 2)


def test_spacings_alone_are_kept_and_unknown_orientation_stays_unknown(tmp_path, ramp):
    nrrd.write(str(tmp_path / "a.nrrd"), ramp, {"spacings": [0.5, 0.75, 3]}, index_order="C")
    volume = io.read(tmp_path / "a.nrrd")
    assert not volume.orientation_known
    assert volume.spacing_kji == (3, 0.75, 0.5)
    io.write(tmp_path / "b.nrrd", volume)
    again = io.read(tmp_path / "b.nrrd")
    assert not again.orientation_known
    assert again.spacing_kji == (3, 0.75, 0.5)


def test_an_axis_without_direction_is_one_of_frames_wherever_it_stands(tmp_path, oblique_affine):
    voxels = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    columns = list(oblique_affine[:3, :3].T)
    for at in range(4):
        rows = [*columns[:at], [np.nan] * 3, *columns[at:]]
        # Axis `at` counts from the fastest, NumPy's axes from the slowest.
        stored = np.moveaxis(voxels, 0, 3 - at)
        header = {"space": "LPS", "space directions": np.array(rows), "space origin": [0.0, 0.0, 0.0]}
        nrrd.write(str(tmp_path / "a.nrrd"), np.ascontiguousarray(stored), header, index_order="C")
        volume = io.read(tmp_path / "a.nrrd")
        np.testing.assert_array_equal(volume.voxels, voxels)
        np.testing.assert_allclose(volume.affine[:3, :3], oblique_affine[:3, :3])


def test_units_are_turned_into_mm(tmp_path, ramp):
    header = {
        "space": "LPS",
        "space directions": np.diag([100.0, 200.0, 300.0]),
        "space origin": [1000.0, 0.0, 0.0],
        "space units": ["um", "um", "um"],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), ramp, header, index_order="C")
    affine = io.read(tmp_path / "a.nrrd").affine
    np.testing.assert_allclose(affine[:3, :3], np.diag([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(affine[:3, 3], [1, 0, 0])


def test_label_names_come_back_and_stand_where_slicer_looks_for_them(tmp_path, oblique_affine):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[0, 0], labels[1, 1] = 2, 7
    volume = Volume(labels, oblique_affine, label_names={2: "liver", 7: "left kidney"})
    io.write(tmp_path / "a.seg.nrrd", volume)
    again = io.read(tmp_path / "a.seg.nrrd")
    assert again.label_names == {2: "liver", 7: "left kidney"}
    np.testing.assert_array_equal(again.voxels, labels)
    header = nrrd.read_header(str(tmp_path / "a.seg.nrrd"))
    assert header["Segment0_LabelValue"] == "2"
    assert header["Segment0_Extent"] == "0 4 0 3 0 2"
    assert "SCT^10200004^Liver" in header["Segment0_Tags"]
    assert "SCT^7771000^Left" in header["Segment1_Tags"]


def test_layers_of_overlapping_segments_become_one_label_map(tmp_path):
    layers = np.zeros((2, 2, 3, 4), np.uint8)
    layers[0, 0, 0, :2], layers[1, 0, 0, 1:3] = 1, 1
    directions = np.array([[np.nan] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    header = {
        **{"space": "LPS", "space directions": directions, "space origin": [0.0, 0.0, 0.0]},
        "kinds": ["list", "domain", "domain", "domain"],
        **{"Segment0_Name": "one", "Segment0_LabelValue": "1", "Segment0_Layer": "0"},
        **{"Segment1_Name": "two", "Segment1_LabelValue": "1", "Segment1_Layer": "1"},
    }
    stored = np.ascontiguousarray(np.moveaxis(layers, 0, 3))
    nrrd.write(str(tmp_path / "a.seg.nrrd"), stored, header, index_order="C")
    volume = io.read(tmp_path / "a.seg.nrrd")
    assert volume.voxels[0, 0].tolist() == [1, 2, 2, 0]
    assert volume.label_names == {1: "one", 2: "two"}
    assert "overlap in 1 voxels" in volume.warnings[0]


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_every_encoding_and_byte_order(tmp_path, ramp, encoding, endian):
    stored = ramp.astype((">" if endian == "big" else "<") + "i2")
    nrrd.write(str(tmp_path / "a.nrrd"), stored, {"encoding": encoding, "endian": endian}, index_order="C")
    volume = io.read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(volume.voxels, ramp)
    assert volume.voxels.dtype.isnative


def lines(path: Path, text: str, data: bytes = b"") -> Path:
    path.write_bytes(("NRRD0005\n" + text + "\n").encode() + data)
    return path


BASE = "type: int16\ndimension: 3\nsizes: 2 2 2\nendian: little\nencoding: raw\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE, "cut short"),
        (BASE.replace("2 2 2", "90000 90000 90000"), "cut short"),
        (BASE.replace("raw", "gzip").replace("2 2 2", "900 900 900"), "cut short"),
        (BASE.replace("dimension: 3", "dimension: 4"), "do not agree"),
        (BASE.replace("2 2 2", "2 2 x"), "damaged"),
        (BASE.replace("int16", "block"), "no number"),
        (BASE.replace("raw", "hex"), "packed as"),
        (BASE + "data file: ../elsewhere.raw\n", "another folder"),
        (BASE + "data file: /etc/passwd\n", "another folder"),
        (BASE + "data file: gone.raw\n", "missing"),
        (BASE + "kinds: RGB-color domain domain\n", "colours"),
        (BASE + "space: LPS\nspace directions: (0,0,0) (0,1,0) (0,0,1)\n", "not invertible"),
        (BASE + "space: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,1)\n", "not invertible"),
        ("nothing", "damaged"),
    ],
)
def test_broken_headers_are_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(UnreadableImageError, match=words) as error:
        io.read(lines(tmp_path / "a.nrrd", text))
    assert "\n" not in str(error.value)


def test_a_packed_file_that_unpacks_to_more_than_promised_is_read_up_to_that(tmp_path):
    import gzip

    bomb = gzip.compress(b"\x07" * 50_000_000)
    volume = io.read(lines(tmp_path / "a.nrrd", BASE.replace("raw", "gzip"), bomb))
    assert volume.voxels.shape == (2, 2, 2)
    assert (volume.voxels == 0x0707).all()


def test_what_nrrd_can_not_hold_is_refused(tmp_path):
    with pytest.raises(ExportError, match="float16"):
        io.write(tmp_path / "a.nrrd", Volume(np.zeros((2, 2, 2), np.float16), np.eye(4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_real_files_lie_where_simpleitk_sees_them(real_data):
    found = sorted((real_data / "labelled" / "pyradiomics").glob("*.nrrd"))
    assert found
    for path in found:
        volume, other = io.read(path), sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(other), volume.voxels)
        for index in ((0, 0, 0), tuple(int(count) - 1 for count in volume.shape_kji[::-1])):
            np.testing.assert_allclose(
                other.TransformIndexToPhysicalPoint(index), index_to_lps(index, volume.affine), atol=1e-3
            )


def test_names_that_the_header_can_not_hold_are_made_plain_and_told(tmp_path):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1, :4] = [1, 2, 3, 4]
    image = Volume(labels, np.eye(4))
    names = {1: "Läsion", 2: "\u809d", 3: "a  b\\c " + "x" * 80}
    for name in ("a.seg.nrrd", "a.nrrd"):
        receipt = export_mask(tmp_path / name, Drawing(labels, image, names), "nrrd")
        assert receipt.identical, receipt.words
        assert "“Läsion” to “Lasion”" in receipt.words
        found = io.read(tmp_path / name).label_names
        assert (found[1], found[2]) == ("Lasion", "label 2")
        assert found[3].startswith("a b/c xxx")
    assert not export_mask(tmp_path / "b.nrrd", Drawing(labels, image, {1: "liver"}), "nrrd").notes
    io.write(tmp_path / "c.nrrd", Volume(labels, np.eye(4), label_names=names))
    assert io.read(tmp_path / "c.nrrd").label_names[1] == "Lasion"
