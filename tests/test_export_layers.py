"""Layers to files and back as the viewer does it: new Labels layers, crops, oblique studies, DICOM."""

from __future__ import annotations

import json
import shutil
from itertools import permutations, product
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from scipy.spatial.transform import Rotation

from napari_medreason import io, layers, napari_hooks
from napari_medreason.core import plane as planes
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.grounding import Grounding, Provenance
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError
from napari_medreason.io.exports import export_mask
from napari_medreason.layers.exporting import as_layer, drawing_of, image_of, study_under
from napari_medreason_sample_data import brain_file, ct_folder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PLUGIN = "napari-medreason"


@pytest.fixture(autouse=True, scope="module")
def writers() -> None:
    """The writers of napari.yaml, as napari finds them when it starts."""
    from napari.plugins import _initialize_plugins

    _initialize_plugins()


def affine_of(order: tuple[int, ...], flips: tuple[int, ...], seed: int, degrees: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.zeros((3, 3))
    matrix[list(order), range(3)] = flips
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.uniform(-degrees, degrees, 3), degrees=True).as_matrix()
    affine[:3, :3] = turn @ matrix @ np.diag(rng.uniform(0.5, 4, 3))
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return affine


def drawn_anew(volume: Volume) -> tuple[ViewerModel, Labels]:
    """A viewer with the study, and napari's own new Labels layer on it."""
    viewer = ViewerModel()
    image = viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    viewer.layers.selection.active = image
    viewer._new_labels()
    return viewer, viewer.layers[-1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.sampled_from(list(product((1, -1), repeat=3))),
    seed=st.integers(0, 2**31),
    degrees=st.sampled_from([0.0, 35.0]),
)
@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
def test_a_new_labels_layer_is_saved_where_the_image_is(tmp_path, suffix, order, flips, seed, degrees):
    rng = np.random.default_rng(seed)
    volume = Volume(rng.integers(0, 900, (3, 4, 5)).astype(np.int16), affine_of(order, flips, seed, degrees))
    viewer, mask = drawn_anew(volume)
    assert not mask.metadata
    # Painted where the image is bright: seen from the file, too, it must be there.
    mask.data = (viewer.layers[0].data > 500).astype(mask.data.dtype)
    if not mask.data.any():
        return
    path = str(tmp_path / f"mask{suffix}")
    assert viewer.layers.save(path, selected=True, plugin=PLUGIN) == [path]
    found = io.read(path)
    np.testing.assert_array_equal(found.voxels > 0, volume.voxels > 500)
    np.testing.assert_allclose(found.affine, volume.affine, atol=1e-3)
    other = sitk.ReadImage(path)
    corner = (4, 3, 2)
    np.testing.assert_allclose(
        other.TransformIndexToPhysicalPoint(corner), index_to_lps(corner, volume.affine), atol=1e-3
    )


@pytest.fixture(scope="module")
def ct() -> Layer:
    (entry,) = napari_hooks.read_layers(str(ct_folder()))
    return Layer.create(*entry)


def test_file_save_writes_dicom_of_the_series_that_is_shown(ct, tmp_path):
    viewer = ViewerModel()
    viewer.add_layer(ct)
    viewer.layers.selection.active = ct
    viewer._new_labels()
    mask = viewer.layers[-1]
    mask.data[20:24, 100:140, 90:120] = 1
    mask.name = "liver"
    for name in ("liver.seg.dcm", "liver.rtstruct.dcm", "liver.dcm"):
        path = str(tmp_path / name)
        assert viewer.layers.save(path, selected=True, plugin=PLUGIN) == [path]
    found = highdicom.seg.segread(tmp_path / "liver.dcm")
    assert found.number_of_segments == 1
    assert found.get_segment_description(1).segmented_property_type.meaning == "Liver"

    # Dropped into the viewer again, both lie on the image voxel by voxel.
    for name in ("liver.seg.dcm", "liver.rtstruct.dcm"):
        ((data, attributes, kind),) = napari_hooks.get_reader(str(tmp_path / name))(str(tmp_path / name))
        assert kind == "labels"
        again = viewer.add_layer(Layer.create(data, attributes, kind))
        np.testing.assert_array_equal(again.data, mask.data)
        np.testing.assert_allclose(again.translate, ct.translate)
        assert layers.label_names(again) == {1: "liver"}


