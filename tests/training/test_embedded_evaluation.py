"""Evaluation, calibration and the model card of the embedded model."""

import json

import numpy as np
import pytest
import torch

from napari_medreason.core.plane import AXES, cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded.experts import EXPERT_IDS, load_experts
from napari_medreason.models.embedded.perception import Perceiver, areas
from napari_medreason.models.embedded.structures import BODY_CT
from napari_medreason_training import card
from napari_medreason_training.baselines import counted_on
from napari_medreason_training.batches import VolumeSource
from napari_medreason_training.calibration import AS_IT_IS, logistic_fit
from napari_medreason_training.compare_networks import case_dice
from napari_medreason_training.evaluation_cases import Case, brain_image
from napari_medreason_training.evaluation_tables import figures, rows, summary
from napari_medreason_training.held_out import held_out, labels_on, members_of
from napari_medreason_training.intensities import KNOWN_CONTRASTS, known_contrast
from napari_medreason_training.measures import expected_calibration_error
from napari_medreason_training.phantoms import body_ct
from napari_medreason_training.plain_unet import network_for
from napari_medreason_training.slice_scores import Overlap, SliceScore, case_scores
from napari_medreason_training.sources import (
    OTHER_MR,
    OTHER_MR_FOR_CALIBRATION,
    TRAINING_MAPS,
    VALIDATION_MAPS,
    phantom_volume,
)
from napari_medreason_training.train_embedded import network_config
from napari_medreason_training.volumes import TOTAL, LabelMaps


def _case(name="abdomen CT", patient="one", origin="real"):
    return Case(name, patient, origin, "body_ct", "CT", {"liver": frozenset({1})}, AXES, 0, "hand", None)


def _score(case, both, predicted, true, *, there=True, told=True, chance=0.9):
    masks = {"direct": Overlap(both, predicted, true)}
    return SliceScore(case, "axial", "liver", there, told, chance, masks, box_iou=0.5 if told else None)


def test_figures_count_false_alarms_and_misses():
    case = _case()
    scores = [
        _score(case, 50, 50, 50),
        _score(case, 0, 0, 50, told=False, chance=0.1),
        _score(case, 0, 50, 0, there=False),
        _score(case, 0, 0, 0, there=False, told=False, chance=0.1),
    ]
    row = figures(scores)
    assert row["dice_direct"] == pytest.approx(0.5)
    assert (row["sensitivity"], row["specificity"], row["presence_f1"]) == (0.5, 0.5, 0.5)
    assert (row["slices"], row["slices_without"], row["patients"]) == (2, 2, 1)
    assert row["interval"] is None
    assert row["dice_prior"] is None


def test_figures_are_means_over_patients_and_pooled_within_one():
    scores = [_score(_case(patient="one"), 90, 100, 100), _score(_case(patient="two"), 10, 100, 100)]
    scores.append(_score(_case(patient="two"), 0, 0, 0, there=None))
    row = figures(scores)
    assert row["dice_direct"] == pytest.approx((0.9 + 0.1) / 2)
    assert row["patients"] == 2
    assert row["slices"] == 2
    assert row["interval"][0] < 0.5 < row["interval"][1]


def test_rows_keep_planes_and_kinds_of_images_apart():
    table = rows([_score(_case(), 1, 1, 1), _score(_case("phantoms", origin="synthesised"), 1, 1, 1)])
    assert {(row["images"], row["axis"]) for row in table} == {
        (name, axis) for name in ("abdomen CT", "phantoms") for axis in ("axial", "all")
    }
    assert [row["calibration_error"] for row in summary([_score(_case(), 1, 1, 1)])] == [0.1]


def test_a_structure_that_is_never_there_has_no_dice():
    row = figures([_score(_case(), 0, 40, 0, there=False)])
    assert row["dice_direct"] is None
    assert row["specificity"] == 0.0


@pytest.fixture(scope="module")
def phantom_case(phantom_volumes):
    image, labels = phantom_volumes
    members = {
        "liver": frozenset({1 + BODY_CT.index("liver")}),
        "lung": frozenset({1 + BODY_CT.index("lung")}),
    }
    return Case(
        "phantom", "p", "synthesised", "body_ct", "CT", members, ("axial",), 3, "it", lambda: (image, labels)
    )


@pytest.fixture(scope="module")
def phantom_volumes():
    phantom = body_ct(10_001, spacing_mm=(12.0, 4.0, 4.0))
    table = np.array([1 + BODY_CT.index(n) if n in BODY_CT else 0 for n in phantom.structures], np.int16)
    return Volume(phantom.voxels, phantom.affine, modality="CT"), Volume(
        table[phantom.labels], phantom.affine
    )


