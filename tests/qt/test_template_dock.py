"""What a user of the template bench sees: completion, preview on a mask, checks, review, versions, undo."""

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_medreason.errors import TemplateError
from napari_medreason.io.templates import read_templates, shipped, write_templates

pytestmark = pytest.mark.window
PATIENCE = 60_000


@pytest.fixture
def bench(volume_maker, qtbot, notices, tmp_path):
    """The bench on napari's viewer model, with a study whose right-hand top of the slice holds a liver."""
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_medreason import layers
    from napari_medreason._qt.template_widget import TemplateBench

    viewer = ViewerModel()
    image = Layer.create(*layers.image_layer(volume_maker()))
    viewer.add_layer(image)
    labels = np.zeros(image.data.shape, np.uint8)
    labels[10, 4:12, 6:16] = 3
    mask = viewer.add_labels(labels, name="organs", scale=image.scale, translate=image.translate)
    mask.units, mask.axis_labels = image.units, image.axis_labels
    layers.keep_names(mask, {3: "liver"})
    viewer.dims.set_current_step(0, 10)
    dock = TemplateBench(viewer, tmp_path / "own" / "templates.json")
    qtbot.addWidget(dock)
    dock.resize(480, 860)
    dock.show()
    qtbot.waitUntil(lambda: bool(dock.library.newest), timeout=PATIENCE)
    yield dock
    dock.close_all()


def write(bench, qtbot, field, text):
    edit = bench.view.editor.texts[field]
    edit.clear()
    edit.setFocus()
    qtbot.keyClicks(edit, text)
    qtbot.waitSignal(bench.view.editor.edited, timeout=5000).wait()


def findings(bench):
    return bench.view.editor.findings.toPlainText()


def own_file(bench):
    return read_templates(bench.library.path)


def test_a_slot_is_completed_and_filled_from_the_mask_on_the_slice(bench, qtbot):
    bench.view.source.setCurrentText("organs")
    bench.view.select("medpos-01")
    edit = bench.view.editor.texts["question"]
    edit.clear()
    qtbot.keyClicks(edit, "Where {is} {a_str")
    assert edit.completer.popup().isVisible()
    qtbot.keyClick(edit.completer.popup(), Qt.Key.Key_Return)
    qtbot.keyClicks(edit, " now?")
    assert edit.toPlainText() == "Where {is} {a_structure} now?"
    qtbot.waitUntil(lambda: "Where is the liver now?" in bench.view.editor.preview.toPlainText())
    assert "The liver lies in the top left of the image" in bench.view.editor.preview.toPlainText()
    mask = bench.tryout.layer
    mask.data[10] = 0
    mask.data[10, 36:44, 50:60] = 3  # painted elsewhere
    mask.refresh()
    mask.events.set_data()
    qtbot.waitUntil(lambda: "bottom right" in bench.view.editor.preview.toPlainText(), timeout=5000)
    bench.tryout._viewer.dims.set_current_step(0, 3)
    qtbot.waitUntil(lambda: "Sample:" in bench.view.editor.preview.toPlainText(), timeout=5000)
    assert "no label on this slice" in bench.view.status.text()


def test_the_preview_knows_what_lies_beside_once_all_slices_were_looked_at(bench, qtbot):
    from napari_medreason import layers

    mask = next(layer for layer in bench.tryout._viewer.layers if layer.name == "organs")
    mask.data[8:12, 4:12, 16:24] = 4  # on the patient's left of the liver
    layers.keep_names(mask, {3: "liver", 4: "spleen"})
    bench.view.source.setCurrentText("organs")
    bench.view.select("medpos-01")
    write(bench, qtbot, "question", "Where {is} {structure}, {neighbour}?")
    expected = "Where is the liver, to the patient's right of the spleen?"
    qtbot.waitUntil(lambda: expected in bench.view.editor.preview.toPlainText(), timeout=PATIENCE)
    bench.view.label.setCurrentText("4: spleen")
    expected = "Where is the spleen, to the patient's left of the liver?"
    qtbot.waitUntil(lambda: expected in bench.view.editor.preview.toPlainText(), timeout=PATIENCE)


