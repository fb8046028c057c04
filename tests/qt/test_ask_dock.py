"""What a user of the Ask dock sees: answers as three layers, prompts, undo, cancel, crashes, faults."""

import json
import os
import signal

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QStyle, QStyleOptionViewItem

from napari_medreason.core.geometry import RAS_FROM_LPS
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Window
from napari_medreason.layers import slice_index

from .conftest import open_dock

pytestmark = pytest.mark.window
PATIENCE = 20_000


def ask(dock, qtbot, question="Where is the liver?"):
    """Type a question and press Enter."""
    box = dock.view.question_box
    box.clear()
    qtbot.keyClicks(box, question)
    qtbot.keyClick(box, Qt.Key.Key_Return)


def wait_for_answer(dock, qtbot, count=1):
    qtbot.waitUntil(lambda: dock.view.answers.count() == count and not dock.presenter.busy, timeout=PATIENCE)


def ask_and_wait(dock, qtbot, question="Where is the liver?", count=1):
    ask(dock, qtbot, question)
    wait_for_answer(dock, qtbot, count)
    return dock._viewer.layers[-3:]


def move_box(layer, down=3.0):
    """Move the first shape as a drag does: new data, with napari's own event."""
    corners = np.array(layer.data[0])
    corners[:, -2] += down
    layer.data = [corners]


def test_enter_gives_mask_box_points_and_words_on_the_slice_shown(window_dock, qtbot, volume):
    dock = window_dock
    viewer = dock._viewer
    viewer.dims.set_current_step(0, 5)
    mask, box, points = ask_and_wait(dock, qtbot)
    assert [type(layer).__name__ for layer in (mask, box, points)] == ["Labels", "Shapes", "Points"]
    assert np.flatnonzero(np.asarray(mask.data).any(axis=(1, 2))).tolist() == [5]
    assert mask.data.shape == viewer.layers[0].data.shape
    assert len(box.data) == 1
    assert len(points.data) == 2
    for layer in (mask, box, points):
        assert layer.units == viewer.layers[0].units
        assert layer.axis_labels == viewer.layers[0].axis_labels
        np.testing.assert_allclose(layer.scale, viewer.layers[0].scale)
        np.testing.assert_allclose(layer.translate, viewer.layers[0].translate)
    assert "The liver is seen on this slice" in dock.view.answer_view.toPlainText()
    assert "Templated answer" in dock.view.provenance.text()
    assert "Dice 0.91 on 2 patients" in dock.view.provenance.text()
    assert box.features["answer"][0].startswith("The liver")
    assert box.text.values[0] == "The liver"
    assert mask.metadata["medreason"]["provenance"]["model"] == dock.view.model


def test_asked_plane_is_that_of_the_command_line(dock, qtbot, volume):
    """Same window, same slice: the pixels sent are those that `medreason ask` would send."""
    dock._viewer.dims.set_current_step(0, 5)
    ask_and_wait(dock, qtbot)
    (answer,) = dock.presenter.session
    expected = cut(volume, "axial", volume.shape_kji[0] - 1 - 5, Window(-160.0, 240.0))
    assert answer.plane.grid == expected.grid
    assert answer.plane.window == expected.window
    np.testing.assert_array_equal(answer.plane.image, expected.image)


@pytest.mark.parametrize(
    ("order", "axis"),
    [((1, 0, 2), "coronal"), ((2, 0, 1), "sagittal"), ((2, 1, 0), "sagittal"), ((0, 2, 1), "axial")],
)
def test_rolled_and_transposed_views_are_asked_as_shown(dock, qtbot, order, axis):
    viewer = dock._viewer
    viewer.dims.order = order
    ask_and_wait(dock, qtbot)
    (answer,) = dock.presenter.session
    assert answer.grounding.grid.axis == axis
    mask = np.moveaxis(np.asarray(viewer.layers[1].data), order[0], 0)
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [viewer.dims.current_step[order[0]]]


def test_asking_again_adds_a_second_answer(dock, qtbot):
    ask_and_wait(dock, qtbot)
    first = [layer.name for layer in dock._viewer.layers]
    ask_and_wait(dock, qtbot, "And the spleen?", count=2)
    assert len(dock._viewer.layers) == 7
    assert [layer.name for layer in dock._viewer.layers[:4]] == first


