"""Means, intervals over patients, and the comparison of two models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.evaluation_config import evaluation_config
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
from napari_medreason_training.evaluation.tables_published import (
    medisee,
    medreasoner,
    medreasoner_categories,
    prs_med_words,
    published_tables,
)
from napari_medreason_training.measures import interval_by_patient

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
    also, zero = (*also, "medisee_box_iou"), (*zero, "medisee_box_right")
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


def test_adapters_cards_and_reports_have_the_same_interval_of_a_gain():
    """A card bootstraps each patient's gains, a report both models' scores, with the same draws."""
    rng = np.random.default_rng(5)
    before = {name: rng.random(1 + place % 3).tolist() for place, name in enumerate("abcdefghij")}
    after = {name: rng.random(len(own)).tolist() for name, own in before.items()}
    gains = {name: np.subtract(after[name], before[name]).tolist() for name in before}
    config = evaluation_config('records = ["r"]\nimages = "."\n[[models]]\nid = "embedded"\n', "eval.toml")
    draws = {"seed": config.seed, "resamples": config.resamples}
    found = difference(scores(before), scores(after), DICE, **draws, patients_first=True)
    assert found.interval == pytest.approx(interval_by_patient(gains))


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


def score(record, values, *, source="s", length="short"):
    """One record of its own patient, with just these scores."""
    groups = {"split": "test", "length": length, "source": source, "super_category": source}
    return RecordScore("m", record, record, "found", values, groups)


def medisee_score(record, sound, published, overlap, **groups):
    """Dice, IoU of masks, IoU of boxes, whether the box is right; common pixels and those in either."""
    names = ("dice", "iou", "box_iou", "box_right")
    values = dict(zip(names, sound, strict=True)) | dict(zip(("common", "union"), overlap, strict=True))
    values |= {f"medisee_{name}": value for name, value in zip(names, published, strict=True)}
    return score(record, values, **groups)


def test_rows_of_medisee_by_hand():
    own = [
        medisee_score("a", (0.8, 0.6, 0.4, 1), (0.82, 0.62, 0.3, 0), (60, 100), length="long"),
        medisee_score("b", (0.3, 0.2, 0.1, 0), (0.32, 0.22, 0.05, 0), (20, 300)),
    ]
    assert medisee({"m": own}).rows == (
        ("m", "as published", "test, long", "0.820", "0.620", "0.600", "0.300", "0.000"),
        ("m", "sound", "test, long", "0.800", "0.600", "0.600", "0.400", "1.000"),
        ("m", "as published", "test, short", "0.320", "0.220", "0.067", "0.050", "0.000"),
        ("m", "sound", "test, short", "0.300", "0.200", "0.067", "0.100", "0.000"),
        ("m", "as published", "all", "0.570", "0.420", "0.200", "0.175", "0.000"),
        ("m", "sound", "all", "0.550", "0.400", "0.200", "0.250", "0.500"),
    )


def test_meters_of_medisee_divide_by_a_little_more_than_the_number():
    """That takes 0.999502 below what rounds to 1; pooled pixels have no meter."""
    values = (0.999502,) * 4
    published, sound = medisee({"m": [medisee_score("a", values, values, (999502, 1000000))]}).rows[-2:]
    assert published[3:] == ("0.999", "0.999", "1.000", "0.999", "0.999")
    assert sound[3:] == ("1.000",) * 5


def test_rows_of_medreasoner_by_hand():
    """One answer that the released code refuses, although it says that nothing was found."""
    names = ("medreasoner_iou", "medreasoner_pdice", "medreasoner_dice", "medreasoner_refused")
    more = ("box_iou", "points_dice", "dice", "refused")
    first = score("a", dict(zip((*names, *more), (0.5, 1.8, 0.7, 0, 0.52, 0.9, 0.72, 0), strict=True)))
    second = score("b", dict(zip((*names, *more), (0, 0, 0, 1, 0, 0, 0.2, 0), strict=True)), source="t")
    assert medreasoner({"m": [first, second]}).rows == (
        ("m", "as published", "0.250", "0.900", "0.350", "1"),
        ("m", "sound", "0.260", "0.450", "0.460", "0"),
    )
    assert medreasoner_categories({"m": [first, second]}).rows == (
        ("m", "as published", "0.500 / 1.800 / 0.700", "0.000 / 0.000 / 0.000", "0.250 / 0.900 / 0.350"),
        ("m", "sound", "0.520 / 0.900 / 0.720", "0.000 / 0.000 / 0.200", "0.260 / 0.450 / 0.460"),
    )


def test_rows_of_words_by_hand():
    """As published an answer without words is left out of its source; sources weigh the same."""
    names = ("rouge_1", "meteor", "prs_med_rouge", "prs_med_meteor")
    own = [
        score("a", dict(zip(names, (0.6, 0.4, 0.6, 0.4), strict=True))),
        score("b", dict(zip(names[:2], (0, 0), strict=True))),
        score("c", dict(zip(names, (0.2, 0.1, 0.2, 0.1), strict=True)), source="t"),
    ]
    assert prs_med_words({"m": own}).rows == (
        ("m", "as published", "0.600 / 0.400", "0.200 / 0.100", "0.400 / 0.250"),
        ("m", "sound", "0.300 / 0.200", "0.200 / 0.100", "0.250 / 0.150"),
    )


def test_an_empty_table_is_still_a_table():
    assert Table("t", "Title", ("a", "b"), ()).markdown().count("|") == 6


def test_the_sheet_shows_the_best_and_the_worst_of_different_patients():
    own = scores({"a": [0.9, 0.89, 0.1], "b": [0.8, 0.2], "c": [0.5, 0.0]})
    assert [score.record for score in chosen(own, 2)] == ["a-0", "b-0", "a-2", "c-1"]
    assert [score.record for score in chosen(own[:3], 2)] == ["a-0", "a-1", "a-2"]
    assert not chosen([], 2)


def test_choosing_from_many_compares_no_answer_with_all_others(monkeypatch):
    own = scores({f"p{n}": [0.9 - n / 1000, 0.1 + n / 1000] for n in range(300)})
    monkeypatch.setattr(RecordScore, "__eq__", lambda *_: pytest.fail("answers were compared"))
    assert [score.record for score in chosen(own, 2)] == ["p0-0", "p1-0", "p1-1", "p0-1"]
