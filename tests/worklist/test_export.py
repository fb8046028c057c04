"""Accepted studies as a data set that the builder's importer reads."""

import json

import numpy as np
import pytest

from napari_medreason.errors import CancelledError, WorkListError
from napari_medreason.worklist import export_accepted
from napari_medreason.worklist.export import PATIENT_PATTERN
from napari_medreason_training.data.cases import load
from napari_medreason_training.data.config import SourceConfig
from napari_medreason_training.data.importers import scan


def accept(work_list, number, labels, reader="Anna"):
    item_id = work_list.items[number].id
    work_list.begin(item_id, reader=reader)
    work_list.save_labels(item_id, labels, reader=reader, like=work_list.read_study(item_id))
    return work_list.accept(item_id, reader=reader)


def test_the_builder_reads_images_labels_names_and_patients(work_list, drawn, tmp_path):
    one, two = accept(work_list, 0, drawn(4)), accept(work_list, 2, drawn(7))
    work_list.begin_second(two.id, reader="Ben")
    image = work_list.read_study(two.id)
    work_list.save_labels(two.id, drawn(8), reader="Ben", like=image)
    two = work_list.finish_second(two.id, reader="Ben", verdict="replaced")
    assert len(export_accepted(work_list, tmp_path / "set")) == 2
    source = SourceConfig("mine", "nnunet", "set", patient=PATIENT_PATTERN)
    cases = {case.patient: load(case) for case in scan(source, tmp_path)}
    assert set(cases) == {one.patient, two.patient}
    labels = cases[two.patient].labels[0]
    assert np.array_equal(labels.voxels, drawn(8))
    assert labels.names == {1: "liver", 2: "spleen"}
    assert np.array_equal(cases[two.patient].volume.voxels, image.voxels)
    assert np.allclose(cases[two.patient].volume.affine, image.affine, atol=1e-4)
    assert np.array_equal(cases[one.patient].labels[0].voxels, drawn(4))
    assert str(tmp_path) not in (tmp_path / "set" / "dataset.json").read_text()


def test_only_what_is_read_twice_if_asked(work_list, drawn, tmp_path):
    accept(work_list, 0, drawn())
    with pytest.raises(WorkListError, match="read twice"):
        export_accepted(work_list, tmp_path / "set", read_twice=True)
    assert not (tmp_path / "set").exists()
    two = accept(work_list, 1, drawn())
    work_list.begin_second(two.id, reader="Ben")
    work_list.finish_second(two.id, reader="Ben", verdict="agreed")
    assert export_accepted(work_list, tmp_path / "set", read_twice=True) == (f"{two.patient}_{two.id}",)


def test_values_without_a_name_are_listed_too(work_list, drawn, tmp_path):
    accept(work_list, 0, drawn() * 4)
    export_accepted(work_list, tmp_path / "set")
    description = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert description["channel_names"] == {"0": work_list.read_study(work_list.items[0].id).modality}
    assert description["labels"] == {"background": 0, "liver": 1, "spleen": 2, "label 4": 4, "label 8": 8}


def test_a_folder_in_use_is_left_alone_and_cancelling_leaves_no_description(work_list, drawn, tmp_path):
    accept(work_list, 0, drawn())
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine.txt").write_text("x")
    with pytest.raises(WorkListError, match="in use"):
        export_accepted(work_list, tmp_path / "used")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["mine.txt"]
    with pytest.raises(CancelledError):
        export_accepted(work_list, tmp_path / "set", cancelled=lambda: True)
    assert not (tmp_path / "set" / "dataset.json").exists()
