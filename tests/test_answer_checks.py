"""Failed tests of an answer reach the reader: in the dock's words, on the command line and as JSON."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medreason import cli
from napari_medreason._qt.answer_words import answer_text, provenance_text
from napari_medreason.core.grounding import Check, Grounding, Provenance
from napari_medreason.core.plane import cut
from napari_medreason.core.report import grounding_json
from napari_medreason.core.volume import Volume, Window
from napari_medreason.layers.study import StudyRef
from napari_medreason.session import Answer, Place, PromptState

ODD = Check("side", False, "This mask lies on the left: check the orientation of the study.")
FINE = Check("mirror", True, "The mirrored image gives the same place.")


@pytest.fixture
def answer():
    volume = Volume(np.zeros((2, 8, 8), np.float32), np.eye(4))
    plane = cut(volume, "axial", 0, Window(0, 1))
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    grounding = Grounding(
        "found", "The liver is seen.", plane.grid, Provenance("m", ""), mask=mask, checks=(ODD, FINE)
    )
    affine = tuple(tuple(row) for row in volume.affine)
    study = StudyRef("s", (2, 8, 8), affine, (0, 1, 2), (False,) * 3, 3, (1.0,) * 3, (0.0,) * 3)
    state = PromptState(None, (), mask)
    return Answer("1", 1, "liver?", grounding, plane, Place(study, "study"), "m", history=(state,))


def test_a_failed_test_stands_with_the_answer_and_a_passed_one_below(answer):
    assert answer_text(answer) == f"{answer.grounding.answer}\n\n{ODD.words}"
    assert "Tests passed: mirror." in provenance_text(answer)
    assert ODD.words not in provenance_text(answer)


def test_a_corrected_mask_is_not_judged_by_tests_of_the_former_one(answer):
    painted = replace(answer, history=(replace(answer.state, mask=~answer.state.mask),))
    assert ODD.words not in answer_text(painted)
    assert "Tests passed" not in provenance_text(painted)


def test_the_json_report_and_the_command_line_tell_them(answer, capsys):
    report = grounding_json(answer.grounding, np.eye(4))
    assert report["checks"] == [
        {"name": "side", "passed": False, "words": ODD.words},
        {"name": "mirror", "passed": True, "words": FINE.words},
    ]
    cli._print_answer(report)
    printed = capsys.readouterr().out
    assert ODD.words in printed
    assert FINE.words not in printed