def test_moving_the_box_redraws_the_mask_and_undo_brings_it_back(window_dock, qtbot):
    dock = window_dock
    mask, box, _ = ask_and_wait(dock, qtbot)
    before, corners = np.array(mask.data), np.array(box.data[0])
    move_box(box)
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, before), timeout=PATIENCE)
    after = np.array(mask.data)
    assert "redrawn from your box" in dock.view.provenance.text()
    assert "embedded" in dock.view.provenance.text()
    assert dock.view.undo_button.isEnabled()
    qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(mask.data, before)
    np.testing.assert_allclose(box.data[0], corners)
    assert not dock.view.undo_button.isEnabled()
    qtbot.mouseClick(dock.view.redo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(mask.data, after)
    np.testing.assert_allclose(box.data[0][:, -2], corners[:, -2] + 3)


def test_moving_a_point_redraws_the_mask(dock, qtbot):
    _mask, _box, points = ask_and_wait(dock, qtbot)
    moved = np.array(points.data)
    moved[0, -1] += 2
    points.data = moved
    qtbot.waitUntil(lambda: next(iter(dock.presenter.session)).position == 1, timeout=PATIENCE)
    state = next(iter(dock.presenter.session)).state
    assert state.points[0] == pytest.approx((moved[0, -1], moved[0, -2]))


def test_only_the_latest_of_many_moves_counts(slow_dock, qtbot):
    dock = slow_dock
    mask, box, _ = ask_and_wait(dock, qtbot)
    for _ in range(5):
        move_box(box, 1.0)
        qtbot.wait(170)
    wanted = box.data[0][:, -2].min() + 0.5
    qtbot.waitUntil(
        lambda: next(iter(dock.presenter.session)).state.box[1] == pytest.approx(wanted), timeout=PATIENCE
    )
    (answer,) = dock.presenter.session
    assert len(answer.history) < 6, "a mask for a box that has moved on was shown"
    rows = np.flatnonzero(np.asarray(mask.data).any(axis=(0, 2)))
    assert wanted - 1 <= rows[0] <= wanted + 1


def test_undo_keys_belong_to_our_layers_only(dock, qtbot):
    viewer = dock._viewer
    before = dict(viewer.keymap)
    mask, box, points = ask_and_wait(dock, qtbot)
    assert dict(viewer.keymap) == before
    assert len(box.keymap) == len(points.keymap) == 2
    assert not mask.keymap
    first = np.array(mask.data)
    move_box(box)
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, first), timeout=PATIENCE)
    next(value for key, value in box.keymap.items() if str(key) == "Ctrl+Z")(box)
    np.testing.assert_array_equal(mask.data, first)


def the_answer(dock):
    (answer,) = dock.presenter.session
    return answer


def wait_for_position(dock, qtbot, position):
    qtbot.waitUntil(lambda: the_answer(dock).position == position, timeout=PATIENCE)


def test_deleted_points_come_back_with_undo_and_go_with_redo(dock, qtbot):
    mask, _, points = ask_and_wait(dock, qtbot)
    before = np.array(points.data)
    points.selected_data = {0, 1}
    points.remove_selected()
    wait_for_position(dock, qtbot, 1)
    redrawn = np.array(mask.data)
    assert "from your box by" in dock.view.provenance.text()
    for _ in range(2):
        qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
        np.testing.assert_array_equal(points.data, before)
        assert points.features["number"].tolist() == [1, 2]
        qtbot.mouseClick(dock.view.redo_button, Qt.MouseButton.LeftButton)
        assert len(points.data) == 0
        np.testing.assert_array_equal(mask.data, redrawn)


def test_a_box_replaced_by_a_line_comes_back_with_undo(dock, qtbot):
    mask, box, _ = ask_and_wait(dock, qtbot)
    before, corners = np.array(mask.data), np.array(box.data[0])
    box.selected_data = {0}
    box.remove_selected()
    box.add_lines(np.array([corners[0], corners[2] - np.array([0, 2, 2])]))
    wait_for_position(dock, qtbot, 1)
    qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_allclose(box.data[0], corners)
    np.testing.assert_array_equal(mask.data, before)