def test_the_receipt_says_what_was_proved(ct, tmp_path):
    mask = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name="x")
    mask.data[3, 5:9, 5:9] = 4
    receipt = export_mask(tmp_path / "x.seg.dcm", drawing_of([mask], for_dicom=True), "dicom-seg")
    assert receipt.identical
    assert receipt.words == (
        "Wrote x.seg.dcm: 1 segment, 1 slice, read back: identical. "
        "Without a SNOMED code, as “tissue”: label 4."
    )


def test_a_folder_that_changed_meanwhile_is_no_source(tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(ct_folder(), folder)
    (entry,) = napari_hooks.read_layers(str(folder))
    image = Layer.create(*entry)
    mask = Labels(np.ones(image.data.shape, np.uint8), scale=image.scale, translate=image.translate)
    drawing = drawing_of([mask], for_dicom=True)
    sorted(folder.rglob("*.dcm"))[0].unlink()
    with pytest.raises(ExportError, match="files have changed"):
        export_mask(tmp_path / "a.dcm", drawing, "dicom-seg")
    shutil.rmtree(folder)
    with pytest.raises(ExportError, match="can't be found again"):
        export_mask(tmp_path / "a.dcm", drawing, "dicom-seg")
    assert not list(tmp_path.glob("*.dcm"))


def test_a_series_that_was_opened_twice_is_found_where_it_still_is(ct, tmp_path):
    copied = tmp_path / "copy"
    shutil.copytree(ct_folder(), copied)
    (entry,) = napari_hooks.read_layers(str(copied))
    later = Layer.create(*entry)
    mask = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name="spleen")
    mask.data[3, 5:9, 5:9] = 1
    assert drawing_of([mask], for_dicom=True).place == copied
    shutil.rmtree(copied)
    assert drawing_of([mask], for_dicom=True).place == Path(ct_folder())
    assert layers.study_of(later).series_uid == layers.study_of(ct).series_uid


def oblique() -> Volume:
    affine = affine_of((0, 1, 2), (1, 1, 1), 5, 30)
    return Volume(np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine, "MR", "brain")


def test_a_crop_is_saved_on_the_whole_grid(tmp_path):
    volume = oblique()
    viewer, mask = drawn_anew(volume)
    whole = viewer.layers[0].data
    crop = Labels(
        (whole[1:3, 2:4, 1:5] > 0).astype(np.uint8),
        scale=mask.scale,
        translate=np.array(mask.translate) + np.array([1, 2, 1]) * mask.scale,
        axis_labels=mask.axis_labels,
        units=mask.units,
    )
    drawing = drawing_of([crop])
    expected = np.zeros(whole.shape, np.uint8)
    expected[1:3, 2:4, 1:5] = whole[1:3, 2:4, 1:5] > 0
    study = layers.study_of(viewer.layers[0])
    np.testing.assert_array_equal(drawing.labels, layers.stored_array(expected, study))
    np.testing.assert_allclose(drawing.image.affine, volume.affine)


def test_a_layer_that_was_moved_is_refused(tmp_path):
    viewer, mask = drawn_anew(oblique())
    mask.data[:] = 1
    for change in ({"translate": mask.translate + 0.3}, {"rotate": 20}, {"scale": mask.scale * 1.1}):
        moved = Labels(mask.data, **{"scale": mask.scale, "translate": mask.translate, **change})
        moved.axis_labels, moved.units = mask.axis_labels, mask.units
        with pytest.raises(ExportError, match="lies on no study"):
            drawing_of([moved])
    assert len(viewer.layers) == 2


