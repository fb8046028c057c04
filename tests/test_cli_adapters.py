"""`medreason adapters …` as a user types it, and `medreason ask` with an adapter."""

import json
import sys

import pytest

from napari_medreason import cli
from napari_medreason_sample_data import ct_folder

from .models.adapter_cases import embedded_adapter


@pytest.fixture
def medreason(monkeypatch, capsys, tmp_path):
    """Run `medreason …` in this process; gives exit code, standard output and standard error."""
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medreason", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return embedded_adapter(tmp_path_factory.mktemp("run") / "adapter")


def test_an_adapter_from_its_run_to_an_answer_and_away_again(medreason, tuned, tmp_path):
    assert "no adapter yet" in medreason("adapters", "list")[1]
    code, printed, _ = medreason("adapters", "import", tuned)
    assert code == 0
    assert printed.startswith("our-lesions: ask it with --model embedded@our-lesions; Dice 0.31 before, 0.52")
    assert "embedded@our-lesions" in medreason("adapters", "list")[1]
    assert "embedded@our-lesions" in medreason("models", "list")[1]
    card = medreason("adapters", "show", "our-lesions")[1]
    assert "on 3 held-out patients" in card
    assert "records: train 24, test 9" in card
    question = ("ask", ct_folder(), "Where is the liver?", "--json")
    answers = [
        json.loads(medreason(*question, "--model", name)[1]) for name in ("embedded", "embedded@our-lesions")
    ]
    assert answers[1]["model"] == "embedded@our-lesions"
    assert answers[0]["weights_sha256"] != answers[1]["weights_sha256"]
    file = tmp_path / "lesions.zip"
    assert medreason("adapters", "export", "our-lesions", file)[0] == 0
    assert medreason("adapters", "remove", "our-lesions")[:2] == (0, "our-lesions: removed\n")
    row = json.loads(medreason("adapters", "import", file, "--name", "From Bob", "--json")[1])["adapter"]
    assert (row["id"], row["model"]) == ("from-bob", "embedded@from-bob")
    assert medreason("adapters", "merge", "from-bob", tmp_path / "whole")[0] == 0
    assert (tmp_path / "whole/brain_mr.safetensors").exists()


def test_what_can_not_be_done_is_one_line_and_exit_code_2(medreason, tuned, tmp_path):
    medreason("adapters", "import", tuned)
    for arguments, words in (
        (("adapters", "remove", "nothing"), "known: our-lesions"),
        (("adapters", "show", "nothing"), "known: our-lesions"),
        (("adapters", "import", tmp_path / "nothing.zip"), "nothing.zip is not there"),
        (("adapters", "export", "our-lesions", tmp_path / "no" / "x.zip"), "x.zip can't be written"),
        (("adapters", "merge", "our-lesions", tmp_path), "is there already"),
        (("ask", ct_folder(), "liver", "--model", "medisee@our-lesions"), "ask embedded@our-lesions"),
        (("ask", ct_folder(), "liver", "--model", "embedded@nothing"), "adapter 'nothing' is not known"),
    ):
        code, printed, error = medreason(*arguments)
        assert (code, printed) == (2, "")
        assert words in error
        assert error.count("\n") == 1
