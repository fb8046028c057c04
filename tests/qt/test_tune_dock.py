"""What a user of the Fine-tune dock's first page sees: records, check, form, start, and what it remembers."""

import threading
from dataclasses import replace

import numpy as np
import psutil
import pytest

from napari_medreason import jobs, layers
from napari_medreason._qt import tune_dock
from napari_medreason._qt import tune_records_page as records_page
from napari_medreason._qt.tune_dock import TuneDock
from napari_medreason._qt.tune_dock_open import open_with_records
from napari_medreason.core.run_config import read_run_config
from napari_medreason.core.run_folder import CONFIG
from napari_medreason.io.records import read_records, write_records
from napari_medreason.worklist import LabelDefinition, WorkList

from ..training.tuning_records import data_set, in_split

pytestmark = pytest.mark.window
PATIENCE = 60_000
FIVE = tuple((patient, "train") for patient in "abcde")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Runs, records, keys and weights in a folder of this test."""
    for variable, name in (
        ("MEDREASON_RUNS", "runs"),
        ("MEDREASON_RECORDS", "made"),
        ("MEDREASON_WEIGHTS", "weights"),
        ("MEDREASON_PSEUDONYM_KEY_FILE", "key"),
    ):
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setattr(tune_dock, "own_form", lambda: tmp_path / "settings" / "form.toml")


@pytest.fixture
def open_dock(qtbot, notices):
    """Opens the dock on napari's viewer model, at the width of a narrow window."""
    from napari.components import ViewerModel

    opened = []

    def make():
        dock = TuneDock(ViewerModel())
        dock.resize(400, 800)
        dock.show()
        opened.append(dock)
        return dock

    yield make
    for dock in opened:
        dock.close_all()


@pytest.fixture
def records(tmp_path):
    """Five patients whose records name no split, four slices each."""
    (tmp_path / "set").mkdir()
    data_set(tmp_path / "set", FIVE)
    return tmp_path / "set" / "records.jsonl"


def wait_for_check(dock, qtbot):
    qtbot.waitUntil(lambda: not (dock._later.isActive() or dock._checks.busy), timeout=PATIENCE)


def add(dock, records, qtbot):
    """Add a file as the button does."""
    dock.view.records.file_wanted.emit(records)
    qtbot.waitUntil(lambda: bool(dock.view.records.sets), timeout=PATIENCE)


def table(dock):
    shown = dock.view.check.table
    return [[shown.item(row, column).text() for column in range(4)] for row in range(3)]


def choose(box, key):
    box.setCurrentIndex(box.findData(key))
    box.activated.emit(box.currentIndex())


def test_patients_without_split_are_divided_and_shown(open_dock, records, qtbot):
    dock = open_dock()
    add(dock, records, qtbot)
    wait_for_check(dock, qtbot)
    assert [row[:2] for row in table(dock)] == [["3", "12"], ["1", "4"], ["1", "4"]]
    check = dock.view.check
    assert "white matter lesion 12" in check.structures.text()
    assert "12 slices to learn from are few" in check.notes.text()
    assert "of memory are needed" in check.memory.text()
    assert not check.faults.text()
    choose(dock.view.records.wish, "kept")
    wait_for_check(dock, qtbot)
    assert [row[0] for row in table(dock)] == ["5", "0", "0"]
    assert "no test patient" in check.notes.text()


def test_a_patient_in_two_splits_keeps_the_run_from_starting(open_dock, records, qtbot, notices, tmp_path):
    found = list(read_records(records))
    mixed = [*in_split(found[:2], "a", "test"), *found[2:]]
    write_records(records, mixed)
    dock = open_dock()
    add(dock, records, qtbot)
    wait_for_check(dock, qtbot)
    assert "Patient a is in train and in test" in dock.view.check.faults.text()
    dock.view.start_button.click()
    qtbot.waitUntil(lambda: "patient a is in train" in dock.view.status.text(), timeout=PATIENCE)
    assert notices
    assert not (tmp_path / "runs").exists()
    choose(dock.view.records.wish, "drawn")  # the remedy
    wait_for_check(dock, qtbot)
    assert not dock.view.check.faults.text()


def test_a_label_outside_the_vocabulary_is_told_before_the_start(open_dock, records, qtbot):
    write_records(records, [replace(r, structure="", label="our thing") for r in read_records(records)])
    dock = open_dock()
    add(dock, records, qtbot)
    wait_for_check(dock, qtbot)
    assert "The label “our thing” is not in the anatomy vocabulary" in dock.view.check.faults.text()


