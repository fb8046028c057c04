"""Any reasoner with any segmenter, from folders, released checkpoints and servers."""

import gc
import shutil

import pytest

from napari_medreason import models
from napari_medreason.core.question import Question
from napari_medreason.errors import AnswerFormatError, ModelUnavailableError, WeightsError
from napari_medreason.models import pair_choice, published
from napari_medreason.models.pair_choice import segmenter_maker
from napari_medreason.models.segmenters import SegmenterInfo
from napari_medreason.models.segmenters.sam2 import load_sam2

from .fake_chat_server import serving, streaming
from .tiny_reasoners import tiny_internvl
from .tiny_sam import tiny_sam, tiny_sam2

BOX_ANSWER = (
    "<think>It is the box.</think>"
    '<answer>{"bbox": [28, 21, 55, 41], "points_1": [30, 25], "points_2": [50, 35]}</answer>'
)
SMALL = {"square_size": 84, "constrained": True, "direct": True, "max_new_tokens": 110}


@pytest.fixture(scope="module")
def reasoners(qwen_folder, tmp_path_factory):
    internvl = tmp_path_factory.mktemp("reasoners") / "InternVL3-tiny-hf"
    for part in tiny_internvl():
        part.save_pretrained(internvl)
    return {"qwen": qwen_folder, "internvl": internvl}


