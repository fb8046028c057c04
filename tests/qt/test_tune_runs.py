"""What users see of their runs: list, curves, samples, the end, before and after, accept, roll back."""

import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from PIL import Image
from qtpy.QtCore import Qt

from napari_medreason import jobs
from napari_medreason._qt.ask_widget import AskWidget
from napari_medreason._qt.tune_runs import RunsPage
from napari_medreason.core.grounding import Grounding, Provenance, Seconds, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.run_folder import RunEvent
from napari_medreason.errors import CancelledError, RunError
from napari_medreason.layers import image_layer
from napari_medreason.models import adapter_store, adapters

from .tune_cases import CONFIG, events_text, lesion_data, make_adapter, make_run, quick_command, steps

pytestmark = pytest.mark.window
PATIENCE = 30_000
LONG = 240_000


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "adapters"))
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def open_page(qtbot, notices):
    """Makes pages on viewer models, taken apart at the end."""
    made = []

    def make(viewer=None, engine=None):
        page = RunsPage(viewer or ViewerModel(), engine=engine)
        qtbot.addWidget(page)
        page.resize(400, 900)
        page.show()
        made.append(page)
        return page

    yield make
    for page in made:
        page.take_apart()


def rows(page):
    model = page.view.model
    return [[model.data(model.index(r, c)) for c in range(6)] for r in range(model.row_total())]


def line(page, name):
    """What a curve is drawn with: (x, y)."""
    return page.view.curves._lines[name].getData()


def wait_for_curve(qtbot, page, name, count):
    def drawn():
        return name in page.view.curves._lines and len(line(page, name)[0]) == count

    qtbot.waitUntil(drawn, timeout=PATIENCE)


def test_an_empty_list_says_how_to_begin(open_page, qtbot):
    page = open_page()
    qtbot.waitUntil(lambda: "No run yet" in page.view.status.text(), timeout=PATIENCE)
    assert not page.view.stop_button.isEnabled()
    assert not page.view.compare.accept_button.isEnabled()


def test_a_run_that_works_is_chosen_followed_and_found_again_by_a_new_page(root, open_page, qtbot):
    make_run(root / "old", name="old", reason="done")
    events = [RunEvent("start", 0, 0.0, {"steps": 40}), *steps(1, 5)]
    folder = make_run(root / "works", events, name="works", working=True)
    page = open_page()
    wait_for_curve(qtbot, page, ("training", "loss"), 5)
    assert page.folder == folder
    assert page.view.status.text() == "works: step 5 of 40, 0:05, about a minute left"
    assert page.view.progress.value() == 5
    assert ["works", "embedded", "working", "5", "0:05", "–"] in rows(page)
    page.take_apart()
    page.close()
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(events_text(*steps(6, 9), RunEvent("evaluation", 9, 9.0, {"dice": 0.5, "score": 0.4})))
    again = open_page()
    wait_for_curve(qtbot, again, ("training", "loss"), 9)
    assert again.view.curves.shown() == [
        ("training", "loss"),
        ("validation", "dice"),
        ("validation", "score"),
    ]


def test_curves_are_ticked_drawn_over_minutes_and_taken_back(root, open_page, qtbot):
    both = [
        RunEvent("step", n, 60.0 * n, {"loss": 1.0 / n, "kl": 0.1, "reward": n / 10}) for n in range(1, 8)
    ]
    folder = make_run(root / "run", both, working=True)
    page = open_page()
    curves = page.view.curves
    wait_for_curve(qtbot, page, ("training", "loss"), 7)
    assert curves.shown() == [("training", "loss"), ("training", "reward")]
    assert line(page, ("training", "kl"))[0] is None
    entry = curves.legend.findItems("kl", Qt.MatchFlag.MatchExactly)[0]
    entry.setCheckState(Qt.CheckState.Checked)
    assert ("training", "kl") in curves.shown()
    curves.over.setCurrentText("minutes")
    np.testing.assert_allclose(line(page, ("training", "kl"))[0], range(1, 8))
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(events_text(RunEvent("start", 4, 300.0, {}, "resumed")))
    wait_for_curve(qtbot, page, ("training", "kl"), 4)


