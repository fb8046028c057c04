"""Published systems from the model list, as a user gets them: pulled, made and asked, at toy size."""

import pytest

from napari_medreason import models
from napari_medreason.core.question import Question
from napari_medreason.errors import ModelUnavailableError, UnknownModelError, WeightsError
from napari_medreason.models import catalogue, settings, store
from napari_medreason.models.published import missing_weights

from . import tiny_llava, tiny_medisee, tiny_prs_med
from .conftest import BOX_QUESTION, LEFT_BOX, SHORT_PROMPT, SQUARE
from .fake_hub import REVISION, Hub, start


def never():
    return False


def quiet(*_):
    return None


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "models.toml"))


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def pull(monkeypatch):
    """Put folders on a hub on this machine under the names of the catalogue, and pull them."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    hub = Hub()
    server = start(hub)

    def pull(**folders):
        settings.change_settings(base_url=hub.url)
        for key, folder in folders.items():
            entry = catalogue.weights(key.replace("_", "-"))
            hub.revision = entry.revision or REVISION
            hub.repositories[entry.repository] = files_of(folder)
            store.pull(entry.id, progress=quiet, cancelled=never)

    yield pull
    server.shutdown()
    server.server_close()


def ask(model, plane, text=BOX_QUESTION):
    try:
        return model.ask(Question(text, plane), on_text=quiet, cancelled=never)
    finally:
        model.close()


def test_every_published_model_names_weights_of_the_catalogue_and_their_terms():
    published = [info for info in models.available().values() if info.weights]
    assert {"medreasoner-7b", "lingshu-7b", "qwen2.5-vl-7b", "medisee", "prs-med"} <= {
        i.id for i in published
    }
    for info in published:
        assert all(one in catalogue.catalogue() for one in info.weights)
        assert info.consequence
        assert info.needs_download
        assert not info.remote


def test_a_model_without_its_weights_says_which_command_brings_them():
    with pytest.raises(
        WeightsError,
        match=r"lingshu-7b needs Lingshu-7B and MedSAM2 \(latest\).*`medreason models pull lingshu-7b`",
    ):
        models.create("lingshu-7b")
    with pytest.raises(WeightsError, match=r"MedReasoner-7B: download it by hand.*models pull medsam2"):
        models.create("medreasoner-7b")


def test_own_folders_answer_under_the_published_name(
    trained_qwen_folder, trained_sam2_folder, make_plane, tmp_path
):
    """Any reasoner with any segmenter of the catalogue, by their two ids."""
    store.use_folder("lingshu-7b", trained_qwen_folder)
    info = models.info("lingshu-7b+sam2.1-tiny")
    assert [entry.id for entry in missing_weights(info)] == ["sam2.1-tiny"]
    store.use_folder("sam2.1-tiny", trained_sam2_folder)
    assert missing_weights(info) == ()
    prompt = tmp_path / "short.txt"
    prompt.write_text(SHORT_PROMPT)
    model = models.create(
        "lingshu-7b+sam2.1-tiny", device="cpu", precision="fp32", prompt=prompt, square_size=SQUARE
    )
    grounding = ask(model, make_plane(LEFT_BOX, shape=(SQUARE, SQUARE)))
    assert grounding.status == "found"
    assert grounding.provenance.model == "lingshu-7b+sam2.1-tiny"
    assert len(grounding.provenance.weights_sha256) == 64
    x0, y0, x1, y1 = LEFT_BOX
    assert grounding.mask[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5].mean() > 0.8
    assert grounding.mask.sum() < 2 * (x1 - x0) * (y1 - y0)


def test_medisee_is_pulled_and_answers(pull, make_plane, tmp_path):
    tiny_medisee.write_medisee(tmp_path / "medisee")
    tiny_llava.write_llava(tmp_path / "llava")
    tiny_llava.write_clip(tmp_path / "clip")
    pull(medisee=tmp_path / "medisee", llava_med_7b=tmp_path / "llava", clip_vit_l_336=tmp_path / "clip")
    model = models.create("medisee", device="cpu", precision="fp32", max_new_tokens=8)
    grounding = ask(model, make_plane((10, 10, 30, 30)), "Which organ filters blood?")
    assert grounding.provenance.model == "medisee"
    assert grounding.status in ("found", "unknown")


def test_prs_med_is_pulled_and_answers(pull, make_plane, tmp_path):
    tiny_prs_med.write_prs_med(tmp_path)
    released = tmp_path / "released"
    released.mkdir()
    (tmp_path / "llm_seg_3").rename(released / "llm_seg_3")
    pull(prs_med=released, llava_med_7b=tmp_path / "base", clip_vit_l_336=tmp_path / "clip")
    model = models.create("prs-med", device="cpu", size=64, max_new_tokens=8)
    grounding = ask(model, make_plane((10, 10, 30, 30)), "Where is the tumor?")
    assert grounding.provenance.model == "prs-med"
    assert grounding.status in ("found", "unknown")


def test_weights_in_the_older_format_alone_are_converted_once(pull, sam2_folder, tmp_path):
    import torch
    from safetensors.torch import load_file

    tensors = load_file(sam2_folder / "model.safetensors")
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text('{"model_type": "sam"}')
    torch.save(tensors, old / "pytorch_model.bin")
    pull(medsam=old)
    place = store.folder("medsam")
    assert load_file(place / "model.safetensors").keys() == tensors.keys()
    assert store.verify("medsam", progress=quiet, cancelled=never).known


def test_a_pickle_that_would_run_code_is_not_used(pull, tmp_path):
    import os
    import pickle

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text('{"model_type": "sam"}')
    (old / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError):
        pull(medsam=old)
    assert not (tmp_path / "owned").exists()
    assert not store.status("medsam").usable


def test_two_weights_that_make_no_pair_are_refused():
    with pytest.raises(ModelUnavailableError, match="clip-vit-l-336 is no segmenter; choose one of medsam2"):
        models.info("lingshu-7b+clip-vit-l-336")
    with pytest.raises(UnknownModelError, match="'lingshu' are not known"):
        models.info("lingshu+medsam2")


def test_a_server_that_the_user_named_is_listed_as_remote(sam2_folder):
    lab = settings.Endpoint(
        "lab", "http://127.0.0.1:9/v1", "Lingshu-7B", consent=True, segmenter="sam2.1-tiny"
    )
    settings.add_endpoint(lab)
    info = models.available()["endpoint:lab"]
    assert info.remote
    assert "127.0.0.1:9" in info.title
    assert "nothing else" in info.summary
    with pytest.raises(WeightsError, match=r"endpoint:lab needs SAM 2\.1 tiny"):
        models.create("endpoint:lab")
    store.use_folder("sam2.1-tiny", sam2_folder)
    models.create("endpoint:lab", device="cpu").close()


def test_without_consent_nothing_is_sent(sam2_folder):
    store.use_folder("sam2.1-tiny", sam2_folder)
    settings.add_endpoint(settings.Endpoint("lab", "http://127.0.0.1:9/v1", "m", segmenter="sam2.1-tiny"))
    with pytest.raises(ModelUnavailableError, match="allow_endpoint"):
        models.create("endpoint:lab", device="cpu")


def test_broken_settings_hide_no_model(caplog):
    settings.settings_file().write_text("[[endpoints]]\nname = 3")
    assert "embedded" in models.available()
    assert "can't be used" in caplog.text
