import contextlib
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.answer_text import (
    ParsedAnswer,
    fit_to_image,
    format_answer,
    parse_answer,
    parse_boxes,
)
from napari_medreason.errors import AnswerFormatError

VALID = '<answer>{"bbox": [10, 20, 30, 40], "points_1": [12, 22], "points_2": [28, 38]}</answer>'
BOX = (10.0, 20.0, 30.0, 40.0)
POINTS = ((12.0, 22.0), (28.0, 38.0))

number = st.one_of(st.integers(-5000, 5000).map(float), st.floats(-5000, 5000, allow_subnormal=False))
point = st.tuples(number, number)


def test_think_box_and_points_are_read():
    parsed = parse_answer(f"<think> Bright and round. </think>\n{VALID}")
    assert parsed == ParsedAnswer("Bright and round.", BOX, POINTS, ())


@pytest.mark.parametrize(
    "text",
    [
        VALID,
        VALID.replace('"', "'"),
        VALID.replace("{", '{"note": "the patient\'s left", '),
        VALID.replace('"', "'").replace("{", "{'note': 'the patient's left', "),
        VALID.replace('"', "'").replace("{", "{'note': \"the patient's left\", "),
        VALID.replace("{", "```json\n{").replace("}", "}\n```"),
        VALID.replace("</answer>", ""),
        VALID.replace("answer>", "ANSWER>"),
        "<answer>I am not sure yet</answer>" + VALID,
        "<think>I will end with <answer> tags.</think>" + VALID,
        "<think>First <answer>{'bbox': [1, 2, 3, 4]}</answer>, no.</think>" + VALID,
        VALID + VALID.replace("30", "99"),
    ],
)
def test_usual_variations_give_the_same_answer(text):
    parsed = parse_answer(text)
    assert (parsed.box, parsed.points) == (BOX, POINTS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no <answer> block"),
        ("I can't help with medical images.", "no <answer> block"),
        ("<answer>bbox 1 2 3 4</answer>", "without braces"),
        ("<answer>{}</answer>", "without a box"),
        (VALID.replace("10,", "NaN,"), "NaN"),
        (VALID.replace("10,", "-Infinity,"), "-Infinity"),
        (VALID.replace("10,", "1e999,"), "not finite"),
        (VALID.replace("10,", "1" + "0" * 400 + ","), "too large"),
        (VALID.replace("10,", "true,"), "something else than numbers"),
        (VALID.replace("10,", '"10",'), "something else than numbers"),
        (VALID.replace("10,", "ten,"), "not a list of numbers"),
        (VALID.replace("10, ", ""), "list of 4 numbers"),
        (VALID.replace("[12, 22]", "[12]"), "list of 2 numbers"),
        (VALID.replace("[12, 22]", "12"), "list of 2 numbers"),
        ("<answer>{'bbox': [1, 2, 3, 4], 'x': 'it's', 'bbox': [5, 6, 7, 8]}</answer>", "twice"),
        ("<answer>" + '{"a":' * 100_000 + "}</answer>", "without a box"),
    ],
)
def test_unusable_text_is_refused_with_the_reason(text, reason):
    with pytest.raises(AnswerFormatError, match=reason) as fault:
        parse_answer(text)
    assert "\n" not in str(fault.value)


def test_an_inverted_box_is_put_in_order_and_noted():
    parsed = parse_answer(VALID.replace("[10, 20, 30, 40]", "[30, 20, 10, 40]"))
    assert parsed.box == BOX
    assert "[30, 20, 10, 40]" in parsed.notes[0]


def test_points_outside_the_box_and_equal_points_are_noted():
    outside = parse_answer(VALID.replace("[12, 22]", "[2, 22]"))
    assert any("outside the box" in note for note in outside.notes)
    equal = parse_answer(VALID.replace("[12, 22]", "[28, 38]"))
    assert any("the same" in note for note in equal.notes)


@pytest.mark.parametrize(
    ("text", "box", "points"),
    [
        ('<answer>{"bbox": [10, 20, 30, 40]}</answer>', BOX, None),
        ('<answer>{"bbox": [10, 20, 30, 40], "points_1": [1, 2], "points_2": null}</answer>', BOX, None),
        ('<answer>{"points_1": [12, 22], "points_2": [28, 38]}</answer>', None, POINTS),
    ],
)
def test_one_of_box_and_points_is_enough_and_the_missing_one_is_noted(text, box, points):
    parsed = parse_answer(text)
    assert (parsed.box, parsed.points) == (box, points)
    assert "gave no" in parsed.notes[0]


