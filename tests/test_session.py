"""Answers and the history of their prompts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason import layers
from napari_medreason.core.grounding import Grounding, Provenance, mask_box
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.session import FALLBACK_SEGMENTER, Place, PromptState, Session

VOLUME = Volume(np.zeros((3, 8, 9), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]), modality="CT", name="trunk")
STUDY = layers.image_layer(VOLUME)[1]["metadata"]["medreason"]["study"]
PLANE = cut(VOLUME, "axial", 1, Window(0, 1))


def mask_of(n):
    mask = np.zeros((8, 9), bool)
    mask[1 : 2 + n, 2:5] = True
    return mask


def answer_in(session, *, status="found", model="embedded", segmenter=""):
    mask = mask_of(1) if status == "found" else None
    grounding = Grounding(
        status,
        "Words.",
        PLANE.grid,
        Provenance(model, "", segmenter=segmenter),
        mask=mask,
        box=None if mask is None else mask_box(mask),
        points=None if mask is None else ((2, 1), (3, 2)),
    )
    return session.add("Where?", grounding, PLANE, place=Place(STUDY, "trunk"), model=model)


def state(n):
    return PromptState((0.0, 0.0, float(n), 1.0), (), mask_of(n % 5), segmenter="embedded")


def test_answers_are_kept_in_order_with_names_of_their_own():
    session = Session()
    first, second = answer_in(session), answer_in(session)
    assert [answer.id for answer in session] == [first.id, second.id]
    assert first.colour != second.colour
    session.remove(first.id)
    third = answer_in(session)
    assert third.id not in (first.id, second.id)
    assert session.get(first.id) is None


def test_answers_of_two_sessions_have_different_ids():
    assert answer_in(Session()).id != answer_in(Session()).id


def test_an_answer_is_corrected_when_its_mask_is_not_the_models():
    answer = answer_in(Session())
    assert not answer.corrected
    assert answer.painted(mask_of(4)).corrected
    assert answer.prompted(state(2)).corrected
    assert not answer.prompted(state(2)).undone().corrected
    assert not answer_in(Session(), status="absent").corrected


def test_a_deleted_answer_does_not_come_back():
    session = Session()
    answer = answer_in(session)
    session.remove(answer.id)
    session.put(answer.prompted(state(2)))
    assert len(session) == 0


def test_nothing_found_has_no_prompts_to_undo():
    answer = answer_in(Session(), status="absent")
    assert answer.state is None
    assert not answer.can_undo
    assert answer.painted(mask_of(1)) is answer


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.sampled_from(["prompt", "undo", "redo"]), max_size=30))
def test_undo_and_redo_walk_like_an_editor_does(actions):
    answer = answer_in(Session())
    past, future = [answer.state], []
    for n, action in enumerate(actions):
        if action == "prompt":
            answer, future = answer.prompted(state(n)), []
            past.append(answer.state)
        elif action == "undo":
            answer = answer.undone()
            if len(past) > 1:
                future.append(past.pop())
        else:
            answer = answer.redone()
            if future:
                past.append(future.pop())
        assert answer.state is past[-1]
        assert answer.can_undo == (len(past) > 1)
        assert answer.can_redo == bool(future)


def test_painted_strokes_stay_in_the_history():
    answer = answer_in(Session())
    painted = answer.painted(mask_of(4)).prompted(state(2)).undone()
    np.testing.assert_array_equal(painted.state.mask, mask_of(4))
    assert painted.state.box == answer.state.box


@pytest.mark.parametrize(
    ("model", "segmenter", "known", "expected"),
    [
        ("medreasoner", "sam2", {"sam2", "embedded"}, "sam2"),
        ("embedded", "", {"embedded"}, "embedded"),
        ("text-only", "", {"embedded", "sam2"}, FALLBACK_SEGMENTER),
        ("embedded@lesions", "embedded@lesions", {"embedded"}, "embedded@lesions"),
        ("lingshu-7b@lesions", "medsam2", {"embedded", "lingshu-7b"}, "lingshu-7b@lesions"),
        ("lingshu-7b", "medsam2", {"embedded", "lingshu-7b"}, "lingshu-7b"),
        ("lingshu-7b+medsam", "medsam", {"embedded", "lingshu-7b"}, "lingshu-7b+medsam"),
        ("medisee", "medsam", {"embedded", "sam"}, FALLBACK_SEGMENTER),
    ],
)
def test_masks_are_redrawn_by_the_models_own_segmenter_or_the_embedded_one(model, segmenter, known, expected):
    answer = answer_in(Session(), model=model, segmenter=segmenter)
    assert answer.segmenter(frozenset(known)) == expected
