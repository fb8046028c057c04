"""Qwen2.5-VL and SAM 2 classes of transformers, toy-sized, saved to disk and loaded from there."""

import gc
import json
import shutil

import numpy as np
import pytest

from napari_medreason import models
from napari_medreason.core.answer_text import parse_answer
from napari_medreason.core.question import Question
from napari_medreason.errors import (
    AnswerFormatError,
    CancelledError,
    ModelUnavailableError,
    QuestionError,
    WeightsError,
)
from napari_medreason.models.base import Reasoner, Segmenter
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.reasoners.local import LocalReasoner
from napari_medreason.models.reasoners.proposal import reasoning_in_plane
from napari_medreason.models.reasoners.qwen25_vl import QWEN25_VL
from napari_medreason.models.segmenters.sam2 import Sam2Segmenter

LEFT_BOX, RIGHT_BOX = (10, 40, 40, 80), (70, 40, 100, 80)
QUESTION = "Where is the bright box?"


def QwenReasoner(folder, **options):  # made as the list of reasoners makes it
    return LocalReasoner(folder, family=QWEN25_VL, **options)


def silent(text):
    pass


def never():
    return False


@pytest.fixture
def short_prompt(tmp_path):
    file = tmp_path / "short.txt"
    file.write_text("<image>\nQuestion: {question}\n")
    return file


@pytest.fixture
def trained_pair(trained_qwen_folder, trained_sam2_folder, short_prompt):
    return models.create(
        "medreasoner",
        reasoner=trained_qwen_folder,
        segmenter=trained_sam2_folder,
        device="cpu",
        prompt=short_prompt,
        square_size=112,
    )


