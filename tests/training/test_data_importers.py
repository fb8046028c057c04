"""Folder layouts that people have, to cases and records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

import napari_medreason_sample_data
from napari_medreason import io
from napari_medreason.errors import DataSetError
from napari_medreason.io.pseudonyms import KEY_VARIABLE
from napari_medreason.io.records import read_records
from napari_medreason_training.data.build import build
from napari_medreason_training.data.cases import load
from napari_medreason_training.data.config import SourceConfig, read_build_config
from napari_medreason_training.data.importers import importers, scan
from napari_medreason_training.data.importers.naming import label_table

from .data_cases import image, label_map, save


def source(layout: str, **changes: object) -> SourceConfig:
    return SourceConfig(**{"name": "set", "layout": layout, "root": "set", **changes})


def names_and_counts(case) -> dict[str, int]:
    """Label name to number of voxels, as a user would count them."""
    found = {}
    for labels in load(case).labels:
        for value, name in labels.names.items():
            found[name] = int((labels.voxels == value).sum())
    return found


EXPECTED = {"liver": int((label_map() == 1).sum()), "spleen": int((label_map() == 2).sum())}


def test_the_five_layouts_are_found():
    assert sorted(importers()) == ["decathlon", "dicom-seg", "nnunet", "pairs", "sa-med2d"]


def nnunet(root: Path, labels: dict) -> None:
    save(root / "imagesTr" / "case_1_0000.nii.gz", image(label_map()))
    save(root / "imagesTr" / "case_1_0001.nii.gz", image(label_map(), 1))
    save(root / "labelsTr" / "case_1.nii.gz", label_map())
    description = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    "labels", [{"background": 0, "liver": 1, "spleen": 2}, {"0": "background", "1": "liver", "2": "spleen"}]
)
def test_nnunet(tmp_path, labels):
    nnunet(tmp_path / "set", labels)
    (case,) = scan(source("nnunet"), tmp_path)
    assert (case.image, case.modality, case.id) == ("imagesTr/case_1_0000.nii.gz", "CT", "labelsTr/case_1")
    assert names_and_counts(case) == EXPECTED


def test_nnunet_regions_of_several_values_become_masks_of_their_own(tmp_path):
    nnunet(tmp_path / "set", {"background": 0, "both": [1, 2], "spleen": [2]})
    (case,) = scan(source("nnunet"), tmp_path)
    assert names_and_counts(case) == {"both": sum(EXPECTED.values()), "spleen": EXPECTED["spleen"]}


def test_what_nnunet_ignores_is_no_structure(tmp_path):
    nnunet(tmp_path / "set", {"background": 0, "liver": 1, "ignore": 2})
    (case,) = scan(source("nnunet"), tmp_path)
    assert names_and_counts(case) == {"liver": EXPECTED["liver"]}


def decathlon(root: Path, image_path: str) -> None:
    save(root / "imagesTr" / "a.nii.gz", image(label_map()))
    save(root / "labelsTr" / "a.nii.gz", label_map())
    description = {
        "modality": {"0": "MRI T1"},
        "labels": {"0": "background", "1": "liver", "2": "spleen"},
        "training": [{"image": image_path, "label": "./labelsTr/a.nii.gz"}],
        "test": ["./imagesTs/b.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(description))


def test_decathlon(tmp_path):
    decathlon(tmp_path / "set", "./imagesTr/a.nii.gz")
    (case,) = scan(source("decathlon"), tmp_path)
    assert (case.image, case.modality) == ("imagesTr/a.nii.gz", "MR")
    assert names_and_counts(case) == EXPECTED


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/passwd", "C:\\secret.nii.gz"])
def test_a_list_can_t_name_files_outside_its_folder(tmp_path, path):
    decathlon(tmp_path / "set", path)
    with pytest.raises(DataSetError, match="paths inside the folder are accepted"):
        scan(source("decathlon"), tmp_path)


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.mark.parametrize("with_index", [True, False])
def test_sa_med2d(tmp_path, with_index):
    root = tmp_path / "set"
    name = "ct_00--AbdomenCT1K--Case_00011--x_0040"
    liver, spleen = np.zeros((20, 30)), np.zeros((20, 30))
    liver[3:9, 2:12] = 255
    spleen[5:9, 20:25] = 255
    png(root / "images" / f"{name}.png", np.full((20, 30), 80))
    masks = [f"masks/{name}--0001_000.png", f"masks/{name}--0003_000.png"]
    png(root / masks[0], liver)
    png(root / masks[1], spleen)
    classes = {"AbdomenCT1K": {"liver": "0001", "spleen": "0003"}, "Other": {"lung": "0001"}}
    (root / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(classes))
    if with_index:
        (root / "SAMed2D_v1.json").write_text(json.dumps({f"images/{name}.png": masks}))
    (case,) = scan(source("sa-med2d"), tmp_path)
    assert (case.patient, case.modality) == ("AbdomenCT1K--Case_00011", "CT")
    assert names_and_counts(case) == {"liver": 60, "spleen": 20}


def test_pairs_of_pictures_in_one_folder_with_0_and_255(tmp_path):
    mask = np.zeros((10, 12))
    mask[2:5, 3:7] = 255
    png(tmp_path / "set" / "a.png", np.full((10, 12), 50))
    png(tmp_path / "set" / "a_mask.png", mask)
    config = source("pairs", images=".", mask_ending="_mask", labels={"1": "left ventricle"}, modality="MR")
    (case,) = scan(config, tmp_path)
    assert case.image == "a.png"
    assert names_and_counts(case) == {"left ventricle": 12}


def test_label_maps_alone_with_a_table_per_case(tmp_path):
    save(tmp_path / "set" / "head_1.nii.gz", label_map())
    (tmp_path / "set" / "head_1.json").write_text('[{"id": 1, "name": "liver"}, {"id": 2, "name": "spleen"}]')
    (case,) = scan(source("pairs", labels_file="{case}.json", patient=r"^(head_\d)"), tmp_path)
    assert case.image == ""
    assert names_and_counts(case) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"1": "liver", "2": "spleen", "0": "background"}'),
        ("a.json", '{"liver": 1, "spleen": 2}'),
        ("a.json", '{"total": {"1": "liver", "2": "spleen"}}'),
        ("a.txt", "labels structures\n0 background\n1   liver\n2\tspleen\n"),
        ("a.csv", 'id,name\n1,"liver"\n2,spleen\n'),
    ],
)
def test_tables_of_labels(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert label_table(tmp_path / name, "total") == {1: "liver", 2: "spleen"}


def height(file: Path) -> float:
    return float(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient[2])


@pytest.fixture
def dicom_with_segmentation(tmp_path):
    """The sample CT's middle slices with a segmentation: overlapping segments on a part, in reverse order."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    folder = tmp_path / "set" / "patient" / "ct"
    folder.mkdir(parents=True)
    files = sorted(Path(napari_medreason_sample_data.ct_folder()).glob("*.dcm"), key=height)[20:26]
    for file in files:
        shutil.copy(file, folder)
    slices = [pydicom.dcmread(file) for file in files][::-1]
    rows, columns = slices[0].Rows, slices[0].Columns
    masks = np.zeros((3, rows, columns, 2), np.uint8)
    masks[:, 10:20, 30:50, 0] = 1
    masks[1, 15:30, 40:60, 1] = 1
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=code,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label, code in ((1, "Liver", codes.SCT.Liver), (2, "Segment_2", codes.SCT.Spleen))
    ]
    segmentation = hd.seg.Segmentation(
        source_images=slices[:3],
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="toy",
        manufacturer_model_name="toy",
        software_versions="1",
        device_serial_number="1",
    )
    segmentation.save_as(tmp_path / "set" / "patient" / "organs.dcm")
    return tmp_path, slices[:3], masks


