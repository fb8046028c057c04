"""What single answers score: by hand, and as the released code scores them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.record import runs_of
from napari_medreason.errors import DataSetError
from napari_medreason_training.data.released_u_mrg import ground_truth
from napari_medreason_training.evaluation.predictions import (
    Prediction,
    prediction_line,
    read_predictions,
)
from napari_medreason_training.evaluation.words import meteor, meteor_variant, place_named

from .evaluation_cases import exact, scored, square, squares_record
from .known_answers import known_answers

TRUE = square(4, 6, 14, 16)


def test_an_answer_with_everything_right_scores_one_and_two_where_the_released_pdice_does():
    asked = squares_record(TRUE)
    values = scored(asked, exact(asked)).values
    for name in ("dice", "iou", "box_iou", "box_right", "points_dice", "rouge_1", "rouge_l"):
        assert values[name] == pytest.approx(1), name
    assert values["medreasoner_pdice"] == pytest.approx(2, abs=0.01)
    assert (values["refused"], values["not_found"], values["medreasoner_refused"]) == (0, 0, 0)
    # The last of 256 thresholds takes the whole image: Dice 200 / 1700, IoU 100 / 1600.
    assert values["prs_med_dice"] == pytest.approx((255 + 200 / 1700) / 256)
    assert values["iou_256"] == pytest.approx((255 + 100 / 1600) / 256)


def test_half_a_mask_by_hand():
    """5 of 10 columns: Dice 2/3, IoU 1/2; the box has half the true one, which is not above one half."""
    asked = squares_record(TRUE)
    values = scored(asked, exact(asked, mask_runs=runs_of(square(4, 6, 9, 16)), points_plane=None)).values
    assert (values["dice"], values["iou"]) == (pytest.approx(2 / 3), 0.5)
    assert (values["common"], values["union"]) == (50, 100)
    assert (values["box_iou"], values["box_right"]) == (0.5, 0)
    assert (values["medreasoner_refused"], values["medreasoner_dice"]) == (0, 0.6667)


def test_a_mask_alone_has_the_box_and_the_points_of_the_mask():
    asked = squares_record(TRUE)
    values = scored(asked, Prediction(asked.id, mask_runs=runs_of(TRUE))).values
    assert (values["box_iou"], values["points_dice"], values["medreasoner_refused"]) == (1, 1, 0)
    assert (values["medreasoner_iou"], values["medreasoner_pdice"]) == pytest.approx((1, 2), abs=1e-3)


def test_what_the_released_code_refuses_has_no_dice_there_either():
    """A box without points is scored here; as released the whole answer counts for nothing."""
    asked = squares_record(TRUE)
    text = '<answer>{"bbox": [84, 126, 293, 335]}</answer>'
    values = scored(asked, exact(asked, written=text)).values
    assert (values["dice"], values["box_iou"]) == (1, 1)
    assert (values["medreasoner_refused"], values["medreasoner_dice"]) == (1, 0)


def test_true_boxes_of_medisee_as_released_end_one_pixel_early():
    """The exact box has 100 pixels and the released truth 81 of them; of a single pixel nothing is left."""
    values = scored(squares_record(TRUE), exact(squares_record(TRUE))).values
    assert (values["box_iou"], values["medisee_box_iou"], values["medisee_box_right"]) == (1, 0.81, 1)
    asked = squares_record(square(7, 9, 8, 10))
    values = scored(asked, exact(asked)).values
    assert (values["box_iou"], values["medisee_box_iou"], values["medisee_box_right"]) == (1, 0, 0)


@pytest.mark.parametrize("status", ["absent", "unknown", "outside", "refused"])
def test_what_was_not_found_stays_in_the_means_as_zero(status):
    asked = squares_record(TRUE)
    values = scored(asked, Prediction(asked.id, status=status, text="I can't tell.")).values
    assert (values["dice"], values["box_iou"], values["points_dice"]) == (0, 0, 0)
    assert values["refused"] == (status == "refused")
    assert values["not_found"] == (status != "refused")
    assert values["medreasoner_refused"] == 1
    assert (values["dice_256"], values["iou_256"]) == (0, 0)
    # As released, the last threshold takes the whole image, and 100 of its 1600 pixels are right.
    assert values["prs_med_dice"] == pytest.approx(200 / 1700 / 256)


def test_every_grey_value_of_eight_bits_reaches_its_own_threshold(tmp_path):
    """One pixel of each: at the thresholds from 1 down to 0 there are 1, 2, … 256 of them."""
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "p.png")
    asked = squares_record(np.ones((16, 16), dtype=bool))
    values = scored(asked, Prediction(asked.id, probability="p.png"), tmp_path).values
    assert values["iou_256"] == pytest.approx(np.arange(1, 257).mean() / 256)


def test_the_released_protocol_over_thresholds_is_reproduced_from_a_picture(real_data, tmp_path):
    """Pictures as PRS-Med writes them; stretching changes none that goes from black to white already."""
    used = 0
    for case in known_answers(real_data, "prsmed_model_and_eval.json")["seg_eval"]["cases"]:
        shape = case["h"], case["w"]
        true, found = (np.array(case[name], np.uint8).reshape(shape) for name in ("gt", "pred"))
        if not true.any() or not (true > 127).any() or (found.min(), found.max()) != (0, 255):
            continue
        Image.fromarray(found).save(tmp_path / "found.png")
        asked = squares_record(true > 127)
        prediction = Prediction(asked.id, probability="found.png")
        values = scored(asked, prediction, tmp_path).values
        assert values["prs_med_dice"] == pytest.approx(case["dice_mean_over_thresholds"], abs=1e-9)
        assert values["prs_med_iou"] == pytest.approx(case["iou_mean_over_thresholds"], abs=1e-9)
        used += 1
    assert used


def test_probabilities_make_the_mask_at_one_half_and_are_stretched_as_released(tmp_path):
    """At most 0.4 sure of it: no mask, but the released code stretches that to certainty."""
    asked = squares_record(TRUE)
    Image.fromarray((TRUE * round(0.4 * 65535)).astype(np.uint16)).save(tmp_path / "p.png")
    values = scored(asked, Prediction(asked.id, probability="p.png"), tmp_path).values
    assert values["dice"] == 0
    assert values["prs_med_dice"] == pytest.approx((255 + 200 / 1700) / 256)
    sure = 102  # thresholds of 1 … 1/255 that are at most 0.4
    assert values["dice_256"] == pytest.approx((sure + 200 / 1700) / 256)


def test_a_released_text_is_scored_like_the_box_and_points_in_it():
    asked = squares_record(TRUE)
    truth = json.loads(ground_truth(asked))
    assert truth["bbox_2d"] == [84, 126, 293, 335]  # 21 pixels each of ours; the last one is inside
    fields = {"bbox": truth["bbox_2d"], "points_1": truth["point_2d"][0], "points_2": truth["point_2d"][1]}
    text = f"<think>It lies there.</think><answer>{json.dumps(fields)}</answer>"
    values = scored(asked, exact(asked, points_plane=None, written=text)).values
    assert values["medreasoner_iou"] == pytest.approx(1, abs=1e-3)
    assert values["medreasoner_pdice"] == pytest.approx(2, abs=1e-3)
    assert values["box_iou"] == pytest.approx(1)
    assert values["points_dice"] == pytest.approx(1, abs=0.03)
    broken = scored(asked, Prediction(asked.id, written="I see nothing."))
    assert (broken.status, broken.values["medreasoner_refused"]) == ("refused", 1)
    assert "no usable answer" in broken.reason


def test_texts_of_the_released_model_score_as_its_own_evaluation_scored_them(real_data):
    """All known answers, through a prediction file's text; sound scores stay finite whatever is written."""
    mask = square(0, 0, 2, 2, side=840)
    for case in known_answers(real_data, "medreasoner_rewards.json")["cases"]:
        truth = json.loads(case["ground_truth"])
        if len(truth.get("point_2d", [])) != 2:
            continue
        x0, y0, x1, y1 = truth["bbox_2d"]
        places = {"box_plane": (x0, y0, x1 + 1, y1 + 1), "key_points_plane": tuple(truth["point_2d"])}
        asked = replace(squares_record(mask), **places)
        values = scored(asked, Prediction(asked.id, written=case["prediction"])).values
        expected = case["eval_think_True"]
        assert values["medreasoner_refused"] == expected["failed"], case["tag"]
        for name in ("iou", "pdice"):
            wanted = expected[name] if np.isfinite(expected[name]) else 0  # as in the means
            assert values[f"medreasoner_{name}"] == pytest.approx(wanted, abs=1e-4), case["tag"]
        assert 0 <= values["box_iou"] <= 1
        assert 0 <= values["points_dice"] <= 1 + 1e-9