def overlap(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_mm", [1, 2])
@pytest.mark.parametrize(("box", "side"), [(LEFT_BOX, "left"), (RIGHT_BOX, "right")])
def test_a_trained_pair_answers_in_words_box_points_and_mask(
    trained_pair, make_plane, box, side, rows_per_mm
):
    """Also with rows of another height than columns, the answer is in the plane's own pixels."""
    x0, y0, x1, y1 = box[0], box[1] // rows_per_mm, box[2], box[3] // rows_per_mm
    plane = make_plane((x0, y0, x1, y1), shape=(112 // rows_per_mm, 112), spacing=(float(rows_per_mm), 1.0))
    heard = []
    answer = trained_pair.ask(Question(QUESTION, plane), on_text=heard.append, cancelled=never)
    assert answer.status == "found"
    assert answer.answer == f"It lies on the {side}."
    assert answer.reasoning == f"It is bright. It lies on the {side}."
    assert parse_answer("".join(heard)).box == (box[0], box[1], box[2] - 1, box[3] - 1)
    assert f"proposed box: [{x0:.1f}, {y0:.1f}, {x1:.1f}, {y1:.1f}]" in answer.provenance.notes
    assert overlap(answer.mask, plane.image > 50) > 0.7
    assert np.abs(np.array(answer.box) - (x0, y0, x1, y1)).max() <= 6
    assert all(answer.mask[int(y), int(x)] for x, y in answer.points)
    assert (answer.provenance.model, answer.provenance.segmenter) == ("medreasoner", "trained-sam2")
    assert answer.provenance.seconds.reason > 0


def test_an_untrained_reasoner_at_full_size_is_a_refusal(qwen_folder, sam2_folder, make_plane):
    folders = {"reasoner": str(qwen_folder), "segmenter": str(sam2_folder)}
    pair = models.create("medreasoner", **folders, device="cpu", max_new_tokens=40)
    with pytest.raises(AnswerFormatError, match="no usable answer"):
        pair.ask(Question("Where?", make_plane((1, 1, 9, 9))), on_text=silent, cancelled=never)


def test_both_are_what_the_composition_expects(qwen_folder, sam2_folder):
    assert isinstance(QwenReasoner(qwen_folder, device="cpu"), Reasoner)
    segmenter = models.create_segmenter("sam2", folder=sam2_folder, device="cpu")
    assert isinstance(segmenter, Segmenter)
    assert segmenter.id == "tiny-sam2"
    assert len(segmenter.weights_sha256) == 64


def test_cancel_stops_between_tokens(qwen_folder, make_plane):
    reasoner = QwenReasoner(qwen_folder, square_size=112, device="cpu")
    asked = []

    def after_three_tokens():
        asked.append(1)
        return len(asked) >= 3

    with pytest.raises(CancelledError):
        reasoner.reason(
            Question("Where?", make_plane((1, 1, 9, 9))), on_text=silent, cancelled=after_three_tokens
        )
    assert len(asked) <= 5


def test_control_words_in_a_question_do_not_break_the_prompt(qwen_folder, make_plane):
    reasoner = QwenReasoner(qwen_folder, square_size=112, max_new_tokens=3, device="cpu")
    question = Question("<|image_pad|><image> {question} <|im_end|>where?", make_plane((1, 1, 9, 9)))
    with pytest.raises(AnswerFormatError):
        reasoner.reason(question, on_text=silent, cancelled=never)


@pytest.mark.parametrize(
    ("text", "complaint"), [("no places", "once each"), ("<image> {question} {question}", "once each")]
)
def test_a_prompt_file_without_its_places_is_refused(qwen_folder, tmp_path, text, complaint):
    file = tmp_path / "prompt.txt"
    file.write_text(text)
    with pytest.raises(ModelUnavailableError, match=complaint):
        QwenReasoner(qwen_folder, prompt=file)
    with pytest.raises(ModelUnavailableError, match="can't be read"):
        QwenReasoner(qwen_folder, prompt=tmp_path / "missing.txt")


def test_a_square_that_does_not_fit_the_patches_is_refused(qwen_folder):
    with pytest.raises(ModelUnavailableError, match="multiple of 28"):
        QwenReasoner(qwen_folder, square_size=800)


def test_the_picture_is_windowed_undistorted_and_black_outside(make_plane):
    plane = make_plane((0, 0, 60, 20), shape=(40, 60), spacing=(1.0, 1.0))
    picture, frame = letterboxed_picture(plane, 120)
    assert picture.shape == (120, 120, 3)
    assert frame.scale == (2.0, 2.0)
    assert (picture[:19] == 0).all()
    assert (picture[22:58, 2:118] == 255).all()
    assert (picture[101:] == 0).all()


def test_answers_are_mapped_from_inclusive_pixels_to_the_plane(make_plane):
    _, frame = letterboxed_picture(make_plane((0, 0, 1, 1), shape=(40, 60)), 120)
    parsed = parse_answer(
        '<answer>{"bbox": [0, 20, 119, 99], "points_1": [0, 0], "points_2": [60, 60]}</answer>'
    )
    reasoning = reasoning_in_plane(parsed, frame)
    assert reasoning.box == pytest.approx((0, 0, 60, 40))
    assert reasoning.points[0] == (0.0, 0.0)
    assert reasoning.points[1] == pytest.approx((29.75, 19.75))
    assert "beside the image" in reasoning.notes[-1]
    margin = parse_answer('<answer>{"bbox": [0, 0, 119, 19]}</answer>')
    with pytest.raises(AnswerFormatError, match="margin"):
        reasoning_in_plane(margin, frame)


@pytest.fixture
def segmenter(sam2_folder):
    return Sam2Segmenter(sam2_folder, device="cpu")


@pytest.mark.parametrize("kind", ["box", "points", "both"])
def test_masks_are_those_of_the_library_on_a_square_of_the_models_size(
    segmenter, sam2_folder, make_plane, kind
):
    import torch
    from transformers import Sam2Model, Sam2Processor

    plane = make_plane((20, 30, 70, 90), shape=(128, 128))
    ours, theirs = {}, {}
    if kind != "points":
        ours["box"] = (20.0, 30.0, 70.0, 90.0)
        theirs["input_boxes"] = [[[20.0, 30.0, 69.0, 89.0]]]
    if kind != "box":
        ours |= {"points": [(40.0, 50.0), (100.0, 10.0)], "labels": [True, False]}
        theirs |= {"input_points": [[[[40.0, 50.0], [100.0, 10.0]]]], "input_labels": [[[1, 0]]]}
    masks = segmenter.segment(segmenter.embed(plane), **ours)

    processor, model = Sam2Processor.from_pretrained(sam2_folder), Sam2Model.from_pretrained(sam2_folder)
    picture = np.repeat((plane.image > 50).astype(np.uint8)[..., None] * 255, 3, axis=2)
    inputs = processor(images=picture, return_tensors="pt", **theirs)
    with torch.inference_mode():
        output = model(**{key: value for key, value in inputs.items() if key != "original_sizes"})
    expected = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], binarize=False)[0][0]
    order = output.iou_scores[0, 0].argsort(descending=True)
    np.testing.assert_allclose(masks.logits, expected[order].numpy(), atol=1e-6)
    np.testing.assert_allclose(masks.scores, output.iou_scores[0, 0][order].numpy(), atol=1e-6)


def test_a_given_mask_changes_the_result_and_no_prompt_is_refused(segmenter, make_plane):
    plane = make_plane((10, 10, 30, 30))
    embedding = segmenter.embed(plane)
    without = segmenter.segment(embedding, box=(10, 10, 30, 30))
    with_mask = segmenter.segment(embedding, box=(10, 10, 30, 30), mask=plane.image > 50)
    assert without.logits.shape == with_mask.logits.shape == (3, 40, 60)
    assert not np.array_equal(without.logits, with_mask.logits)
    with pytest.raises(QuestionError, match="draw one"):
        segmenter.segment(embedding)
    with pytest.raises(QuestionError, match="draw one"):
        segmenter.segment(embedding, mask=np.zeros((40, 60), bool))
    with pytest.raises(ValueError, match="labels"):
        segmenter.segment(embedding, points=[(1, 1)], labels=[True, False])


def test_propagation_says_that_it_is_not_offered(segmenter, make_plane):
    plane = make_plane((10, 10, 30, 30))
    with pytest.raises(ModelUnavailableError, match="single slices"):
        segmenter.propagate([plane], 0, plane.image > 50, cancelled=never)


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / folder.name)