def test_every_curve_of_a_plot_looks_different(root, open_page, qtbot):
    values = {f"reward {number}": 1.0 for number in range(14)}
    make_run(root / "run", [RunEvent("step", 5, 5.0, values)], working=True)
    page = open_page()
    wait_for = page.view.curves._lines
    qtbot.waitUntil(lambda: len(wait_for) == 14, timeout=PATIENCE)
    pens = [line.opts["pen"] for line in wait_for.values()]
    assert len({(pen.color().name(), pen.style()) for pen in pens}) == 14


def test_the_theme_of_the_window_is_that_of_the_curves(root, open_page):
    viewer = ViewerModel()
    page = open_page(viewer)
    plot = page.view.curves.plots["training"]
    dark = plot.backgroundBrush().color().lightness()
    viewer.theme = "light"
    assert plot.backgroundBrush().color().lightness() > dark + 100
    listeners = len(viewer.events.theme.callbacks)
    page.take_apart()
    assert len(viewer.events.theme.callbacks) == listeners - 1


def test_very_many_events_never_hold_the_window_up(root, open_page, qtbot, monkeypatch):
    """The GUI thread's own work for one look at a run of 100,000 events; reading is done beside it."""
    folder = make_run(root / "long", steps(1, 100_000, seconds=0.1))
    page = open_page()
    spent = []
    shown = page._show_report

    def timed(report):
        before = time.thread_time()
        shown(report)
        spent.append(time.thread_time() - before)

    monkeypatch.setattr(page, "_show_report", timed)
    qtbot.waitUntil(lambda: any(c is not None for c in line_lengths(page)), timeout=LONG)
    qtbot.waitUntil(lambda: len(spent) > 2, timeout=PATIENCE)
    assert page.folder == folder
    assert max(spent) < 0.05


def line_lengths(page):
    return [
        None if (x := curve.getData()[0]) is None else len(x) for curve in page.view.curves._lines.values()
    ]


def test_stop_is_asked_for_and_a_working_run_is_never_deleted(root, open_page, qtbot, monkeypatch):
    folder = make_run(root / "works", steps(1, 3), working=True)
    page = open_page()
    qtbot.waitUntil(page.view.stop_button.isEnabled, timeout=PATIENCE)
    assert not page.view.delete_action.isEnabled()
    assert not page.view.resume_button.isEnabled()
    qtbot.mouseClick(page.view.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: rows(page)[0][2] == "stopping", timeout=PATIENCE)
    assert (folder / "stop").exists()
    (folder / "process.json").unlink()
    (folder / "result.json").write_text(json.dumps({"reason": "stopped", "values": {}, "words": ""}))
    qtbot.waitUntil(page.view.delete_action.isEnabled, timeout=PATIENCE)
    assert "Resume goes on from its last checkpoint" in page.view.status.text()
    answers = iter([False, True])
    monkeypatch.setattr(page.view, "confirm", lambda words: next(answers))
    page.view.delete_action.trigger()
    assert folder.exists()
    page.view.delete_action.trigger()
    qtbot.waitUntil(lambda: not folder.exists() and not rows(page), timeout=PATIENCE)
    assert not page.view.delete_action.isEnabled()


def test_a_run_elsewhere_is_followed_and_a_folder_without_one_is_told(
    root, open_page, qtbot, tmp_path, notices
):
    page = open_page()
    elsewhere = make_run(
        tmp_path / "elsewhere", steps(1, 4), name="elsewhere", reason="failed", words="no memory"
    )
    page.show_run(elsewhere)
    qtbot.waitUntil(lambda: page.folder == elsewhere, timeout=PATIENCE)
    qtbot.waitUntil(lambda: "No memory." in page.view.status.text(), timeout=PATIENCE)
    page.show_run(tmp_path)
    assert any("holds no run" in message for _, message in notices)