def test_faults_are_told_in_sentences_and_what_is_broken_is_not_saved(bench, qtbot):
    bench.view.select("medpos-01")
    write(bench, qtbot, "question", "Is {structure} at the top?")
    assert "Gives the answer away (question): 'top' gives the position away" in findings(bench)
    write(bench, qtbot, "question", "Where {is} {organ}?")
    assert "Can't be saved: question: unknown slot {organ}" in findings(bench)
    bench.view.editor.save_button.click()
    assert not bench.library.path.exists()
    assert "unknown slot" in bench.view.status.text()
    assert bench.view.editor.texts["question"].toPlainText() == "Where {is} {organ}?"


def test_first_edit_copies_a_shipped_template_and_undo_redo_and_revert_are_saved(bench, qtbot):
    shipped_before = shipped()
    bench.view.select("medpos-02")
    write(bench, qtbot, "question", "Where could {structure} be seen?")
    bench.view.editor.save_button.click()
    assert [(one.id, one.version) for one in own_file(bench)] == [("medpos-02", 1), ("medpos-02", 2)]
    assert own_file(bench)[1].question == "Where could {structure} be seen?"
    assert "Version 2 against version 1" in bench.view.versions.text.toPlainText()
    bench.view.undo_button.click()
    assert own_file(bench) == ()
    bench.view.redo_button.click()
    assert len(own_file(bench)) == 2
    bench.view.remove_button.click()
    assert bench.library.template("medpos-02").version == 1
    assert shipped() == shipped_before


def test_review_in_bulk_needs_a_name_and_is_kept(bench, qtbot):
    bench.view.system.setCurrentIndex(bench.view.system.findData("medpos"))
    assert bench.view.count.text() == "55 of 423"
    bench.view.rows.selectAll()
    review = bench.view.review
    assert not review.approve_button.isEnabled()
    review.reviewer.setText("A. Reader")
    assert review.approve_button.text() == "Approve 55"
    review.approve_button.click()
    kept = own_file(bench)
    assert {(one.state, one.reviewer) for one in kept} == {("approved", "A. Reader")}
    bench.view.select("medpos-05")
    assert not review.reject_button.isEnabled()
    review.reason.setText("unclear")
    review.reject_button.click()
    rejected = [one for one in own_file(bench) if one.state == "rejected"]
    assert [(one.id, one.reason) for one in rejected] == [("medpos-05", "unclear")]
    bench.view.state.setCurrentIndex(bench.view.state.findData("rejected"))
    assert bench.view.listed_ids == ["medpos-05"]


def test_what_is_written_stays_when_another_template_is_looked_at(bench, qtbot):
    bench.view.select("medpos-01")
    write(bench, qtbot, "question", "Where would {structure} be?")
    bench.view.select("medpos-03")
    assert not bench.view.editor.changed
    bench.view.select("medpos-01")
    assert bench.view.editor.texts["question"].toPlainText() == "Where would {structure} be?"
    assert bench.view.editor.changed


def test_a_new_template_is_gone_on_with_and_closing_keeps_all_that_is_written(bench, qtbot):
    bench.view.select("medpos-01")
    write(bench, qtbot, "question", "Where would {structure} be?")
    bench.view.new_button.click()
    write(bench, qtbot, "question", "Where {does} {structure} end?")
    bench.view.select("medpos-03")
    assert not bench.view.editor.is_new
    bench.view.new_button.click()
    assert bench.view.editor.texts["question"].toPlainText() == "Where {does} {structure} end?"
    bench.view.editor.save_button.click()
    assert bench.view.editor.is_new, "a template without an answer can't be saved"
    assert bench.view.editor.texts["question"].toPlainText() == "Where {does} {structure} end?"
    write(bench, qtbot, "answer", "The outline of {structure} ends {where}.")
    bench.view.select("medpos-03")
    bench.close_all()
    assert {(one.id, one.version): one.question for one in own_file(bench)[1:]} == {
        ("medpos-01", 2): "Where would {structure} be?",
        ("medpos-own-01", 1): "Where {does} {structure} end?",
    }


def test_the_checks_of_the_list_come_in_the_background(bench, qtbot):
    bench.view.new_button.click()
    first = bench.library.template("medpos-01")
    write(bench, qtbot, "question", first.question)
    write(bench, qtbot, "answer", first.answer)
    assert "the same wording as medpos-01" in findings(bench)
    bench.view.editor.save_button.click()
    assert bench.view.current_id == "medpos-own-01"
    qtbot.waitUntil(lambda: bench.checks.findings.get("medpos-own-01", ()) != (), timeout=PATIENCE)
    bench.view.only_findings.setChecked(True)
    assert "medpos-own-01" in bench.view.listed_ids


