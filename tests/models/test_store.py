"""Weights as a user gets them: pulled from a hub on this machine, or from a folder that is there already."""

import json
import shutil
import struct
import threading
from pathlib import Path

import pytest

from napari_medreason.errors import CancelledError, ModelUnavailableError, UnknownModelError, WeightsError
from napari_medreason.models import catalogue, download, download_hub, settings, store, store_pull
from napari_medreason.models.catalogue import WeightFile, Weights

from .fake_hub import REVISION, Hub, start

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
LINGSHU, MEDSAM2 = "lingshu-medical-mllm/Lingshu-7B", "wanglab/MedSAM2"


def never():
    return False


def quiet(*_):
    return None


def safetensors(size: int) -> bytes:
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(256)) * (size // 256)


def qwen_files(model_type: str = "qwen2_5_vl") -> dict[str, bytes]:
    shards = {f"model-0000{number}-of-00002.safetensors": safetensors(512 * number) for number in (1, 2)}
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(shards)}}
    return {
        **shards,
        "config.json": json.dumps({"model_type": model_type}).encode(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        "pytorch_model.bin": b"the same once more, as a pickle",
        "README.md": b"# Lingshu",
        "original/params.json": b"{}",
    }


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "models.toml"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.001)


@pytest.fixture
def hub():
    hub = Hub(
        {
            LINGSHU: qwen_files(),
            MEDSAM2: {
                "MedSAM2_latest.pt": b"checkpoint" * 1000,
                "MedSAM2_2411.pt": b"older",
                "README.md": b"",
            },
        }
    )
    server = start(hub)
    settings.change_settings(base_url=hub.url)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def own_folder(tmp_path):
    """A copy of Lingshu-7B that the user has."""
    folder = tmp_path / "Lingshu copy"
    folder.mkdir()
    for name, content in qwen_files().items():
        if "/" not in name and not name.endswith(".bin"):
            (folder / name).write_bytes(content)
    return folder


def pull(weights_id, *, progress=quiet, cancelled=never):
    return store.pull(weights_id, progress=progress, cancelled=cancelled)


def test_pulled_weights_are_there_whole_and_recorded(hub):
    assert store.status("lingshu-7b").state == "missing"
    place = pull("lingshu-7b")
    assert place == store.folder("lingshu-7b")
    names = {file.name for file in place.iterdir()}
    assert names == {*qwen_files()} - {"README.md", "original/params.json", "pytorch_model.bin"}
    status = store.status("lingshu-7b")
    assert (status.state, status.usable, status.revision) == ("installed", True, REVISION)
    assert status.bytes_here == status.bytes_total == sum(file.stat().st_size for file in place.iterdir())
    assert store.verify("lingshu-7b", progress=quiet, cancelled=never) == store.Verified(
        4, status.bytes_total, known=True
    )


def test_weights_of_one_file_are_that_file(hub):
    place = pull("medsam2")
    assert place.name == "MedSAM2_latest.pt"
    assert hub.downloads() == ["MedSAM2_latest.pt"]


def test_progress_covers_the_whole_set_and_ends_at_all(hub):
    told = []
    pull("lingshu-7b", progress=lambda *values: told.append(values))
    counts = [done for name, done, total in told if name]
    total = store.status("lingshu-7b").bytes_total
    assert counts == sorted(counts)
    assert counts[-1] == total
    assert {total_ for name, _, total_ in told if name} == {total}


def test_a_second_pull_asks_for_the_recorded_revision_and_fetches_nothing(hub):
    pull("lingshu-7b")
    before = len(hub.downloads())
    pull("lingshu-7b")
    assert len(hub.downloads()) == before
    assert hub.requests[-1][0].endswith(f"/revision/{REVISION}")


def test_a_lost_file_is_noticed_and_it_alone_is_fetched_again(hub):
    place = pull("lingshu-7b")
    (place / "model-00002-of-00002.safetensors").unlink()
    status = store.status("lingshu-7b")
    assert (status.state, status.usable) == ("faulty", False)
    assert "model-00002-of-00002.safetensors" in status.fault
    with pytest.raises(WeightsError, match="lacks model-00002-of-00002"):
        store.folder("lingshu-7b")
    hub.requests.clear()
    pull("lingshu-7b")
    assert hub.downloads() == ["model-00002-of-00002.safetensors"]


