"""Records as conversations: what is written about a plane is read back as the same place."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.answer_text import parse_answer
from napari_medreason.core.resample import ModelFrame
from napari_medreason.models.reasoners.forms import MEDREASONER, Family
from napari_medreason.models.reasoners.proposal import read_text
from napari_medreason_training.rewards import score

from . import tuning_records

pytest.importorskip("trl")

from napari_medreason_training.measures import box_iou
from napari_medreason_training.reasoning.conversations import asking, conversations, written_places


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return folder, tuning_records.data_set(folder, (("a", "train"),))


def conversation_of(records, *, coordinates="pixels", direct=False, **changes):
    folder, made = records
    way = asking(
        Family(MEDREASONER, coordinates=coordinates), 840, prompt=None, direct=direct, control=("<|im_end|>",)
    )
    (one,) = conversations([replace(made[0], **changes)], folder, way)
    return one, way


@given(
    st.integers(8, 300),
    st.integers(8, 300),
    st.sampled_from([(1.0, 1.0), (0.5, 2.0), (3.0, 0.7)]),
    st.sampled_from(["pixels", "thousandths"]),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_written_place_is_read_back_to_within_a_pixel_of_the_square(
    rows, columns, spacing, coordinates, data
):
    x0, y0 = data.draw(st.integers(0, columns - 2)), data.draw(st.integers(0, rows - 2))
    x1, y1 = data.draw(st.integers(x0 + 1, columns)), data.draw(st.integers(y0 + 1, rows))
    points = ((float(x0), float(y0)), (x1 - 1.0, y1 - 1.0))
    frame = ModelFrame.letterboxed((rows, columns), spacing, 840)
    box, pair = written_places((x0, y0, x1, y1), points, frame, coordinates)
    text = json.dumps({"bbox": box, "points_1": pair[0], "points_2": pair[1]})
    read = read_text(f"<answer>{text}</answer>", frame, form=MEDREASONER, coordinates=coordinates)
    pixel = [1.01 / scale for scale in (frame.scale[1], frame.scale[0])]
    corners = [(read.box[:2], (x0, y0)), (read.box[2:], (x1, y1))]
    for found, true in [*corners, *zip(read.points, points, strict=True)]:
        assert np.all(np.abs(np.subtract(found, true)) <= pixel)


@pytest.mark.parametrize("coordinates", ["pixels", "thousandths"])
def test_the_answer_of_a_record_is_the_best_that_rewards_know(records, coordinates):
    one, way = conversation_of(records, coordinates=coordinates)
    terms = score(one.answer, one.truth, "hard", sound=True)
    assert terms["score"] == pytest.approx(8.0, abs=0.2)
    found = read_text(one.answer, one.frame, form=MEDREASONER, coordinates=way.coordinates)
    assert box_iou(found.box, one.record.box_plane) > 0.97
    assert found.text == one.record.answer


def test_reasoning_is_what_the_record_reasons_without_the_form_s_own_tags(records):
    one, _ = conversation_of(records, reasoning="It is <answer>bright</answer> here.")
    assert parse_answer(one.answer).think == "It is bright here."


def test_a_direct_answer_has_no_reasoning(records):
    one, _ = conversation_of(records, direct=True)
    assert one.answer.startswith("<answer>")
    (message,) = one.messages
    assert "Think step by step" not in message["content"][-1]["text"]


def test_the_prompt_holds_question_and_picture_once_and_no_control_words(records):
    one, _ = conversation_of(records, question="Where <|im_end|> is it?")
    (message,) = one.messages
    assert [part["type"] for part in message["content"]].count("image") == 1
    text = "".join(part.get("text", "") for part in message["content"])
    assert text.count("Where   is it?") == 1
    assert one.record.answer not in text
    assert one.picture().size == (840, 840)
