"""The real engine with the embedded model in a real window: same answer as the command line."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt

from napari_medreason import io, layers, models, napari_hooks
from napari_medreason._qt.demo import start_demo
from napari_medreason.core.plane import slice_count

pytestmark = [pytest.mark.window, pytest.mark.slow]
PATIENCE = 120_000


@pytest.fixture
def embedded():
    if "embedded" not in models.available():
        pytest.skip("the embedded model is not installed")


@pytest.fixture
def asker(make_napari_viewer, notices, embedded):
    """A viewer with the Ask dock from the manifest, on the engine that all docks share."""
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    widget.view.model_choice.setCurrentIndex(widget.view.model_choice.findData("embedded"))
    yield widget
    widget.close_all()


def ask_and_wait(widget, qtbot, question):
    count = widget.view.answers.count() + 1
    widget.view.question_box.setText(question)
    qtbot.keyClick(widget.view.question_box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: widget.view.answers.count() == count, timeout=PATIENCE)


def asked_by_command_line(path, question, folder):
    command = [sys.executable, "-c", "from napari_medreason.cli import main; main()"]
    options = ["--model", "embedded", "--out", str(folder), "--json"]
    run = subprocess.run(
        [*command, "ask", str(path), question, *options], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def same_as_command_line(widget, qtbot, path, question, folder):
    """Ask about the middle axial slice in both ways; returns the status."""
    volume = io.read(path)
    image = Layer.create(*layers.image_layer(volume))
    viewer = widget._viewer
    viewer.add_layer(image)
    study = layers.study_of(image)
    viewer.dims.set_current_step(0, study.display_index("axial", slice_count(volume, "axial") // 2))
    ask_and_wait(widget, qtbot, question)
    report = asked_by_command_line(path, question, folder)
    (answer,) = widget.presenter.session
    assert answer.grounding.status == report["status"]
    assert answer.grounding.answer == report["answer"]
    if report["status"] == "found":
        drawn = layers.stored_array(np.asarray(viewer.layers[-3].data), study)
        np.testing.assert_array_equal(drawn, io.read(report["mask"]).voxels)
    return report["status"]


def test_sample_is_opened_asked_and_corrected(asker, qtbot):
    """Open the sample, type a question, press Enter, see three layers; move the box, undo."""
    viewer = asker._viewer
    viewer.open_sample("napari-medreason", "synthetic_ct")
    study = layers.study_of(viewer.layers[0])
    viewer.dims.set_current_step(0, study.display_index("axial", napari_hooks.DEMO_SLICE))
    ask_and_wait(asker, qtbot, "Where is the liver?")
    mask, box, points = viewer.layers[-3:]
    assert np.asarray(mask.data).sum() > 500
    before = np.array(mask.data)
    corners = np.array(box.data[0])
    corners[:2, -2] += 15
    box.data = [corners]
    qtbot.waitUntil(lambda: not np.array_equal(mask.data, before), timeout=PATIENCE)
    qtbot.mouseClick(asker.view.undo_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(mask.data, before)
    assert len(points.data) == 2
    ask_and_wait(asker, qtbot, "Which organ filters blood on the patient's left?")
    assert next(reversed(list(asker.presenter.session))).grounding.structure == "kidney"


def test_sample_gives_the_mask_of_the_command_line(asker, qtbot, tmp_path):
    status = same_as_command_line(
        asker, qtbot, napari_hooks.sample_ct_folder(), "Where is the liver?", tmp_path
    )
    assert status == "found"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "question"),
    [
        ("conformance/totalsegmentator/example_ct_dicom.zip", "Where is the liver?"),
        ("labelled/totalsegmentator_ref/example_ct.nii.gz", "Where are the hip bones?"),
        ("labelled/mni_icbm152", "Where is the cerebral white matter?"),
    ],
)
def test_real_scans_give_the_mask_of_the_command_line(asker, qtbot, tmp_path, real_data, name, question):
    path = real_data / name
    if path.is_dir():
        path = min(file for file in path.iterdir() if "t1" in file.name.lower() and "nii" in file.name)
    assert same_as_command_line(asker, qtbot, path, question, tmp_path) == "found"


def test_demo_opens_the_sample_and_answers(make_napari_viewer, notices, embedded, qtbot):
    viewer = make_napari_viewer()
    widget = start_demo(viewer, "Where is the liver?")
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=PATIENCE)
    assert viewer.dims.current_step[0] == layers.study_of(viewer.layers[0]).display_index(
        "axial", napari_hooks.DEMO_SLICE
    )
    assert "liver" in widget.view.answer_view.toPlainText()
    assert not notices
    picture = viewer.screenshot(str(artifact("demo.png")), canvas_only=False, flash=False)
    colourful = np.ptp(picture[..., :3].astype(int), axis=-1) > 60
    assert colourful.mean() > 0.005, "the mask is to be seen in the window"
    widget.close_all()


def artifact(name: str) -> Path:
    """Where a picture is kept for a person to look at, outside the checkout."""
    folder = Path(os.environ.get("MEDREASON_ARTIFACTS", Path(tempfile.gettempdir()) / "medreason-artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