def test_points_and_boxes_on_other_slices_do_not_count_and_this_is_said(dock, qtbot):
    mask, box, points = ask_and_wait(dock, qtbot)
    before = np.array(mask.data)
    points.add(np.add(points.data[0], (3, 5, 5)))
    qtbot.waitUntil(lambda: "other slices" in dock.view.status.text(), timeout=PATIENCE)
    box.add_rectangles(np.add(box.data[0], (3, 0, 0)))
    qtbot.wait(300)
    np.testing.assert_array_equal(mask.data, before)
    assert the_answer(dock).position == 0
    move_box(box)
    wait_for_position(dock, qtbot, 1)
    assert len(the_answer(dock).state.points) == 2


def test_undo_in_the_mask_layer_does_not_tear_a_redrawn_mask(dock, qtbot):
    mask, box, _ = ask_and_wait(dock, qtbot)
    at = np.argwhere(np.asarray(mask.data))[0]
    mask.data_setitem(tuple(np.array([n]) for n in at), 0)
    move_box(box, 0.4)
    wait_for_position(dock, qtbot, 1)
    redrawn = np.array(mask.data)
    mask.undo()
    np.testing.assert_array_equal(mask.data, redrawn)


def test_a_second_label_painted_into_the_mask_is_visible(dock, qtbot):
    mask, _, _ = ask_and_wait(dock, qtbot)
    clear, ours, other = mask.colormap.map(np.array([0, 1, 2], np.uint8))
    assert clear[3] == 0
    assert ours[3] > 0
    assert other[3] > 0


def test_list_and_metadata_tell_what_drew_the_mask(dock, qtbot):
    mask, box, points = ask_and_wait(dock, qtbot)
    assert "found, model confidence 87 %" in dock.view.answers.item(0).text()
    move_box(box)
    wait_for_position(dock, qtbot, 1)
    assert "corrected by you" in dock.view.answers.item(0).text()
    assert "87" not in dock.view.answers.item(0).text()
    for layer in (mask, box, points):
        note = layer.metadata["medreason"]["mask"]
        assert note == {"segmenter": "embedded", "weights_sha256": "e" * 64, "corrected": True}
    qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
    note = mask.metadata["medreason"]["mask"]
    assert note == {"segmenter": dock.view.model, "weights_sha256": "f" * 64, "corrected": False}
    assert "found, model confidence 87 %" in dock.view.answers.item(0).text()


def test_paint_on_the_mask_survives_a_redraw_and_its_undo(dock, qtbot):
    mask, box, _ = ask_and_wait(dock, qtbot)
    index = int(np.flatnonzero(np.asarray(mask.data).any(axis=(1, 2)))[0])
    mask.data_setitem((np.array([index]), np.array([1]), np.array([1])), 1)
    painted = np.array(mask.data)
    move_box(box)
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, painted), timeout=PATIENCE)
    qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(mask.data, painted)


def test_a_deleted_box_comes_back_with_undo(dock, qtbot):
    mask, box, _ = ask_and_wait(dock, qtbot)
    before = np.array(mask.data)
    box.selected_data = {0}
    box.remove_selected()
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, before), timeout=PATIENCE)
    qtbot.mouseClick(dock.view.undo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(mask.data, before)
    assert len(box.data) == 1


def test_cancel_in_the_middle_changes_nothing_and_the_next_question_works(window_dock, qtbot):
    dock = window_dock
    ask(dock, qtbot, "a slow question")
    qtbot.waitUntil(lambda: "3 " in dock.view.answer_view.toPlainText(), timeout=PATIENCE)
    assert dock.view.ask_button.text() == "Cancel"
    qtbot.mouseClick(dock.view.ask_button, Qt.MouseButton.LeftButton)
    assert dock.view.ask_button.text() == "Ask"
    assert "Cancelled" in dock.view.status.text()
    assert len(dock._viewer.layers) == 1
    ask_and_wait(dock, qtbot)
    assert len(dock._viewer.layers) == 4


def test_killed_engine_is_told_and_the_next_question_works(window_dock, bridge, qtbot, notices):
    dock = window_dock
    ask(dock, qtbot, "a slow question")
    qtbot.waitUntil(lambda: "3 " in dock.view.answer_view.toPlainText(), timeout=PATIENCE)
    first = bridge.client.pid
    os.kill(first, signal.SIGKILL)
    qtbot.waitUntil(lambda: not dock.presenter.busy, timeout=PATIENCE)
    assert [severity for severity, _ in notices] == ["error"]
    assert "engine" in notices[0][1]
    assert "\n" not in notices[0][1]
    assert len(dock._viewer.layers) == 1
    ask_and_wait(dock, qtbot)
    assert bridge.client.pid != first


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("liver " * 1667, "10001 characters"),
        ("broken", "tensor sizes differ"),
        ("weights", "pull them again"),
    ],
)
def test_bad_questions_are_one_line_and_change_nothing(dock, qtbot, notices, question, message):
    dock.view.question_box.setText(question)
    qtbot.keyClick(dock.view.question_box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(notices) and not dock.presenter.busy, timeout=PATIENCE)
    (notice,) = notices
    assert "\n" not in notice[1]
    assert len(dock._viewer.layers) == 1
    assert dock.view.answers.count() == 0


