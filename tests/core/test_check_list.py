"""The check list: each doubt stands on its own line, and what was not looked at is not called fine."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from napari_medreason.core.cautions import KINDS, Caution, kind_of
from napari_medreason.core.check_list import check_list
from napari_medreason.core.volume import Volume


def volume(affine=None, **fields) -> Volume:
    return Volume(np.zeros((3, 4, 5)), np.eye(4) if affine is None else affine, **fields)


def states(study: Volume) -> dict[str, str]:
    return {check.kind: check.state for check in check_list(study)}


def test_a_caution_is_its_words_with_a_kind():
    caution = Caution("Two slices are missing.", "gaps")
    assert caution == "Two slices are missing."
    assert " ".join([caution, "Take care."]) == "Two slices are missing. Take care."
    assert json.dumps([caution]) == '["Two slices are missing."]'
    assert kind_of(caution) == "gaps"
    assert kind_of(copy.deepcopy(caution)) == kind_of(pickle.loads(pickle.dumps(caution))) == "gaps"
    assert kind_of("plain words") == "other"


def test_a_good_series_is_fine_all_over():
    assert set(states(volume(slices_checked=True)).values()) == {"fine"}


def test_what_a_format_does_not_tell_is_not_called_fine():
    found = states(volume())
    assert {kind for kind, state in found.items() if state == "untold"} == {
        "order",
        "gaps",
        "duplicates",
        "mixed",
    }
    assert found["orientation"] == found["tilt"] == found["spacing"] == "fine"


@pytest.mark.parametrize("kind", KINDS)
def test_each_warning_stands_at_its_own_check(kind):
    study = volume(slices_checked=True, warnings=(Caution("Look here.", kind),))
    doubtful = [check for check in check_list(study) if check.state == "doubtful"]
    assert [(check.kind, check.words) for check in doubtful] == [(kind, "Look here.")]


def test_a_warning_without_a_kind_is_told_as_well():
    told = {check.kind: check.words for check in check_list(volume(warnings=("And here.",)))}
    assert told["other"] == "And here."


def test_a_single_slice_is_not_called_evenly_spaced():
    single = Volume(np.zeros((1, 4, 5)), np.eye(4), slices_checked=True)
    words = {check.kind: check.words for check in check_list(single)}
    assert words["order"] == words["gaps"] == "There is one slice only."


def test_doubts_that_follow_from_the_grid_are_told_for_every_format():
    sheared = np.diag([1.0, 1.0, 5.0, 1.0])
    sheared[1, 2] = 1.5
    found = states(volume(sheared, orientation_known=False))
    assert found["tilt"] == found["orientation"] == found["anisotropy"] == "doubtful"
    words = {check.kind: check.words for check in check_list(volume(sheared, orientation_known=False))}
    assert "Left and right can't be told" in words["orientation"]
    assert "5.22 mm" in words["anisotropy"]
    assert "slanted" in words["tilt"]
    assert states(volume(np.diag([1.0, 1.0, 2.9, 1.0])))["anisotropy"] == "fine"
