"""Generated wordings of questions: many, distinct, the same every time, and kept apart from the others."""

import tomllib
from importlib.resources import files

import numpy as np
import pytest

from napari_medreason.core.question_text import understand
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR
from napari_medreason_training.__main__ import main
from napari_medreason_training.questions import HELD_OUT, SEEN, TRAINED, misspelt, one_wording, wordings

ALL = (*BRAIN_MR, *BODY_CT)


def test_no_template_is_in_two_lists():
    table = tomllib.loads(files("napari_medreason_training").joinpath("wordings.toml").read_text("utf-8"))
    fields = ("orders", "questions", "functions", "descriptions")
    texts = {kind: {text for field in fields for text in table[kind][field]} for kind in table}
    assert len(texts[HELD_OUT]) >= 40
    assert not texts[HELD_OUT] & (texts[TRAINED] | texts[SEEN])


def test_the_command_prints_a_rate_for_every_list(capsys):
    assert main(["questions", "--count", "1"]) == 0
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(name.strip(), kind.strip()) for name, kind in rows] == [
        (name, kind) for name in ("brain", "body") for kind in (TRAINED, SEEN, HELD_OUT)
    ]


@pytest.mark.parametrize("structure", ALL)
def test_thousands_of_distinct_wordings(structure):
    generated, seen, apart = (wordings(structure, kind) for kind in (TRAINED, SEEN, HELD_OUT))
    assert len(generated) > 1_000
    assert len(apart) > 500
    lower = {text.lower() for text in generated}
    assert not lower & {text.lower() for text in apart}
    assert not {text.lower() for text in seen} & {text.lower() for text in apart}
    assert not any("{" in text for text in (*generated, *seen, *apart))


def test_generated_wordings_are_understood():
    rng = np.random.default_rng(3)
    known = {"brain": BRAIN_MR, "body": BODY_CT}
    right = []
    for names in known.values():
        for structure in names:
            for text in rng.choice(wordings(structure, TRAINED), 15, replace=False):
                right.append(understand(str(text), names).structure == structure)
    assert np.mean(right) > 0.97


def test_one_wording_is_the_same_for_a_seed_and_varies_with_it():
    first = [one_wording("liver", TRAINED, seed=seed) for seed in range(20)]
    assert first == [one_wording("liver", TRAINED, seed=seed) for seed in range(20)]
    assert len(set(first)) > 10


def test_a_slip_changes_one_long_word():
    rng = np.random.default_rng(1)
    assert misspelt("find it", rng) == "find it"
    text = "where is the gallbladder"
    slip = misspelt(text, rng)
    assert slip != text
    assert sorted(slip) == sorted(text)
    assert slip.startswith("where is the g")