def test_unknown_model_is_one_line_and_changes_nothing(dock, qtbot, notices):
    dock.presenter.ask("Where is the liver?", dock.image, model="nope")
    qtbot.waitUntil(lambda: bool(notices) and not dock.presenter.busy, timeout=PATIENCE)
    assert notices == [("error", "model 'nope' is not known; known: embedded. Choose one of these")]
    assert len(dock._viewer.layers) == 1


def test_a_slice_without_values_is_refused_in_one_line(dock, qtbot, notices):
    viewer = dock._viewer
    viewer.layers.clear()
    viewer.add_image(np.full((2, 4, 5), np.nan), name="nothing", contrast_limits=(0, 1))
    ask(dock, qtbot)
    ((_, message),) = notices
    assert "no finite value" in message
    assert "\n" not in message
    assert len(viewer.layers) == 1


def test_a_picture_of_one_pixel_is_answered(dock, qtbot, notices):
    viewer = dock._viewer
    viewer.layers.clear()
    viewer.add_image(np.ones((1, 1)), name="dot", contrast_limits=(0, 1))
    mask, box, points = ask_and_wait(dock, qtbot)
    assert not notices
    assert np.asarray(mask.data).tolist() == [[1]]
    assert len(box.data) == 1
    np.testing.assert_array_equal(points.data, [[0, 0], [0, 0]])


def test_the_chosen_model_is_remembered(make_napari_viewer, bridge, qtbot, monkeypatch):
    from napari.settings import get_plugin_settings

    from napari_medreason._qt import settings
    from napari_medreason._qt.ask_widget import AskWidget
    from napari_medreason._qt.model_choice import ModelRow

    make_napari_viewer()
    asking = get_plugin_settings("napari-medreason").asking
    before = asking.model
    widget = AskWidget(make_napari_viewer(), engine=bridge)
    try:
        widget.view.model_choice.fill([ModelRow("one", "One", ""), ModelRow("two", "Two", "")], "one")
        widget.view.model_choice.activated.emit(1)
        widget.view.model_choice.setCurrentIndex(1)
        widget.view.model_choice.activated.emit(1)
        assert settings.saved_model() == "two"
        asking.model = "embedded-pair"
        reopened = AskWidget(make_napari_viewer(), engine=bridge)
        qtbot.waitUntil(lambda: reopened.view.model == "embedded-pair", timeout=PATIENCE)
        reopened.close_all()
        asked_at_once = AskWidget(make_napari_viewer(), engine=bridge)
        asked_at_once.ask("Where is the liver?")
        assert asked_at_once.view.model == "embedded-pair"
        asked_at_once.close_all()
    finally:
        asking.model = before
        widget.close_all()


def test_a_chosen_adapter_that_was_removed_is_told(dock):
    """Else the first model in the list would answer without a word."""
    from napari_medreason._qt.model_choice import ModelRow, model_rows

    choice, first = dock.view.model_choice, model_rows()[0].title
    choice.opening.emit()
    assert "no longer here" not in dock.view.status.text()
    choice.fill([*model_rows(), ModelRow("embedded@ours", "Embedded + Ours", "")], "embedded@ours")
    choice.opening.emit()  # as when the list is opened
    assert dock.view.model == "embedded"
    assert dock.view.status.text() == f"“Embedded + Ours” is no longer here; “{first}” answers instead."


def test_a_remembered_adapter_that_was_removed_is_told(bridge, volume, qtbot, monkeypatch):
    from napari.components import ViewerModel

    from napari_medreason._qt import settings

    monkeypatch.setattr(settings, "saved_model", lambda: "embedded@ours")
    dock = open_dock(ViewerModel(), bridge, volume)
    qtbot.waitUntil(lambda: "“embedded@ours” is no longer here" in dock.view.status.text(), timeout=PATIENCE)
    assert dock.view.model == "embedded"
    dock.close_all()


