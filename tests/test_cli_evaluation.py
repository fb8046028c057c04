"""`medreason eval`: what is refused before a process starts, and exit codes of the process."""

from pathlib import Path

import pytest

from napari_medreason.cli import app
from napari_medreason.core.evaluation_config import ModelChoice, evaluation_config
from napari_medreason.errors import RunError

TEXT = 'records = ["records.jsonl"]\nimages = "."\n[[models]]\nid = "embedded"\n'


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "eval.toml"
    file.write_text(TEXT, encoding="utf-8")
    return file


def run(*arguments):
    return app(["eval", *map(str, arguments)], standalone_mode=False)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no\.toml can't be read as text \(No such file") as fault:
        run(tmp_path / "no.toml")
    assert str(tmp_path) not in str(fault.value)


def test_a_file_that_is_no_text_is_named(config):
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="it is no UTF-8 text"):
        run(config)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT + "optoins = {}\n", "unknown key 'optoins'"),
        (TEXT.replace('"."', "3"), "images"),
        ("splits = []\n" + TEXT, "splits is empty"),
        ("limit = -1\n" + TEXT, "below 0"),
        ("resamples = 3\n" + TEXT, "at least 100"),
        (TEXT.replace('"embedded"', '"embedded@x"\nadapter = "y"'), "'embedded@x' names two adapters"),
        ('splits = ["exam"]\n' + TEXT, "'train' or 'validation' or 'test'"),
    ],
)
def test_a_faulty_configuration_is_told_before_a_process_starts(config, monkeypatch, text, words):
    monkeypatch.setattr("subprocess.Popen", lambda *_: pytest.fail("a process was started"))
    config.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=words):
        run(config)


def test_a_fault_that_the_process_finds_is_exit_code_two(config, capfd):
    (config.parent / "records.jsonl").write_text("{}\n", encoding="utf-8")
    assert run(config, "--out", config.parent / "results") == 2
    told = capfd.readouterr().err.strip()
    assert "records.jsonl, line 1" in told
    assert "\n" not in told
    assert not (config.parent / "results").exists()


@pytest.mark.parametrize(
    ("id_", "title"),
    [
        ("embedded@/home/someone/runs/first", "embedded@first"),
        ("embedded@runs/first/", "embedded@first"),
        (r"embedded@C:\runs\first", "embedded@first"),
        ("embedded@our-lesions", "embedded@our-lesions"),
        ("lingshu-7b+medsam", "lingshu-7b+medsam"),
    ],
)
def test_a_model_is_called_by_its_id_without_folders(id_, title):
    assert ModelChoice(id=id_).title == title


def test_names_in_any_script_are_names_of_files():
    assert [ModelChoice(name=name).slug for name in ("模型一", "模型二", "Größe_1", "…")] == [
        "模型一",
        "模型二",
        "größe-1",
        "model",
    ]
    models = "".join(f'[[models]]\nid = "embedded"\nname = "{name}"\n' for name in ("模型一", "模型二"))
    head = TEXT.partition("[[models]]")[0]
    assert len(evaluation_config(head + models, "eval.toml").models) == 2


def test_the_example_is_a_configuration():
    file = Path(__file__).parents[1] / "docs" / "examples" / "evaluation.toml"
    config = evaluation_config(file.read_text(encoding="utf-8"), file.name)
    assert [model.slug for model in config.models] == ["embedded", "tuned-on-our-lesions", "another-program"]
    assert config.images_of("open-ms") == "labelled/open_ms"
