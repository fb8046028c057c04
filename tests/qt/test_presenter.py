"""The rules of the dock without Qt and napari: only what belongs to the current question counts."""

from dataclasses import replace
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest

from napari_medreason import layers
from napari_medreason._qt import answer_words
from napari_medreason._qt.ask_presenter import AskPresenter, AskViewLike
from napari_medreason.core.grounding import Grounding, Provenance
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.engine.client import EngineClient, Segmented
from napari_medreason.errors import CancelledError, EngineError, QuestionError
from napari_medreason.session import Place

VOLUME = Volume(np.zeros((3, 8, 9), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]), modality="CT", name="trunk")
STUDY = layers.image_layer(VOLUME)[1]["metadata"]["medreason"]["study"]
PLANE = cut(VOLUME, "axial", 1, Window(0, 1))
MASK = np.eye(8, 9, dtype=bool)
FOUND = Grounding(
    "found",
    "Seen.",
    PLANE.grid,
    Provenance("embedded", ""),
    mask=MASK,
    box=(0, 0, 8, 8),
    points=((0, 0), (1, 1)),
)


class Screen:
    """Stands for the viewer: one image, prompts as the test says."""

    def __init__(self):
        self.drawn = (FOUND.box, FOUND.points)
        self.masks, self.states, self.strays = [], [], False

    def look(self, image):
        return Mock(plane=PLANE, place=Place(STUDY, "trunk"))

    def add(self, answer, look):
        pass

    def has_strays(self, answer):
        return self.strays

    def has_layers(self, answer_id):
        return True

    def prompt(self, answer):
        return self.drawn

    def mask(self, answer):
        return answer.state.mask

    def show_mask(self, answer):
        self.masks.append(answer.state.mask)

    def show_state(self, answer):
        self.states.append(answer.state)
        self.drawn = (answer.state.box, answer.state.points)

    def remove(self, answer_id):
        pass

    def jump(self, answer):
        pass


@pytest.fixture
def parts():
    view, engine = create_autospec(AskViewLike, instance=True), create_autospec(EngineClient, instance=True)
    engine.ask.side_effect = range(1, 100)
    engine.segment.side_effect = range(100, 200)
    screen, report = Screen(), Mock()
    presenter = AskPresenter(view, screen, engine, report=report, segmenters=frozenset({"embedded"}))
    return presenter, view, screen, engine, report


def callbacks(method, number=-1):
    return method.call_args_list[number].kwargs


def answered(parts):
    presenter, _, _, engine, _ = parts
    presenter.ask("Where?", object(), model="embedded")
    callbacks(engine.ask)["on_result"](FOUND)
    (answer,) = presenter.session
    return answer


def drag(parts, answer, x1):
    presenter, _, screen, engine, _ = parts
    screen.drawn = ((0.0, 0.0, x1, 8.0), FOUND.points)
    presenter.redraw(answer.id)
    return callbacks(engine.segment)


def segmented():
    return Segmented(~MASK, 0.8, "embedded", replace(FOUND.provenance.seconds))


def test_a_second_question_waits_until_the_first_is_answered(parts):
    presenter, _, _, engine, _ = parts
    presenter.ask("Where?", object(), model="embedded")
    presenter.ask("Again?", object(), model="embedded")
    assert engine.ask.call_count == 1


def test_words_and_result_of_a_cancelled_question_are_dropped(parts):
    presenter, view, _, engine, report = parts
    presenter.ask("Where?", object(), model="embedded")
    late = callbacks(engine.ask)
    presenter.cancel()
    engine.cancel.assert_called_once_with(1)
    view.append_text.reset_mock()
    late["on_text"]("late")
    late["on_result"](FOUND)
    late["on_error"](CancelledError())
    view.append_text.assert_not_called()
    report.assert_not_called()
    assert len(presenter.session) == 0


def test_late_words_of_a_cancelled_question_do_not_reach_the_next(parts):
    presenter, view, _, engine, _ = parts
    presenter.ask("Where?", object(), model="embedded")
    presenter.cancel()
    presenter.ask("Again?", object(), model="embedded")
    callbacks(engine.ask, 0)["on_text"]("late")
    callbacks(engine.ask, 1)["on_text"]("new")
    view.append_text.assert_called_once_with("new")


