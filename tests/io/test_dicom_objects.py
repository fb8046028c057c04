"""DICOM segmentations and structure sets: what we write, as others and we ourselves read it."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.seg import Segmentation, SegmentDescription
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, generate_uid
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_medreason import io, napari_hooks
from napari_medreason.core.geometry import index_to_lps
from napari_medreason.core.grid_match import on_grid_of
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError, LabelMapError, MedReasonError, UnreadableImageError
from napari_medreason.io import dicom_seg, dicom_seg_write, rtstruct
from napari_medreason.io.base import ReadOptions
from napari_medreason.io.dicom_planes import planes_of
from napari_medreason.io.exports import Drawing, export_file, export_image, export_mask
from napari_medreason.io.mask_on_study import load_mask
from napari_medreason.layers.mask_files import mask_layer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:highdicom")
RELAXED = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OPTIONS = ReadOptions()
STUDY, FRAME = generate_uid(), generate_uid()


def complete(data: Dataset, _k: int = 0) -> None:
    """What every image of a real study has."""
    data.StudyInstanceUID, data.FrameOfReferenceUID = STUDY, FRAME
    data.SeriesInstanceUID = data.get("SeriesInstanceUID") or generate_uid()


@pytest.fixture
def study(series_maker, tmp_path) -> Callable[..., tuple[Volume, Path]]:
    """Write a series of zeros, of a size (k, j, i), and read it."""

    def make(affine: np.ndarray, shape: tuple[int, ...] = (5, 12, 10), **more: object):
        folder = tmp_path / generate_uid()
        more = {"change": complete, **more}
        series_maker(folder, np.zeros(shape, np.int16), affine, **more)
        return io.read(folder), folder

    return make


def random_labels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, shape).astype(np.uint8) * 3
    labels[rng.integers(0, shape[0])] = 0
    return labels


def affine_of(matrix: np.ndarray, oblique: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = oblique[:3, :3] / np.linalg.norm(oblique[:3, :3], axis=0) @ matrix
    affine[:3, :3] *= rng.uniform(0.4, 3, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


def frames_by_hand(path: Path) -> dict[tuple[int, tuple[float, ...]], np.ndarray]:
    """By segment and position: the pixels, as the standard says where they are; no code of ours."""
    data = pydicom.dcmread(path)
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns)
    shared = data.SharedFunctionalGroupsSequence[0]
    frames = {}
    for image, group in zip(pixels, data.PerFrameFunctionalGroupsSequence, strict=True):
        holder = group if "SegmentIdentificationSequence" in group else shared
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        place = group.PlanePositionSequence[0].ImagePositionPatient
        frames[number, tuple(round(float(value), 3) for value in place)] = image
    return frames


@RELAXED
@given(order=st.integers(0, 47), seed=st.integers(0, 2**31), turned=st.booleans())
def test_segmentations_have_the_same_physical_voxels(
    study, tmp_path, all_axis_orders, oblique_affine, order, seed, turned
):
    oblique = oblique_affine if turned else np.eye(4)
    image, folder = study(affine_of(all_axis_orders[order], oblique, seed))
    labels = random_labels(image.shape_kji, seed)
    path = tmp_path / "a.seg.dcm"
    names = {3: "liver", 6: "left kidney"}
    receipt = export_mask(path, Drawing(labels, image, names, folder), "dicom-seg")
    assert receipt.identical, receipt.words

    found = dicom_seg.read(path, OPTIONS)
    np.testing.assert_array_equal(on_grid_of(found, image), labels // 3)
    assert found.label_names == {1: "liver", 2: "left kidney"}
    frames = frames_by_hand(path)
    for k in range(len(labels)):
        place = tuple(round(float(value), 3) for value in index_to_lps((0, 0, k), image.affine))
        for number in (1, 2):
            drawn = labels[k] == 3 * number
            assert ((number, place) in frames) == drawn.any()
            if drawn.any():
                np.testing.assert_array_equal(frames[number, place] > 0, drawn)


def test_highdicom_and_simpleitk_read_the_same_segmentation(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    labels = np.zeros(image.shape_kji, np.uint8)
    labels[1:4, 2:7, 3:8] = 1
    labels[2, 4, 4] = 0
    export_mask(tmp_path / "a.dcm", Drawing(labels, image, {1: "liver"}, folder), "dicom-seg")
    volume = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
    corner = np.array([1, 2, 3])
    ours = labels[tuple(corner)]
    # highdicom's affine maps (slice, row, column)
    places = np.argwhere(volume.array == 1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    expected = index_to_lps(np.argwhere(labels == 1)[:, ::-1], image.affine)
    np.testing.assert_allclose(
        sorted(map(tuple, np.round(places, 3))), sorted(map(tuple, np.round(expected, 3))), atol=2e-3
    )
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.dcm")))
    np.testing.assert_array_equal(other.astype(bool), labels[1:4].astype(bool))
    assert ours == 1


def test_what_a_segmentation_says_of_itself_and_its_source(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    labels = np.zeros(image.shape_kji, np.uint8)
    labels[1, 2:5, 3:6], labels[3, 1, 1], labels[2, 1, 1] = 4, 9, 12
    names = {4: "left kidney", 9: "Tumor", 12: "Läsion \\ ?"}
    receipt = export_mask(tmp_path / "a.dcm", Drawing(labels, image, names, folder), "dicom-seg")
    assert receipt.words == (
        "Wrote a.dcm: 3 segments, 3 slices, read back: identical. "
        "Without a SNOMED code, as “tissue”: Läsion / ?."
    )
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert (data.NumberOfFrames, data.SegmentationType, data.Modality) == (3, "BINARY", "SEG")
    assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == (STUDY, FRAME)
    assert (data.PatientName, data.PatientID) == ("Secret^Person", "SECRET-4711")
    segments = data.SegmentSequence
    assert [item.SegmentLabel for item in segments] == ["left kidney", "Tumor", "Läsion / ?"]
    kinds = [item.SegmentedPropertyTypeCodeSequence[0] for item in segments]
    assert [kind.CodeMeaning for kind in kinds] == ["Kidney", kinds[1].CodeMeaning, "Tissue"]
    assert kinds[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    category = segments[1].SegmentedPropertyCategoryCodeSequence[0]
    assert category.CodeMeaning == "Morphologically Abnormal Structure"
    by_place = {}
    for file in folder.iterdir():
        source = pydicom.dcmread(file)
        by_place[tuple(map(float, source.ImagePositionPatient))] = source.SOPInstanceUID
    for group in data.PerFrameFunctionalGroupsSequence:
        place = tuple(map(float, group.PlanePositionSequence[0].ImagePositionPatient))
        referred = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert referred == by_place[place]
    assert len(data.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(labels)


def test_tilted_and_uneven_series_are_exact(study, tmp_path):
    tilted = np.diag([0.5, 0.5, 4, 1.0])
    tilted[1, 2] = 1.2
    for positions in (None, [0, 1, 2.45, 5.13, 6]):
        image, folder = study(tilted, positions=positions)
        labels = random_labels(image.shape_kji, 3)
        for form in ("dicom-seg", "rtstruct"):
            path = tmp_path / f"{form}.dcm"
            receipt = export_mask(path, Drawing(labels, image, {}, folder), form)
            assert receipt.identical, receipt.words
            again = load_mask(path, image, folder)
            np.testing.assert_array_equal(again.voxels, labels // 3)
    with pytest.raises(UnreadableImageError, match="not evenly spaced"):
        dicom_seg.read(tmp_path / "dicom-seg.dcm", OPTIONS)


def test_positions_rounded_by_the_scanner_are_no_other_grid(study, tmp_path):
    def rounded(data: Dataset, k: int) -> None:
        complete(data)
        data.ImagePositionPatient = [f"{float(value):.1f}" for value in data.ImagePositionPatient]

    affine = np.diag([0.5, 0.5, 1.25, 1.0])
    affine[:3, 3] = [-100, -80, 30]
    image, folder = study(affine, change=rounded)
    # even for the reader, though some slices lie 0.05 mm beside the grid
    assert (image.slice_positions, image.warnings) == (None, ())
    labels = random_labels(image.shape_kji, 3)
    for form in ("dicom-seg", "rtstruct"):
        receipt = export_mask(tmp_path / f"{form}.dcm", Drawing(labels, image, {}, folder), form)
        assert receipt.identical, receipt.words
        np.testing.assert_array_equal(load_mask(tmp_path / f"{form}.dcm", image, folder).voxels, labels // 3)
    moved = affine.copy()
    moved[2, 3] += 0.1
    with pytest.raises(ExportError, match="not on the grid"):
        export_mask(
            tmp_path / "m.dcm", Drawing(labels, replace(image, affine=moved), {}, folder), "dicom-seg"
        )


def group(**groups: dict[str, object]) -> Dataset:
    holder = Dataset()
    for keyword, attributes in groups.items():
        item = Dataset()
        for name, value in attributes.items():
            setattr(item, name, value)
        setattr(holder, keyword, Sequence([item]))
    return holder


@pytest.mark.parametrize("shared_measures", [True, False])
def test_enhanced_images_are_referred_to_frame_by_frame(
    tmp_path, dicom_file, set_pixels, oblique_affine, shared_measures
):
    shape = (4, 6, 5)
    spacing = np.linalg.norm(oblique_affine[:3, :3], axis=0)
    unit = (oblique_affine[:3, :3] / spacing).T.reshape(-1)[:6]
    measures = {"PixelSpacing": [float(spacing[1]), float(spacing[0])], "SliceThickness": 2.5}
    orientation = {"ImageOrientationPatient": [f"{value:.10f}"[:16] for value in unit]}
    both = {"PlaneOrientationSequence": orientation, "PixelMeasuresSequence": measures}
    stored = [2, 0, 3, 1]
    own = []
    for k in stored:
        at = [f"{value:.8f}"[:16] for value in index_to_lps((0, 0, k), oblique_affine)]
        position = {"PlanePositionSequence": {"ImagePositionPatient": at}}
        own.append(group(**position, **({} if shared_measures else both)))
    data = dicom_file(tmp_path / "e.dcm", EnhancedMRImageStorage)
    complete(data)
    data.Modality, data.SeriesNumber = "MR", 4
    set_pixels(data, np.zeros(shape, np.int16))
    data.NumberOfFrames = len(stored)
    data.SharedFunctionalGroupsSequence = Sequence([group(**(both if shared_measures else {}))])
    data.PerFrameFunctionalGroupsSequence = Sequence(own)
    data.save_as(tmp_path / "e.dcm")
    image = io.read(tmp_path / "e.dcm")
    labels = random_labels(shape, 1)
    path = tmp_path / "a.seg.dcm"
    receipt = export_mask(path, Drawing(labels, image, {}, tmp_path / "e.dcm"), "dicom-seg")
    assert receipt.identical, receipt.words
    np.testing.assert_array_equal(on_grid_of(dicom_seg.read(path, OPTIONS), image), labels // 3)
    for frame in dicom_seg.open_seg(path).frames:
        k = planes_of(image).slice_at(frame.position_lps)
        assert frame.source == (data.SOPInstanceUID, stored.index(k) + 1)
    receipt = export_mask(tmp_path / "r.dcm", Drawing(labels, image, {}, tmp_path / "e.dcm"), "rtstruct")
    assert receipt.identical, receipt.words


def made_by_highdicom(folder: Path, pixels: np.ndarray, path: Path, kind: str) -> None:
    files = sorted(folder.iterdir())
    sources = [pydicom.dcmread(file) for file in files]
    sources.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    for one in sources:
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = one.StudyID = None
        one.StudyDate = one.StudyTime = None
    count = pixels.shape[3] if pixels.ndim == 4 else int(pixels.max())
    descriptions = [
        SegmentDescription(
            number, f"Segment {number}", codes.SCT.AnatomicalStructure, codes.SCT.Liver, "MANUAL"
        )
        for number in range(1, count + 1)
    ]
    made = Segmentation(
        sources, pixels, kind, descriptions, generate_uid(), 1, generate_uid(), 1,
        manufacturer="m", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    made.save_as(path)


def test_segmentations_of_others_overlapping_fractional_and_label_maps(study, tmp_path):
    image, folder = study(np.diag([0.7, 0.7, 3, 1.0]))
    path = tmp_path / "s.dcm"
    overlap = np.zeros((*image.shape_kji, 2), np.uint8)
    overlap[1, 2:6, 2:6, 0] = 1
    overlap[1, 4:8, 2:6, 1] = 1
    made_by_highdicom(folder, overlap, path, "BINARY")
    found = dicom_seg.read(path, OPTIONS)
    assert "overlap in 8 voxels" in found.warnings[0]
    assert (found.voxels == 2).sum() == 16
    # a bare "Segment 1" gives way to its code
    assert found.label_names == {1: "Liver", 2: "Liver"}
    parts = {segment.number: mask for segment, mask, _ in dicom_seg.segments(path)}
    assert (parts[1].sum(), parts[2].sum()) == (16, 16)
    on_study = load_mask(path, image, folder)
    assert on_study.warnings == (*image.warnings, *found.warnings)
    (shown,) = napari_hooks.read_layers(str(folder))
    assert mask_layer(path)[1] == found.warnings
    del shown

    share = np.zeros((*image.shape_kji, 1), np.float32)
    share[2, 3, 3:6, 0] = [0.2, 0.5, 0.9]
    made_by_highdicom(folder, share, path, "FRACTIONAL")
    np.testing.assert_array_equal(on_grid_of(dicom_seg.read(path, OPTIONS), image)[2, 3, 3:6], [0, 1, 1])

    labels = random_labels(image.shape_kji, 2) // 3
    made_by_highdicom(folder, labels, path, "LABELMAP")
    np.testing.assert_array_equal(on_grid_of(dicom_seg.read(path, OPTIONS), image), labels)


def test_labels_that_begin_with_segment_keep_their_names(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    names = {3: "segment 5", 6: "segmental artery"}
    path = tmp_path / "a.dcm"
    receipt = export_mask(path, Drawing(random_labels(image.shape_kji, 0), image, names, folder), "dicom-seg")
    assert receipt.identical, receipt.words
    assert [segment.name for segment in dicom_seg.open_seg(path).segments] == list(names.values())


def test_the_thickness_of_slices_is_not_their_distance(study, tmp_path):
    def thin(data: Dataset, k: int) -> None:
        complete(data)
        data.SliceThickness = "1"

    image, folder = study(np.diag([0.7, 0.7, 10, 1.0]), change=thin)
    path = tmp_path / "a.dcm"
    export_mask(path, Drawing(np.ones(image.shape_kji, np.uint8), image, {}, folder), "dicom-seg")
    data = pydicom.dcmread(path)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 1
    measures.pop("SpacingBetweenSlices", None)
    data.save_as(path)
    found = dicom_seg.read(path, OPTIONS)
    assert found.shape_kji == image.shape_kji
    assert found.spacing_kji[0] == pytest.approx(10)


def test_warnings_of_other_threads_are_heard_while_a_segmentation_is_made(
    study, tmp_path, monkeypatch, oblique_affine
):
    image, folder = study(oblique_affine)
    alike = dicom_seg_write._alike

    def meanwhile(source: object) -> list[Dataset]:
        with ThreadPoolExecutor(1) as other:
            other.submit(warnings.warn, "read elsewhere", UserWarning, 1).result()
        return alike(source)

    monkeypatch.setattr(dicom_seg_write, "_alike", meanwhile)
    drawing = Drawing(random_labels(image.shape_kji, 0), image, {}, folder)
    with pytest.warns(UserWarning, match="read elsewhere"):
        export_mask(tmp_path / "a.dcm", drawing, "dicom-seg")


@pytest.mark.parametrize("positions", [None, [0, 1, 2.45, 5.13, 6]])
def test_files_that_can_not_hold_uneven_slices_are_told(study, tmp_path, positions):
    image, folder = study(np.diag([0.5, 0.5, 4, 1.0]), positions=positions)
    drawing = Drawing(random_labels(image.shape_kji, 3), image, {}, folder)
    receipts = [export_image(tmp_path / "i.nii.gz", image)] + [
        export_mask(tmp_path / name, drawing, form)
        for form, name in (("nifti", "a.nii.gz"), ("nrrd", "a.seg.nrrd"), ("report", "a.json"))
    ]
    uneven = positions is not None
    assert ["approximate" in receipt.words for receipt in receipts] == [uneven] * 4
    assert ("approximate" in (tmp_path / "a.json").read_text("utf-8")) == uneven
    assert all(receipt.identical for receipt in receipts)
    exact = export_mask(tmp_path / "a.dcm", drawing, "dicom-seg")
    assert "approximate" not in exact.words


def test_series_without_what_dicom_asks_for(study, tmp_path, oblique_affine):
    def without_frame(data: Dataset, k: int) -> None:
        data.StudyInstanceUID = STUDY

    image, folder = study(oblique_affine, change=without_frame)
    labels = random_labels(image.shape_kji, 0)
    frames = set()
    for form in ("dicom-seg", "rtstruct"):
        receipt = export_mask(tmp_path / f"{form}.dcm", Drawing(labels, image, {}, folder), form)
        assert "no Frame of Reference" in receipt.words
        frames.add(pydicom.dcmread(tmp_path / f"{form}.dcm").FrameOfReferenceUID)
    assert len(frames) == 1

    image, folder = study(oblique_affine, change=lambda data, k: None)
    with pytest.raises(ExportError, match="no StudyInstanceUID"):
        export_mask(tmp_path / "x.dcm", Drawing(labels, image, {}, folder), "dicom-seg")
    assert not (tmp_path / "x.dcm").exists()


def test_no_patient_value_in_any_message(study, tmp_path, oblique_affine, caplog):
    image, folder = study(oblique_affine)
    labels = random_labels(image.shape_kji, 0)
    words = []
    for form, place in (("dicom-seg", tmp_path / "gone"), ("rtstruct", None), ("dicom-seg", folder)):
        try:
            words.append(export_mask(tmp_path / "a.dcm", Drawing(labels, image, {}, place), form).words)
        except MedReasonError as error:
            words.append(str(error))
    text = " ".join(words) + caplog.text
    assert not re.search("secret|4711", text, re.IGNORECASE)
    assert str(tmp_path) not in text


def test_a_failed_proof_is_told_and_nothing_is_deleted(study, tmp_path, monkeypatch, oblique_affine):
    image, folder = study(oblique_affine)
    labels = random_labels(image.shape_kji, 0)
    in_order = dicom_seg_write._in_file_order

    def shifted(numbers: np.ndarray, source: object) -> np.ndarray:
        return np.roll(in_order(numbers, source), 1, axis=2)

    monkeypatch.setattr(dicom_seg_write, "_in_file_order", shifted)
    receipt = export_mask(tmp_path / "a.dcm", Drawing(labels, image, {3: "liver"}, folder), "dicom-seg")
    assert not receipt.identical
    assert "other voxels or name of liver" in receipt.words
    assert (tmp_path / "a.dcm").exists()

    outlines = rtstruct.outlines
    monkeypatch.setattr(rtstruct, "outlines", lambda mask: [points + 1 for points in outlines(mask)])
    receipt = export_mask(tmp_path / "r.dcm", Drawing(labels, image, {3: "liver"}, folder), "rtstruct")
    assert "other contours or name of liver" in receipt.words


@pytest.mark.parametrize("reader", [dicom_seg.open_seg, lambda path: list(rtstruct.referenced_series(path))])
def test_other_files_are_refused_in_one_line(tmp_path, reader):
    path = tmp_path / "a.dcm"
    for content in (b"", b"\0" * 128 + b"DICM" + b"\7" * 100, b"text"):
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError) as error:
            reader(path)
        assert "\n" not in str(error.value)


def test_a_cut_segmentation_is_refused(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    path = tmp_path / "a.seg.dcm"
    export_mask(path, Drawing(random_labels(image.shape_kji, 0), image, {}, folder), "dicom-seg")
    whole = path.read_bytes()
    for size in (200, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:size])
        with pytest.raises(UnreadableImageError):
            dicom_seg.read(path, OPTIONS)


# -- structure sets -----------------------------------------------------------------------------------


def by_polygons(path: Path, image: Volume, folder: Path) -> dict[str, np.ndarray]:
    """By name of the region: what scikit-image fills, slices by the images that the contours refer to."""
    place_of = {}
    for file in folder.iterdir():
        source = pydicom.dcmread(file)
        place_of[source.SOPInstanceUID] = np.array(source.ImagePositionPatient, np.float64)
    data = pydicom.dcmread(path)
    names = {item.ROINumber: item.ROIName for item in data.StructureSetROISequence}
    found = {}
    inverse = np.linalg.inv(image.affine)
    for item in data.ROIContourSequence:
        mask = np.zeros(image.shape_kji, np.bool_)
        for contour in item.ContourSequence:
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            k = round(float((inverse @ [*place_of[uid], 1])[2]))
            points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
            ijk = points @ inverse[:3, :3].T + inverse[:3, 3]
            np.testing.assert_allclose(ijk[:, 2], k, atol=1e-3)
            mask[k] ^= polygon2mask(image.shape_kji[1:], ijk[:, 1::-1])
        found[names[item.ReferencedROINumber]] = mask
    return found


@RELAXED
@given(order=st.integers(0, 47), seed=st.integers(0, 2**31))
def test_structure_sets_are_exact_for_us_and_for_polygon_readers(
    study, tmp_path, all_axis_orders, oblique_affine, order, seed
):
    image, folder = study(affine_of(all_axis_orders[order], oblique_affine, seed), (3, 40, 48))
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=image.shape_kji), (0, 3, 3))
    labels = np.where(smooth > 0.03, 1, np.where(smooth < -0.05, 2, 0)).astype(np.uint8)
    labels[1, 20:23, 20:23] = rng.integers(0, 3, (3, 3))
    path = tmp_path / "a.rtstruct.dcm"
    names = {1: "liver", 2: "spleen"}
    receipt = export_mask(path, Drawing(labels, image, names, folder), "rtstruct")
    assert receipt.identical, receipt.words
    np.testing.assert_array_equal(load_mask(path, image, folder).voxels, labels)
    others = by_polygons(path, image, folder)
    for value, name in names.items():
        drawn = labels == value
        dice = 2 * (others[name] & drawn).sum() / (others[name].sum() + drawn.sum())
        assert drawn.sum() > 200
        assert dice >= 0.98


def test_what_a_structure_set_says(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    labels = random_labels(image.shape_kji, 5)
    export_mask(tmp_path / "a.dcm", Drawing(labels, image, {3: "left kidney"}, folder), "rtstruct")
    data = pydicom.dcmread(tmp_path / "a.dcm")
    assert (data.Modality, data.ApprovalStatus, data.StudyInstanceUID) == ("RTSTRUCT", "UNAPPROVED", STUDY)
    assert [item.ROIName for item in data.StructureSetROISequence] == ["left kidney", "label 6"]
    code = data.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert code.CodeMeaning == "Kidney"
    series = (
        data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    )
    assert series.SeriesInstanceUID == image.series_uid
    assert len(series.ContourImageSequence) == len(labels)
    for item in data.ROIContourSequence:
        for contour in item.ContourSequence:
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(contour.ContourData) / 3
            assert max(len(str(value)) for value in contour.ContourData) <= 16


def test_a_long_contour_survives(study, tmp_path):
    image, folder = study(np.diag([0.5, 0.5, 2, 1.0]), (1, 90, 90))
    labels = np.indices((90, 90)).sum(axis=0)[np.newaxis] % 2 == 0
    labels[0, ::2] = True
    receipt = export_mask(tmp_path / "a.dcm", Drawing(labels.astype(np.uint8), image, {}, folder), "rtstruct")
    assert receipt.identical
    data = pydicom.dcmread(tmp_path / "a.dcm")
    longest = max(len(str(one.ContourData)) for one in data.ROIContourSequence[0].ContourSequence)
    assert longest > 65_536


def test_contours_of_another_study_are_refused(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    labels = random_labels(image.shape_kji, 5)
    export_mask(tmp_path / "a.dcm", Drawing(labels, image, {}, folder), "rtstruct")
    coronal = np.array([[1, 0, 0, 0], [0, 0, 2, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    other, other_folder = study(coronal)
    with pytest.raises(LabelMapError, match="no slice of the image"):
        load_mask(tmp_path / "a.dcm", other, other_folder)


def with_region_of(path: Path, other: Path) -> None:
    """Append the only region of another structure set."""
    data, more = pydicom.dcmread(path), pydicom.dcmread(other)
    more.StructureSetROISequence[0].ROINumber = more.ROIContourSequence[0].ReferencedROINumber = 2
    data.StructureSetROISequence.append(more.StructureSetROISequence[0])
    data.ROIContourSequence.append(more.ROIContourSequence[0])
    data.save_as(path)


def test_of_overlapping_regions_the_smaller_one_is_kept_and_told(study, tmp_path, oblique_affine):
    image, folder = study(oblique_affine)
    body, liver = np.zeros(image.shape_kji, np.uint8), np.zeros(image.shape_kji, np.uint8)
    body[1:4, 1:11, 1:9] = 1
    liver[2, 3:8, 2:6] = 1
    for first, second in ((("body", body), ("liver", liver)), (("liver", liver), ("body", body))):
        for name, labels in (first, second):
            export_mask(tmp_path / f"{name}.dcm", Drawing(labels, image, {1: name}, folder), "rtstruct")
        with_region_of(tmp_path / f"{first[0]}.dcm", tmp_path / f"{second[0]}.dcm")
        found = load_mask(tmp_path / f"{first[0]}.dcm", image, folder)
        number = {name: value for value, name in found.label_names.items()}
        np.testing.assert_array_equal(found.voxels == number["liver"], liver > 0)
        np.testing.assert_array_equal(found.voxels == number["body"], body > liver)
        assert "overlap in 20 voxels" in found.warnings[-1]
        receipt = export_file(
            tmp_path / f"{first[0]}.dcm", tmp_path / "o.nii.gz", "nifti", study=image, place=folder
        )
        assert "overlap in 20 voxels" in receipt.words


def test_masks_are_read_on_a_study_whose_files_have_gone(study, tmp_path):
    tilted = np.diag([0.5, 0.5, 4, 1.0])
    tilted[1, 2] = 1.2
    for positions, forms in ((None, ("dicom-seg",)), ([0, 1, 2.45, 5.13, 6], ("dicom-seg", "rtstruct"))):
        image, folder = study(tilted, positions=positions)
        labels = random_labels(image.shape_kji, 3)
        for form in forms:
            export_mask(tmp_path / f"{form}.dcm", Drawing(labels, image, {}, folder), form)
        shutil.rmtree(folder)
        for form in forms:
            np.testing.assert_array_equal(
                load_mask(tmp_path / f"{form}.dcm", image, folder).voxels, labels // 3
            )


def test_the_real_classic_mr_sop_class_is_referred_to(study, tmp_path, oblique_affine):
    def change(data: Dataset, k: int) -> None:
        complete(data)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage

    image, folder = study(oblique_affine, change=change, modality="MR")
    labels = random_labels(image.shape_kji, 5)
    export_mask(tmp_path / "a.dcm", Drawing(labels, image, {}, folder), "dicom-seg")
    group = pydicom.dcmread(tmp_path / "a.dcm").PerFrameFunctionalGroupsSequence[0]
    source = group.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPClassUID == MRImageStorage
