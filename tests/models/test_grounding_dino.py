"""Grounding DINO with a segmenter, with real classes at toy size."""

import gc

import numpy as np
import pytest
import torch

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import CancelledError, ModelUnavailableError, WeightsError
from napari_medreason.models.base import GroundingModel, Reasoner
from napari_medreason.models.grounding_dino import DetectorReasoner, load_grounding_dino
from napari_medreason.models.grounding_names import Named, WrittenName, by_vocabulary
from napari_medreason.models.picture import letterboxed_picture

from .tiny_dino import tiny_dino
from .tiny_reasoners import tiny_gemma3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_dino(tmp_path_factory.mktemp("models") / "tiny-dino")


@pytest.fixture(scope="module")
def detector(folder):
    return DetectorReasoner(folder, device="cpu", threshold=0.0)


@pytest.fixture
def plane():
    voxels = np.zeros((3, 40, 60), np.float32)
    voxels[:, 10:30, 20:40] = 100
    return cut(Volume(voxels, np.eye(4), modality="MR"), "axial", 1, Window(0, 100))


def silent(text):
    pass


def never():
    return False


def ask(reasoner, words, plane, on_text=silent):
    return reasoner.reason(Question(words, plane), on_text=on_text, cancelled=never)


def test_the_box_is_that_of_the_library(detector, folder, plane):
    from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

    reasoning = ask(detector, "Where is the liver?", plane)
    processor = GroundingDinoProcessor.from_pretrained(folder)
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    picture, frame = letterboxed_picture(plane, 800)
    inputs = processor(images=picture, text="liver.", return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    found = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=0.0, target_sizes=[(800, 800)]
    )[0]
    best = found["boxes"][found["scores"].argmax()].tolist()
    x0, y0, x1, y1 = frame.box_to_plane(tuple(best))
    expected = (max(x0, 0), max(y0, 0), min(x1, 60), min(y1, 40))
    np.testing.assert_allclose(reasoning.box, expected, atol=1e-3)
    assert reasoning.confidence == pytest.approx(float(found["scores"].max()), abs=1e-5)
    assert reasoning.status == "found"
    assert "liver" in reasoning.answer
    assert (reasoning.structure, reasoning.templated, reasoning.points) == ("liver", True, None)


def test_a_score_below_the_threshold_is_absence(folder, plane):
    strict = DetectorReasoner(folder, device="cpu", threshold=1.01)
    heard = []
    reasoning = ask(strict, "Where is the liver?", plane, heard.append)
    assert (reasoning.status, reasoning.box) == ("absent", None)
    assert heard == ["The liver is not seen on this axial slice."]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_is_chosen_by_where_the_boxes_lie(detector, plane, side):
    """x grows to the patient's left on an axial plane."""
    reasoning = ask(detector, f"Where is the {side} kidney?", plane)
    assert reasoning.status == "found"
    middle = (reasoning.box[0] + reasoning.box[2]) / 2
    assert (middle > 30) == (side == "left")
    assert any("side was chosen" in note for note in reasoning.notes)
    assert f"{side} kidney" in reasoning.answer


@pytest.mark.parametrize(("axis", "known"), [("axial", False), ("sagittal", True)])
def test_a_plane_that_shows_no_sides_gives_an_answer_without_a_side(detector, axis, known):
    volume = Volume(np.ones((40, 40, 40), np.float32), np.eye(4), modality="MR", orientation_known=known)
    reasoning = ask(detector, "Where is the left kidney?", cut(volume, axis, 1, Window(0, 1)))
    assert reasoning.status == "found"
    assert "kidney" in reasoning.answer
    assert "left" not in reasoning.answer
    assert reasoning.notes[-1].endswith("so the side that was asked is not checked")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("Where is the liver?", Named("liver", "liver")),
        ("Show the left kidney", Named("kidney", "kidney", "left")),
        ("Which organ filters blood on the patient's left?", Named("kidney", "kidney", "left")),
        ("What time is it?", Named("")),
    ],
)
def test_the_vocabulary_names_what_a_question_asks_for(plane, words, named):
    assert by_vocabulary(Question(words, plane)) == named


def test_a_question_that_names_nothing_is_unknown(detector, plane):
    reasoning = ask(detector, "What time is it?", plane)
    assert (reasoning.status, reasoning.box) == ("unknown", None)
    assert reasoning.answer.startswith("I don't know this structure")


@pytest.mark.parametrize(
    ("written", "words", "structure", "side"),
    [
        ("The spleen.", "spleen", "spleen", "left"),
        ("It is a <odd> bright. box\nand more words", "odd bright box", "", "left"),
        ("the right kidney", "kidney", "kidney", "left"),
        ("one two three four five six seven eight", "one two three four five six", "", "left"),
        ("", "", "", "left"),
    ],
)
def test_a_model_in_front_names_the_structure(plane, written, words, structure, side):
    seen = []

    def write(picture, request, on_text, cancelled):
        seen.append((picture.shape, request))
        return written

    named = WrittenName(write)(
        Question("Which organ filters blood on the patient's left?", plane), on_text=silent, cancelled=never
    )
    assert (named.words, named.structure, named.side, named.text) == (words, structure, side, written)
    assert seen[0][0] == (840, 840, 3)
    assert seen[0][1].endswith("Which organ filters blood on the patient's left?")