def test_a_wrong_field_is_marked_and_nothing_is_lost(open_dock, records, qtbot, tmp_path):
    dock = open_dock()
    add(dock, records, qtbot)
    form = dock.view.form
    form.name.setText("ours")
    rate = form.settings["embedded"].fields["learning_rate"].widget
    rate.clear()
    qtbot.keyClicks(rate, "fast")
    assert "border" in rate.styleSheet()
    assert "Learning rate: found 'fast'; accepted is a finite number" in form.faults.text()
    dock.view.start_button.click()
    assert "Learning rate" in dock.view.status.text()
    assert not (tmp_path / "runs").exists()
    assert (rate.text(), form.name.text(), len(dock.view.records.sets)) == ("fast", "ours", 1)
    rate.clear()
    qtbot.keyClicks(rate, "5e-5")
    assert not form.faults.text()
    assert form.config().embedded.learning_rate == 5e-5


def test_recipe_and_preset_change_the_fields(open_dock, qtbot):
    form = open_dock().view.form
    assert form.preset.isHidden()
    choose(form.recipe, "grpo")
    assert not form.preset.isHidden()
    assert form.config().grpo.group == 16
    group = form.config().grpo
    choose(form.preset, "cpu-small")
    small = form.config().grpo
    assert (small.preset, small.square) == ("cpu-small", 84)
    assert small.learning_rate != group.learning_rate
    assert form.settings["embedded"].isHidden()
    assert form.settings["grpo"].fields["kl"].widget.toolTip().startswith("Weight of the divergence")


def test_missing_weights_are_named_before_a_run_is_made(open_dock, records, qtbot, tmp_path):
    dock = open_dock()
    add(dock, records, qtbot)
    choose(dock.view.form.recipe, "medisee")
    assert "Missing: MediSee" in dock.view.form.note.text()
    dock.view.start_button.click()
    qtbot.waitUntil(lambda: "must be here first; open the dock" in dock.view.status.text(), timeout=PATIENCE)
    assert not (tmp_path / "runs").exists()


def test_start_makes_a_run_that_the_second_page_shows(open_dock, records, qtbot, tmp_path):
    dock = open_dock()
    add(dock, records, qtbot)
    form = dock.view.form
    form.name.setText("our lesions")
    form.minutes.setValue(1)
    dock.view.start_button.click()
    qtbot.waitUntil(lambda: dock.pages.currentWidget() is dock.runs, timeout=PATIENCE)
    (folder,) = (tmp_path / "runs").iterdir()
    process = jobs.process_of(folder)
    assert process is not None
    psutil.Process(process).kill()
    qtbot.waitUntil(lambda: jobs.process_of(folder) is None, timeout=PATIENCE)
    config = read_run_config(folder / CONFIG)
    assert (config.name, config.budget.minutes, config.recipe) == ("our lesions", 1.0, "embedded")
    assert str(tmp_path) not in (folder / CONFIG).read_text("utf-8")
    own = list(read_records(folder / config.records[0]))
    assert {record.split for record in own} == {"train", "validation", "test"}
    assert (folder / config.images / own[0].image.path).is_file()
    qtbot.waitUntil(lambda: dock.runs.folder == folder, timeout=PATIENCE)


def test_a_start_that_is_cancelled_starts_nothing(open_dock, records, qtbot, monkeypatch, tmp_path):
    dock = open_dock()
    add(dock, records, qtbot)
    wait_for_check(dock, qtbot)
    held, done = threading.Event(), threading.Event()
    start_run = tune_dock.start_run

    def slow(*args, **options):
        held.wait(20)
        try:
            return start_run(*args, **options)
        finally:
            done.set()

    monkeypatch.setattr(tune_dock, "start_run", slow)
    dock.view.start_button.click()
    assert not dock.view.file_button.isEnabled()  # saving would end the start unseen
    dock.view.cancel_button.click()
    held.set()
    qtbot.waitUntil(done.is_set, timeout=PATIENCE)
    assert dock.view.status.text() == "Cancelled."
    assert dock.view.file_button.isEnabled()
    assert not list((tmp_path / "runs").glob("*"))


def test_a_look_at_another_recipe_costs_nothing_that_was_typed(open_dock, qtbot):
    form = open_dock().view.form
    choose(form.recipe, "sft")
    choose(form.preset, "one-gpu")
    form.settings["sft"].fields["batch"].set_value(5)
    before = form.config()
    choose(form.recipe, "grpo")
    choose(form.recipe, "sft")
    assert form.config() == before
    assert before.sft.batch == 5
    choose(form.preset, "one-gpu")  # chosen by the user: its values count again
    assert form.config().sft.batch == 16


