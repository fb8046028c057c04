"""What readers of a work list see: saving by itself, tools, decisions, second reading, pre-labels."""

import csv

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_medreason import io, layers, models, napari_hooks
from napari_medreason._qt import correction_settings
from napari_medreason._qt.correction_ask import definition
from napari_medreason._qt.correction_dock import CorrectionWidget
from napari_medreason._qt.correction_lists import write_agreement
from napari_medreason._qt.correction_new_list import NewListDialog
from napari_medreason.core import mask_tools
from napari_medreason.core.volume import Volume
from napari_medreason.errors import ExportError
from napari_medreason.worklist import LabelDefinition, WorkList

pytestmark = pytest.mark.window
PATIENCE = 30_000
LONG = 240_000
SHAPE = (8, 20, 24)
SAMPLE_LIVER = 3
"""In the label map that comes with the synthetic CT, see sample_data/labels.json."""


@pytest.fixture(autouse=True)
def remembered(tmp_path, monkeypatch):
    """Settings and key of nobody else."""
    kept = {}
    monkeypatch.setenv("MEDREASON_PSEUDONYM_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setattr(correction_settings, "saved", lambda field: kept.get(field, ""))
    monkeypatch.setattr(correction_settings, "save", kept.__setitem__)
    return kept


@pytest.fixture
def studies(tmp_path):
    """Three studies that are stored from feet to head, with rows from back to front."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        voxels = np.random.default_rng(seed).normal(0, 100, SHAPE).astype(np.float32)
        affine = np.diag([1.0, -1.2, 3.0, 1.0])
        io.write(folder / f"{name}.nii.gz", Volume(voxels, affine, modality="CT"))
    return folder


@pytest.fixture
def open_dock(qtbot, notices):
    """Makes docks on viewer models, closed at the end."""
    made = []

    def make(engine=None):
        dock = CorrectionWidget(ViewerModel(), engine)
        dock.resize(480, 900)
        dock.show()
        made.append(dock)
        return dock

    yield make
    for dock in made:
        dock.close_all()


@pytest.fixture
def dock(open_dock, bridge, studies, tmp_path, qtbot):
    """The dock with a work list of the three studies, read by Anna."""
    dock = open_dock(bridge)
    write(qtbot, dock.view.reader, "Anna")
    dock.lists.create(tmp_path / "list", studies, [definition(1, "liver"), definition(2, "spleen")])
    qtbot.waitUntil(lambda: dock.presenter.work_list is not None, timeout=PATIENCE)
    return dock


def write(qtbot, line, text):
    line.clear()
    qtbot.keyClicks(line, text)
    qtbot.keyClick(line, Qt.Key.Key_Return)


def settle(dock, qtbot):
    presenter = dock.presenter
    qtbot.waitUntil(
        lambda: not (presenter.writer.busy or presenter.reading.busy or dock.tooling.busy), timeout=PATIENCE
    )


def open_study(dock, qtbot, name):
    row = [item.path for item in dock.presenter.work_list.items].index(name)
    dock.presenter.open_item(dock.presenter.work_list.items[row].id)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: dock.presenter.item is not None and dock.presenter.item.path == name)


def draw(dock, value=1, size=6):
    """Draw a block as a brush would: through the layer, as one step of its history."""
    block = np.zeros(SHAPE, bool)
    block[2:6, 5 : 5 + size, 4:14] = True
    layer, study = dock.presenter.opened.layer, dock.presenter.opened.study
    layer.data_setitem(np.nonzero(layers.display_array(block, study)), value)
    return block


def on_disk(dock, name, role="first"):
    work_list = WorkList.open(dock.presenter.work_list.folder)
    item = next(item for item in work_list.items if item.path == name)
    return item, work_list.read_labels(item.id, role)


def click(dock, qtbot, button):
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    settle(dock, qtbot)


def test_strokes_save_themselves_and_another_day_goes_on_with_them(dock, open_dock, bridge, qtbot):
    open_study(dock, qtbot, "b.nii.gz")
    assert on_disk(dock, "b.nii.gz")[0].state == "waiting", "looking begins nothing"
    block = draw(dock)
    qtbot.waitUntil(lambda: dock.view.saved.text().startswith("Saved"), timeout=PATIENCE)
    item, labels = on_disk(dock, "b.nii.gz")
    assert (item.state, item.reader) == ("in progress", "Anna")
    np.testing.assert_array_equal(labels, block)
    dock.presenter.opened.layer.undo()
    draw(dock, value=2)
    dock.close_all()
    np.testing.assert_array_equal(on_disk(dock, "b.nii.gz")[1], block * 2)
    again = open_dock(bridge)
    assert again.view.reader.text() == "Anna"
    again.lists.open(dock.presenter.work_list.folder)
    qtbot.waitUntil(lambda: again.presenter.work_list is not None, timeout=PATIENCE)
    open_study(again, qtbot, "b.nii.gz")
    np.testing.assert_array_equal(again.presenter.opened.snapshot(), block * 2)


def test_tools_work_on_the_slice_on_screen_or_the_volume_and_are_undone(dock, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    block = draw(dock).astype(np.uint16)
    dock.presenter.opened.jump("coronal", 7)
    page, spacing = dock.view.correct, (3.0, 1.2, 1.0)
    page.values["grow"].setValue(3.1)
    page.only_shown.setChecked(True)
    click(dock, qtbot, page.tool_buttons["grow"])
    expected = mask_tools.grown(
        block, 1, distance_mm=3.1, spacing_kji=spacing, where=mask_tools.SliceAt(1, 7)
    )
    np.testing.assert_array_equal(dock.presenter.opened.snapshot(), expected)
    assert "voxels added, 0 removed" in dock.view.status.text()
    click(dock, qtbot, page.undo_button)
    np.testing.assert_array_equal(dock.presenter.opened.snapshot(), block)
    page.only_shown.setChecked(False)
    click(dock, qtbot, page.tool_buttons["shrink"])
    assert 0 < dock.presenter.opened.snapshot().sum() < block.sum()
    click(dock, qtbot, page.undo_button)
    dock.presenter.opened.jump("axial", 6)
    click(dock, qtbot, page.tool_buttons["copy-before"])
    assert not dock.presenter.opened.snapshot()[6].any(), "the slider runs to the feet, as the slices do not"
    click(dock, qtbot, page.tool_buttons["copy-after"])
    np.testing.assert_array_equal(dock.presenter.opened.snapshot()[6], block[5])


def test_decisions_are_kept_and_lead_to_the_next_study(dock, qtbot, notices):
    open_study(dock, qtbot, "a.nii.gz")
    page = dock.view.correct
    draw(dock)
    click(dock, qtbot, page.accept_button)
    qtbot.waitUntil(lambda: dock.presenter.item.path == "b.nii.gz", timeout=PATIENCE)
    settle(dock, qtbot)
    assert on_disk(dock, "a.nii.gz")[0].state == "accepted"
    click(dock, qtbot, page.reject_button)
    assert "a reason is needed" in notices[-1][1]
    assert dock.presenter.item.path == "b.nii.gz"
    page.reason.setCurrentIndex(1)
    reason = page.reason.currentText()
    click(dock, qtbot, page.reject_button)
    qtbot.waitUntil(lambda: dock.presenter.item.path == "c.nii.gz", timeout=PATIENCE)
    settle(dock, qtbot)
    page.reason.setEditText("Ben knows it better")
    click(dock, qtbot, page.skip_button)
    assert "No study of this list is left" in dock.view.status.text()
    states = {item.path[0]: (item.state, item.reason) for item in dock.presenter.work_list.items}
    assert states == {
        "a": ("accepted", ""),
        "b": ("rejected", reason),
        "c": ("skipped", "Ben knows it better"),
    }
    assert dock.view.counts.text().endswith("1 accepted, 1 rejected, 1 skipped")
    assert not dock.presenter.opened.layer.editable
    click(dock, qtbot, page.reopen_button)
    assert dock.presenter.opened.layer.editable


def test_second_reader_comments_compares_and_sends_back(dock, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    dock.view.correct.open_next.setChecked(False)
    first = draw(dock, size=6)
    click(dock, qtbot, dock.view.correct.accept_button)
    assert not dock.view.review.begin_button.isEnabled(), "one reader is not two"
    write(qtbot, dock.view.reader, "Ben")
    settle(dock, qtbot)
    dock.view.order.setCurrentIndex(dock.view.order.findData("second"))
    assert dock.view.table.rowCount() == 1
    review = dock.view.review
    click(dock, qtbot, review.begin_button)
    np.testing.assert_array_equal(dock.presenter.opened.snapshot(), first)
    second = draw(dock, size=9)
    dock.presenter.opened.jump("axial", 3)
    write(qtbot, review.words, "The dome is cut off")
    settle(dock, qtbot)
    assert "Ben" in review.comments.item(0).text()
    assert "(liver, axial 3): The dome is cut off" in review.comments.item(0).text()
    click(dock, qtbot, review.compare_button)
    dice = 2 * first.sum() / (first.sum() + second.sum())
    assert review.figures.item(0, 1).text() == f"{dice:.3f}"
    dock.presenter.opened.jump("axial", 7)
    review.comments.itemDoubleClicked.emit(review.comments.item(0))
    assert dock.presenter.opened.shown_plane().index == 3
    review.words.setText("Draw the dome")
    click(dock, qtbot, review.changes_button)
    item, kept = on_disk(dock, "a.nii.gz", "second")
    assert item.sent_back
    assert item.second_readings[-1].agreement[0].dice == pytest.approx(dice)
    np.testing.assert_array_equal(kept, second)
    write(qtbot, dock.view.reader, "Anna")
    settle(dock, qtbot)
    assert "Sent back: Draw the dome" in dock.view.status.text()
    np.testing.assert_array_equal(dock.presenter.opened.snapshot(), first)
    click(dock, qtbot, dock.view.correct.accept_button)
    np.testing.assert_array_equal(on_disk(dock, "a.nii.gz")[1], first)


def test_names_in_the_agreement_table_are_no_formulas(studies, tmp_path):
    (studies / "a.nii.gz").rename(studies / "=1+2.nii.gz")
    label = LabelDefinition(1, "-liver")
    work_list = WorkList.create(tmp_path / "list", studies, labels=[label])
    item = next(item for item in work_list.items if item.path.startswith("="))
    image, labels = work_list.read_study(item.id), np.zeros(SHAPE, np.uint8)
    labels[2:5, 3:9, 3:9] = 1
    work_list.begin(item.id, reader="@Anna")
    work_list.save_labels(item.id, labels, reader="@Anna", like=image)
    work_list.accept(item.id, reader="@Anna")
    work_list.begin_second(item.id, reader="+Ben")
    work_list.save_labels(item.id, labels, reader="+Ben", like=image)
    work_list.finish_second(item.id, reader="+Ben", verdict="agreed")
    assert write_agreement(work_list, tmp_path / "table.csv") == 1
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        _, row = csv.reader(file)
    assert row[:6] == ["'=1+2.nii.gz", "'-liver", "'@Anna", "'+Ben", "agreed", "1.0"]


def test_closing_napari_saves_what_was_drawn_a_moment_ago(make_napari_viewer, studies, tmp_path, qtbot):
    viewer = make_napari_viewer()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medreason", "Correct masks: work list")
    write(qtbot, dock.view.reader, "Anna")
    dock.lists.create(tmp_path / "list", studies, [definition(1, "liver")])
    qtbot.waitUntil(lambda: dock.presenter.work_list is not None, timeout=PATIENCE)
    open_study(dock, qtbot, "c.nii.gz")
    block = draw(dock)
    work_list = dock.presenter.work_list
    viewer.close()
    qtbot.waitUntil(lambda: dock._closed, timeout=PATIENCE)
    item = next(item for item in WorkList.open(work_list.folder).items if item.path == "c.nii.gz")
    np.testing.assert_array_equal(work_list.read_labels(item.id, "first"), block)


def test_another_reader_can_look_and_take_over_with_the_labels_drawn_so_far(dock, open_dock, bridge, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    block = draw(dock)
    dock.presenter.saving.flush()
    settle(dock, qtbot)
    other = open_dock(bridge)
    write(qtbot, other.view.reader, "Ben")
    other.lists.open(dock.presenter.work_list.folder)
    qtbot.waitUntil(lambda: other.presenter.work_list is not None, timeout=PATIENCE)
    open_study(other, qtbot, "a.nii.gz")
    assert not other.presenter.opened.layer.editable
    assert "In progress by Anna" in other.view.status.text()
    click(other, qtbot, other.view.correct.take_over_button)
    assert other.presenter.opened.layer.editable
    np.testing.assert_array_equal(other.presenter.opened.snapshot(), block)
    assert on_disk(other, "a.nii.gz")[0].reader == "Ben"
    draw(dock, value=2)
    dock.presenter.saving.flush()
    settle(dock, qtbot)
    assert dock.view.saved.text() == "Not saved"
    np.testing.assert_array_equal(on_disk(dock, "a.nii.gz")[1], block)


def test_independent_second_reader_never_sees_the_first_labels(dock, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    dock.view.correct.open_next.setChecked(False)
    draw(dock)
    click(dock, qtbot, dock.view.correct.accept_button)
    open_study(dock, qtbot, "b.nii.gz")
    write(qtbot, dock.view.reader, "Ben")
    dock.view.review.independent.setChecked(True)
    open_study(dock, qtbot, "a.nii.gz")
    assert not dock.presenter.opened.snapshot().any()
    click(dock, qtbot, dock.view.review.begin_button)
    assert not dock.presenter.opened.snapshot().any()
    open_study(dock, qtbot, "b.nii.gz")
    open_study(dock, qtbot, "a.nii.gz")
    assert not dock.presenter.opened.snapshot().any()


def test_labels_that_cannot_be_saved_stay_in_the_viewer(dock, qtbot, notices, monkeypatch):
    open_study(dock, qtbot, "a.nii.gz")
    block = draw(dock)

    def full(*_, **__):
        raise ExportError("first.nii.gz can't be written: No space left on device; check space")

    monkeypatch.setattr(dock.presenter.work_list, "save_labels", full)
    dock.presenter.step(1)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: dock.presenter.item is not None and dock.presenter.item.path == "b.nii.gz")
    assert any("No space left" in message for _, message in notices)
    (left,) = [layer for layer in dock.presenter.opened._viewer.layers if "not saved" in layer.name]
    assert np.count_nonzero(left.data) == block.sum()


def test_pre_labelling_is_cancelled_at_once_and_changes_nothing(dock, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    page = dock.view.pre_label
    page.step.setValue(1)
    dock.presenter.work_list.define_labels([LabelDefinition(1, "liver", "liver", "a slow question")])
    qtbot.mouseClick(page.this_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.pre_labelling.busy, timeout=PATIENCE)
    qtbot.wait(300)
    qtbot.mouseClick(dock.view.cancel_button, Qt.MouseButton.LeftButton)
    assert not dock.pre_labelling.busy
    assert "cancelled" in dock.view.status.text()
    assert on_disk(dock, "a.nii.gz")[0].state == "waiting"


def test_all_waiting_studies_are_pre_labelled_but_for_those_begun(dock, qtbot):
    open_study(dock, qtbot, "a.nii.gz")
    block = draw(dock)
    dock.presenter.saving.flush()
    open_study(dock, qtbot, "b.nii.gz")
    qtbot.mouseClick(dock.view.pre_label.waiting_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(
        lambda: dock.view.counts.text().endswith("2 pre-labelled, 1 in progress"), timeout=PATIENCE
    )
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: dock.presenter.opened.snapshot().any(), timeout=PATIENCE)
    np.testing.assert_array_equal(dock.presenter.opened.snapshot(), on_disk(dock, "b.nii.gz", "prelabel")[1])
    np.testing.assert_array_equal(on_disk(dock, "a.nii.gz")[1], block)
    dock.view.order.setCurrentIndex(dock.view.order.findData("next"))
    shown = [dock.presenter.work_list.item(item_id) for item_id in dock.view.table.ids]
    assert shown[0].path == "a.nii.gz", "own work first, then by certainty"
    assert [item.confidence for item in shown[1:]] == sorted(item.confidence for item in shown[1:])


def test_dialog_gives_labels_with_questions_the_model_understands(qtbot, tmp_path):
    dialog = NewListDialog()
    qtbot.addWidget(dialog)
    assert not dialog.buttons.button(dialog.buttons.StandardButton.Ok).isEnabled()
    dialog.studies.setText(str(tmp_path / "ward"))
    assert dialog.folder.text() == str(tmp_path / "ward work list")
    write(qtbot, dialog.name, "liver, left kidney, gizmo")
    assert dialog.definitions == (
        definition(1, "liver"),
        definition(2, "left kidney"),
        definition(3, "gizmo"),
    )
    assert [label.question for label in dialog.definitions] == [
        "Where is the liver?",
        "Where is the left kidney?",
        "",
    ]
    assert dialog.buttons.button(dialog.buttons.StandardButton.Ok).isEnabled()


@pytest.mark.slow
def test_embedded_model_draws_the_sample_and_the_least_certain_slice_is_shown(open_dock, qtbot, tmp_path):
    if "embedded" not in models.available():
        pytest.skip("the embedded model is not installed")
    dock = open_dock()
    write(qtbot, dock.view.reader, "Anna")
    sample = napari_hooks.sample_ct_folder()
    dock.lists.create(tmp_path / "list", sample, [definition(1, "liver")])
    qtbot.waitUntil(lambda: dock.presenter.work_list is not None, timeout=PATIENCE)
    dock.view.pre_label.model.setCurrentIndex(dock.view.pre_label.model.findData("embedded"))
    dock.view.pre_label.step.setValue(12)
    (item,) = dock.presenter.work_list.items
    dock.presenter.open_item(item.id)
    settle(dock, qtbot)
    qtbot.mouseClick(dock.view.pre_label.this_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.presenter.item.state == "pre-labelled", timeout=LONG)
    settle(dock, qtbot)
    qtbot.waitUntil(lambda: dock.presenter.opened.snapshot().any(), timeout=PATIENCE)
    drawn = dock.presenter.opened.snapshot() == 1
    truth = io.read(sample.parent / "ct_labels.nii.gz").voxels
    liver = truth == SAMPLE_LIVER
    assert 2 * (drawn & liver).sum() / (drawn.sum() + liver.sum()) > 0.6
    click(dock, qtbot, dock.view.correct.doubtful_button)
    least = dock.presenter.item.prelabel.labels[0].least_certain[0]
    assert dock.presenter.opened.shown_plane().index == least.index
    assert f"slice {least.index}: {least.confidence:.0%} certain" in dock.view.status.text()
