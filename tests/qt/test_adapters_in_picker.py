"""An accepted adapter in the Ask dock: listed with its figures, asked, corrected; the real engine answers."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_medreason import layers, napari_hooks
from napari_medreason.models import adapters

from ..models.adapter_cases import embedded_adapter

pytestmark = [pytest.mark.window, pytest.mark.slow]
PATIENCE = 120_000


@pytest.fixture
def asker(make_napari_viewer, notices, monkeypatch, tmp_path):
    """A viewer with the sample and the Ask dock, and no adapter yet."""
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    viewer.open_sample("napari-medreason", "synthetic_ct")
    study = layers.study_of(viewer.layers[0])
    viewer.dims.set_current_step(0, study.display_index("axial", napari_hooks.DEMO_SLICE))
    yield widget
    widget.close_all()


def ask(widget, qtbot, model, question="Where is the liver?"):
    widget.view.choose_model(model)
    assert widget.view.model == model
    count = widget.view.answers.count() + 1
    widget.view.question_box.setText(question)
    qtbot.keyClick(widget.view.question_box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: widget.view.answers.count() == count, timeout=PATIENCE)
    return list(widget.presenter.session)[-1]


def test_an_accepted_adapter_is_chosen_and_asked_beside_its_base(asker, qtbot, tmp_path, notices):
    choice = asker.view.model_choice
    assert choice.findData("embedded@our-lesions") == -1
    adapters.accept(embedded_adapter(tmp_path / "adapter"))
    choice.opening.emit()  # as when the list is opened
    place = choice.findData("embedded@our-lesions")
    assert choice.itemText(place) == "Embedded + Our lesions"
    assert place == choice.findData("embedded") + 1
    assert "0.31 before, 0.52 after" in choice.itemData(place, Qt.ItemDataRole.ToolTipRole)
    assert "3 held-out patients" in choice.itemData(place, Qt.ItemDataRole.ToolTipRole)
    before = ask(asker, qtbot, "embedded")
    tuned = ask(asker, qtbot, "embedded@our-lesions")
    again = ask(asker, qtbot, "embedded")
    assert tuned.grounding.provenance.model == "embedded@our-lesions"
    assert not np.array_equal(before.grounding.mask, tuned.grounding.mask)
    np.testing.assert_array_equal(before.grounding.mask, again.grounding.mask)
    asker.view.answers.setCurrentRow(1)
    folder = Path(os.environ.get("MEDREASON_ARTIFACTS", Path(tempfile.gettempdir()) / "medreason-artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = folder / "adapter-in-picker.png"
    asker._viewer.screenshot(str(artifacts), canvas_only=False, flash=False)
    assert not notices


def test_a_box_moved_on_a_tuned_answer_is_drawn_by_the_tuned_model(asker, qtbot, tmp_path, notices):
    adapters.accept(embedded_adapter(tmp_path / "adapter"))
    asker.view.model_choice.opening.emit()
    ask(asker, qtbot, "embedded@our-lesions")
    mask, box, _ = asker._viewer.layers[-3:]
    drawn = np.array(mask.data)
    corners = np.array(box.data[0])
    corners[:2, -2] += 15
    box.data = [corners]
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, drawn), timeout=PATIENCE)
    (answer,) = asker.presenter.session
    assert answer.state.segmenter == "embedded@our-lesions"
    assert answer.state.weights_sha256 == answer.grounding.provenance.weights_sha256
    assert not notices