@pytest.mark.parametrize("minutes", [0.4, 200_000.0])
def test_a_time_limit_in_a_file_is_the_one_of_the_form(open_dock, records, minutes, tmp_path):
    file = tmp_path / "tune.toml"
    head = 'recipe = "embedded"\nrecords = ["set/records.jsonl"]\nimages = "set"\n'
    file.write_text(f"{head}[budget]\nminutes = {minutes}\n", "utf-8")
    dock = open_dock()
    dock.open(file)
    assert dock.view.form.config().budget.minutes == minutes


def test_two_sets_of_one_patient_are_one_patient(open_dock, records, qtbot, monkeypatch, tmp_path):
    (tmp_path / "again").mkdir()
    data_set(tmp_path / "again", [("z", "train")])
    monkeypatch.setattr(records_page.QInputDialog, "getText", lambda *_args, **_options: (" 7 ", True))
    dock = open_dock()
    add(dock, records, qtbot)
    dock.add_file(tmp_path / "again" / "records.jsonl")
    page = dock.view.records
    qtbot.waitUntil(lambda: page.rows.count() == 2, timeout=PATIENCE)
    for row in range(2):
        page.rows.setCurrentRow(row)
        page.rows.itemActivated.emit(page.rows.item(row))
    wait_for_check(dock, qtbot)
    assert [row[:2] for row in table(dock)] == [["1", "24"], ["0", "0"], ["0", "0"]]
    assert page.rows.item(1).text() == "again/records.jsonl (patient 7)"