def test_the_whole_way_from_image_to_scores(phantom_case):
    source = VolumeSource(
        [phantom_volume(body_ct(10_002, spacing_mm=(12.0, 4.0, 4.0)), BODY_CT, known=BODY_CT, weight=1.0)],
        "CT", 96, 4.0,
    )  # fmt: skip
    prior = counted_on(source, BODY_CT, 8)
    scores = list(case_scores(phantom_case, Perceiver(), prior))
    assert len(scores) == 2 * 3
    seen = [score for score in scores if score.there]
    assert seen
    for score in seen:
        assert {"direct", "pair", "prompted", "prior", "generated", "held_out"} <= set(score.masks)
        assert len({part.true for part in score.masks.values()}) == 1
    prior_dice = figures([score for score in scores if score.structure == "lung"])["dice_prior"]
    assert 0.3 < prior_dice < 1  # the place and the darkness of lungs suffice for most of them


@pytest.mark.parametrize("contrast", ["T1", "T2", "FLAIR"])
def test_synthesised_brains_have_the_order_of_their_contrast(contrast):
    labels = [0, 2, 3, 4, 16]
    maps = LabelMaps(
        torch.randint(1, 5, (1, 24, 24, 24), generator=torch.Generator().manual_seed(1)).to(torch.uint8),
        torch.tensor(labels), torch.tensor([0, 1, 2, 3, 13]), torch.zeros(5), torch.ones(1, 3) * 12,
    )  # fmt: skip
    fluid, grey, white = KNOWN_CONTRASTS[contrast]
    level = known_contrast(labels, contrast, torch.Generator().manual_seed(2))
    assert sorted([1, 2, 3], key=lambda k: float(level[k])) == sorted(
        [1, 2, 3], key=lambda k: {1: white, 2: grey, 3: fluid}[k]
    )
    image = brain_image(maps, contrast, stripped=False, seed=1)
    assert image.shape == (24, 24, 24)
    assert np.array_equal(image, brain_image(maps, contrast, stripped=False, seed=1))


@pytest.mark.parametrize("axis", AXES)
def test_labels_follow_the_patient_however_they_are_stored(axis):
    rng = np.random.default_rng(1)
    voxels = rng.integers(0, 9, (5, 6, 7))
    image = Volume(voxels, np.diag([2.0, 3.0, 4.0, 1.0]), modality="CT")
    turned = np.array([[-2.0, 0, 0, 12], [0, 0, 3, 0], [0, 4, 0, 0], [0, 0, 0, 1]])
    labels = Volume(voxels[:, :, ::-1].transpose(1, 0, 2), turned)
    plane = cut(image, axis, 2, Window(0, 9))
    assert np.array_equal(labels_on(plane, labels), plane.image)


def test_members_join_both_sides():
    assert members_of(TOTAL)["kidney"] == {2, 3}


def test_nothing_held_out_is_trained_on():
    assert not set(TRAINING_MAPS) & set(VALIDATION_MAPS)
    assert not set(OTHER_MR) & set(OTHER_MR_FOR_CALIBRATION)


def test_calibration_learns_which_cue_tells():
    rng = np.random.default_rng(2)
    there = rng.random(200) < 0.2
    cues = np.stack([rng.normal(size=200), np.where(there, 5.0, 1.0) + rng.normal(size=200) * 0.3], -1)
    bias, per_logit, per_area = logistic_fit(cues, there)
    odds = bias + cues @ np.array([per_logit, per_area])
    assert ((odds > 0) == there).mean() > 0.97
    assert per_area > per_logit >= 0


def test_calibration_tells_chances_as_they_are():
    rng = np.random.default_rng(3)
    cue = rng.normal(size=3000)
    there = rng.random(3000) < 1 / (1 + np.exp(-(2 * cue - 2)))
    bias, per_logit, _ = logistic_fit(np.stack([cue, np.zeros(3000)], -1), there)
    told = 1 / (1 + np.exp(-(bias + per_logit * cue)))
    assert told.mean() == pytest.approx(there.mean(), abs=0.02)
    assert expected_calibration_error(told, there) < 0.04


def test_calibration_without_cases_changes_nothing():
    assert logistic_fit(np.zeros((50, 2)), np.zeros(50, bool)) == AS_IT_IS


def test_areas_count_the_best_structure_only():
    logits = np.full((2, 4, 4), -1.0, np.float32)
    logits[0, :2], logits[1, :1] = 1.0, 2.0
    assert areas(logits).tolist() == [4, 4]


def _row(structure="liver", origin="real", dice=0.876, patients=1, slices=20, **more):
    row = {"images": "abdomen CT", "origin": origin, "expert": "body_ct", "kind": "CT", "labels": "by hand"}
    row |= {"structure": structure, "axis": "all", "patients": patients, "slices": slices}
    row |= {"slices_without": 4, "sensitivity": 1.0, "specificity": 0.75, "presence_f1": 0.9}
    row |= {"interval": None, "box_iou": 0.7, "circle_iou": 0.4, "circle_dice": 0.5}
    row |= {f"dice_{way}": 0.5 for way in ("pair", "prompted", "prior", "generated", "held_out")}
    return row | {"dice_direct": dice} | more