def test_a_layer_that_was_moved_is_refused_also_without_our_axis_labels(tmp_path):
    viewer, mask = drawn_anew(oblique())
    mask.data[:] = 1
    crop = Labels(mask.data[1:, 1:], scale=mask.scale, translate=mask.translate + 0.3)
    changes = ({"translate": mask.translate + 0.3}, {"scale": mask.scale * 1.1})
    moved = [
        Labels(mask.data, **{"scale": mask.scale, "translate": mask.translate, **one}) for one in changes
    ]
    for layer in (*moved, crop):
        with pytest.raises(ExportError, match="lies on no study"):
            drawing_of([layer])
    flat = Labels(np.ones((4, 5), np.uint8), scale=(2, 2))
    assert not drawing_of([flat]).image.orientation_known
    assert len(viewer.layers) == 2


def test_two_studies_in_the_same_place_are_told_by_the_name_of_the_layer():
    volume = oblique()
    turned = volume.affine.copy()
    middle = (np.array([6, 5, 4]) - 1) / 2
    # The same size, spacing and centre, but turned: shown upright, both look alike.
    turned[:3, :3] = Rotation.from_euler("z", 9, degrees=True).as_matrix() @ volume.affine[:3, :3]
    turned[:3, 3] += index_to_lps(middle, volume.affine) - index_to_lps(middle, turned)
    _, mask = drawn_anew(volume)
    other_viewer, other = drawn_anew(Volume(volume.voxels, turned, "MR", "second"))
    assert other.name.startswith("second")
    np.testing.assert_allclose(drawing_of([other]).image.affine, turned)
    np.testing.assert_allclose(drawing_of([mask]).image.affine, volume.affine)
    other.name = "tumour"
    with pytest.raises(ExportError, match="fits 2 studies"):
        drawing_of([other])
    assert len(other_viewer.layers) == 2


def test_several_layers_become_one_file_with_their_names(ct, tmp_path):
    masks = []
    for number, name in enumerate(("liver", "left kidney")):
        mask = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name=name)
        mask.data[3 + number, 5:9, 5:9] = 1
        masks.append(mask)
    viewer = ViewerModel()
    for mask in masks:
        viewer.add_layer(mask)
    path = str(tmp_path / "both.seg.nrrd")
    assert viewer.layers.save(path, plugin=PLUGIN) == [path]
    assert io.read(path).label_names == {1: "liver", 2: "left kidney"}
    masks[1].name = "what I saw"
    assert drawing_of(masks).names == {1: "liver", 2: "what I saw"}
    masks[1].data[5, 5:9, 5:9] = 7
    assert drawing_of(masks).names == {1: "liver", 2: "what I saw 1", 3: "what I saw 7"}
    masks[1].data[3, 5:7, 5:7] = 1
    with pytest.raises(ExportError, match="overlap in 4 voxels"):
        viewer.layers.save(str(tmp_path / "c.nii.gz"), plugin=PLUGIN)
    assert not (tmp_path / "c.nii.gz").exists()


def test_a_layer_from_elsewhere_is_saved_without_an_orientation(tmp_path):
    mask = Labels(np.ones((3, 4, 5), np.uint8), scale=(3, 2, 1), units=("mm",) * 3)
    viewer = ViewerModel()
    viewer.add_layer(mask)
    path = str(tmp_path / "m.nii.gz")
    viewer.layers.save(path, plugin=PLUGIN)
    found = nib.load(path)
    assert int(found.header["sform_code"]) == int(found.header["qform_code"]) == 0
    assert found.header.get_zooms() == (1, 2, 3)
    with pytest.raises(ExportError, match="no DICOM series"):
        viewer.layers.save(str(tmp_path / "m.dcm"), plugin=PLUGIN)


def test_frames_of_a_4d_study(tmp_path):
    volume = Volume(np.zeros((3, 4, 5, 6), np.int16), oblique().affine, "MR", "perfusion")
    viewer, mask = drawn_anew(volume)
    mask.data[1, 0, 0, 0] = 1
    one = drawing_of([mask])
    assert (one.labels.shape, one.frame) == ((4, 5, 6), 1)
    mask.data[2, 0, 0, 0] = 1
    path = str(tmp_path / "m.nii.gz")
    viewer.layers.save(path, selected=True, plugin=PLUGIN)
    assert io.read(path).voxels.shape == (3, 4, 5, 6)
    with pytest.raises(ExportError, match="2 frames"):
        viewer.layers.save(str(tmp_path / "m.dcm"), selected=True, plugin=PLUGIN)


