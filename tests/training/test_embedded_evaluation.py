"""Evaluation, calibration and the model card of the embedded model."""

import json

import numpy as np
import pytest

from napari_medreason.core.plane import AXES, cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded.experts import EXPERT_IDS, FOLDER, load_experts
from napari_medreason.models.embedded.perception import areas
from napari_medreason_training import card
from napari_medreason_training.calibration import AS_IT_IS, balanced_fit
from napari_medreason_training.evaluate_embedded import Score
from napari_medreason_training.held_out import held_out, labels_on, members_of
from napari_medreason_training.sources import (
    OTHER_MR,
    OTHER_MR_FOR_CALIBRATION,
    TRAINING_MAPS,
    VALIDATION_MAPS,
)
from napari_medreason_training.volumes import TOTAL


def test_score_counts_false_alarms_and_misses():
    truth = np.zeros((10, 10), bool)
    truth[:5] = True
    score = Score()
    score.add(truth, truth, 4)
    score.add(None, truth, 4)
    score.add(truth, np.zeros_like(truth), 4)
    score.add(None, np.zeros_like(truth), 4)
    figures = score.figures()
    assert figures["dice"] == pytest.approx(0.5)
    assert (figures["sensitivity"], figures["specificity"]) == (0.5, 0.5)
    assert (figures["slices"], figures["slices_without"]) == (2, 2)


def test_slices_with_a_few_pixels_are_left_out_of_presence():
    truth = np.zeros((10, 10), bool)
    truth[0, :2] = True
    score = Score()
    score.add(None, truth, 4)
    assert score.figures()["sensitivity"] is None
    assert score.figures()["dice"] == 0.0


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
    bias, per_logit, per_area = balanced_fit(cues, there)
    odds = bias + cues @ np.array([per_logit, per_area])
    assert ((odds > 0) == there).mean() > 0.97
    assert per_area > per_logit >= 0


def test_calibration_without_cases_changes_nothing():
    assert balanced_fit(np.zeros((50, 2)), np.zeros(50, bool)) == AS_IT_IS


def test_areas_count_the_best_structure_only():
    logits = np.full((2, 4, 4), -1.0, np.float32)
    logits[0, :2], logits[1, :1] = 1.0, 2.0
    assert areas(logits).tolist() == [4, 4]


def _figures(path, dice):
    row = {"dice": dice, "slices": 20, "slices_without": 4, "sensitivity": 1.0, "specificity": None}
    row |= {"dice_pair": 0.5, "dice_prompted": 0.9}
    scan = {"scan": "abdomen CT", "expert": "body_ct", "labels": "by hand", "structures": {"liver": row}}
    template = {"grey matter": {"dice": 0.5}}
    path.write_text(json.dumps({"weights_sha256": "0" * 64, "scans": [scan], "template": template}))
    return path


def _folder(monkeypatch, folder):
    monkeypatch.setattr(card, "FOLDER", folder)
    monkeypatch.setattr(card, "CARD", folder / "MODEL_CARD.md")
    for expert in EXPERT_IDS:
        (folder / f"{expert}.json").write_text('{"evidence": {}}')


def test_figures_go_into_card_and_evidence(tmp_path, monkeypatch):
    _folder(monkeypatch, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text(f"before\n{card.BEGIN}\nold\n{card.END}\nafter\n")
    card.update_card(_figures(tmp_path / "figures.json", 0.876), None)
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| liver | 1 | 20 | 0.88 | 0.50 | 0.90 | 1.00 | not measured |" in text
    evidence = json.loads((tmp_path / "body_ct.json").read_text())["evidence"]
    assert evidence == {"liver": "liver on CT: Dice 0.88 on 1 held-out patient, 20 slices; preliminary"}
    assert json.loads((tmp_path / "brain_mr.json").read_text())["evidence"] == {}


def test_a_card_without_a_place_for_figures(tmp_path, monkeypatch):
    _folder(monkeypatch, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text("nothing")
    with pytest.raises(MedReasonError, match="figures begin"):
        card.update_card(_figures(tmp_path / "figures.json", 0.5), None)


@pytest.mark.skipif(not (FOLDER / "body_ct.json").exists(), reason="the embedded weights are not built yet")
def test_shipped_card_and_descriptions_have_figures():
    assert "| liver |" in card.CARD.read_text(encoding="utf-8")
    for expert in load_experts():
        assert set(expert.presence) == set(expert.structures)
        assert expert.evidence
        assert all("Dice" in line for line in expert.evidence.values())


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