def _figures(path, rows, sha256="0" * 64):
    keys = [f"dice_{way}" for way in ("direct", "pair", "prompted", "prior", "generated", "held_out")]
    total = {"images": "abdomen CT", "origin": "real", "structures": 1, **dict.fromkeys(keys, 0.6)}
    total |= {"box_iou": 0.7, "presence_f1": 0.9, "calibration_error": 0.04}
    content = {
        "weights_sha256": sha256,
        "rows": rows,
        "summary": [total],
        "template": {"grey matter": {"dice": 0.5}},
    }
    content["agreement"] = {"grey matter, T1 and T2": {"dice": 0.4}}
    path.write_text(json.dumps(content))
    return path


def _folder(monkeypatch, folder):
    monkeypatch.setattr(card, "FOLDER", folder)
    monkeypatch.setattr(card, "CARD", folder / "MODEL_CARD.md")
    for expert in EXPERT_IDS:
        (folder / f"{expert}.json").write_text('{"evidence": {}}')


def test_figures_go_into_card_evidence_and_level(tmp_path, monkeypatch):
    _folder(monkeypatch, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text(f"before\n{card.BEGIN}\nold\n{card.END}\nafter\n")
    rows = [_row(), _row(axis="axial", dice=0.8)]
    rows.append(_row("kidney", slices=0, patients=0, dice=None))
    rows.append(_row("kidney", origin="synthesised", dice=0.7, images="phantoms"))
    files = [_figures(tmp_path / f"{n}.json", part) for n, part in enumerate((rows[:2], rows[2:]))]
    card.update_card(files)
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| liver | 1 | 20 | 0.88 |  | 0.80 | 0.70 | 0.40 | 0.50 | 1.00 | 0.75 |" in text
    description = json.loads((tmp_path / "body_ct.json").read_text())
    assert description["evidence"] == {
        "liver": "liver on CT: Dice 0.88 on 1 held-out patient, 20 slices; preliminary",
        "kidney": "kidney on CT: not measured on a held-out patient who has it in view; Dice 0.70 on "
        "synthesised images; wrongly seen on 25 % of real slices without it",
    }
    assert description["level"] == {"liver": "preliminary", "kidney": "unmeasured"}
    assert json.loads((tmp_path / "brain_mr.json").read_text())["evidence"] == {}


@pytest.mark.parametrize(
    ("dice", "patients", "expected"),
    [(0.9, 1, "preliminary"), (0.9, 3, "supported"), (0.49, 3, "experimental"), (0.2, 1, "experimental")],
)
def test_levels(dice, patients, expected):
    assert card.level([_row(dice=dice, patients=patients)]) == expected


def test_synthesised_images_alone_never_raise_the_level():
    assert card.level([_row(origin="synthesised", patients=9)]) == "unmeasured"


def test_a_card_without_a_place_for_figures(tmp_path, monkeypatch):
    _folder(monkeypatch, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text("nothing")
    with pytest.raises(MedReasonError, match="figures begin"):
        card.update_card([_figures(tmp_path / "figures.json", [_row()])])


def test_figures_of_different_weights_are_not_mixed(tmp_path):
    files = [_figures(tmp_path / f"{n}.json", [_row()], sha256=n * 64) for n in "ab"]
    with pytest.raises(MedReasonError, match="different weights"):
        card.update_card(files)


def test_shipped_card_and_descriptions_have_figures():
    assert "| liver |" in card.CARD.read_text(encoding="utf-8")
    for expert in load_experts():
        assert set(expert.presence) == set(expert.structures)
        assert expert.evidence
        assert all("Dice" in line or "not measured" in line for line in expert.evidence.values())
        assert set(expert.level) == set(expert.evidence)


@pytest.mark.data
def test_held_out_scans_are_there():
    import os
    from pathlib import Path

    folder = os.environ.get("MEDREASON_TEST_DATA")
    if not folder:
        pytest.skip("MEDREASON_TEST_DATA is not set")
    for scan in held_out(Path(folder), ("trunk_ct",)):
        assert (Path(folder) / scan.image).exists()
        assert (Path(folder) / scan.labels).exists()
        assert scan.members


def test_networks_are_compared_on_the_same_slices(phantom_case):
    torch.manual_seed(1)
    sizes = network_config("body_ct")
    for plain in (False, True):
        dice = case_dice(phantom_case, network_for(sizes, plain=plain).eval())
        assert set(dice) == {"liver", "lung"}
        assert all(0 <= value < 0.5 for value in dice.values())  # nothing was learned