def test_a_flipped_byte_is_found_by_verify_alone(hub):
    place = pull("medsam2")
    content = place.read_bytes()
    place.write_bytes(b"C" + content[1:])
    assert store.status("medsam2").state == "installed"
    with pytest.raises(
        WeightsError, match=r"MedSAM2_latest\.pt of MedSAM2 \(latest\) is damaged.*pull medsam2"
    ):
        store.verify("medsam2", progress=quiet, cancelled=never)


def test_a_cancelled_pull_goes_on_and_is_never_half_used(hub):
    def stop_after_the_first_file():
        return len(hub.downloads()) > 1

    with pytest.raises(CancelledError):
        pull("lingshu-7b", cancelled=stop_after_the_first_file)
    assert store.status("lingshu-7b").state == "partial"
    with pytest.raises(WeightsError, match=r"is not on this computer.*pull lingshu-7b"):
        store.folder("lingshu-7b")
    first = hub.downloads()[0]
    hub.requests.clear()
    pull("lingshu-7b")
    assert first not in hub.downloads()
    assert store.status("lingshu-7b").usable


def test_a_hash_that_differs_stops_the_pull(hub):
    hub.claimed_sha256["MedSAM2_latest.pt"] = "0" * 64
    with pytest.raises(WeightsError, match=r"MedSAM2_latest\.pt is not what it should be"):
        pull("medsam2")
    assert not store.status("medsam2").usable


def test_a_repository_with_another_model_in_it_is_not_used(hub):
    hub.repositories[LINGSHU] = qwen_files("llava")
    with pytest.raises(WeightsError, match=r"type 'llava'; Lingshu-7B is of type qwen2_5_vl"):
        pull("lingshu-7b")
    assert not store.status("lingshu-7b").usable


def test_a_file_that_the_repository_lost_is_named(hub):
    hub.repositories[MEDSAM2] = {"README.md": b""}
    with pytest.raises(WeightsError, match=r"wanglab/MedSAM2 has no file MedSAM2_latest\.pt"):
        pull("medsam2")


def test_names_that_lead_out_of_the_folder_are_ignored(hub, tmp_path):
    hub.repositories[LINGSHU] = {**qwen_files(), "../escaped.json": b"{}", "/etc/escaped.json": b"{}"}
    pull("lingshu-7b")
    assert not list(tmp_path.rglob("escaped.json"))


def test_too_little_space_is_told_before_anything_is_fetched(hub, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        store_pull.shutil, "disk_usage", lambda _: usage._replace(free=store_pull.SPARE_BYTES)
    )
    with pytest.raises(WeightsError, match=r"Lingshu-7B needs .* kB more .* free some space"):
        pull("lingshu-7b")
    assert hub.downloads() == []


@pytest.mark.parametrize(("token", "words"), [(None, "no token was found"), ("mine", "was refused")])
def test_a_gated_repository_says_what_to_do(hub, monkeypatch, token, words):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    hub.repositories["google/medgemma-4b-it"], hub.token = qwen_files("gemma3"), "accepted"
    with pytest.raises(
        WeightsError,
        match=rf"{words}: accept them at https://huggingface\.co/google/medgemma-4b-it, then log in",
    ):
        pull("medgemma-4b")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "accepted")
    assert pull("medgemma-4b").is_dir()


def test_the_users_token_stays_away_from_mirrors_of_open_weights(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "mine")
    pull("medsam2")
    assert not [headers for _, headers in hub.requests if "authorization" in headers]


def test_a_token_is_never_sent_over_plain_http(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "mine")
    entry = catalogue.weights("medgemma-4b")
    for address, expected in [
        ("http://mirror.example", None),
        ("https://mirror.example", "mine"),
        (settings.HUB, "mine"),
        (hub.url, "mine"),
    ]:
        assert download_hub._token(entry, settings.Settings(address)) == expected
    assert (
        download_hub._token(catalogue.weights("medsam2"), settings.Settings("https://mirror.example")) is None
    )


