"""Evaluations of published systems at toy size: refusals of a reasoner, PRS-Med's probabilities, adapters."""

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_medreason.core.evaluation_config import ModelChoice, evaluation_config
from napari_medreason.core.plane import cut, slice_count
from napari_medreason.core.question import Question
from napari_medreason.core.volume import default_window
from napari_medreason.errors import WeightsError
from napari_medreason.io import read
from napari_medreason.models import create
from napari_medreason.models.adapter_card import read_adapter_card, write_adapter_card
from napari_medreason.models.adapters import accept
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason.models.embedded.reasoner import EmbeddedReasoner
from napari_medreason.models.prs_med import load_prs_med
from napari_medreason_sample_data import ct_folder
from napari_medreason_training.evaluation.answering import AnswerFile
from napari_medreason_training.evaluation.asked import asked_records
from napari_medreason_training.evaluation.contestants import Contestant, contestants
from napari_medreason_training.evaluation.evaluating import evaluate
from napari_medreason_training.evaluation.predictions import answer_of, of_grounding, read_predictions
from napari_medreason_training.evaluation.report import heading
from napari_medreason_training.evaluation.scores import record_score

from ..models.adapter_cases import embedded_adapter
from ..models.conftest import qwen_folder, sam2_folder
from ..models.tiny_prs_med import SIZE, write_prs_med
from .evaluation_cases import squares_record
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


def test_an_adapter_is_evaluated_beside_its_base_and_its_own_patients_are_told(tmp_path, monkeypatch):
    """By its folder and from the store; its card says that it was trained on these very records."""
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))
    data_set(tmp_path)
    head = HEAD.replace("limit = 2", "limit = 6") + 'splits = ["train", "test"]\n'
    text = head + '[[models]]\nid = "embedded"\n'
    asked = asked_records(evaluation_config(text, "eval.toml"), tmp_path)
    folder = embedded_adapter(tmp_path / "adapter", expert_id="brain_mr", shift=40.0)
    write_adapter_card(folder, replace(read_adapter_card(folder), data_sha256=asked.sha256))
    stored = accept(folder)
    text += '[[models]]\nid = "embedded"\nadapter = "adapter"\nname = "by folder"\n'
    text += f'[[models]]\nid = "{stored.model_id}"\n'
    (tmp_path / "eval.toml").write_text(text, encoding="utf-8")
    out = evaluate(tmp_path / "eval.toml")
    answers = {
        file.stem: {one.weights_sha256 for one in read_predictions(file)}
        for file in sorted((out / "answers").glob("*.jsonl"))
    }
    assert len(answers) == 3
    base, tuned, from_store = answers["embedded"], answers["by-folder"], answers["embedded-our-lesions"]
    assert tuned == from_store != base
    report = (out / "report.md").read_text(encoding="utf-8")
    learnt = sum(record.split == "train" for record in asked.records)
    assert report.count(f"**{learnt} of 6 records are of patients that it has learnt from**") == 2
    assert "adapter “Our lesions”" in report
    assert "figures are too good" in report


def heading_of(tmp_path, *models):
    """What the report says of these models before they are asked."""
    text = HEAD + 'splits = ["train", "test"]\n' + "".join(f"[[models]]\n{model}\n" for model in models)
    config = evaluation_config(text, "eval.toml")
    asked = asked_records(config, tmp_path)
    entrants = contestants(config, tmp_path, asked)
    assert str(tmp_path) not in str([one.about for one in entrants])
    return "\n".join(heading(entrants, asked, config))


def test_an_adapter_is_known_however_its_id_names_it(tmp_path, monkeypatch):
    """On the pair, and by its folder, whose path is told nowhere."""
    monkeypatch.setenv("MEDREASON_ADAPTERS", str(tmp_path / "store"))
    data_set(tmp_path)
    folder = embedded_adapter(tmp_path / "first" / "adapter", expert_id="brain_mr")
    sha256 = asked_records(evaluation_config(HEAD + '[[models]]\nid = "embedded"\n', "x"), tmp_path).sha256
    write_adapter_card(folder, replace(read_adapter_card(folder), data_sha256=sha256))
    stored = accept(folder)
    words = heading_of(tmp_path, f'id = "embedded-pair@{stored.id}"', f'id = "embedded@{folder.as_posix()}"')
    assert words.count("records are of patients that it has learnt from") == 2
    assert "**embedded@adapter**: model embedded@our-lesions, adapter “Our lesions”" in words
    assert str(tmp_path) not in words


def test_of_an_adapter_without_a_past_nothing_is_said(tmp_path):
    data_set(tmp_path)
    folder = embedded_adapter(tmp_path / "adapter", expert_id="brain_mr")
    write_adapter_card(folder, replace(read_adapter_card(folder), data_sha256="", date=""))
    words = heading_of(tmp_path, 'id = "embedded"\nadapter = "adapter"')
    assert "its adapter's card does not say what it was trained on" in words
    assert "adapter “Our lesions”\n" in words
    write_adapter_card(folder, replace(read_adapter_card(folder), data_sha256="0" * 64, date="2026-01-02"))
    words = heading_of(tmp_path, 'id = "embedded"\nadapter = "adapter"')
    assert "other records, or on another version of these" in words
    assert "adapter “Our lesions” of 2026-01-02\n" in words


def test_an_adapter_for_another_model_is_told_before_anything_is_asked(tmp_path):
    """In its own folder, which does not say what it is for."""
    data_set(tmp_path)
    folder = embedded_adapter(tmp_path / "adapter", expert_id="brain_mr")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    write_adapter_card(folder, replace(read_adapter_card(folder), kind="peft", base="lingshu-7b"))
    with pytest.raises(WeightsError, match="was made for lingshu-7b, not for embedded"):
        heading_of(tmp_path, 'id = "embedded"\nadapter = "adapter"')


def test_the_proposal_of_a_reasoner_is_what_is_scored_and_not_the_box_of_its_mask():
    """The reasoner's own box and points go into the prediction; the answer's box is that of the mask."""
    volume = read(ct_folder())
    plane = cut(volume, "axial", slice_count(volume, "axial") // 2, default_window(volume))
    question = Question("Where is the liver?", plane)
    reasoner, model = EmbeddedReasoner(Perceiver()), create("embedded-pair")
    proposed = reasoner.reason(question, on_text=lambda _: None, cancelled=lambda: False)
    grounding = model.ask(question, on_text=lambda _: None, cancelled=lambda: False)
    model.close()
    assert grounding.present
    prediction = of_grounding(squares_record(grounding.mask), grounding)
    assert prediction.box_plane == pytest.approx(proposed.box)
    assert prediction.box_plane != grounding.box
    assert prediction.points_plane == tuple(map(pytest.approx, proposed.points))
    assert prediction.templated