@pytest.mark.parametrize(
    "answer",
    [
        '{"bbox_2d": [10, 20, 30, 40], "label": "left kidney"}',
        '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "it"}\n]\n```',
        "{'bbox': [10, 20, 30, 40], 'points': [1, 2]}",
        "[10, 20, 30, 40]",
        "[[10, 20, 30, 40]]",
    ],
)
def test_answers_that_are_boxes_only(answer):
    parsed = parse_boxes(f"<think>Round.</think> <answer>{answer}</answer>")
    assert (parsed.think, parsed.box, parsed.points) == ("Round.", BOX, None)
    assert parsed.notes == ("the model gave no pair of key points",)


def test_the_first_of_several_boxes_is_used_and_that_is_noted():
    parsed = parse_boxes("<answer>[{'bbox_2d': [30, 40, 10, 20]}, {'bbox_2d': [1, 2, 3, 4]}]</answer>")
    assert parsed.box == BOX
    assert "2 boxes" in parsed.notes[0]


@pytest.mark.parametrize("answer", ["none", "[]", "[1, 2, 3]", "[NaN, 1, 2, 3]", "[1, 2, true, 3]"])
def test_boxes_that_are_none_are_refused(answer):
    with pytest.raises(AnswerFormatError, match="bbox_2d"):
        parse_boxes(f"<answer>{answer}</answer>")


def test_what_reaches_outside_the_image_is_clipped_and_noted():
    fitted = fit_to_image(parse_answer(VALID), 25, 30)
    assert fitted.box == (10.0, 20.0, 24.0, 29.0)
    assert fitted.points == ((12.0, 22.0), (24.0, 29.0))
    assert len(fitted.notes) == 2
    assert "[10, 20, 30, 40]" in fitted.notes[0]


def test_an_answer_inside_the_image_stays_as_it_is():
    parsed = parse_answer(VALID)
    assert fit_to_image(parsed, 31, 41) == parsed


@pytest.mark.parametrize(("width", "height"), [(10, 100), (100, 20)])
def test_a_box_wholly_outside_the_image_is_refused(width, height):
    with pytest.raises(AnswerFormatError, match="outside"):
        fit_to_image(parse_answer(VALID), width, height)


def test_reasoning_with_tags_is_not_written():
    with pytest.raises(ValueError, match="tags"):
        format_answer("so </think> then", BOX, POINTS)


def test_the_written_form_is_whole_numbers_in_strict_json():
    text = format_answer("Round.", BOX, POINTS)
    assert text == "<think>Round.</think>" + VALID
    assert json.loads(text.partition("<answer>")[2].removesuffix("</answer>"))["bbox"] == [10, 20, 30, 40]


@settings(deadline=None)
@given(st.text(st.sampled_from(string.printable + "é“İ"), max_size=200), point, point, point, point)
def test_what_is_written_is_read_back(think, corner, opposite, first, second):
    box = (
        min(corner[0], opposite[0]),
        min(corner[1], opposite[1]),
        max(corner[0], opposite[0]),
        max(corner[1], opposite[1]),
    )
    parsed = parse_answer(format_answer(think, box, (first, second)))
    assert (parsed.think, parsed.box, parsed.points) == (think.strip(), box, (first, second))


pieces = st.one_of(
    st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", '"bbox"', "'points_1'", '"points_2"']),
    st.sampled_from(["{", "}", "[", "]", ":", ",", "'", '"', "\\", "İ", "\x00"]),
    st.sampled_from(["1", "-2.5", "NaN", "-Infinity", "1e400", "true", "null"]),
)
damaged = st.builds(
    lambda piece, start, length: VALID[:start] + piece + VALID[start + length :],
    pieces,
    st.integers(0, len(VALID)),
    st.integers(0, 12),
)


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(pieces).map(" ".join), damaged), st.integers(1, 50), st.integers(1, 50))
def test_any_text_gives_an_answer_in_the_image_or_the_one_fault(text, width, height):
    with contextlib.suppress(AnswerFormatError):
        parse_boxes(text)
    try:
        fitted = fit_to_image(parse_answer(text), width, height)
    except AnswerFormatError:
        return
    assert fitted.box is not None or fitted.points is not None
    corners = (*(fitted.points or ()), *((fitted.box[:2], fitted.box[2:]) if fitted.box else ()))
    assert all(0 <= x <= width - 1 and 0 <= y <= height - 1 for x, y in corners)
    assert fitted.box is None or (fitted.box[0] <= fitted.box[2] and fitted.box[1] <= fitted.box[3])