def test_balance_counts_over_the_chosen_labels(bench, qtbot):
    bench.view.source.setCurrentText("organs")
    bench.view.search.setText("medpos-3")
    bench.view.balance_page.count_button.click()
    qtbot.waitUntil(lambda: "1 regions give" in bench.view.balance_page.words.text(), timeout=PATIENCE)
    tree = bench.view.balance_page.tree
    groups = {
        tree.topLevelItem(row).text(0): tree.topLevelItem(row) for row in range(tree.topLevelItemCount())
    }
    assert groups["Structures"].child(0).text(0) == "liver"
    assert groups["Positions"].child(0).text(0) == "top left"


def test_export_read_back_and_a_damaged_own_file_is_left_alone(bench, qtbot, tmp_path):
    bench.view.search.setText("medpos-1")
    bench.export_file(tmp_path / "some.yaml", listed=True)
    some = read_templates(tmp_path / "some.yaml")
    assert [one.id for one in some] == bench.view.listed_ids
    assert len(some) == 10
    from napari_medreason._qt.template_library import TemplateLibrary

    path = tmp_path / "templates.json"
    path.write_text('{"format": 1, "templates": [{"id": 3', encoding="utf-8")
    before = path.read_bytes()
    library = TemplateLibrary(shipped(), path)
    assert library.fault.startswith("templates.json, line 1")
    with pytest.raises(TemplateError, match="nothing was changed"):
        library.approve(["medpos-01"], reviewer="A")
    assert path.read_bytes() == before


def test_a_file_changed_by_another_program_is_not_written_over(tmp_path):
    from napari_medreason._qt.template_library import TemplateLibrary

    path = tmp_path / "templates.json"
    one, other = TemplateLibrary(shipped(), path), TemplateLibrary(shipped(), path)
    one.approve(["medpos-01"], reviewer="A")
    with pytest.raises(TemplateError, match="changed by another program"):
        other.approve(["medpos-02"], reviewer="B")
    assert [template.id for template in read_templates(path)] == ["medpos-01"]
    other.reload()
    other.approve(["medpos-02"], reviewer="B")
    assert [template.reviewer for template in read_templates(path)] == ["A", "B"]


def test_imported_words_under_a_known_id_become_the_next_version(tmp_path):
    from dataclasses import replace

    from napari_medreason._qt.template_library import TemplateLibrary

    library = TemplateLibrary(shipped(), tmp_path / "templates.json")
    changed = replace(shipped()[0], question="Where, please, {is} {structure}?")
    write_templates(tmp_path / "in.csv", [changed, shipped()[1]])
    assert library.take_in(read_templates(tmp_path / "in.csv")) == (1, 1)
    assert library.history(changed.id)[-1].question == changed.question
    assert library.history(changed.id)[-1].version == shipped()[0].version + 1


def listeners(viewer):
    groups = (viewer.layers.events, viewer.dims.events)
    emitters = {name: emitter for group in groups for name, emitter in group.emitters.items()}
    return {name: len(emitter.callbacks) for name, emitter in emitters.items()}


def test_opened_from_the_menu_it_leaves_the_viewer_and_keeps_what_was_written(
    make_napari_viewer, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_medreason._qt.template_widget.own_file", lambda: tmp_path / "own.json")
    viewer = make_napari_viewer()
    viewer.add_labels(np.ones((4, 5, 6), np.uint8))
    before = listeners(viewer)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medreason", "Template bench")
    assert listeners(viewer) != before
    qtbot.waitUntil(lambda: bool(dock.library.newest), timeout=PATIENCE)
    dock.view.select("medpos-01")
    write(dock, qtbot, "question", "Where, would you say, {is} {structure}?")
    viewer.window.remove_dock_widget(dock)
    assert listeners(viewer) == before
    assert read_templates(tmp_path / "own.json")[-1].question == "Where, would you say, {is} {structure}?"
    viewer.window.add_plugin_dock_widget("napari-medreason", "Template bench")
    viewer.close()  # while templates are read
