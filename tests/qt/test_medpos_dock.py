"""What a user of the MedPos dock sees: paint, and the words change; click, jump, name, check, export."""

import csv
import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QItemSelectionModel, Qt

from napari_medreason import layers
from napari_medreason._qt.medpos_dock import MedPosWidget
from napari_medreason._qt.medpos_model import HEADERS, NAME
from napari_medreason.core.regions import slice_regions
from napari_medreason.errors import UnreadableImageError

pytestmark = pytest.mark.window
PATIENCE = 20_000


def open_medpos(viewer, volume, qtbot):
    """The dock on a study with an empty Labels layer, as napari's button makes it."""
    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    viewer._new_labels()
    dock = MedPosWidget(viewer)
    qtbot.waitUntil(lambda: dock.view.status.text().startswith("No label in"), timeout=PATIENCE)
    qtbot.waitUntil(lambda: not dock.presenter.live.searching, timeout=PATIENCE)
    return dock


@pytest.fixture
def medpos(volume, qtbot):
    dock = open_medpos(ViewerModel(), volume, qtbot)
    yield dock
    dock.close_all()


def cells(dock):
    """The table as it is shown, one dictionary per row."""
    shown = dock.view.table.filter
    return [
        {name: shown.index(row, column).data() for column, name in enumerate(HEADERS)}
        for row in range(shown.rowCount())
    ]


def wait_for_rows(dock, qtbot, count):
    qtbot.waitUntil(lambda: len(cells(dock)) == count, timeout=PATIENCE)


def wait_for_text(label, words, qtbot):
    qtbot.waitUntil(lambda: words in label.text(), timeout=PATIENCE)


def labels_layer(dock):
    return next(layer for layer in dock._viewer.layers if type(layer).__name__ == "Labels")


def blob(dock, label, step, rows, columns):
    """Paint a rectangle on a slice of the display, through the layer's own editing."""
    where = np.meshgrid([step], range(*rows), range(*columns), indexing="ij")
    labels_layer(dock).data_setitem(tuple(axis.ravel() for axis in where), label)


def test_painting_changes_words_at_once_and_undo_takes_them_back(make_napari_viewer, volume, qtbot):
    viewer = make_napari_viewer()
    dock = open_medpos(viewer, volume, qtbot)
    viewer.window.add_dock_widget(dock, name="MedPos")
    layer, last = labels_layer(dock), volume.shape_kji[0] - 1
    viewer.dims.set_current_step(0, 5)
    layer.brush_size = 5
    layer.paint((5, 8, 10), 3)
    wait_for_rows(dock, qtbot, 1)
    (row,) = cells(dock)
    assert (row["Label"], row["Slice"], row["In the image"]) == ("3", str(last - 5), "top left")
    assert row["In the patient"].startswith("right")
    assert row["Area"].endswith("mm²")
    layer.paint((5, 8, 55), 3)
    qtbot.waitUntil(lambda: cells(dock)[0]["Parts"] == "2", timeout=PATIENCE)
    assert cells(dock)[0]["In the image"] == "top right"
    layer.undo()
    qtbot.waitUntil(lambda: cells(dock)[0]["Parts"] == "1", timeout=PATIENCE)
    assert cells(dock)[0]["In the image"] == "top left"
    layer.undo()
    wait_for_rows(dock, qtbot, 0)
    dock.close_all()


def test_table_while_painting_is_that_of_the_whole_label_map(medpos, volume, qtbot):
    """Strokes on coronal and axial views, over slices and labels, end in the table made from scratch."""
    layer, random = labels_layer(medpos), np.random.default_rng(0)
    medpos._viewer.dims.order = (1, 0, 2)
    for _ in range(12):
        j, s, p = random.integers(4, 16), random.integers(4, 40), random.integers(4, 56)
        layer.brush_size = int(random.integers(2, 9))
        layer.paint((int(j), int(s), int(p)), int(random.integers(0, 4)))
        qtbot.wait(10)
    blob(medpos, 9, 3, (2, 6), (2, 9))
    truth = slice_regions(layers.label_volume(np.array(layer.data), medpos.presenter.live.source.study, None))
    qtbot.waitUntil(lambda: len(medpos.view.table.regions.rows) == len(truth), timeout=PATIENCE)
    qtbot.waitUntil(
        lambda: [row.area_px for row in medpos.view.table.regions.rows] == truth.area_px.tolist(),
        timeout=PATIENCE,
    )
    shown = medpos.view.table.regions.rows
    assert [row.key[:2] for row in shown] == list(
        zip(truth.label.tolist(), truth.slice.tolist(), strict=True)
    )
    assert [list(row.box) for row in shown] == truth.box_plane.tolist()


