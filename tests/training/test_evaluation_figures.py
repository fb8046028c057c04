"""Means, intervals over patients, and the comparison of two models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason_training.evaluation.figures import difference, figure, mean_of, pooled
from napari_medreason_training.evaluation.scores import RecordScore
from napari_medreason_training.evaluation.sheets import chosen
from napari_medreason_training.evaluation.tables import (
    Resampling,
    Table,
    comparison,
    overview,
    per_group,
    with_interval,
)
from napari_medreason_training.evaluation.tables_published import published_tables

DRAWS = {"seed": 1, "resamples": 500}
DICE = mean_of("dice")


def scores(values, *, model="m", source="s"):
    """Scores of records, by patient."""
    groups = dict.fromkeys(("super_category", "modality", "structure", "split", "length"), "all")
    return [
        RecordScore(model, f"{patient}-{n}", patient, "found", _values(value), groups | {"source": source})
        for patient, own in values.items()
        for n, value in enumerate(own)
    ]


def _values(dice):
    overlap = {"common": 100 * dice / (2 - dice), "union": 100.0, "iou": dice / (2 - dice)}
    same = ("dice_256", "prs_med_dice", "medisee_dice", "medreasoner_dice", "rouge_1", "meteor")
    also = (
        "iou_256",
        "prs_med_iou",
        "medisee_iou",
        "box_iou",
        "points_dice",
        "points_iou",
        "medreasoner_iou",
    )
    zero = ("refused", "not_found", "medreasoner_refused", "medreasoner_pdice", "box_right")
    more = ("rouge_l", "place_named", "place_right", "prs_med_rouge", "prs_med_meteor")
    return (
        {"dice": dice, **overlap}
        | dict.fromkeys((*same, *more), dice)
        | dict.fromkeys(also, overlap["iou"])
        | dict.fromkeys(zero, 0.0)
    )


PATIENTS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    min_size=2,
    max_size=8,
)


@given(PATIENTS)
@settings(max_examples=25, deadline=None)
def test_the_mean_is_over_records_and_lies_between_the_least_and_the_greatest(values):
    found = figure(scores(values), DICE, **DRAWS)
    everything = [value for own in values.values() for value in own]
    assert found.value == pytest.approx(np.mean(everything))
    assert (found.records, found.patients) == (len(everything), len(values))
    low, high = found.interval
    assert min(everything) - 1e-9 <= low <= high <= max(everything) + 1e-9


def test_more_slices_of_the_same_patients_make_no_interval_narrower():
    """The same values ten times over: a bootstrap of slices would shrink it threefold."""
    few = {name: [value] for name, value in zip("abcdef", (0.1, 0.3, 0.5, 0.6, 0.8, 0.9), strict=True)}
    many = {name: own * 10 for name, own in few.items()}
    assert figure(scores(few), DICE, **DRAWS).interval == pytest.approx(
        figure(scores(many), DICE, **DRAWS).interval
    )


def test_one_patient_has_no_interval_and_no_test():
    one = scores({"a": [0.2, 0.8]})
    assert figure(one, DICE, **DRAWS).interval is None
    assert with_interval(figure(one, DICE, **DRAWS)) == "0.500"
    found = difference(one, scores({"a": [0.4, 0.9]}), DICE, **DRAWS)
    assert (found.interval, found.chance) == (None, None)
    assert found.value == pytest.approx(0.15)


def test_the_mean_of_patients_gives_each_the_same_weight():
    first, second = scores({"a": [1.0], "b": [0.0] * 9}), scores({"a": [0.5], "b": [1.0] * 9})
    assert figure(first, DICE, **DRAWS).value == pytest.approx(0.1)
    assert figure(first, DICE, **DRAWS, patients_first=True).value == pytest.approx(0.5)
    assert difference(first, second, DICE, **DRAWS).value == pytest.approx(0.85)
    assert difference(first, second, DICE, **DRAWS, patients_first=True).value == pytest.approx(0.25)


def test_a_pooled_quotient_is_of_sums():
    found = figure(scores({"a": [1.0], "b": [0.0]}), pooled("common", "union"), **DRAWS)
    assert found.value == pytest.approx(0.5)


def test_the_permutation_test_by_hand():
    """Three patients, all better: of eight exchanges only none and all are as extreme."""
    first = scores({"a": [0.1], "b": [0.2], "c": [0.3]})
    second = scores({"a": [0.2], "b": [0.4], "c": [0.6]})
    found = difference(first, second, DICE, **DRAWS)
    assert found.chance == pytest.approx(2 / 8)
    assert found.least_chance == pytest.approx(2 / 8)
    assert (found.better, found.worse, found.value) == (3, 0, pytest.approx(0.2))


@given(PATIENTS, st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_exchanging_the_models_turns_the_difference_round(values, random):
    first = scores(values)
    second = scores({name: [random.random() for _ in own] for name, own in values.items()})
    there, back = (
        difference(first, second, DICE, **DRAWS),
        difference(second, first, DICE, **DRAWS),
    )
    assert there.value == pytest.approx(-back.value)
    assert there.chance == pytest.approx(back.chance)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=1e-9)
    assert 0 < there.chance <= 1


def test_the_same_answers_are_no_difference():
    own = scores({name: [0.1, 0.5] for name in "abcd"})
    found = difference(own, own, DICE, **DRAWS)
    assert (found.value, found.interval, found.chance) == (0, (0, 0), 1)


def test_the_test_finds_what_is_there_and_seldom_what_is_not():
    rng = np.random.default_rng(0)
    patients = [f"p{n}" for n in range(20)]

    def chance(gain):
        first = {name: rng.random(2).tolist() for name in patients}
        second = {name: [v + gain + rng.normal(0, 0.1) for v in own] for name, own in first.items()}
        return difference(scores(first), scores(second), DICE, seed=1, resamples=500).chance

    assert max(chance(0.2) for _ in range(5)) < 0.01
    assert np.mean([chance(0.0) < 0.05 for _ in range(40)]) < 0.2


def test_only_records_that_both_have_are_compared():
    found = difference(scores({"a": [0.5, 0.5], "b": [0.1]}), scores({"a": [0.7]}), DICE, **DRAWS)
    assert (found.records, found.patients, found.value) == (1, 1, pytest.approx(0.2))


def test_tables_have_a_row_for_each_model_and_equal_columns():
    models = {
        "one": scores({"a": [0.5], "b": [0.7]}, source="x") + scores({"c": [0.1]}, source="y"),
        "the|other": scores({"a": [0.6], "b": [0.9]}, source="x") + scores({"c": [0.1]}, source="y"),
    }
    draws = Resampling(1, 200)
    tables = [*overview(models, draws), per_group(models, "source", draws), comparison(models, draws)]
    for table in [*tables, *published_tables(models)]:
        assert all(len(row) == len(table.columns) for row in table.rows), table.name
        lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
        assert len(lines) == len(table.rows) + 2
        assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.columns) + 1}
        assert len(table.as_csv().splitlines()) == len(table.rows) + 1
    masks = next(table for table in published_tables(models) if table.name == "prs_med_masks")
    assert masks.columns == ("model", "figures", "x", "y", "mean")
    assert masks.rows[0][2].startswith("0.600 /")
    assert masks.rows[0][4].startswith("0.350 /")  # of 0.6 and 0.1, whatever their numbers of records
    assert comparison({"one": models["one"]}, draws) is None


def test_an_empty_table_is_still_a_table():
    assert Table("t", "Title", ("a", "b"), ()).markdown().count("|") == 6


def test_the_sheet_shows_the_best_and_the_worst_of_different_patients():
    own = scores({"a": [0.9, 0.89, 0.1], "b": [0.8, 0.2], "c": [0.5, 0.0]})
    assert [score.record for score in chosen(own, 2)] == ["a-0", "b-0", "a-2", "c-1"]
    assert [score.record for score in chosen(own[:3], 2)] == ["a-0", "a-1", "a-2"]
    assert not chosen([], 2)