def test_offline_mode_of_the_environment_is_told(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"offline mode is set by the environment.*models use lingshu-7b"):
        pull("lingshu-7b")


def test_offline_mode_of_the_settings_counts_too(hub, own_folder):
    settings.change_settings(offline=True)
    with pytest.raises(WeightsError, match="offline mode is set in the settings"):
        pull("lingshu-7b")
    store.use_folder("lingshu-7b", own_folder)
    assert store.folder("lingshu-7b") == own_folder
    assert hub.requests == []


def test_a_login_page_instead_of_the_hub_is_one_line(hub):
    hub.web_page = True
    with pytest.raises(WeightsError, match="can't be asked for Lingshu-7B") as fault:
        pull("lingshu-7b")
    assert "\n" not in str(fault.value)


def test_a_dead_hub_is_one_line():
    settings.change_settings(base_url="http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9 can't be asked for Lingshu-7B"):
        pull("lingshu-7b")


def test_what_can_only_be_had_by_hand_says_where(hub):
    with pytest.raises(
        WeightsError, match=r"only be downloaded by hand from https://drive\.google.*use sam-med2d"
    ):
        pull("sam-med2d")


def test_two_pulls_of_the_same_weights_do_not_write_into_each_other(hub, monkeypatch):
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.05)
    hub.pause = threading.Event()
    first = threading.Thread(target=pull, args=("medsam2",))
    first.start()
    while not hub.downloads():
        first.join(0.01)
    with pytest.raises(WeightsError, match="is being downloaded already"):
        pull("medsam2")
    hub.pause.set()
    first.join()
    assert store.status("medsam2").usable


def test_a_plain_address_is_fetched_too(hub, monkeypatch):
    url = f"{hub.url}/{MEDSAM2}/resolve/main/MedSAM2_latest.pt"
    entry = Weights("mine", "Mine", "base", "tinysam", files=(WeightFile("tiny.pth", url),))
    monkeypatch.setattr(catalogue, "catalogue", lambda: {"mine": entry})
    assert pull("mine").read_bytes() == b"checkpoint" * 1000
    assert store.status("mine").state == "installed"


# A folder that is there already.


def test_an_own_folder_is_used_where_it_lies(own_folder):
    store.use_folder("lingshu-7b", own_folder)
    assert store.folder("lingshu-7b") == own_folder
    assert store.status("lingshu-7b").state == "own"
    with pytest.raises(WeightsError, match="loaded from your folder Lingshu copy"):
        pull("lingshu-7b")
    store.use_downloaded("lingshu-7b")
    assert store.status("lingshu-7b").state == "missing"


def test_the_first_verify_of_an_own_folder_records_and_the_second_compares(own_folder):
    store.use_folder("lingshu-7b", own_folder)
    assert not store.verify("lingshu-7b", progress=quiet, cancelled=never).known
    assert store.verify("lingshu-7b", progress=quiet, cancelled=never).known
    shard = own_folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"model-00001-of-00002\.safetensors of Lingshu-7B is damaged"):
        store.verify("lingshu-7b", progress=quiet, cancelled=never)
    assert not [file for file in own_folder.iterdir() if file.name not in qwen_files()]


def break_nothing_there(folder):
    return folder / "nowhere"


def break_other_model(folder):
    (folder / "config.json").write_text('{"model_type": "sam2"}')
    return folder


def break_no_config(folder):
    (folder / "config.json").unlink()
    return folder


def break_missing_shard(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def break_truncated_shard(folder):
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    return folder


def break_foreign_shard(folder):
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return folder


def break_only_pickles(folder):
    for shard in folder.glob("*.safetensors"):
        shard.rename(shard.with_suffix(".bin"))
    return folder


def break_a_file(folder):
    return folder / "config.json"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (break_nothing_there, "nowhere is not there"),
        (break_other_model, "type 'sam2'; Lingshu-7B is of type qwen2_5_vl"),
        (break_no_config, r"no readable config\.json"),
        (break_missing_shard, r"lacks model-00002-of-00002\.safetensors \(1 of 2 files"),
        (break_truncated_shard, r"model-00002-of-00002\.safetensors is cut off"),
        (break_foreign_shard, "is no whole safetensors file"),
        (break_only_pickles, r"holds no \.safetensors file"),
        (break_a_file, r"config\.json is a file; Lingshu-7B is a folder"),
    ],
)
def test_a_wrong_own_folder_is_refused_and_changes_nothing(own_folder, tmp_path, spoil, words):
    place = spoil(own_folder)
    with pytest.raises(WeightsError, match=words) as fault:
        store.use_folder("lingshu-7b", place)
    assert str(tmp_path) not in str(fault.value)
    assert store.status("lingshu-7b").state == "missing"
    assert not settings.settings_file().exists()


