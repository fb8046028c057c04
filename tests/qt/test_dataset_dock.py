"""What a user of the data-set dock sees: a real build, its review, layers as a source, consent, faults."""

import errno
import os

import nibabel
import numpy as np
import pytest

from napari_medreason import io
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.io.records import check_file, read_records

pytestmark = pytest.mark.window
PATIENCE = 120_000
NAME = "MUSTERMANN^ERIKA"


@pytest.fixture
def dock(volume_maker, qtbot, notices, tmp_path):
    """The dock on napari's viewer model, with a study and a painted, named mask on it."""
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_medreason import layers
    from napari_medreason._qt.dataset_widget import DataSetDock

    viewer = ViewerModel()
    image = Layer.create(*layers.image_layer(volume_maker()))
    image.name = NAME
    viewer.add_layer(image)
    labels = np.zeros(image.data.shape, np.uint8)
    labels[8:12, 4:12, 6:16] = 3
    mask = viewer.add_labels(labels, name=NAME, scale=image.scale, translate=image.translate)
    mask.units, mask.axis_labels = image.units, image.axis_labels
    layers.keep_names(mask, {3: "liver"})
    widget = DataSetDock(viewer, tmp_path / "own" / "templates.json")
    qtbot.addWidget(widget)
    widget.resize(480, 860)
    widget.show()
    yield widget
    widget.close_all()


@pytest.fixture
def folder(tmp_path):
    """Two patients with images and masks of a liver (1) and an unnamed label (2)."""
    affine = np.diag([-1.5, -1.5, 4.0, 1.0])
    for number in range(2):
        labels = np.zeros((24, 20, 6), np.uint8)
        labels[3 + number : 10, 4:12, 1:5] = 1
        labels[15:20, 6:12, 1:3] = 2
        for kind, data in (("images", labels.astype(np.int16) * 40), ("labels", labels)):
            path = tmp_path / "toy" / kind / f"p{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return tmp_path / "toy"


def add_folder(dock, qtbot, folder, names="1 liver"):
    dock.view.sources.add_folder(folder)
    edit = dock.view.sources.edits["labels"]
    edit.clear()
    qtbot.keyClicks(edit, names)


def press_build(dock, qtbot, out):
    dock.view.out.setText(str(out))
    dock.view.start_button.click()


def wait_until_built(dock, qtbot):
    qtbot.waitUntil(lambda: dock.view.start_button.text() == "Build", timeout=PATIENCE)
    qtbot.waitUntil(lambda: dock.reviewing.queue is not None, timeout=PATIENCE)


def result(dock):
    tree = dock.view.result
    groups = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount())]
    counts = {group.text(0): group.text(1) for group in groups}
    for group in groups:
        counts |= {group.child(row).text(0): group.child(row).text(1) for row in range(group.childCount())}
    return counts


def test_cancel_build_again_review_and_build_once_more(dock, qtbot, folder, tmp_path):
    add_folder(dock, qtbot, folder)
    out = tmp_path / "out"
    press_build(dock, qtbot, out)
    qtbot.waitUntil(lambda: dock.process.pid > 0, timeout=PATIENCE)
    dock.view.start_button.click()
    qtbot.waitUntil(lambda: dock.view.status.text().startswith("Cancelled"), timeout=PATIENCE)
    assert not (out / "records.jsonl").exists()
    press_build(dock, qtbot, out)
    wait_until_built(dock, qtbot)
    counts = result(dock)
    records = list(read_records(out / "records.jsonl"))
    assert counts["Records"] == str(len(records)) == "8"
    assert counts["region: label without a name"] == "4"
    assert (out / "card.md").is_file()
    review, queue = dock.view.review, dock.reviewing.queue
    assert "8 waiting" in review.file.text()
    assert not review.accept_button.isEnabled()  # nobody said who reviews
    review.reviewer.setText("A. Reader")
    review.accept_button.click()
    assert review.current_row == 1  # the next that waits
    qtbot.waitUntil(lambda: not review.picture.pixmap().isNull(), timeout=PATIENCE)
    assert review.picture.toolTip().startswith("Outline")  # the image itself was found
    review.rows.selectAll()
    assert not review.reject_button.isEnabled()
    review.reason.setText("outline too small")
    review.reject_button.click()
    assert queue.counts == {"waiting for review": 0, "accepted": 0, "rejected": 8}
    review.undo_button.click()
    assert queue.counts == {"waiting for review": 7, "accepted": 1, "rejected": 0}
    qtbot.waitUntil(lambda: not queue.unsaved, timeout=PATIENCE)
    assert check_file(out / "records.jsonl").counts["state"] == {"accepted": 1, "waiting for review": 7}
    press_build(dock, qtbot, out)  # all over again: reviews belong to what is asked and shown
    wait_until_built(dock, qtbot)
    assert dock.reviewing.queue.counts["accepted"] == 1


