"""What can be done with an item in which state, and by whom."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.errors import WorkListError
from napari_medreason.worklist import Comment, Item, LabelConfidence, PreLabel, steps

ITEM = Item("f-1", "ward/a.nii.gz", "", "p-1", "s-1")
PRELABEL = PreLabel("embedded", "t0", labels=(LabelConfidence(1, 0.7),))
FIGURES = (LabelAgreement(1, 10, 12, 0.9, 0.4, 1.5),)


def accepted(item=ITEM, reader="Anna"):
    item = steps.begun(item, reader=reader, when="t1")
    item = steps.saved(item, reader=reader, when="t2")
    return steps.accepted(item, reader=reader, when="t3")


def test_from_pre_label_to_a_second_reader_who_agrees():
    item = accepted(steps.prelabelled(ITEM, PRELABEL))
    assert (item.state, item.reader, item.round, item.final) == ("accepted", "Anna", 1, "first")
    item = steps.second_begun(item, reader="Ben", when="t4")
    item = steps.second_finished(item, reader="Ben", verdict="agreed", when="t5", agreement=FIGURES)
    assert item.second.agreement == FIGURES
    assert item.final == "first"
    actions = [(event.date, event.reader, event.action) for event in item.history]
    assert actions == [
        ("t0", "embedded", "pre-labelled"),
        ("t1", "Anna", "begun"),
        ("t3", "Anna", "accepted"),
        ("t4", "Ben", "second reading begun"),
        ("t5", "Ben", "agreed"),
    ]


def test_wanted_changes_go_back_to_the_first_reader_and_can_be_read_again():
    item = steps.second_begun(accepted(), reader="Ben", when="t4")
    item = steps.second_finished(
        item, reader="Ben", verdict="changes wanted", when="t5", comment=" dome is missing "
    )
    assert (item.state, item.reader, item.reason, item.final) == (
        "in progress",
        "Anna",
        "dome is missing",
        "",
    )
    assert item.sent_back
    item = steps.accepted(steps.saved(item, reader="Anna", when="t6"), reader="anna ", when="t7")
    assert not item.sent_back
    assert (item.state, item.round, item.second, item.reason) == ("accepted", 2, None, "")
    item = steps.second_begun(item, reader="Cleo", when="t8")
    assert [reading.reader for reading in item.second_readings] == ["Ben", "Cleo"]


def test_a_second_reader_can_replace_the_labels_only_with_own_ones():
    item = steps.second_begun(accepted(), reader="Ben", when="t4")
    with pytest.raises(WorkListError, match="no labels of Ben"):
        steps.second_finished(item, reader="Ben", verdict="replaced", when="t5")
    item = steps.saved(item, reader="Ben", when="t5")
    assert item.saved == "t2"
    item = steps.second_finished(item, reader="Ben", verdict="replaced", when="t6")
    assert item.final == "second"
    assert steps.reopened(item, reader="Anna", when="t7").final == ""


def test_nobody_reads_twice_what_they_read_first():
    with pytest.raises(WorkListError, match="somebody else"):
        steps.second_begun(accepted(reader="Anna  Berg"), reader="anna berg", when="t")


def test_what_another_reader_is_at_must_be_taken_over():
    item = steps.begun(ITEM, reader="Anna", when="t1")
    assert steps.begun(item, reader="Anna", when="t2") is item
    with pytest.raises(WorkListError, match="in progress by Anna"):
        steps.begun(item, reader="Ben", when="t2")
    taken = steps.begun(item, reader="Ben", when="t2", take_over=True)
    assert (taken.reader, taken.history[-1].words) == ("Ben", "from Anna")
    for step in (steps.saved, steps.accepted):
        with pytest.raises(WorkListError, match="in progress by Ben"):
            step(taken, reader="Anna", when="t3")
    second = steps.second_begun(accepted(), reader="Ben", when="t4")
    with pytest.raises(WorkListError, match="being read by Ben"):
        steps.second_begun(second, reader="Cleo", when="t5")
    assert steps.second_begun(second, reader="Cleo", when="t5", take_over=True).open_second.reader == "Cleo"


@pytest.mark.parametrize("step", [steps.rejected, steps.skipped])
def test_putting_aside_needs_a_reason_and_can_be_undone(step):
    with pytest.raises(WorkListError, match="a reason is needed"):
        step(ITEM, reader="Anna", reason="  ", when="t")
    item = step(ITEM, reader="Anna", reason="motion", when="t1")
    assert (item.state, item.reason) == (step.__name__, "motion")
    with pytest.raises(WorkListError, match="only what is"):
        steps.begun(item, reader="Ben", when="t2")
    item = steps.reopened(item, reader="Ben", when="t2", reason="second look")
    assert (item.state, item.reader, item.reason) == ("in progress", "Ben", "second look")


def test_accepting_needs_saved_labels():
    item = steps.begun(ITEM, reader="Anna", when="t1")
    with pytest.raises(WorkListError, match="no saved labels"):
        steps.accepted(item, reader="Anna", when="t2")


def test_a_model_does_not_draw_over_a_reader():
    item = steps.begun(ITEM, reader="Anna", when="t1")
    with pytest.raises(WorkListError, match="is in progress"):
        steps.prelabelled(item, PRELABEL)


def test_a_verdict_needs_words_where_changes_are_wanted():
    item = steps.second_begun(accepted(), reader="Ben", when="t4")
    with pytest.raises(WorkListError, match="which changes"):
        steps.second_finished(item, reader="Ben", verdict="changes wanted", when="t5")
    with pytest.raises(WorkListError, match="no verdict"):
        steps.second_finished(item, reader="Ben", verdict="maybe", when="t5")
    with pytest.raises(WorkListError, match="not being read a second time by Anna"):
        steps.second_finished(item, reader="Anna", verdict="agreed", when="t5")
    with pytest.raises(WorkListError, match="wait for the second reading"):
        steps.reopened(item, reader="Anna", when="t5")


def test_comments_keep_their_place_and_change_no_state():
    comment = Comment(" Ben ", "t", " check the dome ", label=1, axis="coronal", index=7)
    item = steps.commented(ITEM, comment)
    assert item.comments == (Comment("Ben", "t", "check the dome", 1, "coronal", 7),)
    assert replace(item, comments=(), revision=0) == ITEM
    with pytest.raises(WorkListError, match="empty"):
        steps.commented(ITEM, replace(comment, text=" "))


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_reader_names_are_needed(name):
    with pytest.raises(WorkListError, match="enter your name"):
        steps.begun(ITEM, reader=name, when="t")


STEPS = {
    "prelabel": lambda item, who: steps.prelabelled(item, PRELABEL),
    "begin": lambda item, who: steps.begun(item, reader=who, when="t"),
    "take over": lambda item, who: steps.begun(item, reader=who, when="t", take_over=True),
    "save": lambda item, who: steps.saved(item, reader=who, when="t"),
    "accept": lambda item, who: steps.accepted(item, reader=who, when="t"),
    "reject": lambda item, who: steps.rejected(item, reader=who, reason="r", when="t"),
    "reopen": lambda item, who: steps.reopened(item, reader=who, when="t"),
    "second": lambda item, who: steps.second_begun(item, reader=who, when="t"),
    "agree": lambda item, who: steps.second_finished(item, reader=who, verdict="agreed", when="t"),
    "send back": lambda item, who: steps.second_finished(
        item, reader=who, verdict="changes wanted", when="t", comment="c"
    ),
}


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(["Anna", "Ben"])), max_size=25))
def test_whatever_is_tried_in_which_order_the_item_stays_sound(tries):
    item = ITEM
    for name, who in tries:
        try:
            after = STEPS[name](item, who)
        except WorkListError:
            continue
        assert after.history[: len(item.history)] == item.history
        assert after is item or after.revision == item.revision + 1
        assert (after.state in ("in progress", "accepted")) <= bool(after.reader)
        assert (after.final != "") == (after.state == "accepted")
        assert after.open_second is None or after.state == "accepted"
        assert all(
            reading.reader != after.reader for reading in after.second_readings[-1:] if after.open_second
        )
        item = after