def test_many_slices_painted_at_once_are_looked_at_once(medpos, qtbot):
    heard, layer = [], labels_layer(medpos)
    medpos.presenter.live.reset.connect(heard.append)
    layer.n_edit_dimensions, layer.brush_size = 3, 16
    medpos.presenter.live._slice_seconds = 1.0  # as on a slow computer
    layer.paint((10, 20, 30), 1)
    qtbot.waitUntil(lambda: len(cells(medpos)) > 3, timeout=PATIENCE)
    qtbot.wait(600)
    assert len(heard) == 1
    assert not medpos.presenter.background.busy


def test_click_jumps_turns_the_view_and_draws_one_overlay(medpos, qtbot):
    viewer = medpos._viewer
    for step in (4, 11):
        blob(medpos, 1, step, (5, 12), (40, 52))
    wait_for_rows(medpos, qtbot, 2)
    viewer.dims.order = (2, 0, 1)
    shown = medpos.view.table.filter
    for row in range(2):
        index = shown.index(row, 0)
        medpos.view.table.setCurrentIndex(index)
        medpos.view.table.clicked.emit(index)
        assert viewer.dims.order[0] == 0
        assert viewer.dims.current_step[0] == 19 - int(shown.index(row, HEADERS.index("Slice")).data())
    qtbot.waitUntil(lambda: "MedPos overlay" in viewer.layers, timeout=PATIENCE)
    overlay = viewer.layers["MedPos overlay"]
    corners = overlay.data[overlay.shape_type.index("rectangle")]
    assert corners[:, 1].min() == 4.5
    assert corners[:, 2].max() == 51.5
    assert viewer.layers.selection.active == labels_layer(medpos)
    medpos.view.overlay_box.setChecked(False)
    assert "MedPos overlay" not in viewer.layers


def test_names_go_to_all_rows_into_the_layer_and_back(medpos, qtbot):
    for step in (4, 5):
        blob(medpos, 1, step, (5, 12), (40, 52))
    blob(medpos, 2, 5, (30, 40), (5, 12))
    wait_for_rows(medpos, qtbot, 3)
    table = medpos.view.table
    table.selectionModel().select(
        table.filter.index(0, 0),
        QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows,
    )
    medpos.view.name_line.setText("kidney_left")
    qtbot.mouseClick(medpos.view.name_button, Qt.MouseButton.LeftButton)
    assert [row["Name"] for row in cells(medpos)] == ["left kidney", "left kidney", "–"]
    medpos.view.name_line.setText("2: lesion A7")
    qtbot.keyClick(medpos.view.name_line, Qt.Key.Key_Return)
    table.filter.setData(table.filter.index(0, NAME), "spleen")
    assert [row["Name"] for row in cells(medpos)] == ["spleen", "spleen", "lesion A7"]
    copy = Layer.create(*labels_layer(medpos).as_layer_data_tuple())
    assert layers.label_names(copy) == {1: "spleen", 2: "lesion A7"}
    medpos.view.filter_line.setText("spleen")
    assert len(cells(medpos)) == 2
    medpos._viewer.dims.set_current_step(0, 5)
    medpos.view.only_shown.setChecked(True)
    assert [row["Slice"] for row in cells(medpos)] == ["14"]