def test_layers_are_built_from_without_their_names(dock, qtbot, tmp_path, volume):
    dock.view.sources.layers_button.click()
    assert "liver" in dock.view.sources.rows.item(0).text()
    dock.view.amounts.slices.setValue(0)
    press_build(dock, qtbot, tmp_path / "out")
    wait_until_built(dock, qtbot)
    records = list(read_records(tmp_path / "out" / "records.jsonl"))
    assert {record.structure for record in records} == {"liver"}
    # the display runs from head to feet, the study from feet to head
    assert sorted(record.image.index for record in records) == [8, 9, 10, 11]
    assert {record.box_plane for record in records} == {(6, 4, 16, 12)}
    assert {record.image.modality for record in records} == {"CT"}
    written = io.read(next((tmp_path / "out" / "layers" / "ct" / "images").iterdir()))
    np.testing.assert_array_equal(written.voxels, volume.voxels)
    np.testing.assert_allclose(written.affine, volume.affine)
    for path in (tmp_path / "out").rglob("*"):
        assert NAME not in path.name
        assert not path.is_file() or path.suffix == ".gz" or NAME not in path.read_text("utf-8")


def test_nothing_is_sent_before_this_address_was_agreed_to(dock, qtbot, folder, tmp_path):
    words = dock.view.words
    add_folder(dock, qtbot, folder)
    words.system.setCurrentIndex(words.system.findData("u-mrg"))
    words.writer.setCurrentIndex(words.writer.findData("endpoint"))
    words.model.setText("model")
    words.address.setText("http://127.0.0.1:9/v1")
    assert "are sent to http://127.0.0.1:9/v1" in words.agreement.text()
    assert "no pixels" in words.agreement.text()
    press_build(dock, qtbot, tmp_path / "out")
    qtbot.waitUntil(lambda: "nothing may be sent to http://127.0.0.1:9/v1" in dock.view.status.text())
    assert not dock.process.running
    words.consent.setChecked(True)
    assert words.form.consent
    words.send_images.setChecked(True)  # more is sent than was agreed to
    assert not words.form.consent
    assert "the pixels of each asked slice" in words.agreement.text()
    words.consent.setChecked(True)
    words.address.setText("http://127.0.0.1:10/v1")
    assert not words.form.consent


def test_a_fault_of_the_build_is_one_sentence_and_the_form_stays(dock, qtbot, tmp_path):
    (tmp_path / "empty").mkdir()
    add_folder(dock, qtbot, tmp_path / "empty")
    press_build(dock, qtbot, tmp_path / "out")
    qtbot.waitUntil(lambda: "no image with a mask was found" in dock.view.status.text(), timeout=PATIENCE)
    assert dock.view.start_button.text() == "Build"
    assert len(dock.view.sources.sources) == 1


@pytest.fixture
def records_file(tmp_path, folder):
    """A built set, made in this process."""
    from napari_medreason._qt.dataset_form import BuildForm, SourceForm, write_config
    from napari_medreason_training.data.build import build
    from napari_medreason_training.data.config import read_build_config

    odd = 'liver "of\\ ours\x7f”'
    source = SourceForm("toy “1”", "pairs", str(folder), "images", "labels", labels={1: "liver", 2: odd})
    out = tmp_path / "out"
    out.mkdir()
    config = write_config(BuildForm("medpos", (source,), out))
    read = read_build_config(config)
    assert read.sources[0].labels == {"1": "liver", "2": odd}
    build("medpos", read, out, lambda _: None)
    return out / "records.jsonl"


def test_decisions_outlive_a_crash_and_a_full_disk_decides_nothing(records_file, monkeypatch):
    from napari_medreason._qt.dataset_queue import ReviewQueue

    queue = ReviewQueue(records_file)
    first, second = (record.id for record in queue.records[:2])
    with pytest.raises(DataSetError, match="reviewer"):
        queue.decide([first], "accepted", reviewer=" ")
    with pytest.raises(DataSetError, match="reason"):
        queue.decide([first], "rejected", reviewer="A")
    queue.decide([first], "accepted", reviewer="A")
    journal = records_file.with_name("reviews.jsonl")
    journal.write_bytes(journal.read_bytes() + b'{"id": "cut sho')  # killed while it wrote
    again = ReviewQueue(records_file)  # never saved
    assert again.counts["accepted"] == 1

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("napari_medreason._qt.dataset_queue.os.fsync", full)
        with pytest.raises(ExportError, match="nothing was decided"):
            again.decide([second], "accepted", reviewer="A")
    assert again.counts["accepted"] == 1
    again.decide([second], "rejected", reviewer="B", reason="cut off")
    last = ReviewQueue(records_file)
    assert last.counts == {
        "waiting for review": len(last.records) - 2,
        "accepted": 1,
        "rejected": 1,
    }
    last.save()
    assert check_file(records_file).sound


def test_closing_the_dock_ends_the_build(make_napari_viewer, qtbot, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_medreason._qt.dataset_widget.own_file", lambda: tmp_path / "own.json")
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medreason", "Build a data set")
    add_folder(dock, qtbot, folder)
    press_build(dock, qtbot, tmp_path / "out")
    qtbot.waitUntil(lambda: dock.process.pid > 0, timeout=PATIENCE)
    pid = dock.process.pid
    viewer.window.remove_dock_widget(dock)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (tmp_path / "out" / "records.jsonl").exists()