def test_dicom_series_with_a_segmentation_object(dicom_with_segmentation):
    base, slices, masks = dicom_with_segmentation
    (case,) = scan(source("dicom-seg"), base)
    loaded = load(case)
    assert [labels.names[1] for labels in loaded.labels] == ["Liver", "Spleen"]
    volume = io.read(base / "set" / "patient" / "ct")
    for number, labels in enumerate(loaded.labels):
        assert labels.voxels.sum() == masks[..., number].sum()
        for data, mask in zip(slices, masks[..., number], strict=True):
            position = np.array([*map(float, data.ImagePositionPatient), 1.0])
            k = round((np.linalg.inv(volume.affine) @ position)[2])
            np.testing.assert_array_equal(labels.voxels[k], mask)


def test_the_patient_number_of_a_header_is_in_no_file(dicom_with_segmentation, monkeypatch):
    base, slices, _ = dicom_with_segmentation
    monkeypatch.setenv(KEY_VARIABLE, str(base / "key" / "pseudonym.key"))
    text = 'out = "out"\n[[sources]]\nname = "scans"\nlayout = "dicom-seg"\nroot = "set"\n'
    (base / "build.toml").write_text(text)
    result = build("medpos", read_build_config(base / "build.toml"), base, lambda _progress: None)
    records = list(read_records(result.folder / "records.jsonl"))
    assert {record.structure for record in records} == {"liver", "spleen"}
    assert (base / "key" / "pseudonym.key").stat().st_size == 64
    for file in result.folder.glob("*.*"):
        assert str(slices[0].PatientID) not in file.read_text(encoding="utf-8")
        assert slices[0].StudyInstanceUID not in file.read_text(encoding="utf-8")


def test_a_segmentation_on_another_grid_is_counted(dicom_with_segmentation, monkeypatch):
    base, _, _ = dicom_with_segmentation
    for file in (base / "set" / "patient" / "ct").iterdir():
        data = pydicom.dcmread(file)
        data.ImagePositionPatient = [
            data.ImagePositionPatient[0] + 0.4 * float(data.PixelSpacing[1]),
            *data.ImagePositionPatient[1:],
        ]
        data.save_as(file)
    monkeypatch.setenv(KEY_VARIABLE, str(base / "pseudonym.key"))
    (base / "build.toml").write_text(
        'out = "out"\n[[sources]]\nname = "s"\nlayout = "dicom-seg"\nroot = "set"\n'
    )
    result = build("medpos", read_build_config(base / "build.toml"), base, lambda _progress: None)
    assert result.dropped == {"case: segmentation on another grid": 1}


@pytest.mark.parametrize("layout", ["nnunet", "decathlon", "sa-med2d"])
@pytest.mark.parametrize("content", [None, "{", "[]", '{"labels": 3}'])
def test_a_missing_or_broken_description_is_told_in_one_line(tmp_path, layout, content):
    (tmp_path / "set").mkdir()
    if content is not None:
        (tmp_path / "set" / "dataset.json").write_text(content)
        (tmp_path / "set" / "SAMed2D_v1_class_mapping_id.json").write_text(content)
    with pytest.raises(DataSetError) as caught:
        scan(source(layout), tmp_path)
    assert "\n" not in str(caught.value)