def test_a_proposed_box_counts_and_not_that_of_the_mask():
    asked = squares_record(TRUE)
    values = scored(asked, exact(asked, box_plane=(20.0, 20.0, 30.0, 30.0))).values
    assert (values["dice"], values["box_iou"]) == (1, 0)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_dice_and_iou_fit_together_for_any_mask(data):
    corners = st.integers(0, 39)
    x0, y0, x1, y1 = (data.draw(corners) for _ in range(4))
    mask = square(min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1)
    asked = squares_record(TRUE)
    values = scored(asked, exact(asked, mask_runs=runs_of(mask))).values
    assert values["dice"] == pytest.approx(2 * values["iou"] / (1 + values["iou"]))
    assert values["medisee_dice"] == pytest.approx(values["dice"], abs=1e-4)
    assert values["medreasoner_dice"] == pytest.approx(values["dice"], abs=1e-4)
    assert 0 <= values["prs_med_dice"] <= 1
    assert (values["box_iou"] == 1) == (mask_box(mask) == asked.box_plane)


@given(
    st.builds(
        Prediction,
        record=st.text(min_size=1),
        status=st.sampled_from(["found", "absent", "refused"]),
        text=st.text(),
        mask_runs=st.none() | st.lists(st.integers(0, 9)).map(tuple),
        confidence=st.none() | st.floats(0, 1),
        points_plane=st.none() | st.just(((1.0, 2.0), (3.5, 4.25))),
    )
)
@settings(max_examples=30, deadline=None)
def test_a_line_is_read_as_it_was_written(tmp_path_factory, prediction):
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    file.write_text(prediction_line(prediction) + "\n", encoding="utf-8")
    assert list(read_predictions(file)) == [prediction]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask_runs": (3, 4)}, "run lengths add up to 7"),
        ({"mask_runs": None, "mask": "none.png"}, "none.png can't be read"),
        ({"mask_runs": None, "mask": "small.png"}, r"small.png has \(3, 4\) pixels"),
        ({"mask_runs": None, "mask": "text.png"}, "no picture"),
    ],
)
def test_pictures_and_runs_of_another_size_are_refused_by_name(tmp_path, change, words):
    Image.new("L", (4, 3)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    asked = squares_record(TRUE)
    with pytest.raises(DataSetError, match=words) as fault:
        scored(asked, exact(asked, **change), tmp_path)
    assert str(tmp_path) not in str(fault.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"record": "a", "masc": "x.png"}', "unknown key 'masc'"),
        ("{}", "'record' is missing"),
        ('{"record": "a"}\n{"record": "a"}', "line 2: record 'a' is there twice"),
        ('{"record": "a", "confidence": NaN}', "NaN"),
    ],
)
def test_a_line_that_is_no_prediction_is_named(tmp_path, line, words):
    file = tmp_path / "theirs.jsonl"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataSetError, match=words):
        list(read_predictions(file))