def test_samples_improve_along_the_slider(root, open_page, qtbot):
    folder = make_run(root / "run", steps(1, 3), working=True)
    for step, grey in ((0, 40), (10, 200)):
        place = folder / "samples" / f"step-{step:06d}"
        place.mkdir(parents=True)
        (place / "one.json").write_text(json.dumps({"answer": f"said at {step}", "dice": step / 20}))
        Image.fromarray(np.full((6, 8), grey, np.uint8)).save(place / "one-answer.png")
    page = open_page()
    samples = page.view.samples
    qtbot.waitUntil(lambda: "said at 10" in samples.words.text(), timeout=PATIENCE)
    assert "step 10 (2 of 2)" in samples.step.text()
    assert (samples.picture.pixels.width(), samples.picture.pixels.height()) == (8, 6)
    samples.slider.setValue(0)
    qtbot.waitUntil(lambda: samples.words.text() == "answer: said at 0\ndice: 0", timeout=PATIENCE)
    place = folder / "samples" / "step-000020"
    place.mkdir()
    (place / "one.json").write_text("{}")
    qtbot.waitUntil(lambda: samples.slider.maximum() == 2, timeout=PATIENCE)
    assert samples.chosen_step == 0


def test_the_end_of_a_run_is_told_also_when_the_page_is_hidden(root, open_page, qtbot, monkeypatch, notices):
    monkeypatch.setattr("napari_medreason._qt.tune_runs.HIDDEN_TICKS", 1)
    folder = make_run(root / "works", steps(1, 3), name="works", working=True)
    page = open_page()
    wait_for_curve(qtbot, page, ("training", "loss"), 3)
    page.hide()
    (folder / "process.json").unlink()
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    assert notices == [("info", "The training run “works” has ended: broken off.")]


def test_a_fault_in_reading_is_told_once_and_other_runs_are_listed(
    root, open_page, qtbot, notices, monkeypatch
):
    make_run(root / "good", name="good", reason="done")
    (make_run(root / "odd") / "config.toml").write_bytes(b"\xff\xfe\x00")
    page = open_page()
    qtbot.waitUntil(lambda: [row[0] for row in rows(page)] == ["good"], timeout=PATIENCE)
    assert notices == []

    def broken(_others):
        raise OSError("the disk is gone")

    monkeypatch.setattr("napari_medreason._qt.tune_runs.read_list", broken)
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    page.refresh()
    qtbot.wait(300)
    assert len(notices) == 1


def test_the_log_and_warnings_are_shown(root, open_page, qtbot):
    folder = make_run(root / "run", [RunEvent("warning", 0, 1.0, {}, "8 slices are few")], working=True)
    (folder / "stderr.log").write_text("about 1.1 GB of memory are needed\n")
    page = open_page()
    qtbot.waitUntil(lambda: "1.1 GB" in page.view.log.toPlainText(), timeout=PATIENCE)
    assert page.view.notes.text() == "Note: 8 slices are few."


def test_figures_are_judged_only_when_the_run_has_ended(root, open_page, qtbot):
    folder = make_run(root / "run", steps(1, 3), working=True)
    make_adapter(folder)
    page = open_page()
    wait_for_curve(qtbot, page, ("training", "loss"), 3)
    assert not page.view.compare.accept_button.isEnabled()
    (folder / "process.json").unlink()
    (folder / "result.json").write_text(json.dumps({"reason": "done", "values": {}, "words": ""}))
    qtbot.waitUntil(lambda: "Better than before" in page.view.compare.verdict.text(), timeout=PATIENCE)
    assert page.view.compare.figures.item(0, 2).text() == "0.60"


def test_an_adapter_that_is_not_whole_is_not_offered_and_the_reason_told(root, open_page, qtbot):
    folder = make_run(root / "run", steps(1, 3), reason="done")
    make_adapter(folder)
    (folder / "adapter" / "brain_mr.json").unlink()
    page = open_page()
    compare = page.view.compare
    qtbot.waitUntil(lambda: "is not whole" in compare.status.text(), timeout=PATIENCE)
    assert not compare.accept_button.isEnabled()
    assert not compare.show_button.isEnabled()
    (folder / "adapter" / "brain_mr.json").write_text("{}")
    qtbot.waitUntil(compare.accept_button.isEnabled, timeout=PATIENCE)