def test_the_file_type_chosen_in_the_dialog_gives_the_suffix(ct, tmp_path):
    from npe2 import PluginManager

    viewer = ViewerModel()
    viewer.add_layer(ct)
    viewer.layers.selection.active = ct
    viewer._new_labels()
    viewer.layers[-1].data[20, 100:110, 90:99] = 1
    wanted = {"nifti": ".nii.gz", "nrrd": ".seg.nrrd", "dicom_seg": ".seg.dcm", "rtstruct": ".rtstruct.dcm"}
    wanted |= {"report": ".json", "picture": ".overlay.png"}
    for writer in PluginManager.instance().iter_compatible_writers(["labels"]):
        if not writer.command.startswith(PLUGIN):
            continue
        suffix = wanted.pop(writer.command.removeprefix(f"{PLUGIN}.write_"))
        found = viewer.layers.save(str(tmp_path / "mask"), selected=True, _writer=writer)
        assert found == [str(tmp_path / f"mask{suffix}")]
    assert not wanted


def test_the_report_of_an_answer_tells_question_and_answer(ct, tmp_path):
    study = layers.study_of(ct)
    note = {
        "study": study,
        "question": "Where is the liver?",
        "answer": "It is seen.",
        "provenance": {"model": "embedded", "window": (1, 2)},
        "mask": {"segmenter": "embedded", "corrected": True},
        "label_names": {1: "liver"},
    }
    mask = Labels(
        np.zeros(ct.data.shape, np.uint8),
        scale=ct.scale,
        translate=ct.translate,
        metadata={"medreason": note},
    )
    mask.data[3, 5:9, 5:9] = 1
    drawing = drawing_of([mask], for_dicom=True)
    assert (drawing.drawn_by.kind, drawing.drawn_by.name) == ("SEMIAUTOMATIC", "embedded")
    export_mask(tmp_path / "a.json", drawing, "report")
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["answer"]["question"] == "Where is the liver?"
    assert report["answer"]["provenance"]["window"] == [1, 2]
    assert report["labels"][0]["name"] == "liver"
    assert "study" not in report["answer"]
    export_mask(tmp_path / "a.dcm", drawing, "dicom-seg")
    segment = highdicom.seg.segread(tmp_path / "a.dcm").SegmentSequence[0]
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "embedded")


def answered(ct: Layer, *, index: int, model: str = "embedded") -> Labels:
    """The mask layer of an answer on one axial slice, as it comes from the model."""
    volume = drawing_of([Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate)])
    grid = planes.plane_grid(volume.image, "axial", index)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[5:9, 5:12] = True
    found = Grounding(
        "found",
        "It is seen.",
        grid,
        Provenance(model, ""),
        mask=mask,
        box=(5, 5, 12, 9),
        points=((6, 6), (8, 7)),
    )
    label = layers.AnswerLabel("a1", "Where is the liver?", "1: liver", (1.0, 0.0, 0.0))
    transform = {name: getattr(ct, name) for name in ("scale", "translate", "units", "axis_labels")}
    entries = layers.answer_layers(
        found, layers.study_of(ct), label, image_shape=ct.data.shape, frame=None, transform=transform
    )
    return Layer.create(*entries[0])


def drawn_and_told(mask: Labels) -> tuple[str, bool]:
    drawing = drawing_of([mask], for_dicom=True)
    return drawing.drawn_by.kind, drawing.about["mask"]["corrected"]


def test_a_mask_that_was_painted_on_is_not_automatic(ct):
    mask = answered(ct, index=4)
    assert drawn_and_told(mask) == ("AUTOMATIC", False)
    (drawn,) = np.unique(np.argwhere(mask.data)[:, 0])
    first = tuple(np.argwhere(mask.data)[0])
    for place, value in (
        (first, 0),
        (first, 2),
        ((drawn, 0, 0), 1),
        (((drawn + 3) % len(mask.data), 0, 0), 1),
    ):
        before = mask.data[place]
        mask.data_setitem(tuple(np.array([n]) for n in place), value)
        assert drawn_and_told(mask) == ("SEMIAUTOMATIC", True)
        mask.data_setitem(tuple(np.array([n]) for n in place), before)
        assert drawn_and_told(mask) == ("AUTOMATIC", False)