def test_no_image_and_closed_engine_are_reported_and_leave_the_dock_ready(parts):
    presenter, _, _, engine, report = parts
    presenter.ask("Where?", None, model="embedded")
    assert isinstance(report.call_args.args[0], QuestionError)
    engine.ask.side_effect = EngineError("closed")
    presenter.ask("Where?", object(), model="embedded")
    assert isinstance(report.call_args.args[0], EngineError)
    assert not presenter.busy


def test_a_newer_drag_cancels_the_older_and_its_mask_is_dropped(parts):
    presenter, _, screen, engine, _ = parts
    answer = answered(parts)
    older = drag(parts, answer, 5.0)
    newer = drag(parts, answer, 6.0)
    engine.cancel.assert_called_once_with(100)
    older["on_result"](segmented())
    assert not screen.masks
    newer["on_result"](segmented())
    assert len(screen.masks) == 1
    assert presenter.session.get(answer.id).state.box == (0.0, 0.0, 6.0, 8.0)


def test_a_failed_redraw_puts_the_box_back_and_says_why(parts):
    presenter, _, screen, _, report = parts
    answer = answered(parts)
    drag(parts, answer, 5.0)["on_error"](EngineError("gone"))
    assert screen.states[-1].box == FOUND.box
    report.assert_called_once()
    assert presenter.session.get(answer.id).position == 0


def test_a_click_that_moves_nothing_asks_for_nothing(parts):
    presenter, _, _, engine, _ = parts
    presenter.redraw(answered(parts).id)
    engine.segment.assert_not_called()


def test_a_mask_for_a_deleted_answer_is_dropped(parts):
    presenter, _, screen, engine, _ = parts
    answer = answered(parts)
    late = drag(parts, answer, 5.0)
    presenter.delete(answer.id)
    engine.cancel.assert_called_once_with(100)
    late["on_result"](segmented())
    assert not screen.masks


def test_undo_while_a_mask_is_being_drawn_brings_the_shown_prompt_back(parts):
    presenter, _, screen, _, _ = parts
    answer = answered(parts)
    drag(parts, answer, 5.0)["on_result"](segmented())
    late = drag(parts, answer, 6.0)
    presenter.undo(answer.id)
    assert screen.states[-1].box == (0.0, 0.0, 5.0, 8.0)
    late["on_result"](segmented())
    assert len(screen.masks) == 1
    presenter.undo(answer.id)
    assert screen.states[-1].box == FOUND.box


def test_closing_cancels_what_is_under_way(parts):
    presenter, _, _, engine, _ = parts
    answer = answered(parts)
    drag(parts, answer, 5.0)
    presenter.ask("Again?", object(), model="embedded")
    presenter.close()
    assert [call.args[0] for call in engine.cancel.call_args_list] == [100, 2]


def pane(view):
    """The words in the answer pane after all that the view was told."""
    words = ""
    for name, arguments, _ in view.method_calls:
        if name == "set_answer":
            words = arguments[0]
        elif name == "append_text":
            words += arguments[0]
    return words


def status(view):
    return view.show_status.call_args.args[0]


@pytest.mark.parametrize("look_at", ["select", "show", "undo"])
def test_words_of_a_question_do_not_mix_with_an_answer_looked_at_meanwhile(parts, look_at):
    presenter, view, _, engine, _ = parts
    answer = answered(parts)
    presenter.ask("Again?", object(), model="embedded")
    callbacks(engine.ask)["on_text"]("The spleen ")
    assert pane(view) == "The spleen "
    getattr(presenter, look_at)(answer.id)
    callbacks(engine.ask)["on_text"]("is not seen.")
    assert pane(view) == "Seen."
    callbacks(engine.ask)["on_result"](replace(FOUND, answer="New."))
    assert pane(view) == "New."


