"""The embedded model on its shipped weights: what it finds, what it refuses, and what it says."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_medreason import models
from napari_medreason.core.keypoints import is_degenerate
from napari_medreason.core.medpos import locate
from napari_medreason.core.plane import cut, slice_count
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.errors import CancelledError, ModelUnavailableError, QuestionError, WeightsError
from napari_medreason.io import read
from napari_medreason.models.base import ScoredMasks
from napari_medreason.models.embedded import answering, looking
from napari_medreason.models.embedded.experts import FOLDER, load_experts
from napari_medreason.models.embedded.model import HINTS_NOT_USED, EmbeddedModel
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason_sample_data import brain_file, ct_folder, label_names, truth
from napari_medreason_training.held_out import labels_on
from napari_medreason_training.volumes import TOTAL


@pytest.fixture(scope="module")
def model():
    return EmbeddedModel(Perceiver())


@pytest.fixture(scope="module")
def trunk():
    return read(ct_folder())


@pytest.fixture(scope="module")
def head():
    return read(brain_file())


@pytest.fixture(scope="module")
def liver_slice(trunk):
    """Axial slice with most liver in the sample's truth, and that truth."""
    labels, value = _labels("ct", "liver")
    index = int((labels.voxels == value).sum((1, 2)).argmax())
    plane = cut(trunk, "axial", index, default_window(trunk))
    return plane, cut(labels, "axial", index, Window(0, 1)).image == value


def _labels(study, structure):
    value = next(v for v, (name, _) in label_names(study).items() if name == structure)
    return read(truth(study)), value


def ask(model, text, plane, **hints):
    return model.ask(Question(text, plane, **hints), on_text=lambda _: None, cancelled=lambda: False)


def test_the_liver_of_the_sample_is_found_where_it_is(model, liver_slice):
    plane, liver = liver_slice
    said = []
    answer = model.ask(Question("Where is the liver?", plane), on_text=said.append, cancelled=lambda: False)
    assert answer.status == "found"
    assert 2 * (answer.mask & liver).sum() / (answer.mask.sum() + liver.sum()) > 0.75
    assert "liver" in answer.answer.lower()
    assert said == [answer.answer]
    assert answer.provenance.templated
    assert answer.provenance.evidence.startswith("liver on CT")
    assert len(answer.provenance.weights_sha256) == 64
    assert 0.5 < answer.confidence <= 1


def test_box_and_points_belong_to_the_mask(model, liver_slice):
    answer = ask(model, "liver", liver_slice[0])
    rows, columns = np.nonzero(answer.mask)
    assert answer.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert not is_degenerate(answer.points)
    assert all(answer.mask[int(y), int(x)] for x, y in answer.points)


def test_the_same_question_gives_the_same_mask_and_the_image_is_read_once(liver_slice):
    perceiver = Perceiver()
    model = EmbeddedModel(perceiver)
    first = ask(model, "liver", liver_slice[0])
    seen = perceiver.perceive(liver_slice[0])
    again = ask(model, "Show me the liver", liver_slice[0])
    assert perceiver.perceive(liver_slice[0]) is seen
    assert np.array_equal(first.mask, again.mask)
    assert again.provenance.seconds.load < first.provenance.seconds.load
    assert first.provenance.seconds.load > 0.0


@pytest.mark.parametrize(("side", "other"), [("left", "right"), ("right", "left")])
def test_a_sided_question_is_answered_on_the_patients_side(model, trunk, side, other):
    """On an axial plane the patient's left is on the right of the image."""
    labels = read(truth("ct"))
    values = {where: v for v, (name, where) in label_names("ct").items() if name == "lung"}
    area = {where: (labels.voxels == value).sum((1, 2)) for where, value in values.items()}
    index = int(np.minimum(area["left"], area["right"]).argmax())
    plane = cut(trunk, "axial", index, default_window(trunk))
    answer = ask(model, f"Where is the {side} lung?", plane)
    true = cut(labels, "axial", index, Window(0, 1)).image
    assert answer.status == "found"
    assert side in answer.answer
    assert (answer.mask & (true == values[side])).sum() > 10 * (answer.mask & (true == values[other])).sum()
    image_side = ask(model, f"the lung on the {other} side of the image", plane)
    assert np.array_equal(image_side.mask, answer.mask)
    assert answering.IMAGE_AS_PATIENT in image_side.provenance.notes


