"""The settings about models: one file that a user can read, and that two programs can change."""

import threading

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.settings import (
    HUB,
    Endpoint,
    Settings,
    add_endpoint,
    change_settings,
    endpoint,
    read_settings,
    remember_folder,
    remove_endpoint,
    settings_file,
)

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
LAB = Endpoint("lab", "http://gpu-host:8000/v1", "Lingshu-7B", key_variable="LAB_KEY", consent=True)


@pytest.fixture(autouse=True)
def file(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDREASON_SETTINGS", str(tmp_path / "deep" / "models.toml"))


def test_without_a_file_the_usual_settings_hold():
    assert read_settings() == Settings(HUB, offline=False)
    assert not settings_file().exists()


def test_changes_are_kept_beside_each_other():
    change_settings(base_url="https://mirror.example/")
    remember_folder("lingshu-7b", "/models/Lingshu 7B")
    remember_folder("medsam2", "C:\\models\\MedSAM2.pt")
    add_endpoint(LAB)
    change_settings(offline=True)
    assert read_settings() == Settings(
        "https://mirror.example",
        offline=True,
        folders={"lingshu-7b": "/models/Lingshu 7B", "medsam2": "C:\\models\\MedSAM2.pt"},
        endpoints=(LAB,),
    )
    remember_folder("lingshu-7b", None)
    remove_endpoint("lab")
    assert (list(read_settings().folders), read_settings().endpoints) == (["medsam2"], ())


@hypothesis_settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(TEXT, TEXT, max_size=3), TEXT)
def test_any_path_and_name_survives_the_file(folders, model):
    for key, value in folders.items():
        remember_folder(key, value)
    add_endpoint(Endpoint("lab", LAB.url, model))
    settings = read_settings()
    assert folders.items() <= settings.folders.items()
    assert settings.endpoints[0].model == model


def test_two_programs_lose_no_change_of_each_other():
    threads = [threading.Thread(target=remember_folder, args=(f"w{n}", f"/f{n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_settings().folders) == 8


def test_an_endpoint_is_found_by_name_and_the_others_are_listed():
    add_endpoint(LAB)
    add_endpoint(Endpoint("lab", LAB.url, "another"))
    assert endpoint("lab").model == "another"
    with pytest.raises(ModelUnavailableError, match="no endpoint is named 'home'; known: lab"):
        endpoint("home")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "my lab"}, "can't name an endpoint"),
        ({"url": "gpu-host:8000"}, "no address of an endpoint"),
        ({"url": "file:///etc/passwd"}, "no address of an endpoint"),
        ({"url": "https://me:secret@host/v1"}, "without name or key in it"),
        ({"model": ""}, "needs the name of the model"),
    ],
)
def test_a_wrong_endpoint_is_refused(values, words):
    with pytest.raises(ModelUnavailableError, match=words):
        add_endpoint(Endpoint(**{"name": "lab", "url": LAB.url, "model": "m", **values}))
    assert not settings_file().exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("offline = 1", "offline is neither"),
        ("base_url = 'ftp://x'", "base_url is"),
        ("api_key = 'secret'", "unknown key 'api_key'"),
        ("[[endpoints]]\nname = 'x'\nkey = 'secret'", "key"),
        ("offline = ", "can't be used"),
        ("folders = { a = 1 }", "folders is no table"),
    ],
)
def test_a_wrong_file_is_told_and_left_as_it_is(text, words):
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text(text)
    with pytest.raises(ModelUnavailableError, match=words):
        read_settings()
    with pytest.raises(ModelUnavailableError):
        remember_folder("a", "/b")
    assert settings_file().read_text() == text
