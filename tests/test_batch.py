"""Batches: from a table or a folder to one line for each question, stopped, killed and gone on with."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from napari_medreason import io
from napari_medreason.batch.questions import read_rows, rows_of_folder
from napari_medreason.batch.results import open_results
from napari_medreason.batch.run import Asking, run_batch
from napari_medreason.batch.slices import slice_numbers
from napari_medreason.batch.start import in_words, options_from, stoppable
from napari_medreason.cli import app
from napari_medreason.core.grounding import Grounding, Provenance
from napari_medreason.core.volume import Volume
from napari_medreason.errors import (
    AnswerFormatError,
    CancelledError,
    ExportError,
    MedReasonError,
    QuestionError,
)


class Model:
    """Answers with the bright pixels; notes every plane that it was shown."""

    def __init__(self, *, stop_after=None):
        self.shown, self.asked, self.stop_after = [], [], stop_after

    def ask(self, question, *, on_text, cancelled):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise CancelledError
        if not self.shown or self.shown[-1] is not question.plane:
            self.shown.append(question.plane)
        self.asked.append((question.text, question.plane.grid.index))
        if "nonsense" in question.text:
            raise AnswerFormatError("the model wrote no usable answer")
        if "broken" in question.text:
            raise ZeroDivisionError("division by zero")
        mask = question.plane.image > 50
        return Grounding(
            "found" if mask.any() else "absent",
            f"=seen on {question.plane.grid.index}",
            question.plane.grid,
            Provenance("model", "f" * 64, notes=("own note",)),
            mask=mask if mask.any() else None,
            box=(2.0, 2.0, 5.0, 6.0) if mask.any() else None,
        )

    def close(self):
        pass

    def load_adapter(self, folder):
        raise NotImplementedError


@pytest.fixture
def studies(tmp_path):
    """Two studies of four slices; slices 1 and 2 hold a bright box."""
    folder = tmp_path / "studies"
    (folder / "b").mkdir(parents=True)
    voxels = np.zeros((4, 8, 9), np.float32)
    voxels[1:3, 2:6, 2:5] = 100
    for name in ("a.nii.gz", "b/two.nii.gz"):
        io.write(folder / name, Volume(voxels, np.diag([1.0, 1.0, 3.0, 1.0]), "MR"))
    return folder


def table(folder, *rows, name="questions.csv"):
    file = folder / name
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return file


def run(rows, out, model=None, *, files=False, notes=(), cancelled=lambda: False, restart=False):
    results = open_results(out, model="model", options={}, restart=restart)
    asking = Asking(model or Model(), notes, files)
    return run_batch(rows, results, asking, report=lambda progress: None, cancelled=cancelled)


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_plane_is_looked_at_once_whatever_the_order_of_the_table(studies, tmp_path):
    asked = [("b/two.nii.gz", 2), ("a.nii.gz", 1), ("b/two.nii.gz", 1), ("a.nii.gz", 1), ("b/two.nii.gz", 2)]
    rows = [{"image": image, "question": f"Where? {n}", "slice": k} for n, (image, k) in enumerate(asked)]
    model = Model()
    done = run(read_rows(table(studies, *rows)), tmp_path / "out", model)
    assert done.answered == 5
    assert len(model.shown) == 3
    text = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8")
    written = list(csv.DictReader(text.splitlines()))
    assert [row["question"] for row in written] == [f"Where? {n}" for n in range(5)]
    assert [(row["image"], int(row["slice"])) for row in written] == asked
    assert {row["answer"] for row in written} == {"'=seen on 1", "'=seen on 2"}


def test_answers_and_files_of_a_folder(studies, tmp_path):
    out = tmp_path / "out"
    rows = rows_of_folder(studies, ["Where is the box?"], slices="all")
    done = run(rows, out, files=True, notes=("model in 4-bit",))
    assert (done.images, done.answered, done.faults) == (2, 8, 0)
    found = [line for line in lines(out) if line["status"] == "found"]
    assert {(line["image"], line["plane"]["index"]) for line in found} == {
        (image, index) for image in ("a.nii.gz", "b/two.nii.gz") for index in (1, 2)
    }
    mask = io.read(out / found[0]["mask"])
    assert mask.voxels.sum() == 12
    assert mask.voxels[found[0]["plane"]["index"]].sum() == 12
    assert (out / found[0]["overlay"]).is_file()
    assert found[0]["notes"] == ["own note", "model in 4-bit"]
    assert str(tmp_path) not in (out / "results.jsonl").read_text(encoding="utf-8")


def test_faults_are_listed_and_the_rest_is_answered(studies, tmp_path):
    (studies / "broken.nii.gz").write_bytes(b"no image")
    rows = read_rows(
        table(
            studies,
            {"image": "broken.nii.gz", "question": "Where?"},
            {"image": "a.nii.gz", "question": "nonsense"},
            {"image": "a.nii.gz", "question": "broken"},
            {"image": "a.nii.gz", "question": "Where?", "slice": "9"},
            {"image": "missing.nii.gz", "question": "Where?"},
            {"image": "a.nii.gz", "question": "Where?"},
        )
    )
    done = run(rows, tmp_path / "out")
    assert (done.answered, done.faults) == (1, 5)
    faults = {line["number"]: line["error"] for line in lines(tmp_path / "out") if line["error"]}
    assert set(faults) == {1, 2, 3, 4, 5}
    assert "broken.nii.gz" in faults[1]
    assert faults[2] == "the model wrote no usable answer"
    assert faults[3] == "the model failed (ZeroDivisionError: division by zero)"
    assert "slices 0 to 3" in faults[4]
    assert "5 without an answer" in in_words(done)


def test_images_of_one_name_in_two_places_keep_their_own_answers(studies, tmp_path):
    for place, bright in (("p1", slice(0, 1)), ("p2", slice(2, 3))):
        voxels = np.zeros((4, 8, 9), np.float32)
        voxels[bright, 2:6, 2:5] = 100
        (studies / place).mkdir()
        io.write(studies / place / "ct.nii.gz", Volume(voxels, np.diag([1.0, 1.0, 3.0, 1.0]), "MR"))
    asked = [
        {"image": str(studies / place / "ct.nii.gz"), "question": "Where?", "slice": "all"}
        for place in ("p1", "p2")
    ]
    out = tmp_path / "out"
    assert run(read_rows(table(studies, *asked)), out).answered == 8
    rows = read_rows(table(studies, asked[1]))
    results = open_results(out, model="model", options={}, restart=False)
    assert results.has_all(rows[0])
    assert [line["plane"]["index"] for line in lines(out) if line["status"] == "found"] == [0, 2]
    kept = {line["key"]: line["status"] for line in lines(out)}
    assert [kept[f"{rows[0].key}-{index:04d}"] for index in range(4)] == ["absent"] * 2 + ["found", "absent"]
    assert str(tmp_path) not in (out / "results.jsonl").read_text(encoding="utf-8")


def test_a_stopped_batch_goes_on_and_asks_nothing_twice(studies, tmp_path):
    out, rows = tmp_path / "out", rows_of_folder(studies, ["Where?", "What?"], slices="all")
    first = Model(stop_after=5)
    stopped = run(rows, out, first)
    assert stopped.stopped
    assert len(lines(out)) == 5
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"number": 1, "key": "cut by a power')
    second = Model()
    done = run(rows, out, second)
    assert (done.kept, done.answered, done.stopped) == (5, 11, False)
    assert len(second.asked) == 11
    keys = [line["key"] for line in lines(out)]
    assert len(keys) == len(set(keys)) == 16


def test_a_complete_study_is_not_even_read_again(studies, tmp_path):
    out, rows = tmp_path / "out", rows_of_folder(studies, ["Where?"], slices="1-2")
    run(rows, out)
    (studies / "a.nii.gz").unlink()
    assert open_results(out, model="model", options={}).complete(rows)
    assert run(rows, out).kept == 4


def test_questions_without_an_answer_are_tried_again_and_rows_may_be_added(studies, tmp_path):
    out = tmp_path / "out"
    row = {"image": "late.nii.gz", "question": "Where?"}
    assert run(read_rows(table(studies, row)), out).faults == 1
    (studies / "late.nii.gz").write_bytes((studies / "a.nii.gz").read_bytes())
    added = {"image": "a.nii.gz", "question": "Where?"}
    done = run(read_rows(table(studies, added, row)), out)
    assert (done.answered, done.faults) == (2, 0)
    assert [line["error"] for line in lines(out)] == [None, None]


def test_the_same_question_twice_has_two_results(studies, tmp_path):
    row = {"image": "a.nii.gz", "question": "Where?"}
    assert run(read_rows(table(studies, row, row)), tmp_path / "out").answered == 2
    assert [line["id"] for line in lines(tmp_path / "out")] == ["", "(again 2)"]


def test_results_of_another_model_or_other_files_are_not_mixed_in(studies, tmp_path):
    out = tmp_path / "out"
    rows = rows_of_folder(studies, ["Where?"])
    run(rows, out)
    with pytest.raises(ExportError, match=r"answers of model 'model'.*--restart"):
        open_results(out, model="other", options={})
    with pytest.raises(ExportError, match="--restart"):
        open_results(out, model="model", options={"precision": "4bit"})
    assert run(rows, out, restart=True).answered == 2
    with pytest.raises(ExportError, match=r"studies holds other files \(a\.nii\.gz\)"):
        open_results(studies, model="model", options={})
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file can't be used as a folder"):
        open_results(tmp_path / "file", model="model", options={})


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"image": "a.nii.gz", "question": ""}, "row 1: question is empty"),
        ({"image": "", "question": "Where?"}, "row 1: image is empty"),
        (
            {"image": "a", "question": "Where?", "slize": 3},
            "row 1: column 'slize' is not known; known: image",
        ),
        ({"image": "a", "question": "Where?", "plane": "oblique"}, "row 1: plane 'oblique'"),
        ({"image": "a", "question": "Where?", "slice": "-3"}, "row 1: slices are '-3'; accepted"),
        ({"image": "a", "question": "Where?", "frame": "x"}, "row 1: frame 'x'"),
        ({"image": "a", "question": "Where?", "window": "nowhere"}, "row 1: .*nowhere"),
    ],
)
def test_a_row_that_can_not_be_used_is_named_before_anything_is_asked(tmp_path, row, complaint):
    with pytest.raises(QuestionError, match=complaint):
        read_rows(table(tmp_path, row))


def test_tables_of_other_kinds(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"image": "a.nii.gz", "question": "Where?", "slice": 3, "frame": null}\n\n')
    assert [(row.image, row.slices, row.frame) for row in read_rows(file)] == [
        (tmp_path / "a.nii.gz", "3", None)
    ]
    file.write_text("[1]\n")
    with pytest.raises(QuestionError, match="line 1 holds list"):
        read_rows(file)
    file = tmp_path / "semicolons.csv"
    file.write_bytes("\ufeffimage;question\na.nii.gz;Wo, bitte?\n".encode())
    assert read_rows(file)[0].question == "Wo, bitte?"
    for name, content, complaint in (
        ("empty.csv", "image,question\n", "holds no questions"),
        ("table.xlsx", "x", "no table of questions"),
        ("latin.csv", b"image,question\na,gr\xfc\xdfe\n", "UTF-8"),
    ):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(QuestionError, match=complaint):
            read_rows(file)


def test_slices_in_words():
    assert slice_numbers("middle", 9) == (4,)
    assert slice_numbers("all", 3) == (0, 1, 2)
    assert slice_numbers("every 4", 9) == (0, 4, 8)
    assert slice_numbers("7, 2-4,3", 9) == (2, 3, 4, 7)
    for words in ("", "every 0", "4-2", "1,,2", "1.5", "all but 3"):
        with pytest.raises(QuestionError, match="accepted"):
            slice_numbers(words, 9)
    with pytest.raises(QuestionError, match="slices 0 to 8"):
        slice_numbers("9", 9)


@given(st.text(max_size=12), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_whatever_is_typed_gives_slices_that_are_there_or_a_fault_of_ours(words, count):
    try:
        numbers = slice_numbers(words, count)
    except MedReasonError:
        return
    assert numbers
    assert set(numbers) <= set(range(count))


def test_options_in_words():
    assert options_from(["precision=4bit", "square_size=840", "direct=true", "reasoner=/m/x=1"]) == {
        "precision": "4bit",
        "square_size": 840,
        "direct": True,
        "reasoner": "/m/x=1",
    }
    with pytest.raises(QuestionError, match="NAME=VALUE"):
        options_from(["precision"])


def test_a_signal_asks_to_stop_and_the_second_one_ends():
    import signal

    before = signal.getsignal(signal.SIGINT)
    with stoppable() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_command_says_what_is_wrong_before_it_loads_a_model(studies, tmp_path):
    def faults(*arguments):
        result = CliRunner().invoke(app, ["batch", *map(str, arguments)])
        assert isinstance(result.exception, MedReasonError)
        return str(result.exception)

    assert "--question" in faults(studies, tmp_path / "out")
    assert "no file or folder" in faults(tmp_path / "nowhere", tmp_path / "out")
    assert "does not take these options" in faults(
        studies, tmp_path / "out", "--question", "Where?", "--option", "colour=red"
    )
    assert "leave --question out" in faults(
        table(tmp_path, {"image": "a", "question": "b"}), tmp_path / "out", "--question", "Where?"
    )


def test_the_command_with_the_embedded_model(studies, tmp_path):
    arguments = ["batch", str(studies), str(tmp_path / "out"), "--question", "Where is the liver?", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--no-files"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["answered"] == 2
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "have answers already" in again.stderr
