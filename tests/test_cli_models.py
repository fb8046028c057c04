"""`medreason models …` as a user types it, with a hub on this machine."""

import json
import sys

import pytest

from napari_medreason import cli
from napari_medreason.models import download, settings
from napari_medreason.models.catalogue import catalogue

from .models.fake_hub import REVISION, Hub, start

CONTENT = b"checkpoint" * 1000


@pytest.fixture
def medreason(monkeypatch, capsys, tmp_path):
    """Run `medreason models …` in this process; gives exit code, standard output and standard error."""
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "models.toml"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.001)

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["medreason", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def hub(medreason):
    hub = Hub({"wanglab/MedSAM2": {"MedSAM2_latest.pt": CONTENT}})
    server = start(hub)
    assert medreason("hub", "--base-url", hub.url)[1].strip() == hub.url
    yield hub
    server.shutdown()
    server.server_close()


def row(printed: str, id_: str) -> dict:
    rows = next(iter(json.loads(printed).values()))
    return next(one for one in rows if one["id"] == id_)


def test_a_model_that_comes_with_the_program_needs_no_download(medreason):
    code, printed, error = medreason("pull", "embedded")
    assert (code, printed) == (0, "")
    assert "needs no download" in error


def test_weights_are_pulled_shown_verified_and_removed(medreason, hub):
    assert row(medreason("list", "--weights", "--json")[1], "medsam2")["state"] == "missing"
    code, printed, error = medreason("pull", "medsam2")
    assert code == 0
    assert "downloaded" in printed
    assert "research and education only" in error
    shown = medreason("show", "medsam2")[1]
    assert REVISION in shown
    assert "no clinical use" in shown
    assert json.loads(medreason("verify", "medsam2", "--json")[1]) == {
        "verified": [{"id": "medsam2", "files": 1, "bytes": len(CONTENT), "known": True}]
    }
    assert medreason("remove", "medsam2")[1] == "medsam2: 10.0 kB freed\n"
    assert row(medreason("list", "--weights", "--json")[1], "medsam2")["state"] == "missing"


def test_the_list_says_what_each_model_still_needs(medreason, hub):
    medreason("pull", "medsam2")
    listed = medreason("list", "--json")[1]
    assert (row(listed, "embedded")["state"], row(listed, "embedded")["default"]) == ("ready", True)
    lingshu = row(listed, "lingshu-7b")
    assert (lingshu["state"], lingshu["missing"]) == ("needs download", ["lingshu-7b"])
    assert row(listed, "medreasoner-7b")["state"] == "needs download by hand"
    assert "4-bit 7.0 GB" in medreason("list")[1]


def test_a_model_stands_for_all_its_weights(medreason, hub):
    code, _, error = medreason("pull", "lingshu-7b+medsam2")
    assert code == 2
    assert "lingshu-medical-mllm/Lingshu-7B is not at http://127" in error
    shown = json.loads(medreason("show", "lingshu-7b+medsam2", "--json")[1])
    assert [one["id"] for one in shown["weights"]] == ["lingshu-7b", "medsam2"]
    assert shown["model"]["memory"]["bf16"] > 16e9


def test_an_own_file_is_used_and_given_up(medreason, tmp_path):
    (tmp_path / "mine.pt").write_bytes(CONTENT)
    assert medreason("use", "medsam2", tmp_path / "mine.pt")[1] == "MedSAM2 (latest): in your own folder\n"
    assert "nothing to compare with" in medreason("verify", "medsam2")[1]
    assert medreason("use", "medsam2", "--downloaded")[1] == "MedSAM2 (latest): not downloaded\n"
    assert (tmp_path / "mine.pt").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pull", "sam-med2d"), "only be downloaded by hand from https://drive.google.com"),
        (("pull", "nonsense"), "'nonsense' is neither a model nor weights"),
        (("show", "nonsense+medsam2"), "neither a model nor weights"),
        (("use", "medsam2"), "name either a folder or file of your own, or --downloaded"),
        (("use", "medsam2", "/nowhere/at/all"), "all is not there"),
        (("verify", "medsam2"), "MedSAM2 (latest) is not on this computer"),
        (("hub", "--base-url", "nonsense"), "base_url is 'nonsense'"),
        (("endpoint", "http://gpu/v1", "--name", "lab", "--model", "m"), "Say --send-images to agree"),
        (("endpoint", "gpu", "--name", "lab", "--model", "m", "--send-images"), "no address of an endpoint"),
        (
            (
                "endpoint",
                "http://g/v1",
                "--name",
                "l",
                "--model",
                "m",
                "--send-images",
                "--segmenter",
                "tinysam",
            ),
            "tinysam is no segmenter",
        ),
        (
            (
                "endpoint",
                "http://g/v1",
                "--name",
                "l",
                "--model",
                "m",
                "--send-images",
                "--coordinates",
                "inches",
            ),
            "coordinates 'inches' are not known",
        ),
        (("endpoint", "--remove", "lab"), "no endpoint is named 'lab'"),
    ],
)
def test_faults_are_one_line_and_change_nothing(medreason, tmp_path, arguments, words):
    code, printed, error = medreason(*arguments)
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1 or error.startswith(("SAM-Med2D", "MedSAM2"))
    assert printed == ""
    assert not (tmp_path / "models.toml").exists()


def test_an_endpoint_is_an_explicit_and_visible_choice(medreason):
    named = medreason(
        "endpoint", "http://gpu:8000/v1", "--name", "lab", "--model", "Lingshu-7B", "--send-images"
    )
    assert named[1] == "endpoint:lab  Lingshu-7B at http://gpu:8000/v1, masks by medsam2\n"
    listed = row(medreason("list", "--json")[1], "endpoint:lab")
    assert listed["remote"]
    assert "sent to gpu:8000" in medreason("show", "endpoint:lab")[1]
    assert medreason("endpoint", "--remove", "lab")[1] == ""
    assert settings.read_settings().endpoints == ()


def test_offline_mode_is_set_and_told(medreason, hub):
    assert "offline" in medreason("hub", "--offline")[1]
    assert "offline mode is set in the settings" in medreason("pull", "medsam2")[2]
    assert json.loads(medreason("hub", "--online", "--base-url", "default", "--json")[1]) == {
        "base_url": settings.HUB,
        "offline": False,
    }


def test_every_set_of_weights_has_a_card(medreason):
    for id_ in catalogue():
        code, printed, _ = medreason("show", id_)
        assert (code, id_ in printed, "that is:" in printed) == (0, True, True)