def test_a_model_in_front_names_the_side_where_the_question_does_not(plane):
    named = WrittenName(lambda *_: "the right kidney")(
        Question("What is this?", plane), on_text=silent, cancelled=never
    )
    assert (named.structure, named.side) == ("kidney", "right")


def test_what_a_model_in_front_wrote_is_the_reasoning(folder, plane):
    name = WrittenName(lambda picture, request, on_text, cancelled: on_text("The liver") or "The liver")
    reasoner = DetectorReasoner(folder, device="cpu", threshold=0.0, name=name)
    heard = []
    reasoning = ask(reasoner, "What makes bile?", plane, heard.append)
    assert (reasoning.status, reasoning.structure, reasoning.text) == ("found", "liver", "The liver")
    assert heard == ["The liver"]


def test_with_a_segmenter_it_answers_as_any_other_model(folder, sam2_folder, plane):
    model = models.create(
        "grounding-dino", detector=folder, segmenter=sam2_folder, device="cpu", threshold=0.0
    )
    assert isinstance(model, GroundingModel)
    assert isinstance(model.reasoner, Reasoner)
    answer = model.ask(Question("Where is the liver?", plane), on_text=silent, cancelled=never)
    assert answer.status in ("found", "unknown")
    assert (answer.provenance.model, answer.provenance.segmenter) == ("grounding-dino", "tiny-sam2")
    assert "looked for: liver" in answer.provenance.notes
    assert any(note.startswith("proposed box") for note in answer.provenance.notes)


@pytest.fixture(scope="module")
def gemma3_folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("models") / "tiny-gemma3"
    for part in tiny_gemma3():
        part.save_pretrained(target)
    return target


@pytest.mark.parametrize("text_model", ["qwen_folder", "gemma3_folder"])
def test_a_vision_language_model_can_stand_in_front(folder, sam2_folder, text_model, plane, request):
    model = load_grounding_dino(
        detector=folder,
        segmenter=sam2_folder,
        text_model=request.getfixturevalue(text_model),
        device="cpu",
        threshold=0.0,
    )
    answer = model.ask(Question("Where is the liver?", plane), on_text=silent, cancelled=never)
    assert answer.status in ("found", "absent", "unknown")
    model.close()
    model.reasoner._name.close()


def living_networks():
    names = {"GroundingDinoForObjectDetection", "Sam2Model", "Qwen2_5_VLForConditionalGeneration"}
    gc.collect()
    return sorted(type(one).__name__ for one in gc.get_objects() if type(one).__name__ in names)


def test_closing_gives_all_memory_back_and_so_does_a_failed_loading(
    folder, sam2_folder, qwen_folder, tmp_path
):
    before = living_networks()
    model = load_grounding_dino(detector=folder, segmenter=sam2_folder, text_model=qwen_folder, device="cpu")
    assert len(living_networks()) == len(before) + 3
    model.close()
    assert living_networks() == before
    broken = tmp_path / "sam2.pt"
    torch.save({"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.ones(2)}}, broken)
    with pytest.raises(WeightsError):
        load_grounding_dino(detector=folder, segmenter=broken, text_model=qwen_folder, device="cpu")
    assert living_networks() == before


@pytest.mark.parametrize("calls_before_cancel", [0, 1, 2])
def test_cancel_is_heard_between_the_stages(detector, plane, calls_before_cancel):
    calls = []

    def cancelled():
        calls.append(1)
        return len(calls) > calls_before_cancel

    with pytest.raises(CancelledError):
        detector.reason(Question("Where is the liver?", plane), on_text=silent, cancelled=cancelled)


def test_wrong_folders_are_named(folder, sam2_folder):
    with pytest.raises(ModelUnavailableError, match=r"detector=FOLDER and segmenter=FOLDER"):
        models.create("grounding-dino")
    with pytest.raises(ModelUnavailableError, match=r"'sam2'; the detector is .*'grounding-dino'"):
        load_grounding_dino(detector=sam2_folder, segmenter=sam2_folder, device="cpu")
    with pytest.raises(ModelUnavailableError, match=r"no segmenter that is known"):
        load_grounding_dino(detector=folder, segmenter=folder, device="cpu")


def test_the_papers_baselines_are_in_the_list_with_the_weights_they_need():
    listed = models.available()
    assert listed["grounding-dino-medsam"].weights == ("grounding-dino-tiny", "medsam")
    assert {"grounding-dino", "grounding-dino-medsam2", "grounding-dino-sam-med2d"} <= set(listed)