def test_what_holds_for_one_answer_is_not_said_of_several_layers(ct):
    masks = [answered(ct, index=3), answered(ct, index=5), answered(ct, index=7, model="other")]
    both = drawing_of(masks[:2], for_dicom=True)
    assert (both.drawn_by.kind, both.drawn_by.name) == ("AUTOMATIC", "embedded")
    assert not both.about
    assert drawing_of(masks, for_dicom=True).drawn_by is None
    by_hand = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name="spleen")
    by_hand.data[9, 5:9, 5:9] = 1
    assert drawing_of([masks[0], by_hand], for_dicom=True).drawn_by is None


def test_layers_of_two_series_are_no_dicom_object():
    affine = affine_of((0, 1, 2), (1, 1, 1), 8, 20)
    volumes = [
        Volume(np.full((4, 5, 6), n, np.int16), affine, "MR", name, series_uid=f"1.2.{n}")
        for n, name in ((1, "early"), (2, "late"))
    ]
    viewers, masks = zip(*(drawn_anew(volume) for volume in volumes), strict=True)
    for number, mask in enumerate(masks):
        mask.data[number, 0, 0] = 1
    with pytest.raises(ExportError, match="different studies"):
        drawing_of(masks, for_dicom=True)
    assert drawing_of(masks).labels.max() == 2
    assert len(viewers) == 2


def test_strokes_after_the_start_of_an_export_are_not_in_its_file(ct):
    mask = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name="liver")
    foreign = Labels(np.zeros((3, 4, 5), np.uint8))
    for layer in (mask, foreign):
        drawing = drawing_of([layer])
        layer.data[:] = 1
        assert not drawing.labels.any()


def test_a_study_is_found_without_reading_the_labels(ct):
    import dask.array

    def unreadable(*_args: object, **_more: object) -> None:
        raise AssertionError("the labels were read")

    for place in ({"scale": ct.scale, "translate": ct.translate}, {}):
        made = Labels(np.zeros(ct.data.shape, np.uint8), **place)
        attributes = {name: getattr(made, name) for name in _READ}
        labels = dask.array.zeros(ct.data.shape, np.uint8).map_blocks(
            unreadable, dtype=np.uint8, meta=made.data
        )
        image, folder = study_under([as_layer(labels, attributes)], for_dicom=True)
        assert image.shape_kji == ct.data.shape
        assert (folder, bool(image.series_uid)) == ((Path(ct_folder()), True) if place else (None, False))


_READ = ("name", "metadata", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def test_an_image_is_saved_with_its_true_place(tmp_path):
    volume = io.read(brain_file())
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*layers.image_layer(volume, Path(brain_file()))))
    for suffix in (".nii.gz", ".nrrd"):
        path = str(tmp_path / f"brain{suffix}")
        assert viewer.layers.save(path, plugin=PLUGIN) == [path]
        found = io.read(path)
        np.testing.assert_array_equal(found.voxels, volume.voxels)
        np.testing.assert_allclose(found.affine, volume.affine, atol=1e-3)
    half = Image(
        viewer.layers[0].data[:4], scale=viewer.layers[0].scale, translate=viewer.layers[0].translate
    )
    with pytest.raises(ExportError, match="part of its study"):
        image_of(half)


def test_a_structure_set_needs_its_series(ct, tmp_path):
    mask = Labels(np.zeros(ct.data.shape, np.uint8), scale=ct.scale, translate=ct.translate, name="spleen")
    mask.data[3, 5:9, 5:9] = 1
    export_mask(tmp_path / "s.dcm", drawing_of([mask], for_dicom=True), "rtstruct")
    import pydicom

    data = pydicom.dcmread(tmp_path / "s.dcm")
    series = (
        data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    )
    series.SeriesInstanceUID = "1.2.3"
    data.save_as(tmp_path / "s.dcm")
    from napari_medreason.errors import UnreadableImageError

    with pytest.raises(UnreadableImageError, match="open the series"):
        napari_hooks.read_layers(str(tmp_path / "s.dcm"))
