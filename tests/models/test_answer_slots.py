"""Forced answer blocks: the rules alone, with a writer that chooses at random among what is allowed."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.answer_text import fit_to_image, parse_answer, parse_boxes
from napari_medreason.core.resample import ModelFrame
from napari_medreason.models.reasoners.answer_slots import AnswerSlots, Bounds, answer_pieces, can_become
from napari_medreason.models.reasoners.forms import MEDREASONER, VLM_R1
from napari_medreason.models.reasoners.local import image_bounds
from napari_medreason.models.reasoners.proposal import reasoning_in_plane

from .tiny_reasoners import tokenizer_of


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(["<pad>", "<eos>"], eos="<eos>", pad="<pad>")


def write(tokenizer, slots, seed, thinking=()):
    """A text written at random, after the given tokens of reasoning as far as they are let in."""
    choose, planned, written = random.Random(seed), list(thinking), []
    while not written or written[-1] != tokenizer.eos_token_id:
        allowed = slots.allowed()
        if allowed is None:
            token = (
                planned.pop(0)
                if planned
                else choose.choice(tokenizer.encode("a left. <", add_special_tokens=False))
            )
        else:
            token = choose.choice(allowed)
        written.append(token)
        slots.advance(token)
        assert len(written) < 400
    return tokenizer.decode(written[:-1]), len(written)


bounds_of = st.tuples(st.integers(0, 900), st.integers(0, 900)).map(sorted)


@settings(deadline=None, max_examples=60)
@given(bounds_of, bounds_of, st.integers(0, 10**6), st.sampled_from([None, 0, 1, 7, 40]))
def test_whatever_is_chosen_the_answer_parses_and_lies_in_its_bounds(tokenizer, x, y, seed, thinking):
    slots = AnswerSlots(tokenizer, MEDREASONER.keys, Bounds(tuple(x), tuple(y)), thinking=thinking, end=[1])
    needed = slots.tokens_needed()
    text, count = write(tokenizer, slots, seed)
    assert count <= needed + (thinking or 0)
    parsed = parse_answer(text)
    x0, y0, x1, y1 = parsed.box
    assert x[0] <= x0 <= x1 <= x[1]
    assert y[0] <= y0 <= y1 <= y[1]
    assert x0 < x1 or x[0] == x[1]
    assert y0 < y1 or y[0] == y[1]
    assert all(x[0] <= px <= x[1] and y[0] <= py <= y[1] for px, py in parsed.points)
    assert not any("another order" in note for note in parsed.notes)
    assert text.startswith("<answer>") if thinking is None else text.startswith("<think>")
    assert re.fullmatch(r"(<think>.*</think>)?\s?<answer>\{[^{}]*\}</answer>", text, re.DOTALL)


@pytest.mark.parametrize("end", ["</think>", "</think><", "</think>\n", " done </think> <answer>", "</thi"])
def test_the_reasoning_may_end_by_itself_in_any_way(tokenizer, end):
    slots = AnswerSlots(tokenizer, MEDREASONER.keys, Bounds((0, 83), (0, 83)), thinking=60, end=[1])
    thinking = tokenizer.encode("It is bright." + end, add_special_tokens=False)
    text, _ = write(tokenizer, slots, 3, thinking)
    parsed = parse_answer(text)
    assert parsed.think.startswith("It is bright.")
    assert text.count("</think>") == 1 or end.endswith("<answer>")


def test_reasoning_that_ends_early_takes_no_more_tokens(tokenizer):
    slots = AnswerSlots(tokenizer, VLM_R1.keys, Bounds((0, 83), (0, 83)), thinking=300, end=[1])
    text, count = write(tokenizer, slots, 5, tokenizer.encode("Left.</think>", add_special_tokens=False))
    assert text.startswith("<think>Left.</think><answer>{")
    assert count < 120
    assert parse_boxes(text).box is not None


def test_a_form_with_a_box_only(tokenizer):
    assert answer_pieces(VLM_R1.keys)[1::2] == ("x0", "y0", "x1", "y1")
    assert answer_pieces(MEDREASONER.keys)[1::2] == ("x0", "y0", "x1", "y1", "x", "y", "x", "y")


@settings(max_examples=200)
@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 2000))
def test_beginnings_of_numbers(low, high, value):
    reachable = {str(number)[:length] for number in range(low, high + 1) for length in (1, 2, 3, 4)}
    assert can_become(str(value), low, high) == (str(value) in reachable)
    assert not can_become("0" + str(value), low, high)


@pytest.mark.parametrize("coordinates", ["pixels", "thousandths"])
def test_bounds_are_those_of_the_image_without_the_margin(coordinates):
    frame = ModelFrame.letterboxed((40, 60), (1.0, 1.0), 840)
    bounds = image_bounds(frame, coordinates)
    expected = Bounds((0, 839), (140, 699)) if coordinates == "pixels" else Bounds((0, 1000), (167, 833))
    assert bounds == expected
    corner = f"[{bounds.x[0]}, {bounds.y[0]}, {bounds.x[1]}, {bounds.y[1]}]"
    if coordinates == "pixels":
        parsed = fit_to_image(parse_answer(f'<answer>{{"bbox": {corner}}}</answer>'), 840, 840)
        assert reasoning_in_plane(parsed, frame).box == pytest.approx((0, 0, 60, 40))