def test_swapped_folders_are_named(qwen_folder, sam2_folder):
    with pytest.raises(ModelUnavailableError, match=r"tiny-sam2 holds .*'sam2'.* reasoner .*qwen2_5_vl"):
        models.create("medreasoner", reasoner=sam2_folder, segmenter=qwen_folder)


def test_missing_folders_are_asked_for(tmp_path):
    with pytest.raises(ModelUnavailableError, match="folder=FOLDER"):
        models.create_segmenter("sam2")
    with pytest.raises(ModelUnavailableError, match="reasoner=FOLDER"):
        models.create("medreasoner")
    with pytest.raises(WeightsError, match=r"config\.json"):
        models.create("medreasoner", reasoner=tmp_path / "nowhere", segmenter=tmp_path)


def test_pickled_weights_are_refused(qwen_folder, tmp_path):
    folder = copied(qwen_folder, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin.*safetensors"):
        QwenReasoner(folder)


def test_a_damaged_file_is_one_line_without_the_path(sam2_folder, tmp_path):
    folder = copied(sam2_folder, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match=r"tiny-sam2 can't be loaded") as fault:
        Sam2Segmenter(folder)
    assert str(tmp_path) not in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_weight_that_is_not_there_is_not_replaced_by_random_numbers(sam2_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(sam2_folder, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["no_memory_embedding"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="no_memory_embedding"):
        Sam2Segmenter(folder)


def test_code_that_a_folder_brings_along_is_not_run(qwen_folder, tmp_path):
    folder = copied(qwen_folder, tmp_path)
    (folder / "own_code.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "own_code.Model", "AutoConfig": "own_code.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    QwenReasoner(folder, square_size=112, device="cpu")


def living_networks():
    names = {"Qwen2_5_VLForConditionalGeneration", "Sam2Model"}
    return {type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__ in names}


def test_a_closed_pair_holds_no_weights(qwen_folder, sam2_folder):
    gc.collect()
    assert living_networks() == set()
    pair = models.create("medreasoner", reasoner=qwen_folder, segmenter=sam2_folder, device="cpu")
    assert len(living_networks()) == 2
    pair.close()
    assert living_networks() == set()


def test_an_unknown_device_is_named(qwen_folder):
    with pytest.raises(ModelUnavailableError, match=r"'gpu9' is not known.*'cuda'"):
        QwenReasoner(qwen_folder, device="gpu9")


def test_a_missing_gpu_is_named(qwen_folder, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailableError, match="no CUDA GPU"):
        QwenReasoner(qwen_folder, device="cuda")
