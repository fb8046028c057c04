"""The command `prove`: a missed goal, or an older program's run that would be told as new, ends in words."""

import argparse
import json

import pytest

from napari_medreason.errors import RunError
from napari_medreason_training import prove_embedded_tune, run_command


def prove(folder, monkeypatch, figures):
    monkeypatch.setattr(run_command, "_function", lambda where: lambda seed, data, out: figures)
    run_command.prove_command(argparse.Namespace(proof="grpo", seed=1, data=None, out=folder))


def test_a_proof_that_misses_its_goal_ends_with_an_error_and_its_figures_stay(tmp_path, monkeypatch):
    prove(tmp_path, monkeypatch, {"passed": True})
    with pytest.raises(RunError, match="did not reach its goal"):
        prove(tmp_path, monkeypatch, {"passed": False})
    assert json.loads((tmp_path / "prove-grpo-1.json").read_text(encoding="utf-8")) == {"passed": False}


def test_a_proof_that_was_begun_before_is_not_told_as_a_new_one(tmp_path):
    assert run_command.not_begun(tmp_path) == tmp_path
    (tmp_path / "config.toml").touch()
    with pytest.raises(RunError, match="holds an earlier proof; name another --out"):
        run_command.not_begun(tmp_path)


@pytest.mark.parametrize(
    ("named", "prompted", "learnt"),
    [
        ([0.1, 0.4], [0.0, 0.0], True),
        ([0.1, 0.4], [-0.2, -0.1], False),
        ([0.0, 0.4], [0.1, 0.2], False),
        (None, None, False),
    ],
)
def test_the_proof_of_the_embedded_model_asks_for_a_sure_gain_by_name(named, prompted, learnt):
    figures = {"named": {"interval": named}, "prompted": {"interval": prompted}}
    assert prove_embedded_tune._learnt(figures) is learnt
