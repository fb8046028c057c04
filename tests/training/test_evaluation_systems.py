"""Evaluations of published systems at toy size: refusals of a reasoner, PRS-Med's probabilities, adapters."""

import json

import numpy as np
import pytest

from napari_medreason.core.evaluation_config import ModelChoice
from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import default_window
from napari_medreason.errors import WeightsError
from napari_medreason.io import read
from napari_medreason.models.prs_med import load_prs_med
from napari_medreason_training.evaluation.answering import AnswerFile
from napari_medreason_training.evaluation.contestants import Contestant
from napari_medreason_training.evaluation.evaluating import evaluate
from napari_medreason_training.evaluation.predictions import answer_of, of_grounding, read_predictions
from napari_medreason_training.evaluation.scores import record_score

from ..models.conftest import qwen_folder, sam2_folder
from ..models.tiny_prs_med import SIZE, write_prs_med
from .tuning_records import data_set

__all__ = ["qwen_folder", "sam2_folder"]

HEAD = 'records = ["records.jsonl"]\nimages = "."\npictures = 1\nresamples = 100\nlimit = 2\n'


def test_a_reasoner_that_writes_no_answer_is_counted_as_refused(tmp_path, qwen_folder, sam2_folder):
    """Random weights write no answer block, which the released code counts as a refusal too."""
    data_set(tmp_path)
    options = {"reasoner": str(qwen_folder), "segmenter": str(sam2_folder), "device": "cpu"}
    options |= {"max_new_tokens": 8, "square_size": 84}
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    text = HEAD + f'[[models]]\nid = "medreasoner"\nname = "tiny"\noptions = {{ {table} }}\n'
    (tmp_path / "eval.toml").write_text(text, encoding="utf-8")
    out = evaluate(tmp_path / "eval.toml")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["figures"]["tiny"]["refused"]["value"] == 1
    assert summary["models"][0]["options"]["reasoner"] == qwen_folder.name
    medreasoner = (out / "tables" / "medreasoner.csv").read_text(encoding="utf-8")
    assert "tiny,as published,0.000,0.000,0.000,2" in medreasoner
    first = next(read_predictions(out / "answers" / "tiny.jsonl"))
    assert "no usable answer" in first.reason


def test_prs_med_leaves_its_probabilities_beside_the_answers(tmp_path):
    """Kept in 16 bits; the mask at one half is the one that was answered."""
    write_prs_med(tmp_path)
    (record, *_) = data_set(tmp_path, (("a", "test"),))
    volume = read(tmp_path / record.image.path)
    plane = cut(volume, "axial", record.image.index, default_window(volume))
    folders = {"weights": "llm_seg_3", "base": "base", "vision_tower": "clip"}
    model = load_prs_med(
        **{name: tmp_path / folder for name, folder in folders.items()}, device="cpu", size=SIZE
    )
    grounding = model.ask(Question(record.question, plane), on_text=lambda _: None, cancelled=lambda: False)
    model.close()
    entrant = Contestant(ModelChoice(id="prs-med"), {"id": "prs-med"}, None, "")
    kept = AnswerFile(tmp_path / "out", entrant, resume=False)
    kept.add(of_grounding(record, grounding), grounding)
    (prediction,) = read_predictions(kept.file)
    answer = answer_of(prediction, record, kept.folder)
    assert answer.probability == pytest.approx(grounding.workings.probability, abs=1e-4)
    drawn = np.zeros(plane.grid.shape, bool) if grounding.mask is None else grounding.mask
    assert (answer.mask == drawn).all()
    assert answer.probability.min() < answer.probability.max()
    score = record_score("prs-med", record, answer)
    assert score.values["prs_med_dice"] != pytest.approx(score.values["dice_256"], abs=1e-6)


def test_weights_that_are_not_there_are_told_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    data_set(tmp_path)
    (tmp_path / "eval.toml").write_text(
        HEAD + '[[models]]\nid = "embedded"\n[[models]]\nid = "prs-med"\n', encoding="utf-8"
    )
    with pytest.raises(WeightsError, match="prs-med needs"):
        evaluate(tmp_path / "eval.toml")
    assert not (tmp_path / "evaluation").exists()