@pytest.fixture(scope="module")
def segmenters(sam2_folder, tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("segmenters")
    torch.save(tiny_sam().state_dict(), folder / "medsam_vit_b.pth")
    torch.save({"model": tiny_sam2(512).state_dict()}, folder / "MedSAM2_latest.pt")
    files = {"medsam": folder / "medsam_vit_b.pth", "medsam2": folder / "MedSAM2_latest.pt"}
    return {"sam2": sam2_folder, **files}


@pytest.fixture
def question(make_plane):
    return Question("Which box is bright?", make_plane((16, 12, 32, 24), shape=(48, 48)))


def ask(model, question):
    return model.ask(question, on_text=lambda text: None, cancelled=lambda: False)


@pytest.mark.parametrize("segmenter", ["sam2", "medsam", "medsam2"])
@pytest.mark.parametrize("reasoner", ["qwen", "internvl"])
def test_any_reasoner_with_any_segmenter(reasoners, segmenters, question, reasoner, segmenter):
    places = {"reasoner": str(reasoners[reasoner]), "segmenter": str(segmenters[segmenter])}
    pair = models.create("medreasoner", **places, device="cpu", precision="fp32", **SMALL)
    answer = ask(pair, question)
    assert answer.status in ("found", "unknown")  # untrained: the place is any, the mask may be empty
    notes = " ".join(answer.provenance.notes)
    assert "proposed box" in notes
    assert f"reasoner: {reasoners[reasoner].name}" in notes
    assert answer.provenance.weights_sha256 == pair.weights_sha256
    pair.close()


def test_weights_of_the_catalogue_are_known_by_their_id_and_not_by_their_files_name(segmenters, tmp_path):
    """A user may say that the catalogue's weights are a file of any name."""
    size, prepared = {}, {}
    for id_ in ("medsam2", "sam2.1-tiny", ""):
        file = shutil.copyfile(segmenters["medsam2"], tmp_path / "checkpoint.pt")
        size[id_] = segmenter_maker(file, weights_id=id_)(device="cpu").notes[0]
    for id_ in ("medsam", ""):
        file = shutil.copyfile(segmenters["medsam"], tmp_path / "weights.pth")
        prepared[id_] = segmenter_maker(file, weights_id=id_)(device="cpu").notes[0]
    assert [size[id_].split()[-2] for id_ in size] == ["512", "1024", "1024"]
    assert [prepared[id_].split()[-1] for id_ in prepared] == ["MedSAM", "SAM"]


def test_published_pairs_hand_the_id_of_their_segmenter_on(segmenters, reasoners, tmp_path, monkeypatch):
    places = {"lingshu-7b": reasoners["qwen"], "medsam": segmenters["medsam"]}
    places["medsam"] = shutil.copyfile(places["medsam"], tmp_path / "weights.pth")
    monkeypatch.setattr(published, "check_weights", lambda *_: None)
    monkeypatch.setattr(published.store, "folder", places.__getitem__)
    pair = models.create("lingshu-7b+medsam", device="cpu", precision="fp32", **SMALL)
    assert pair.segmenter.notes[0].endswith("MedSAM")
    pair.close()


def test_a_third_partys_segmenter_need_not_know_our_options(sam2_folder, reasoners, monkeypatch):
    def create(folder, *, device=None, precision=None):
        return load_sam2(folder, device=device)

    info = SegmenterInfo(id="theirs", title="", summary="", create=create, model_types=("sam2", "sam2_video"))
    monkeypatch.setattr(pair_choice, "segmenter_family", lambda place: info)
    places = {"reasoner": reasoners["qwen"], "segmenter": sam2_folder}
    models.create("medreasoner", **places, segmenter_id="medsam2", device="cpu", **SMALL).close()
    with pytest.raises(ModelUnavailableError, match=r"theirs does not take the option 'faithful'"):
        models.create("medreasoner", **places, faithful=True, device="cpu", **SMALL)


def test_a_server_reasons_and_this_machine_draws(segmenters, question):
    with serving(streaming(BOX_ANSWER)) as server:
        options = {"model": "lingshu", "allow_endpoint": True, "square_size": 84}
        pair = models.create(
            "medreasoner", reasoner=server.address, segmenter=segmenters["sam2"], device="cpu", **options
        )
        answer = ask(pair, question)
        assert len(server.requests) == 1
    assert answer.reasoning == "It is the box."
    assert "proposed box: [16.0, 12.0, 32.0, 24.0]" in answer.provenance.notes
    assert any("its weights are not known" in note for note in answer.provenance.notes)
    assert answer.provenance.weights_sha256 == pair.segmenter.weights_sha256
    pair.close()


def test_the_previous_answer_is_not_lost_with_a_refusal(segmenters, question):
    with serving(streaming(BOX_ANSWER), streaming("I can't help."), streaming(BOX_ANSWER)) as server:
        options = {"model": "lingshu", "allow_endpoint": True, "square_size": 84}
        pair = models.create(
            "medreasoner", reasoner=server.address, segmenter=segmenters["sam2"], device="cpu", **options
        )
        first = ask(pair, question)
        with pytest.raises(AnswerFormatError, match="I can't help"):
            ask(pair, question)
        assert ask(pair, question).box == first.box
    pair.close()


def test_without_consent_nothing_is_loaded_and_nothing_sent(segmenters):
    with serving(streaming(BOX_ANSWER)) as server:
        with pytest.raises(ModelUnavailableError, match="would be sent"):
            models.create(
                "medreasoner", reasoner=server.address, segmenter=segmenters["sam2"], model="lingshu"
            )
        assert server.requests == []


def networks_alive():
    names = ("ForConditionalGeneration", "Sam2Model", "SamModel", "Sam2VideoModel")
    return [type(thing).__name__ for thing in gc.get_objects() if type(thing).__name__.endswith(names)]


@pytest.mark.parametrize("fault", ["truncated", "other", "option"])
def test_when_one_part_can_not_be_loaded_nothing_is_left(reasoners, sam2_folder, tmp_path, fault):
    segmenter, options = tmp_path / "MedSAM2_latest.pt", dict(SMALL)
    if fault == "truncated":
        segmenter.write_bytes(b"PK\x03\x04 not whole")
    elif fault == "other":
        segmenter = reasoners["qwen"]
    else:
        segmenter, options = sam2_folder, {**SMALL, "segment_from": "mask"}
    gc.collect()
    before = networks_alive()
    with pytest.raises((ModelUnavailableError, WeightsError)) as told:
        models.create("medreasoner", reasoner=reasoners["qwen"], segmenter=segmenter, device="cpu", **options)
    assert "\n" not in str(told.value)
    del told
    gc.collect()
    assert networks_alive() == before