@pytest.mark.parametrize("end", ["cancel", "fault"])
@pytest.mark.parametrize(("earlier", "left"), [(True, "Seen."), (False, "")])
def test_a_question_without_answer_leaves_no_half_words(parts, end, earlier, left):
    presenter, view, _, engine, _ = parts
    if earlier:
        answered(parts)
    presenter.ask("Again?", object(), model="embedded")
    callbacks(engine.ask)["on_text"]("The spleen ")
    if end == "cancel":
        presenter.cancel()
    else:
        callbacks(engine.ask)["on_error"](EngineError("gone"))
    assert pane(view) == left


def test_showing_an_answer_leaves_the_viewer_where_it_is(parts):
    presenter, view, screen, _, _ = parts
    answer = answered(parts)
    screen.jump = Mock()
    presenter.show(answer.id)
    screen.jump.assert_not_called()
    view.select_row.assert_called_with(answer.id)
    presenter.select(answer.id)
    screen.jump.assert_called_once_with(answer)


def test_a_box_moved_back_stops_the_redraw_and_its_status(parts):
    presenter, view, screen, engine, _ = parts
    answer = answered(parts)
    drag(parts, answer, 5.0)
    assert "Redrawing" in status(view)
    screen.drawn = (FOUND.box, FOUND.points)
    presenter.redraw(answer.id)
    engine.cancel.assert_called_once_with(100)
    assert status(view) == ""


def test_deleting_an_answer_stops_the_redraw_and_its_status(parts):
    presenter, view, _, _, _ = parts
    answer = answered(parts)
    drag(parts, answer, 5.0)
    presenter.delete(answer.id)
    assert status(view) == ""


def test_what_was_drawn_on_another_slice_is_told(parts):
    presenter, view, screen, engine, _ = parts
    answer = answered(parts)
    screen.strays = True
    presenter.redraw(answer.id)
    engine.segment.assert_not_called()
    assert "other slices" in status(view)
    drag(parts, answer, 5.0)["on_result"](segmented())
    assert "other slices" in status(view)


def test_no_answer_is_told_as_wholly_certain(parts):
    presenter, _, _, engine, _ = parts
    presenter.ask("Where?", object(), model="embedded")
    callbacks(engine.ask)["on_result"](replace(FOUND, confidence=0.9996))
    (answer,) = presenter.session
    assert "model confidence 99 %" in answer_words.row_detail(answer)


def test_row_and_provenance_speak_of_the_mask_that_is_shown(parts):
    presenter, _, screen, engine, _ = parts
    presenter.ask("Where?", object(), model="embedded")
    callbacks(engine.ask)["on_result"](replace(FOUND, confidence=0.87))
    (answer,) = presenter.session
    assert answer_words.row_detail(answer).startswith("found, model confidence 87 % ·")
    empty = Segmented(np.zeros_like(MASK), 0.1, "embedded", FOUND.provenance.seconds, "e" * 64)
    drag(parts, answer, 5.0)["on_result"](empty)
    answer = presenter.session.get(answer.id)
    assert answer_words.row_detail(answer).startswith("empty after your correction ·")
    assert "from your box and points by “embedded” (weights eeeeeeee)" in answer_words.provenance_text(answer)
    screen.drawn = ((0.0, 0.0, 6.0, 8.0), ())
    presenter.redraw(answer.id)
    callbacks(engine.segment)["on_result"](segmented())
    answer = presenter.session.get(answer.id)
    assert answer_words.row_detail(answer).startswith("corrected by you ·")
    assert "from your box by" in answer_words.provenance_text(answer)
    presenter.undo(answer.id)
    presenter.undo(answer.id)
    assert answer_words.row_detail(presenter.session.get(answer.id)).startswith("found, model confidence")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("I don't know this.", "I don't know this.\n\nYou could ask about: liver, spleen."),
        ("I know: liver, spleen.", "I know: liver, spleen."),
        ("I know: liver.", "I know: liver.\n\nYou could ask about: liver, spleen."),
    ],
)
def test_what_else_to_ask_is_said_once(parts, words, expected):
    answer = answered(parts)
    grounding = replace(answer.grounding, answer=words, suggestions=("liver", "spleen"))
    assert answer_words.answer_text(replace(answer, grounding=grounding)) == expected