PATIENT = {
    "side": "right",
    "crosses_midline": False,
    "anterior_posterior": "anterior",
    "superior_inferior": None,
    "level": 0.5,
    "midline_mm": 30.0,
    "surface_mm": None,
    "center_lps": [-30.0, 0.0, 0.0],
    "reference": "field of view",
}


@pytest.mark.parametrize(
    ("text", "named", "right"),
    [
        ("It lies at the top left of the image.", True, True),
        ("It lies at the bottom left of the image.", True, False),
        ("It is in front, at the top left.", True, True),
        ("It is on the patient's left, at the top left.", True, False),
        ("The right kidney is seen.", False, False),
        ("The left kidney is seen.", True, False),
        ("It is on slice 0.", False, False),
        ("It is a kidney.", False, False),
    ],
)
def test_places_are_read_from_the_text_and_what_the_question_says_earns_nothing(text, named, right):
    asked = replace(
        squares_record(TRUE), patient_position=PATIENT, question="Where is the right kidney on this slice?"
    )
    found = place_named(text, asked)
    assert (found.named, found.right) == (named, right)


def test_meteor_by_hand_with_words_that_have_no_match():
    """3 of 4 words in one run, "lungs" by its stem: half of a third cubed is taken off."""
    precision, recall = 3 / 4, 1.0
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    expected = mean * (1 - 0.5 * (1 / 3) ** 3)
    assert meteor("left upper lungs here", "left upper lung") == pytest.approx(expected)
    assert meteor("", "left") == 0
    assert "stems" in meteor_variant()
    assert "synonyms" in meteor_variant()