def test_nothing_found_is_an_answer_without_layers(dock, qtbot):
    ask(dock, qtbot, "absent?")
    wait_for_answer(dock, qtbot)
    assert len(dock._viewer.layers) == 1
    assert "not seen on this slice" in dock.view.answer_view.toPlainText()
    assert "not seen here" in dock.view.answers.item(0).text()


def test_words_with_braces_are_drawn_as_they_are(dock, qtbot):
    _, box, _ = ask_and_wait(dock, qtbot, "quote")
    assert box.text.values[0] == "A {liver} “100%” is seen"


def test_tick_hides_an_answer_and_delete_removes_it_as_one(dock, qtbot):
    ours = list(ask_and_wait(dock, qtbot))
    dock.view.answers.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert not any(layer.visible for layer in ours)
    dock.view.answers.item(0).setCheckState(Qt.CheckState.Checked)
    assert all(layer.visible for layer in ours)
    qtbot.mouseClick(dock.view.delete_button, Qt.MouseButton.LeftButton)
    assert len(dock._viewer.layers) == 1
    assert dock.view.answers.count() == 0
    assert dock.view.answer_view.toPlainText() == ""


def test_deleting_the_layers_by_hand_takes_the_answer_off_the_list(dock, qtbot):
    for layer in list(ask_and_wait(dock, qtbot)):
        dock._viewer.layers.remove(layer)
    assert dock.view.answers.count() == 0
    assert len(dock.presenter.session) == 0


def test_click_on_an_answer_goes_to_its_slice_and_selects_its_box(window_dock, qtbot):
    dock = window_dock
    viewer = dock._viewer
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 7)
    _, box, _ = ask_and_wait(dock, qtbot)
    viewer.dims.order = (0, 1, 2)
    viewer.dims.set_current_step(1, 30)
    viewer.layers.selection.active = viewer.layers[0]
    row = dock.view.answers.visualItemRect(dock.view.answers.item(0))
    qtbot.mouseClick(dock.view.answers.viewport(), Qt.MouseButton.LeftButton, pos=row.center())
    assert viewer.dims.order[0] == 1
    assert viewer.dims.current_step[1] == 7
    assert viewer.layers.selection.active is box


def test_a_click_on_the_tick_hides_and_does_not_go_there(window_dock, qtbot):
    dock = window_dock
    viewer = dock._viewer
    viewer.dims.set_current_step(0, 5)
    ours = ask_and_wait(dock, qtbot)
    viewer.dims.set_current_step(0, 9)
    answers = dock.view.answers
    tick = QStyleOptionViewItem()
    answers.initViewItemOption(tick)
    tick.rect = answers.visualItemRect(answers.item(0))
    tick.features |= QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
    place = answers.style().subElementRect(QStyle.SubElement.SE_ItemViewItemCheckIndicator, tick, answers)
    for visible in (False, True):
        qtbot.mouseClick(answers.viewport(), Qt.MouseButton.LeftButton, pos=place.center())
        assert [layer.visible for layer in ours] == [visible] * 3
        assert viewer.dims.current_step[0] == 9
    qtbot.mouseClick(answers.viewport(), Qt.MouseButton.LeftButton, pos=tick.rect.center())
    assert viewer.dims.current_step[0] == 5


def test_arrow_keys_in_the_list_show_words_and_undo_of_that_answer(dock, qtbot):
    _, box, _ = ask_and_wait(dock, qtbot)
    move_box(box)
    wait_for_position(dock, qtbot, 1)
    dock._viewer.dims.set_current_step(0, 3)
    ask(dock, qtbot, "absent?")
    wait_for_answer(dock, qtbot, 2)
    assert not dock.view.undo_button.isEnabled()
    qtbot.keyClick(dock.view.answers, Qt.Key.Key_Up)
    assert "The liver is seen" in dock.view.answer_view.toPlainText()
    assert dock.view.undo_button.isEnabled()
    assert dock._viewer.dims.current_step[0] == 3
    qtbot.keyClick(dock.view.answers, Qt.Key.Key_Down)
    assert "not seen on this slice" in dock.view.answer_view.toPlainText()
    assert not dock.view.undo_button.isEnabled()