def test_sides_are_withheld_when_the_orientation_is_unknown(model, trunk):
    stored = replace(trunk, orientation_known=False)
    plane = cut(stored, "axial", slice_count(stored, "axial") * 7 // 10, default_window(stored))
    answer = ask(model, "left lung", plane)
    assert answering.SIDE_UNKNOWN in answer.provenance.notes
    assert "left" not in answer.answer
    assert "right" not in answer.answer.replace("bottom right", "").replace("top right", "")


def test_an_organ_that_is_not_in_the_slice_is_absent(model, trunk):
    labels = read(truth("ct"))
    value = next(v for v, (name, _) in label_names("ct").items() if name == "urinary_bladder")
    bladder = np.flatnonzero((labels.voxels == value).any((1, 2)))
    far = 0 if bladder.min() > labels.voxels.shape[0] - bladder.max() else labels.voxels.shape[0] * 4 // 5
    answer = ask(model, "urinary bladder", cut(trunk, "axial", int(far), default_window(trunk)))
    assert answer.status == "absent"
    assert "not seen" in answer.answer
    assert answer.mask is None
    assert answer.box is None


def test_a_structure_of_the_other_expert_is_not_guessed(model, head):
    plane = cut(head, "axial", slice_count(head, "axial") // 2, default_window(head))
    answer = ask(model, "Where is the liver?", plane)
    assert answer.status == "unknown"
    assert "CT" in answer.answer


def test_an_unknown_structure_lists_near_ones(model, liver_slice, head):
    answer = ask(model, "Where is the prostate?", liver_slice[0])
    assert answer.status == "unknown"
    assert "urinary bladder" in answer.suggestions
    assert "I know" in answer.answer
    nonsense = ask(model, "flibbertigibbet", liver_slice[0])
    assert nonsense.status == "unknown"
    assert nonsense.suggestions


def test_an_open_question_is_answered_with_what_is_there(model, liver_slice):
    answer = ask(model, "What do you see?", liver_slice[0])
    assert answer.status == "unknown"
    assert "liver" in answer.suggestions
    assert "liver" in answer.answer


def test_groups_are_unions_of_their_parts(model, head):
    plane = cut(head, "axial", slice_count(head, "axial") * 6 // 10, default_window(head))
    brain = ask(model, "brain", plane)
    cortex = ask(model, "cerebral cortex", plane)
    assert brain.status == "found"
    assert brain.mask.sum() > cortex.mask.sum() > 0


def test_a_description_by_function_is_understood_and_says_so(model, liver_slice):
    answer = ask(model, "Which organ makes bile?", liver_slice[0])
    assert answer.structure == "liver"
    assert answer.status == "found"
    assert any("function" in note for note in answer.provenance.notes)


def test_air_is_outside_the_body(model):
    air = Volume(np.full((3, 80, 80), -1000, np.int16), np.diag([3.0, 3, 5, 1]), modality="CT")
    answer = ask(model, "liver", cut(air, "axial", 1, Window(-160, 240)))
    assert answer.status == "outside"


@pytest.mark.parametrize("modality", ["US", "CR", ""])
def test_other_modalities_are_refused_in_words(model, liver_slice, modality):
    answer = ask(model, "liver", replace(liver_slice[0], modality=modality))
    assert answer.status == "outside"
    assert answer.mask is None
    assert "CT" in answer.answer
    assert "MR" in answer.answer


def test_a_picture_is_refused_in_words(model, liver_slice):
    answer = ask(model, "liver", replace(liver_slice[0], calibrated=False))
    assert answer.status == "outside"
    assert "picture" in answer.answer


def test_a_structure_hidden_by_the_window_is_flagged(model, liver_slice):
    hidden = replace(liver_slice[0], window=Window(800, 2000))
    assert looking.HIDDEN in ask(model, "liver", hidden).provenance.notes
    assert looking.HIDDEN not in ask(model, "liver", liver_slice[0]).provenance.notes


def test_holes_of_nan_do_not_spread(model, liver_slice):
    image = liver_slice[0].image.copy()
    image[:12] = np.nan
    answer = ask(model, "liver", replace(liver_slice[0], image=image))
    assert answer.status == "found"
    assert np.isfinite(answer.confidence)


def test_a_single_pixel_is_no_organ(model):
    dot = Volume(np.full((1, 1, 1), 40, np.int16), np.eye(4), modality="CT")
    answer = ask(model, "liver", cut(dot, "axial", 0, Window(-160, 240)))
    assert answer.status in ("absent", "outside")


def test_an_absurd_pixel_size_is_refused(model):
    wide = Volume(np.zeros((2, 64, 64), np.int16), np.diag([900.0, 900, 5, 1]), modality="CT")
    with pytest.raises(QuestionError, match="pixel size"):
        ask(model, "liver", cut(wide, "axial", 0, Window(-160, 240)))


def test_anisotropic_pixels_do_not_distort_the_answer(model, trunk, liver_slice):
    plane, liver = liver_slice
    thin = replace(trunk, voxels=trunk.voxels[:, ::2], affine=trunk.affine @ np.diag([1.0, 2, 1, 1]))
    squeezed = cut(thin, "axial", plane.grid.index, plane.window)
    answer = ask(model, "liver", squeezed)
    assert answer.mask.shape == squeezed.grid.shape
    half = liver[::2]
    assert 2 * (answer.mask & half).sum() / (answer.mask.sum() + half.sum()) > 0.7


def test_loading_in_advance_is_not_told_with_the_answer(liver_slice):
    """Who calls `prepare` (the engine) has timed it; without, the first question tells its own loading."""
    model = EmbeddedModel(Perceiver())
    model.prepare(liver_slice[0])
    seconds = ask(model, "liver", liver_slice[0]).provenance.seconds
    assert seconds.load < 0.02
    assert seconds.reason > 0
    assert ask(EmbeddedModel(Perceiver()), "liver", liver_slice[0]).provenance.seconds.load > 0.02


def test_nothing_is_loaded_for_an_image_that_is_refused(liver_slice, monkeypatch):
    model = EmbeddedModel(Perceiver())
    monkeypatch.setattr(model.perceiver, "network", lambda *_: pytest.fail("a network was loaded"))
    refused = replace(liver_slice[0], modality="US")
    model.prepare(refused)
    assert ask(model, "liver", refused).status == "outside"


def test_image_sides_mean_nothing_on_a_sagittal_slice(model, trunk):
    plane = cut(trunk, "sagittal", slice_count(trunk, "sagittal") // 4, default_window(trunk))
    answer = ask(model, "the lung on the left side of the image", plane)
    assert answering.SIDE_OF_SAGITTAL in answer.provenance.notes
    whole = ask(model, "lung", plane)
    assert answer.status == whole.status
    assert np.array_equal(answer.mask, whole.mask)


@pytest.mark.parametrize("text", ["Where is the left liver?", "liver on the left side"])
def test_a_side_of_an_unpaired_structure_is_not_dropped_in_silence(model, liver_slice, text):
    notes = ask(model, text, liver_slice[0]).provenance.notes
    assert any("liver" in note and "“left” was not used" in note for note in notes)


@pytest.mark.parametrize("text", ["Where is the liver?", "left kidney", "is there any liver left?"])
def test_no_note_about_sides_where_there_is_nothing_to_say(model, liver_slice, text):
    assert not any("was not used" in note for note in ask(model, text, liver_slice[0]).provenance.notes)


def test_an_absent_structure_comes_with_what_was_measured(model, trunk):
    plane = cut(trunk, "axial", 0, default_window(trunk))
    expert = model.perceiver.expert_for(plane)
    absent = [ask(model, name.replace("_", " "), plane) for name in expert.structures]
    absent = [answer for answer in absent if answer.status == "absent"]
    assert absent
    for answer in absent:
        assert answer.provenance.evidence in (
            expert.evidence.get(answer.structure),
            f"{answer.structure.replace('_', ' ')}: {looking.NO_EVIDENCE}",
        )


def test_words_and_confidence_describe_the_mask_that_the_users_box_gave(model, liver_slice):
    """A box beside the liver: the answer must not say that the liver is surely there."""
    plane, liver = liver_slice
    rows, columns = np.nonzero(liver)
    x = 2 * (plane.grid.shape[1] - 1) / 2 - columns.mean()
    y = rows.mean()
    plain = ask(model, "liver", plane)
    other = ask(model, "liver", plane, box=(x - 25, y - 25, x + 25, y + 25))
    assert not (other.mask & liver).sum() > 0.5 * other.mask.sum()
    assert other.confidence < 0.5 < plain.confidence
    assert "not sure" in other.answer
    assert any("does not take what is in the box" in note for note in other.provenance.notes)
    assert locate(other.mask).label in other.answer


def test_a_box_around_the_structure_keeps_the_confidence(model, liver_slice):
    plane, liver = liver_slice
    rows, columns = np.nonzero(liver)
    box = tuple(float(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    answer = ask(model, "liver", plane, box=box)
    assert answer.confidence > 0.5
    assert looking.FROM_HINTS in answer.provenance.notes
    assert not any("does not take" in note for note in answer.provenance.notes)


def test_a_box_that_gives_nothing_leaves_the_answer_and_says_so(model, liver_slice, monkeypatch):
    plane = liver_slice[0]
    plain = ask(model, "liver", plane)
    nothing = ScoredMasks(np.full((1, *plane.grid.shape), -1, np.float32), np.zeros(1, np.float32))
    monkeypatch.setattr(model.segmenter, "segment", lambda *_, **__: nothing)
    answer = ask(model, "liver", plane, box=(1.0, 1.0, 3.0, 3.0))
    assert np.array_equal(answer.mask, plain.mask)
    assert answer.confidence == plain.confidence
    assert looking.HINTS_EMPTY in answer.provenance.notes
    assert looking.FROM_HINTS not in answer.provenance.notes


def test_a_box_is_not_ignored_in_silence_when_nothing_is_found(model, liver_slice):
    answer = ask(model, "prostate", liver_slice[0], box=(10.0, 10.0, 30.0, 30.0))
    assert answer.status == "unknown"
    assert HINTS_NOT_USED in answer.provenance.notes


def test_a_box_of_the_user_draws_the_mask(model, liver_slice):
    plane, liver = liver_slice
    columns = np.flatnonzero(liver.any(0))
    middle = float(columns.mean())
    answer = ask(model, "liver", plane, box=(float(columns[0]), 0.0, middle, float(liver.shape[0])))
    whole = ask(model, "liver", plane)
    assert not np.array_equal(answer.mask, whole.mask)
    assert any("user" in note for note in answer.provenance.notes)


def test_cancelled_before_the_start(model, liver_slice):
    with pytest.raises(CancelledError):
        model.ask(Question("liver", liver_slice[0]), on_text=lambda _: None, cancelled=lambda: True)


def test_a_folder_without_an_adapter_changes_nothing(model, tmp_path):
    before = model.perceiver.weights_sha256
    with pytest.raises(ModelUnavailableError, match=r"holds no adapter\.json"):
        model.load_adapter(tmp_path)
    assert model.perceiver.weights_sha256 == before


def test_the_pair_answers_like_the_direct_model(liver_slice):
    plane, liver = liver_slice
    pair = models.create("embedded-pair")
    answer = ask(pair, "Where is the liver?", plane)
    assert answer.status == "found"
    assert answer.provenance.templated
    assert 2 * (answer.mask & liver).sum() / (answer.mask.sum() + liver.sum()) > 0.7
    pair.close()


def test_the_embedded_model_is_the_default():
    infos = models.available()
    assert [info.id for info in infos.values() if info.default] == ["embedded"]
    assert not infos["embedded"].needs_download


@pytest.mark.parametrize("expert", ["body_ct", "brain_mr"])
def test_a_flipped_byte_is_noticed(tmp_path, liver_slice, expert):
    for file in [*FOLDER.glob("*.json"), *FOLDER.glob("*.safetensors")]:
        shutil.copy(file, tmp_path)
    weights = bytearray((tmp_path / f"{expert}.safetensors").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / f"{expert}.safetensors").write_bytes(weights)
    perceiver = Perceiver(tmp_path)
    with pytest.raises(WeightsError, match=f"{expert}.safetensors"):
        perceiver.network(next(e for e in perceiver.experts if e.id == expert))


def test_missing_or_broken_descriptions(tmp_path):
    with pytest.raises(WeightsError, match=r"brain_mr\.json"):
        load_experts(tmp_path)
    (tmp_path / "brain_mr.json").write_text('{"modality": "MR"}')
    with pytest.raises(WeightsError, match="damaged"):
        load_experts(tmp_path)


@pytest.mark.parametrize(
    ("level", "doubtful"),
    [
        ("experimental", True),
        ("preliminary", False),
        ("supported", False),
        ("unmeasured", False),
        (None, False),
    ],
)
def test_answers_about_structures_that_the_model_is_poor_at_are_doubtful(
    tmp_path, liver_slice, level, doubtful
):
    perceiver = Perceiver(_described(tmp_path, {} if level is None else {"level": {"liver": level}}))
    answer = ask(EmbeddedModel(perceiver), "liver", liver_slice[0])
    assert answer.status == "found"
    assert answer.answer.startswith("Possibly the liver") == doubtful
    assert ("experimental" in answer.answer) == doubtful


def test_a_group_of_experimental_parts_is_experimental(tmp_path):
    folder = _described(tmp_path, {"level": {"cerebellar_cortex": "experimental"}}, "brain_mr")
    expert = load_experts(folder)[0]
    assert expert.is_experimental("cerebellar_cortex")
    assert not expert.is_experimental("cerebellum")


def test_an_unknown_level_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"body_ct\.json"):
        load_experts(_described(tmp_path, {"level": {"liver": "splendid"}}))


def _described(folder, changes, expert="body_ct"):
    """A copy of the shipped model whose description of one expert is changed."""
    for file in [*FOLDER.glob("*.json"), *FOLDER.glob("*.safetensors")]:
        shutil.copy(file, folder)
    table = json.loads((folder / f"{expert}.json").read_text())
    table.pop("level", None)
    (folder / f"{expert}.json").write_text(json.dumps(table | changes))
    return folder


def test_weights_are_small():
    sizes = [file.stat().st_size for file in FOLDER.glob("*.safetensors")]
    assert max(sizes) <= 16e6
    assert sum(sizes) <= 24e6


def test_declaring_the_models_loads_no_torch():
    code = (
        "import sys, napari_medreason.models.embedded.model as m; m.EmbeddedModel(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.data
@pytest.mark.parametrize(("structure", "least"), [("liver", 0.8), ("vertebra", 0.4)])
def test_a_real_abdomen_that_was_kept_out_of_training(model, real_data, structure, least):
    """Dice over every fifth slice; label values as in label_names.json beside the labels."""
    volume = read(real_data / "conformance/totalsegmentator/example_ct_dicom.zip")
    labels = read(real_data / "labelled/totalsegmentator_ref/example_seg_dicom.nii.gz")
    values = [value for value, (name, _) in TOTAL.items() if name == structure]
    both = total = 0
    for index in range(2, slice_count(volume, "axial"), 5):
        plane = cut(volume, "axial", index, default_window(volume))
        mask, true = ask(model, structure, plane).mask, np.isin(labels_on(plane, labels), values)
        total += true.sum() + (0 if mask is None else mask.sum())
        both += 0 if mask is None else (mask & true).sum()
    assert 2 * both / total > least