def test_a_full_disk_leaves_the_form_as_it_is(open_dock, records, qtbot, tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    dock = open_dock()
    add(dock, records, qtbot)
    dock.view.start_button.click()
    qtbot.waitUntil(lambda: "can't be made" in dock.view.status.text(), timeout=PATIENCE)
    assert dock.view.start_button.isEnabled()
    assert len(dock.view.records.sets) == 1


def test_the_form_is_remembered_when_the_dock_is_opened_again(open_dock, records, qtbot):
    dock = open_dock()
    add(dock, records, qtbot)
    choose(dock.view.form.recipe, "sft")
    choose(dock.view.form.preset, "one-gpu")
    dock.view.form.name.setText("again")
    dock.view.form.settings["sft"].fields["batch"].set_value(7)
    before = dock.view.form.config()
    dock.close_all()
    again = open_dock()
    assert again.view.form.config() == before
    assert [one.file for one in again.view.records.sets] == [records]
    wait_for_check(again, qtbot)
    assert table(again)[0][0] == "3"


def test_a_configuration_is_saved_opened_and_refused(open_dock, records, qtbot, tmp_path, notices):
    dock = open_dock()
    add(dock, records, qtbot)
    dock.view.form.name.setText("saved")
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "tune.toml"
    dock.save(file)
    qtbot.waitUntil(lambda: "Saved tune.toml" in dock.view.status.text(), timeout=PATIENCE)
    other = open_dock()
    other.open(file)
    wait_for_check(other, qtbot)
    assert other.view.form.name.text() == "saved"
    assert [row[0] for row in table(other)] == ["3", "1", "1"]
    sound = file.read_text("utf-8")
    other.view.form.name.setText("typed since")
    for line, fault in (
        ("lerning_rate = 1.0", "unknown key 'lerning_rate'"),
        ("batch = -4", "embedded, batch: found -4; accepted is 1 or more"),
    ):
        file.write_text(f"{sound}\n[embedded]\n{line}\n", "utf-8")
        other.open(file)
        assert fault in other.view.status.text()
        assert other.view.form.name.text() == "typed since"
    file.write_text(sound.replace('name = "saved"', 'device = "cuda:1"'), "utf-8")
    other.open(file)
    assert other.view.form.config().device == "cuda:1"


def test_a_file_that_holds_no_records_is_refused(open_dock, qtbot, tmp_path, notices):
    dock = open_dock()
    (tmp_path / "odd.jsonl").write_text("{}\n")
    dock.add_file(tmp_path / "odd.jsonl")
    qtbot.waitUntil(lambda: "odd.jsonl, line 1" in dock.view.status.text(), timeout=PATIENCE)
    assert dock.view.records.sets == []


def painted(viewer, volume, name, label):
    """A study with a named label on four slices; gives the Labels layer."""
    from napari.layers import Layer

    image = viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    data = np.zeros(image.data.shape, np.uint8)
    data[8:12, 4:12, 6:16] = 3
    mask = viewer.add_labels(data, name=name, scale=image.scale, translate=image.translate)
    mask.units, mask.axis_labels = image.units, image.axis_labels
    layers.keep_names(mask, {3: label})
    return mask


def test_one_click_in_the_medpos_dock_fills_in_its_records(
    make_napari_viewer, volume_maker, records, qtbot, notices, tmp_path
):
    from napari_medreason._qt.medpos_dock import MedPosWidget

    viewer = make_napari_viewer()
    mask = painted(viewer, volume_maker(), "MUSTERMANN^ERIKA", "liver")
    medpos = MedPosWidget(viewer)
    viewer.window.add_dock_widget(medpos, name="MedPos")
    qtbot.waitUntil(lambda: medpos.view.tune_button.isEnabled(), timeout=PATIENCE)
    medpos.view.tune_button.click()
    (dock,) = [one for one in viewer.window.dock_widgets.values() if isinstance(one, TuneDock)]
    qtbot.waitUntil(lambda: len(dock.view.records.sets) == 1, timeout=PATIENCE)
    wait_for_check(dock, qtbot)
    assert table(dock)[0] == ["1", "4", "4", "4"]
    assert "liver 4" in dock.view.check.structures.text()
    made = list(read_records(dock.view.records.sets[0].file))
    assert {record.box_plane for record in made} == {(6, 4, 16, 12)}
    assert {record.image.modality for record in made} == {"CT"}
    for path in (tmp_path / "made").rglob("*"):
        assert "MUSTERMANN" not in path.name
        assert not path.is_file() or path.suffix == ".gz" or "MUSTERMANN" not in path.read_text("utf-8")
    layers.keep_names(mask, {})
    mask.name = "no name"
    medpos.view.tune_button.click()
    qtbot.waitUntil(lambda: "no label of layer" in dock.view.status.text(), timeout=PATIENCE)
    assert len(dock.view.records.sets) == 1
    opened = open_with_records(viewer, records, records.parent)
    assert opened is dock
    assert len(dock.view.records.sets) == 2
    viewer.window.remove_dock_widget(medpos)
    viewer.window.remove_dock_widget(dock)


def test_labels_without_an_image_say_what_to_open(open_dock, qtbot, notices, tmp_path):
    dock = open_dock()
    data = np.zeros((6, 20, 24), np.uint8)
    data[2:4, 3:9, 4:10] = 1
    mask = dock._viewer.add_labels(data, name="alone")
    layers.keep_names(mask, {1: "liver"})
    dock.take_labels()
    qtbot.waitUntil(lambda: "open the study" in dock.view.status.text(), timeout=PATIENCE)
    assert dock.view.records.sets == []
    assert not list((tmp_path / "made").iterdir())


def test_the_study_chosen_in_the_medpos_dock_counts(open_dock, volume_maker, qtbot, notices):
    from napari.layers import Layer

    from napari_medreason._qt.medpos_dock import MedPosWidget

    dock = open_dock()
    volume = replace(volume_maker(), affine=np.diag([1.0, 1.0, -1.0, 1.0]))
    image = dock._viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    data = np.zeros(image.data.shape, np.uint8)
    data[8:12, 4:12, 6:16] = 1
    mask = dock._viewer.add_labels(data, name="no place of its own")  # it fits, but that may be chance
    mask.units, mask.axis_labels = image.units, image.axis_labels
    layers.keep_names(mask, {1: "liver"})
    medpos = MedPosWidget(dock._viewer)
    qtbot.waitUntil(lambda: medpos.view.tune_button.isEnabled(), timeout=PATIENCE)
    dock.take_labels(medpos.presenter.label_source)
    qtbot.waitUntil(lambda: "open the study" in dock.view.status.text(), timeout=PATIENCE)
    medpos.view.study_choice.setCurrentIndex(0)
    medpos.view.study_chosen.emit(0)
    dock.take_labels(medpos.presenter.label_source)
    qtbot.waitUntil(lambda: len(dock.view.records.sets) == 1, timeout=PATIENCE)
    made = list(read_records(dock.view.records.sets[0].file))
    assert {record.image.orientation for record in made} == {("L", "P")}
    medpos.close_all()


def test_accepted_studies_of_a_work_list_become_records(open_dock, volume_maker, qtbot, tmp_path):
    from napari_medreason import io

    (tmp_path / "studies").mkdir()
    volume = volume_maker()
    io.write(tmp_path / "studies" / "one.nii.gz", volume)
    definition = LabelDefinition(1, "liver", "liver", "Where is the liver?")
    work_list = WorkList.create(tmp_path / "list", tmp_path / "studies", labels=[definition])
    dock = open_dock()
    dock.view.records.list_wanted.emit(tmp_path / "list")
    qtbot.waitUntil(lambda: "no study is accepted yet" in dock.view.status.text(), timeout=PATIENCE)
    (item,) = work_list.items
    labels = np.zeros(volume.shape_kji, np.uint8)
    labels[5:9, 10:20, 12:30] = 1
    work_list.begin(item.id, reader="A. Reader")
    work_list.save_labels(item.id, labels, reader="A. Reader", like=volume)
    work_list.accept(item.id, reader="A. Reader")
    dock.view.records.list_wanted.emit(tmp_path / "list")
    qtbot.waitUntil(lambda: len(dock.view.records.sets) == 1, timeout=PATIENCE)
    wait_for_check(dock, qtbot)
    assert table(dock)[0] == ["1", "4", "4", "4"]


def test_labels_beside_answers_and_records_of_yesterday(
    open_dock, volume_maker, records, qtbot, monkeypatch, tmp_path
):
    yesterday = open_dock()
    add(yesterday, records, qtbot)
    yesterday.close_all()
    dock = open_dock()
    mask = painted(dock._viewer, volume_maker(), "labels", "liver")
    answer = dock._viewer.add_labels(np.ones_like(mask.data), name="1 liver: mask", scale=mask.scale)
    answer.units, answer.axis_labels = mask.units, mask.axis_labels
    alone = dock._viewer.add_labels(np.ones((3, 4, 5), np.uint8), name="of a study that is not open")
    layers.keep_names(alone, {1: "spleen"})
    dock.take_labels()
    qtbot.waitUntil(lambda: len(dock.view.records.sets) == 2, timeout=PATIENCE)
    assert "beside 1 file from before" in dock.view.status.text()
    assert dock.view.records.sets[0].file == records
    wait_for_check(dock, qtbot)
    rows = dock.view.records.rows
    assert rows.item(1).text().startswith("liver, 4 records, ")
    asked, buttons = [], records_page.QMessageBox.StandardButton
    for answered, left in ((buttons.Cancel, 2), (buttons.Yes, 1)):
        monkeypatch.setattr(
            records_page.QMessageBox, "question", lambda *words, say=answered: asked.append(words) or say
        )
        assert list((tmp_path / "made").iterdir())
        rows.setCurrentRow(1)
        dock.view.records.remove_button.click()
        assert len(dock.view.records.sets) == left
    assert not list((tmp_path / "made").iterdir())
    dock.view.records.remove_button.click()  # files of the user are only left out
    assert (len(asked), dock.view.records.sets, records.exists()) == (2, [], True)


def test_closing_the_dock_ends_the_making_of_records(open_dock, volume_maker, qtbot, tmp_path):
    dock = open_dock()
    painted(dock._viewer, volume_maker(), "labels", "liver")
    dock.take_labels()
    qtbot.waitUntil(lambda: dock.build._process.pid > 0, timeout=PATIENCE)
    process = psutil.Process(dock.build._process.pid)
    dock.close_all()
    qtbot.waitUntil(lambda: not process.is_running(), timeout=PATIENCE)
    assert not list((tmp_path / "made").iterdir())


def test_nothing_is_wider_than_a_narrow_dock(open_dock, records, qtbot):
    dock = open_dock()
    add(dock, records, qtbot)
    dock.view.form.more.expand(animate=False)
    for recipe in dock.view.form.settings:
        choose(dock.view.form.recipe, recipe)
        wait_for_check(dock, qtbot)
        area = dock.view.area
        assert area.widget().minimumSizeHint().width() <= area.viewport().width() <= 400, recipe


def test_a_large_file_is_read_while_the_window_answers(open_dock, records, qtbot, monkeypatch):
    held = threading.Event()
    dock = open_dock()
    read = dock._reader.read

    def slow(file):
        held.wait(20)
        return read(file)

    monkeypatch.setattr(dock._reader, "read", slow)
    add(dock, records, qtbot)
    qtbot.waitUntil(lambda: dock.view.check.notes.text().startswith("Checking"), timeout=PATIENCE)
    dock.view.form.name.setText("typed meanwhile")
    held.set()
    wait_for_check(dock, qtbot)
    assert table(dock)[0][0] == "3"