def test_a_worse_model_is_accepted_only_by_will_and_two_of_one_name_stay_apart(
    root, open_page, qtbot, monkeypatch
):
    for name in ("one", "two"):
        make_adapter(
            make_run(root / name, steps(1, 2), name=name, reason="done"), after=0.2, interval=[-0.3, -0.1]
        )
    page = open_page()
    compare = page.view.compare
    page.show_run(root / "one")
    qtbot.waitUntil(
        lambda: page.folder == root / "one" and compare.accept_button.isEnabled(), timeout=PATIENCE
    )
    asked = []
    monkeypatch.setattr(compare, "confirm", lambda words: asked.append(words) or len(asked) > 1)
    qtbot.mouseClick(compare.accept_button, Qt.MouseButton.LeftButton)
    assert "worse than before" in asked[0]
    assert adapters.installed() == ()
    qtbot.mouseClick(compare.accept_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(compare.roll_back_button.isEnabled, timeout=PATIENCE)
    assert compare.status.text() == "Accepted: choose “embedded@one” in the Ask dock."
    page.show_run(root / "two")
    qtbot.waitUntil(
        lambda: page.folder == root / "two" and compare.accept_button.isEnabled(), timeout=PATIENCE
    )
    assert not compare.roll_back_button.isEnabled()


def test_a_model_of_which_nothing_was_measured_is_accepted_only_by_will(root, open_page, qtbot, monkeypatch):
    folder = make_run(root / "run", steps(1, 2), reason="done")
    make_adapter(folder)
    card = json.loads((folder / "adapter" / "adapter.json").read_text())
    (folder / "adapter" / "adapter.json").write_text(json.dumps(card | {"before_after": {}}))
    compare = open_page().view.compare
    qtbot.waitUntil(compare.accept_button.isEnabled, timeout=PATIENCE)
    asked = []
    monkeypatch.setattr(compare, "confirm", asked.append)
    qtbot.mouseClick(compare.accept_button, Qt.MouseButton.LeftButton)
    assert asked == ["Nothing was measured on held-out patients. Accept it all the same?"]
    qtbot.wait(100)
    assert adapters.installed() == ()


@pytest.mark.parametrize("odd", [None, [], {"named": {"before": 0.1, "after": 0.2, "patients": None}}])
def test_a_card_that_is_none_is_told_and_shows_no_figures(root, open_page, qtbot, odd):
    folder = make_run(root / "run", steps(1, 2), reason="done")
    make_adapter(folder)
    (folder / "adapter" / "adapter.json").write_text(json.dumps({"before_after": odd}))
    compare = open_page().view.compare
    qtbot.waitUntil(lambda: "can't be used" in compare.status.text(), timeout=PATIENCE)
    assert compare.verdict.text() == "No figures are shown: what the run has made can't be used as it is."
    assert compare.figures.rowCount() == 0


def test_one_thing_is_done_at_a_time_and_its_fault_is_told(root, open_page, qtbot, monkeypatch, notices):
    for name in ("one", "two"):
        make_run(root / name, steps(1, 2), name=name, reason="done")
    held = threading.Event()

    def refused(_folder):
        held.wait(20)
        raise RunError("one can't be deleted wholly")

    monkeypatch.setattr("napari_medreason._qt.tune_runs_acting.delete_run", refused)
    page = open_page()
    monkeypatch.setattr(page.view, "confirm", lambda words: True)
    page.show_run(root / "one")
    qtbot.waitUntil(lambda: page.folder == root / "one", timeout=PATIENCE)
    page.delete()
    page.show_run(root / "two")
    qtbot.waitUntil(lambda: page.folder == root / "two", timeout=PATIENCE)
    page.stop()
    page.delete()
    assert notices == [("info", "Wait for what is under way, then try again.")] * 2
    assert page.folder == root / "two"
    assert "one" not in [row[0] for row in rows(page)]
    held.set()
    qtbot.waitUntil(lambda: notices[-1] == ("error", "one can't be deleted wholly"), timeout=PATIENCE)
    qtbot.waitUntil(lambda: {row[0] for row in rows(page)} == {"one", "two"}, timeout=PATIENCE)
    assert not (root / "two" / "stop").exists()


def test_an_adapter_that_is_being_kept_is_not_rolled_back_meanwhile(
    root, open_page, qtbot, monkeypatch, notices
):
    make_adapter(make_run(root / "run", steps(1, 2), name="run", reason="done"))
    accept, held = adapter_store.accept, threading.Event()
    monkeypatch.setattr(adapter_store, "accept", lambda folder: held.wait(20) and accept(folder))
    page = open_page()
    compare = page.view.compare
    qtbot.waitUntil(compare.accept_button.isEnabled, timeout=PATIENCE)
    with qtbot.waitSignal(page.accepted, timeout=PATIENCE):
        qtbot.mouseClick(compare.accept_button, Qt.MouseButton.LeftButton)
        compare.roll_back_wanted.emit()
        compare.accept_wanted.emit()
        assert notices == [("info", "Wait for what is under way, then try again.")] * 2
        held.set()
    assert [adapter.id for adapter in adapters.installed()] == ["run"]


def test_figures_that_look_alike_say_what_they_are(root, open_page, qtbot):
    make_run(root / "run", [RunEvent("evaluation", 5, 5.0, {"kept dice": 0.8, "score": 0.4})], reason="done")
    page = open_page()
    wait_for_curve(qtbot, page, ("validation", "kept dice"), 1)
    model = page.view.model
    assert "not the Dice on held-out" in model.data(model.index(0, 5), Qt.ItemDataRole.ToolTipRole)
    assert model.data(model.index(0, 0), Qt.ItemDataRole.ToolTipRole) == str(root / "run")
    (entry,) = page.view.curves.legend.findItems("validation kept dice", Qt.MatchFlag.MatchExactly)
    assert "phantoms" in entry.toolTip()


def test_a_page_that_is_closed_reads_no_more(root, open_page, qtbot):
    page = open_page()
    qtbot.waitUntil(lambda: not page._listing.busy, timeout=PATIENCE)
    page.take_apart()
    page._listed = -1e9
    page._tick()
    assert not page._listing.busy


def compared(root, open_page, qtbot, bridge, *, viewer=None, **data):
    """A page with an ended run whose held-out cases are being asked of the made-up engine."""
    folder = make_run(root / "run", steps(1, 3), reason="done")
    lesion_data(folder, (("a", "train"), ("c", "test")), **data)
    make_adapter(folder)
    if viewer is None:
        viewer = ViewerModel()
        viewer.add_image(np.zeros((4, 4)), name="my own")
    page = open_page(viewer, bridge)
    page.view.tabs.setCurrentWidget(page.view.compare)
    qtbot.waitUntil(page.view.compare.show_button.isEnabled, timeout=PATIENCE)
    qtbot.mouseClick(page.view.compare.show_button, Qt.MouseButton.LeftButton)
    return page, viewer


def drawn(viewer, name):
    return int(np.asarray(viewer.layers[f"held-out case: {name}"].data).sum())


def test_cases_are_shown_as_linked_layers_and_leave_with_the_page(root, open_page, qtbot, bridge):
    page, viewer = compared(root, open_page, qtbot, bridge)
    qtbot.waitUntil(lambda: len(page.comparing._answers) == 8 and not page.comparing.busy, timeout=PATIENCE)
    case = page.comparing._cases[0]
    assert drawn(viewer, "corrected") == case.record.mask.sum()
    assert drawn(viewer, "before") == drawn(viewer, "after") > 0
    words = page.view.compare.words.text()
    assert "Asked: Where is the white matter lesion?" in words
    assert "Before: Dice" in words
    assert "After: Dice" in words
    viewer.layers["held-out case"].translate = (5.0, 6.0, 7.0)
    assert viewer.layers["held-out case: after"].translate.tolist() == [5.0, 6.0, 7.0]
    viewer.layers.remove("held-out case")
    qtbot.mouseClick(page.view.compare.next_button, Qt.MouseButton.LeftButton)
    assert len(viewer.layers) == 5
    page.take_apart()
    assert [layer.name for layer in viewer.layers] == ["my own"]


def test_asking_is_cancelled_at_once_and_goes_on_later(root, open_page, qtbot, bridge):
    page, viewer = compared(root, open_page, qtbot, bridge, question="a slow question")
    compare = page.view.compare
    qtbot.waitUntil(lambda: page.comparing._request is not None, timeout=PATIENCE)
    assert compare.title.text().startswith("Held-out, not your open study. Case 1 of 4")
    assert "Before: not asked yet" in compare.words.text()
    qtbot.mouseClick(compare.cancel_button, Qt.MouseButton.LeftButton)
    assert not page.comparing.busy
    assert compare.progress.isHidden()
    assert drawn(viewer, "before") == 0
    qtbot.mouseClick(compare.show_button, Qt.MouseButton.LeftButton)
    assert page.comparing._request is not None
    qtbot.mouseClick(compare.close_button, Qt.MouseButton.LeftButton)
    assert [layer.name for layer in viewer.layers] == ["my own"]


class Engine:
    """Answers when the test says so; `asked` holds the callbacks of every question."""

    def __init__(self):
        self.asked = []

    def ask(self, question, *, model, **callbacks):
        self.asked.append((question, callbacks))
        return len(self.asked)

    def cancel(self, request_id):
        """Heard by a busy engine only later."""


def test_the_late_end_of_a_cancelled_question_does_not_end_the_next(root, open_page, qtbot):
    engine = Engine()
    page, viewer = compared(root, open_page, qtbot, engine)
    compare = page.view.compare
    qtbot.waitUntil(lambda: len(engine.asked) == 1, timeout=PATIENCE)
    qtbot.mouseClick(compare.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(compare.show_button, Qt.MouseButton.LeftButton)
    (question, first), (_, second) = engine.asked
    mask = np.zeros(question.plane.grid.shape, bool)
    mask[2:5, 3:9] = True
    provenance = Provenance("made up", "f" * 64, Seconds(load=0.0, reason=0.0, segment=0.0), templated=True)
    found = {"mask": mask, "box": mask_box(mask), "points": key_points(mask)}
    grounding = Grounding("found", "Here.", question.plane.grid, provenance, **found)
    first["on_error"](CancelledError("cancelled"))
    first["on_result"](replace(grounding, answer="too late"))
    assert page.comparing.busy
    assert "Before: not asked yet" in compare.words.text()
    second["on_result"](grounding)
    assert "Here." in compare.words.text()
    assert drawn(viewer, "before") == mask.sum()
    assert len(engine.asked) == 3


def test_a_case_hides_the_users_study_and_leaves_the_other_docks_alone(
    root, open_page, qtbot, bridge, volume_maker
):
    viewer = ViewerModel()
    study, off = (
        viewer.add_layer(Layer.create(*image_layer(volume_maker(name=name)))) for name in ("study", "off")
    )
    off.visible = False
    labels = viewer.add_labels(np.zeros(study.data.shape, np.uint8), name="mine")
    ask = AskWidget(viewer, engine=bridge)
    try:
        asked_about = ask.image
        page, _ = compared(root, open_page, qtbot, bridge, viewer=viewer)
        qtbot.waitUntil(lambda: "Case 1 of 4" in page.view.compare.title.text(), timeout=PATIENCE)
        assert not any(layer.visible for layer in (study, labels, off))
        assert viewer.layers["held-out case"].visible
        assert viewer.layers.selection == {labels}
        assert viewer.layers.selection.active is labels
        assert ask.image is asked_about
        study.visible = True
        viewer.layers.selection.active = viewer.layers["held-out case: before"]
        qtbot.mouseClick(page.view.compare.next_button, Qt.MouseButton.LeftButton)
        assert study.visible
        qtbot.mouseClick(page.view.compare.close_button, Qt.MouseButton.LeftButton)
        assert study.visible
        assert labels.visible
        assert not off.visible
        assert viewer.layers.selection.active is labels
    finally:
        ask.close_all()


def test_a_fault_of_the_engine_is_told_once_and_the_case_stays(root, open_page, qtbot, bridge, notices):
    page, viewer = compared(root, open_page, qtbot, bridge, question="what do the weights say")
    qtbot.waitUntil(lambda: bool(notices), timeout=PATIENCE)
    qtbot.wait(200)
    assert notices == [("error", "the weights are damaged; pull them again")]
    assert not page.comparing.busy
    assert drawn(viewer, "corrected") > 0


@pytest.fixture
def real_bridge(qapp):
    from napari_medreason._qt.engine_bridge import EngineBridge

    bridge = EngineBridge()
    yield bridge
    bridge.close()


@pytest.mark.slow
def test_a_real_run_from_start_to_a_question_to_the_tuned_model(
    root, open_page, qtbot, tmp_path, monkeypatch, make_napari_viewer, real_bridge, notices
):
    """Started, watched, left, found again, stopped, resumed, compared, accepted, asked, rolled back."""
    monkeypatch.setattr(jobs, "COMMAND", quick_command())
    folder = start_run(tmp_path)
    first = open_page()
    first.show_run(folder)
    qtbot.waitUntil(lambda: first.view.log.toPlainText() != "", timeout=LONG)
    first.take_apart()
    first.close()
    viewer = make_napari_viewer()
    page = open_page(viewer, real_bridge)
    stop_and_resume(page, folder, qtbot)
    look_at_cases(page, viewer, qtbot)
    model = accept(page, qtbot, monkeypatch)
    ask(viewer, real_bridge, model, qtbot)
    roll_back(page, viewer, qtbot)
    assert (folder / "adapter" / "adapter.json").exists()
    assert not [message for severity, message in notices if severity == "error"]


def start_run(place):
    """Start a run of the real recipe on small studies; gives its folder."""
    data = place / "data"
    data.mkdir()
    lesion_data(data, (("a", "train"), ("b", "train"), ("c", "test")))
    folder = jobs.new_run_folder("lesions")
    jobs.start(CONFIG.format(name="lesions", steps=60, every=5), folder, base=data)
    return folder


def stop_and_resume(page, folder, qtbot):
    """The page finds the run by itself; it is stopped, resumed and stopped again."""
    qtbot.waitUntil(lambda: ("validation", "dice") in page.view.curves._lines, timeout=LONG)
    assert page.folder == folder
    qtbot.mouseClick(page.view.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(page.view.resume_button.isEnabled, timeout=LONG)
    stopped_at = jobs.summary(folder).step
    assert jobs.summary(folder).reason == "stopped"
    qtbot.mouseClick(page.view.resume_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: jobs.summary(folder).step > stopped_at, timeout=LONG)
    qtbot.mouseClick(page.view.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(page.view.compare.accept_button.isEnabled, timeout=LONG)


def look_at_cases(page, viewer, qtbot):
    """Four held-out cases as layers, asked of both models; a layer that the user deletes comes back."""
    compare = page.view.compare
    page.view.tabs.setCurrentWidget(compare)
    qtbot.mouseClick(compare.show_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "Case 1 of 4" in compare.title.text(), timeout=LONG)
    qtbot.waitUntil(lambda: not page.comparing.busy, timeout=LONG)
    names = [layer.name for layer in viewer.layers]
    assert names == [
        "held-out case",
        *(f"held-out case: {name}" for name in ("corrected", "before", "after")),
    ]
    corrected = np.asarray(viewer.layers["held-out case: corrected"].data)
    assert corrected.sum() == page.comparing._cases[0].record.mask.sum()
    qtbot.mouseClick(compare.next_button, Qt.MouseButton.LeftButton)
    assert "Case 2 of 4" in compare.title.text()
    assert "not asked" not in compare.words.text()
    viewer.layers.remove("held-out case: before")
    qtbot.mouseClick(compare.former_button, Qt.MouseButton.LeftButton)
    assert len(viewer.layers) == 4


def accept(page, qtbot, monkeypatch):
    """Accept the tuned model; gives its id."""
    compare = page.view.compare
    monkeypatch.setattr(compare, "confirm", lambda words: True)
    with qtbot.waitSignal(page.accepted, timeout=LONG) as heard:
        qtbot.mouseClick(compare.accept_button, Qt.MouseButton.LeftButton)
    (model,) = heard.args
    assert model == "embedded@lesions"
    return model


def roll_back(page, viewer, qtbot):
    """Take the accepted model back, and the cases out of the viewer."""
    compare = page.view.compare
    qtbot.waitUntil(compare.roll_back_button.isEnabled, timeout=PATIENCE)
    qtbot.mouseClick(compare.close_button, Qt.MouseButton.LeftButton)
    assert len(viewer.layers) == 0
    qtbot.mouseClick(compare.roll_back_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(compare.accept_button.isEnabled, timeout=PATIENCE)
    assert adapters.installed() == ()


def ask(viewer, bridge, model, qtbot):
    """Ask the tuned model in the Ask dock about the case that is shown."""
    dock = AskWidget(viewer, engine=bridge)
    try:
        dock._refill_models()
        dock.view.choose_model(model)
        assert dock.view.model == model
        dock.ask("Where is the white matter lesion?")
        qtbot.waitUntil(lambda: len(dock.presenter.session) == 1, timeout=LONG)
        (answer,) = dock.presenter.session
        assert answer.grounding.provenance.model == model
        dock.presenter.delete(answer.id)
    finally:
        dock.close_all()
