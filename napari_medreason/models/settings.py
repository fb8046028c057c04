"""What a user chose about models: own folders, the hub's address, offline work, endpoints; one TOML file.

The file holds no key and no token: those come from the environment or the hub's own login.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
from filelock import FileLock

from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.files import write_text

HUB = "https://huggingface.co"
_KEYS = {"base_url", "offline", "folders", "endpoints"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks OpenAI's chat interface, named by the user.

    url: up to and with `/v1`. model: name of the model there. consent: the user agreed that the asked plane's
    pixels and the question are sent there; nothing else ever is. key_variable: environment variable that
    holds the key, "" for the usual one. coordinates: how the model there writes places in the image.
    segmenter: id of the weights that draw its masks, on this side.
    """

    name: str
    url: str
    model: str
    consent: bool = False
    key_variable: str = ""
    coordinates: str = "pixels"
    segmenter: str = "medsam2"


@dataclass(frozen=True)
class Settings:
    """The settings; folders: weights id to a folder or file of the user's own."""

    base_url: str = HUB
    offline: bool = False
    folders: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()


def settings_file() -> Path:
    """Where the settings are; the environment variable MEDREASON_SETTINGS names another file."""
    named = os.environ.get("MEDREASON_SETTINGS")
    return Path(named) if named else platformdirs.user_config_path("napari-medreason") / "models.toml"


def read_settings() -> Settings:
    """The settings, or the usual ones when there is no file; ModelUnavailableError for a wrong file."""
    file = settings_file()
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise _unusable(file, str(error)) from error
    if unknown := sorted(set(content) - _KEYS):
        raise _unusable(file, f"unknown key {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    try:
        endpoints = tuple(checked_endpoint(Endpoint(**table)) for table in content.pop("endpoints", ()))
        settings = Settings(**content, endpoints=endpoints)
    except TypeError as error:
        raise _unusable(file, str(error)) from error
    if fault := _fault(settings):
        raise _unusable(file, fault)
    return replace(settings, base_url=settings.base_url.rstrip("/"))


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    """Two programs that change the file at once must not lose each other's change."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=10):
            yield
    except OSError as error:
        raise ModelUnavailableError(
            f"{file.name} can't be written ({error.strerror or error}); check space and permission, or name "
            "another file in the environment variable MEDREASON_SETTINGS"
        ) from error


def change_settings(**changes: Any) -> Settings:
    """Write changed settings (fields of Settings) and give them; ModelUnavailableError when that fails."""
    file = settings_file()
    with _one_at_a_time(file):
        settings = replace(read_settings(), **changes)
        if fault := _fault(settings):
            raise ModelUnavailableError(f"the setting can't be used: {fault}")
        write_text(file, _toml(settings))
    return settings


def remember_folder(weights_id: str, folder: str | None) -> Settings:
    """Note a folder or file for weights; None forgets it."""
    file = settings_file()
    with _one_at_a_time(file):
        settings = read_settings()
        folders = {key: value for key, value in settings.folders.items() if key != weights_id}
        settings = replace(settings, folders=folders | ({weights_id: folder} if folder else {}))
        write_text(file, _toml(settings))
    return settings


def add_endpoint(endpoint: Endpoint) -> Settings:
    """Note an endpoint; one of the same name is replaced."""
    return _with_endpoint(checked_endpoint(endpoint).name, endpoint)


def remove_endpoint(name: str) -> Settings:
    """Forget an endpoint; ModelUnavailableError when there is none of this name."""
    endpoint(name)
    return _with_endpoint(name, None)


def _with_endpoint(name: str, new: Endpoint | None) -> Settings:
    file = settings_file()
    with _one_at_a_time(file):
        settings = read_settings()
        kept = [one for one in settings.endpoints if one.name != name]
        settings = replace(settings, endpoints=(*kept, *([new] if new else ())))
        write_text(file, _toml(settings))
    return settings


def endpoint(name: str) -> Endpoint:
    """The endpoint of this name; ModelUnavailableError lists the known ones."""
    known = {one.name: one for one in read_settings().endpoints}
    if name not in known:
        raise ModelUnavailableError(
            f"no endpoint is named {name!r:.60}; known: {', '.join(known) or 'none'}. Add one with "
            "`medreason models endpoint URL --name NAME --model MODEL`"
        )
    return known[name]


def checked_endpoint(one: Endpoint) -> Endpoint:
    """The endpoint itself; ModelUnavailableError when a value can't be used."""
    texts = [value for key, value in asdict(one).items() if key != "consent"]
    if not all(isinstance(text, str) for text in texts) or not isinstance(one.consent, bool):
        raise ModelUnavailableError("an endpoint has a name, url and model in words; check the settings")
    if not _NAME.fullmatch(one.name):
        raise ModelUnavailableError(
            f"{one.name!r:.60} can't name an endpoint; letters, digits, '.', '_' and '-' are accepted"
        )
    if not _is_address(one.url):
        raise ModelUnavailableError(
            f"{one.url!r:.80} is no address of an endpoint; give http:// or https:// with a host and without "
            "name or key in it, such as http://gpu-host:8000/v1"
        )
    if not one.model:
        raise ModelUnavailableError("an endpoint needs the name of the model that it shall run; give --model")
    return one


def _fault(settings: Settings) -> str:
    """What is wrong in the settings; "" for nothing."""
    if not isinstance(settings.base_url, str) or not _is_address(settings.base_url):
        return f"base_url is {settings.base_url!r:.80}; an address such as {HUB} is needed"
    if not isinstance(settings.offline, bool):
        return "offline is neither true nor false"
    if not isinstance(settings.folders, Mapping) or not all(
        isinstance(value, str) for value in settings.folders.values()
    ):
        return "folders is no table of weights ids and paths"
    return ""


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _unusable(file: Path, why: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"the settings file {file.name} can't be used: {why}; correct or delete it")


def _toml(settings: Settings) -> str:
    lines = [f"base_url = {_text(settings.base_url)}", f"offline = {str(settings.offline).lower()}"]
    lines += ["", "[folders]", *(f"{_text(k)} = {_text(v)}" for k, v in sorted(settings.folders.items()))]
    for one in settings.endpoints:
        lines += ["", "[[endpoints]]", *(f"{key} = {_text(value)}" for key, value in asdict(one).items())]
    return "\n".join(lines) + "\n"


def _text(value: str | bool) -> str:
    """A TOML value; its basic strings are JSON strings but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