def test_words_are_checked_against_the_mask_and_again_when_it_moves(medpos, qtbot):
    blob(medpos, 1, 5, (5, 12), (40, 60))
    wait_for_rows(medpos, qtbot, 1)
    medpos.view.table.choose((1, 14, 0))
    medpos.view.words_line.setText("top right <b>, patient's right, 30 mm")
    wait_for_text(medpos.view.verdicts, "top right: agrees", qtbot)
    assert "patient&#x27;s right: disagrees" in medpos.view.verdicts.text()
    assert "30 mm: agrees" in medpos.view.verdicts.text()
    blob(medpos, 0, 5, (5, 12), (40, 60))
    blob(medpos, 1, 5, (30, 44), (4, 24))
    wait_for_text(medpos.view.verdicts, "top right: disagrees", qtbot)
    assert "patient&#x27;s right: agrees" in medpos.view.verdicts.text()


@pytest.mark.parametrize("form", ["jsonl", "csv", "medpos-csv"])
def test_exported_file_reads_back_as_the_table(medpos, qtbot, tmp_path, form):
    blob(medpos, 1, 5, (5, 12), (40, 60))
    blob(medpos, 200, 6, (30, 44), (4, 24))
    wait_for_rows(medpos, qtbot, 2)
    medpos.presenter.name_labels({1: 'growth "B", odd'})
    target = tmp_path / "out"
    medpos.presenter.export(target, form)
    text = target.read_text(encoding="utf-8")
    if form == "jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["box"] for row in rows] == [[40, 5, 60, 12], [4, 30, 24, 44]]
    else:
        rows = list(csv.DictReader(text.splitlines()))
    assert [row["position"] for row in rows] == ["top right", "bottom left"]
    if form != "medpos-csv":
        assert [(int(row["label"]), row["name"]) for row in rows] == [(1, 'growth "B", odd'), (200, "")]


def test_layers_without_a_study_get_words_of_the_image_only(medpos, notices, qtbot):
    viewer = medpos._viewer
    data = np.zeros((20, 48, 64), np.int32)
    data[2, 4:9, 5:9] = 2**31 - 1
    viewer.add_labels(data, name="bare")
    wait_for_rows(medpos, qtbot, 1)
    assert cells(medpos)[0]["Label"] == str(2**31 - 1)
    assert cells(medpos)[0]["In the patient"] == "–"
    assert cells(medpos)[0]["Area"].endswith("px")
    assert "lies on no study" in medpos.view.status.text()
    viewer.add_labels(np.where(data, -1, 0), name="negative")
    wait_for_text(medpos.view.status, "negative values", qtbot)
    assert cells(medpos) == []
    viewer.add_labels(data[2], name="flat")
    wait_for_rows(medpos, qtbot, 1)
    assert not notices


def test_an_image_that_cannot_be_read_takes_no_rows_away(volume, notices, qtbot, monkeypatch):
    def unreadable(_volume):
        raise UnreadableImageError("slice 3 can't be decoded; ask for the file again")

    monkeypatch.setattr("napari_medreason._qt.medpos_table.body_frame", unreadable)
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    viewer._new_labels()
    viewer.layers[-1].data[10, 4:12, 6:16] = 1
    dock = MedPosWidget(viewer)
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    assert "slice 3 can't be decoded" in notices[-1][1]
    assert len(cells(dock)) == 1
    assert "relative to the field of view" in dock.view.status.text()
    dock.close_all()


def test_closing_leaves_no_overlay_and_no_listener(make_napari_viewer, volume, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((4, 5, 6)))
    layer = viewer.add_labels(np.ones((4, 5, 6), np.uint8))

    def listeners():
        emitters = {**viewer.layers.events.emitters, **layer.events.emitters, **viewer.dims.events.emitters}
        return {name: len(emitter.callbacks) for name, emitter in emitters.items()}

    before = listeners()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medreason", "MedPos: positions of labels")
    wait_for_rows(dock, qtbot, 4)
    dock.view.table.choose((1, 0, 0))
    qtbot.waitUntil(lambda: "MedPos overlay" in viewer.layers, timeout=PATIENCE)
    viewer.window.remove_dock_widget(dock)
    assert "MedPos overlay" not in viewer.layers
    assert listeners() == before