def test_deleting_the_shown_answer_shows_its_neighbour(dock, qtbot):
    ask_and_wait(dock, qtbot)
    ask(dock, qtbot, "absent?")
    wait_for_answer(dock, qtbot, 2)
    qtbot.mouseClick(dock.view.delete_button, Qt.MouseButton.LeftButton)
    assert "The liver is seen" in dock.view.answer_view.toPlainText()


def test_the_chosen_image_stays_chosen_when_an_answer_adds_its_layers(dock, qtbot):
    viewer = dock._viewer
    first = viewer.layers[0]
    second = viewer.add_image(np.random.default_rng(0).random((4, 5, 6)), name="second")
    viewer.layers.selection.active = second
    row = dock.view.image_choice.findText(first.name)
    dock.view.image_choice.setCurrentIndex(row)
    dock.view.image_choice.activated.emit(row)
    ask_and_wait(dock, qtbot)
    assert dock.image is first
    second.name = "renamed"
    assert dock.image is first


@pytest.mark.parametrize("transform", [{"scale": (-3, 1, 1)}, {"scale": (3e3, 1, 1), "units": ("um",) * 3}])
def test_a_click_on_an_answer_without_layers_goes_to_its_slice(dock, qtbot, transform):
    viewer = dock._viewer
    viewer.layers.clear()
    image = viewer.add_image(np.random.default_rng(0).random((9, 10, 11)), name="neg", **transform)
    viewer.dims.set_current_step(0, 7)
    asked = viewer.dims.point[0]
    ask(dock, qtbot, "absent?")
    wait_for_answer(dock, qtbot)
    viewer.dims.set_current_step(0, 2)
    viewer.layers.selection.active = image
    row = dock.view.answers.visualItemRect(dock.view.answers.item(0))
    qtbot.mouseClick(dock.view.answers.viewport(), Qt.MouseButton.LeftButton, pos=row.center())
    assert viewer.dims.point[0] == pytest.approx(asked)


def test_the_modality_of_a_lazy_layer_is_guessed_once_from_three_slices(dock, qtbot):
    import dask.array

    used = set()

    def slice_at(block_info):
        used.add(block_info[None]["chunk-location"][0])
        return np.full((1, 30, 40), -1000.0)

    data = dask.array.map_blocks(
        slice_at, chunks=((1,) * 40, 30, 40), dtype=np.float64, meta=np.empty((0, 0, 0))
    )
    dock._viewer.layers.clear()
    dock._viewer.add_image(data, name="lazy", contrast_limits=(-1000, 1000))
    dock._viewer.dims.set_current_step(0, 20)
    used.clear()
    ask_and_wait(dock, qtbot)
    assert the_answer(dock).plane.modality == "CT"
    assert used <= {10, 20, 30}
    dock._viewer.dims.set_current_step(0, 5)
    used.clear()
    ask(dock, qtbot, "again")
    wait_for_answer(dock, qtbot, 2)
    assert used <= {5}


def test_image_choice_follows_the_selection_and_new_images(dock, qtbot):
    viewer = dock._viewer
    second = viewer.add_image(np.zeros((4, 5, 6)), name="second")
    assert dock.image is second
    viewer.layers.selection.active = viewer.layers[0]
    assert dock.image is viewer.layers[0]
    second.name = "renamed"
    assert dock.view.image_choice.findText("renamed") >= 0
    viewer.layers.remove(second)
    assert dock.view.image_choice.count() == 1


def test_without_an_image_asking_is_disabled_with_the_reason(dock, qtbot):
    dock._viewer.layers.clear()
    assert not dock.view.ask_button.isEnabled()
    assert "Open a CT or MRI study" in dock.view.ask_button.toolTip()


def test_colour_and_3d_views_are_refused_in_one_line(dock, qtbot, notices):
    viewer = dock._viewer
    viewer.dims.ndisplay = 3
    ask(dock, qtbot)
    viewer.dims.ndisplay = 2
    viewer.add_image(np.zeros((8, 9, 3), np.uint8), rgb=True, name="photo")
    ask(dock, qtbot)
    messages = [message for severity, message in notices if severity == "error"]
    assert "2D view" in messages[0]
    assert "colour picture" in messages[1]
    assert len(viewer.layers) == 2