def test_a_folder_that_went_away_is_told_when_it_is_needed(own_folder):
    store.use_folder("lingshu-7b", own_folder)
    shutil.rmtree(own_folder)
    assert store.status("lingshu-7b").state == "faulty"
    with pytest.raises(WeightsError, match="Lingshu copy is not there"):
        store.folder("lingshu-7b")


def test_one_file_weights_take_the_file_or_a_folder_that_holds_it(tmp_path):
    (tmp_path / "MedSAM2_latest.pt").write_bytes(b"x")
    (tmp_path / "MedSAM2_2411.pt").write_bytes(b"x")
    assert store.use_folder("medsam2", tmp_path).name == "MedSAM2_latest.pt"
    assert store.use_folder("medsam2-ct-lesion", tmp_path / "MedSAM2_2411.pt").name == "MedSAM2_2411.pt"
    with pytest.raises(WeightsError, match=r"holds MedSAM2_2411\.pt, MedSAM2_latest\.pt; .* give that file"):
        store.use_folder("medsam2-us-heart", tmp_path)


def test_the_last_epoch_of_prs_med_is_asked_for(tmp_path):
    def begin(epoch, *files):
        (tmp_path / epoch / "lora_adapter").mkdir(parents=True)
        for file in files:
            (tmp_path / epoch / file).write_bytes(b"x")

    files = ("image_encoder.pth", "mask_decoder.pth", *map("lora_adapter/{}".format, ADAPTER))
    begin("llm_seg_20", *files[:2])
    with pytest.raises(WeightsError, match="holds no whole epoch of PRS-Med"):
        store.use_folder("prs-med", tmp_path)
    for epoch in ("llm_seg_2", "llm_seg_16"):
        begin(epoch, *files)
    assert store.use_folder("prs-med", tmp_path) == tmp_path


def test_removing_leaves_own_folders_alone(hub, own_folder):
    pull("medsam2")
    store.use_folder("lingshu-7b", own_folder)
    assert store.remove("medsam2") == 10_000
    assert store.status("medsam2").state == "missing"
    store.remove("lingshu-7b")
    assert store.status("lingshu-7b").state == "own"


def test_a_file_that_a_download_moves_meanwhile_is_no_fault(hub, monkeypatch):
    pull("medsam2")
    was_file = Path.is_file

    def moved_after_the_look(file):
        there = was_file(file)
        if there and file.suffix == ".pt":
            file.unlink()
        return there

    monkeypatch.setattr(Path, "is_file", moved_after_the_look)
    assert store.status("medsam2").bytes_here == 0


def test_what_could_not_be_deleted_is_not_told_as_freed(hub, monkeypatch):
    pull("medsam2")
    monkeypatch.setattr(store.shutil, "rmtree", quiet_failure)
    assert store.remove("medsam2") == 0


def quiet_failure(place, ignore_errors):
    """As on a system that lets no open file go."""
    assert ignore_errors


def test_unknown_weights_list_the_known_ones():
    with pytest.raises(UnknownModelError, match=r"'lingshu' are not known; known: .*lingshu-7b"):
        store.folder("lingshu")


def test_a_damaged_record_and_damaged_settings_are_told(hub, tmp_path):
    pull("medsam2")
    (tmp_path / "weights" / "medsam2.json").write_text("{")
    assert "record medsam2.json" in store.status("medsam2").fault
    (tmp_path / "models.toml").write_text("folders = 3")
    with pytest.raises(ModelUnavailableError, match=r"models\.toml can't be used: folders"):
        store.folder("medsam2")