def test_arrow_keys_bring_earlier_questions_back(dock, qtbot):
    ask_and_wait(dock, qtbot, "first")
    ask_and_wait(dock, qtbot, "second", count=2)
    box = dock.view.question_box
    box.setText("draft")
    qtbot.keyClick(box, Qt.Key.Key_Up)
    assert box.text() == "second"
    qtbot.keyClick(box, Qt.Key.Key_Up)
    assert box.text() == "first"
    for _ in range(3):
        qtbot.keyClick(box, Qt.Key.Key_Down)
    assert box.text() == "draft"


def test_a_layer_from_elsewhere_is_asked_with_its_doubts_named(dock, qtbot):
    viewer = dock._viewer
    values = np.random.default_rng(1).integers(-1000, 400, size=(6, 30, 40)).astype(np.int16)
    viewer.add_image(values, name="plain", scale=(3, 0.5, 0.5), units=("mm",) * 3)
    mask, box, _ = ask_and_wait(dock, qtbot)
    (answer,) = dock.presenter.session
    assert answer.plane.grid.orientation is None
    assert answer.plane.modality == "CT"
    assert answer.plane.grid.spacing == pytest.approx((0.5, 0.5))
    assert "does not say CT or MR" in dock.view.provenance.text()
    assert "no patient left or right" in dock.view.provenance.text()
    assert mask.data.shape == values.shape
    np.testing.assert_allclose(box.scale, (3, 0.5, 0.5))


def test_a_layer_in_pixels_is_asked_as_a_picture_without_a_scale(dock, qtbot):
    values = np.random.default_rng(1).integers(0, 255, size=(30, 40)).astype(np.uint8)
    dock._viewer.add_image(values, name="picture")
    ask_and_wait(dock, qtbot)
    assert not the_answer(dock).plane.calibrated
    assert the_answer(dock).plane.grid.orientation is None


def test_file_names_in_the_words_are_no_markup(dock):
    dock.view.set_answer("words", "from <b>bold</b>.nii")
    assert dock.view.provenance.textFormat() == Qt.TextFormat.PlainText
    assert dock.view.status.textFormat() == Qt.TextFormat.PlainText


def test_frames_of_a_4d_study_are_asked_one_by_one(dock, qtbot, volume_maker):
    from napari.layers import Layer

    from napari_medreason import layers

    viewer = dock._viewer
    viewer.layers.clear()
    viewer.add_layer(Layer.create(*layers.image_layer(volume_maker((6, 30, 40), frames=3))))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 4)
    mask, _, _ = ask_and_wait(dock, qtbot)
    used = np.argwhere(np.asarray(mask.data))
    assert set(used[:, 0]) == {2}
    assert set(used[:, 1]) == {4}
    assert "frame 2" in dock.view.answers.item(0).text()


def test_an_answer_is_exported_as_it_is_painted_now(dock, qtbot, volume, tmp_path):
    mask, _box, _points = ask_and_wait(dock, qtbot)
    (answer,) = dock.presenter.session
    index = slice_index(answer.place.study, answer.displayed)
    mask.data[index][2:5, 3:9] = 1
    painted = np.asarray(mask.data)[index] > 0
    dock.export(answer.id, tmp_path)
    folder = tmp_path / "answer-1-liver"
    told = "Wrote answer-1-liver; read back: identical."
    qtbot.waitUntil(lambda: dock.view.status.text() == told, timeout=PATIENCE)
    report = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    assert report["box"] == list(mask_box(painted))
    assert any("corrected by the user" in note for note in report["notes"])
    image = nib.load(folder / "mask.nii.gz")
    np.testing.assert_allclose(image.affine, RAS_FROM_LPS @ volume.affine, atol=1e-4)
    written = np.asarray(image.dataobj).T
    np.testing.assert_array_equal(answer.grounding.grid.take(written), painted)
    assert np.count_nonzero(written) == np.count_nonzero(painted)
    assert (folder / "overlay.png").stat().st_size > 0


def test_an_emptied_mask_is_not_exported(dock, qtbot, tmp_path, notices):
    mask, _box, _points = ask_and_wait(dock, qtbot)
    mask.data[:] = 0
    (answer,) = dock.presenter.session
    dock.export(answer.id, tmp_path)
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    assert "emptied" in notices[0][1]
    assert not list(tmp_path.iterdir())
