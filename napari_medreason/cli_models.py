"""`medreason models …`: which models there are, and their weights on this computer.

An id is a model's (its weights are meant, all of them), a pair's such as `lingshu-7b+medsam`, or that of
weights alone, such as `medsam2`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medreason.errors import MedReasonError, UnknownModelError

if TYPE_CHECKING:
    from napari_medreason.models import ModelInfo
    from napari_medreason.models.catalogue import Weights
    from napari_medreason.models.store import OnTransfer

models_app = typer.Typer(help="The models that can answer, and their weights.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
IdArgument = Annotated[str, typer.Argument(help="Of a model or of weights; see `medreason models list`.")]

_STATES = {
    "installed": "downloaded",
    "own": "in your own folder",
    "partial": "partly downloaded",
    "missing": "not downloaded",
    "faulty": "faulty",
}


@models_app.command("list")
def models_list(
    as_json: JsonOption = False,
    of_weights: Annotated[bool, typer.Option("--weights", help="List the single sets of weights.")] = False,
) -> None:
    """List the models that can be named with --model, and whether their weights are here."""
    from napari_medreason import models
    from napari_medreason.models.catalogue import catalogue

    if of_weights:
        found = [_weights_row(entry) for entry in catalogue().values()]
        _print_json({"weights": found}) if as_json else _print_weights(found)
        return
    rows = [_model_row(info) for info in models.available().values()]
    if as_json:
        _print_json({"models": rows})
        return
    for row in rows:
        mark = "*" if row["default"] else " "
        print(f"{mark} {row['id']:<26} {row['state']:<22} {_memory_words(row['memory']):<26} {row['title']}")
    print("`medreason models show ID` says what a model is made of and what its licences allow.")


@models_app.command("show")
def models_show(id_: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False) -> None:
    """Show what a model or a set of weights is, what its licence means and what of it is here."""
    from napari_medreason import models

    entries, info = _parts(id_)
    rows = [_weights_row(entry) for entry in entries]
    if as_json:
        _print_json({"model": _model_row(info) if info else None, "weights": rows})
        return
    if info is not None:
        print(f"{info.id}: {info.title} ({info.system})\n{info.summary}.")
        if info.id == models.default():
            print("This model answers when none is named.")
        print(f"licence: {info.licence}")
        if info.consequence:
            print(f"that is: {info.consequence}")
    for row in rows:
        _print_weights_card(row)


@models_app.command("pull")
def models_pull(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a model, or of weights alone.")],
    as_json: JsonOption = False,
) -> None:
    """Download weights; goes on where an earlier start was stopped."""
    from napari_medreason.models import store

    entries, info = _parts(id_)
    if info is not None and not entries:
        print(_nothing_to_pull(info), file=sys.stderr)
    entries = [entry for entry in entries if store.status(entry.id).state != "own"]
    for entry in entries:
        print(f"{entry.title}: {entry.consequence}", file=sys.stderr)
    try:
        for entry in entries:
            with _Meter(entry.title) as meter:
                store.pull(entry.id, progress=meter, cancelled=_never)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(1) from None
    rows = [_weights_row(entry) for entry in _parts(id_)[0]]
    _print_json({"weights": rows}) if as_json else _print_weights(rows)


@models_app.command("verify")
def models_verify(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a model, or of weights alone.")],
    as_json: JsonOption = False,
) -> None:
    """Read all files of weights anew and compare their hashes; exit code 2 when one differs."""
    from napari_medreason.models import store

    checked = []
    for entry in _parts(id_)[0]:
        with _Meter(entry.title) as meter:
            found = store.verify(entry.id, progress=meter, cancelled=_never)
        checked.append({"id": entry.id, "files": found.files, "bytes": found.bytes, "known": found.known})
        if not as_json:
            words = "as recorded" if found.known else "recorded now, there was nothing to compare with"
            print(f"{entry.id}: {found.files} files, {store.gigabytes(found.bytes)}, {words}")
    if as_json:
        _print_json({"verified": checked})


@models_app.command("use")
def models_use(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of weights; see `models list --weights`.")],
    folder: Annotated[Path | None, typer.Argument(help="Folder or file that you have already.")] = None,
    downloaded: Annotated[
        bool, typer.Option("--downloaded", help="Forget your own folder and use what is downloaded.")
    ] = False,
) -> None:
    """Use a copy of weights that is on this computer already; needs no network."""
    from napari_medreason.models import store
    from napari_medreason.models.catalogue import weights

    entry = weights(id_)
    if (folder is None) == (not downloaded):
        raise MedReasonError("name either a folder or file of your own, or --downloaded")
    if folder is None:
        store.use_downloaded(id_)
    else:
        store.use_folder(id_, folder)
    print(f"{entry.title}: {_STATES[store.status(id_).state]}")


@models_app.command("remove")
def models_remove(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of weights; see `models list --weights`.")],
) -> None:
    """Delete downloaded weights; a folder of your own is left alone."""
    from napari_medreason.models import store

    freed = store.remove(id_)
    print(f"{id_}: {store.gigabytes(freed)} freed")


@models_app.command("hub")
def models_hub(
    base_url: Annotated[
        str | None, typer.Option(help="Address of a mirror; “default” for huggingface.co.")
    ] = None,
    offline: Annotated[bool | None, typer.Option("--offline/--online", help="Never use the network.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show or set where weights are downloaded from."""
    from napari_medreason.models.settings import HUB, change_settings, read_settings

    changes: dict[str, Any] = {}
    if base_url is not None:
        changes["base_url"] = HUB if base_url == "default" else base_url.rstrip("/")
    if offline is not None:
        changes["offline"] = offline
    settings = change_settings(**changes) if changes else read_settings()
    if as_json:
        _print_json({"base_url": settings.base_url, "offline": settings.offline})
    else:
        print(f"{settings.base_url}{' (offline: never asked)' if settings.offline else ''}")


@models_app.command("endpoint")
def models_endpoint(
    url: Annotated[str | None, typer.Argument(help="Address that ends with /v1.")] = None,
    name: Annotated[str, typer.Option(help="How you call it; its model is then endpoint:NAME.")] = "",
    model: Annotated[str, typer.Option(help="Name of the model on that server.")] = "",
    consent: Annotated[
        bool, typer.Option("--send-images", help="Agree that slices and questions are sent there.")
    ] = False,
    key_variable: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "",
    coordinates: Annotated[str, typer.Option(help="pixels, thousandths or fractions.")] = "pixels",
    segmenter: Annotated[str, typer.Option(help="Weights that draw its masks, here.")] = "medsam2",
    remove: Annotated[str | None, typer.Option(help="Name of an endpoint to forget.")] = None,
) -> None:
    """Name a server that speaks OpenAI's protocol, such as vLLM, as a model; forget one; or list them."""
    from napari_medreason.models.settings import Endpoint, add_endpoint, read_settings, remove_endpoint

    if remove is not None:
        remove_endpoint(remove)
    elif url is not None:
        new = Endpoint(name, url, model, _agreed(url, consent), key_variable, coordinates, segmenter)
        _check_endpoint(new)
        add_endpoint(new)
    for one in read_settings().endpoints:
        print(f"endpoint:{one.name}  {one.model} at {one.url}, masks by {one.segmenter}")


def _agreed(url: str, consent: bool) -> bool:
    """Consent by the option, or by an answer on a terminal; MedReasonError without it."""
    words = f"The pixels of the slices you ask about and your questions will be sent to {url}."
    if consent or (sys.stdin.isatty() and typer.confirm(f"{words} Do you agree?", err=True)):
        return True
    raise MedReasonError(f"{words} Say --send-images to agree; nothing was changed")


def _check_endpoint(new: Any) -> None:
    from napari_medreason.models.published import endpoint_model
    from napari_medreason.models.reasoners.coordinates import checked_coordinates
    from napari_medreason.models.settings import checked_endpoint

    checked_endpoint(new)
    checked_coordinates(new.coordinates)
    endpoint_model(new)


def _parts(id_: str) -> tuple[list[Weights], ModelInfo | None]:
    """The weights that an id means, and the model if it is one; UnknownModelError for neither."""
    from napari_medreason import models
    from napari_medreason.models.catalogue import catalogue, weights

    if id_ in catalogue() and id_ not in models.available():
        return [weights(id_)], None
    try:
        info = models.info(id_)
    except UnknownModelError as error:
        raise UnknownModelError(
            f"{id_!r:.60} is neither a model nor weights; `medreason models list` and "
            "`medreason models list --weights` show them all"
        ) from error
    return [weights(one) for one in info.weights], info


def _nothing_to_pull(info: ModelInfo) -> str:
    """Why a model without weights of its own is not downloaded."""
    if info.needs_download:
        return f"{info.title} has no weights of its own to download; give it your own model folders"
    return f"{info.title} needs no download, it is ready"


def _model_row(info: ModelInfo) -> dict[str, Any]:
    from napari_medreason.models.published import missing_weights

    missing = missing_weights(info)
    return {
        "id": info.id,
        "title": info.title,
        "system": info.system,
        "summary": info.summary,
        "licence": info.licence,
        "consequence": info.consequence,
        "default": info.default,
        "remote": info.remote,
        "weights": list(info.weights),
        "missing": [entry.id for entry in missing],
        "state": _model_state(info, missing),
        "memory": dict(info.memory),
        "modalities": list(info.modalities),
    }


def _model_state(info: ModelInfo, missing: tuple[Weights, ...]) -> str:
    if not info.weights:
        return "needs your folders" if info.needs_download else "ready"
    if not missing:
        return "ready"
    return "needs download" if all(entry.downloadable for entry in missing) else "needs download by hand"


def _memory_words(memory: dict[str, int]) -> str:
    """What the parameters alone take, in 16 and in 4 bits."""
    from napari_medreason.models.store import gigabytes

    if not memory:
        return ""
    return f"{gigabytes(memory['bf16'])}, 4-bit {gigabytes(memory['4bit'])}"


def _weights_row(entry: Weights) -> dict[str, Any]:
    from napari_medreason.models import store

    status = store.status(entry.id)
    return {
        "id": entry.id,
        "title": entry.title,
        "kind": entry.kind,
        "repository": entry.repository,
        "page": entry.page,
        "licence": entry.licence,
        "consequence": entry.consequence,
        "gated": entry.gated,
        "downloadable": entry.downloadable,
        "pinned": entry.pinned,
        "parameters": entry.parameters,
        "memory": entry.memory,
        "modalities": list(entry.modalities),
        "state": status.state,
        "fault": status.fault,
        "bytes_here": status.bytes_here,
        "bytes_total": status.bytes_total,
        "revision": status.revision or entry.revision,
    }


def _print_weights(rows: list[dict[str, Any]]) -> None:
    from napari_medreason.models.store import gigabytes

    for row in rows:
        size = gigabytes(row["bytes_here"]) if row["bytes_here"] else ""
        print(f"{row['id']:<24} {_STATES[row['state']]:<20} {size:>9}  {row['title']}")


def _print_weights_card(row: dict[str, Any]) -> None:
    from napari_medreason.models.store import gigabytes

    pinned = "" if row["pinned"] else " (unpinned: recorded at the first download)"
    lines = {
        "kind": row["kind"],
        "from": row["repository"] or row["page"] or "unknown",
        "revision": "" if row["state"] == "own" else f"{row['revision'] or 'newest'}{pinned}",
        "licence": row["licence"] or "unknown",
        "that is": row["consequence"],
        "access": "an account that accepted the terms" if row["gated"] else "",
        "memory": ", ".join(f"{name} {gigabytes(size)}" for name, size in row["memory"].items())
        or "parameters not counted",
        "images": ", ".join(row["modalities"]),
        "state": _STATES[row["state"]] + (f", {gigabytes(row['bytes_here'])}" if row["bytes_here"] else ""),
        "fault": row["fault"],
    }
    print(f"\n{row['id']}: {row['title']}")
    for name, value in lines.items():
        if value:
            print(f"{name:>12}: {value}")


class _Meter:
    """Shows a transfer on a terminal; says nothing elsewhere."""

    def __init__(self, title: str) -> None:
        self._title, self._shown = title, 0.0
        self._speaks = sys.stderr.isatty()

    def __enter__(self) -> OnTransfer:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._speaks and self._shown:
            print(file=sys.stderr)

    def _show(self, name: str, done: int, total: int | None) -> None:
        from napari_medreason.models.store import gigabytes

        now = time.monotonic()
        if not self._speaks or (now - self._shown < 0.2 and done != total):
            return
        self._shown = now
        of_all = f" of {gigabytes(total)} ({done / total:.0%})" if total else ""
        print(f"\r\x1b[K{self._title}: {gigabytes(done)}{of_all} {name}", end="", file=sys.stderr, flush=True)


def _never() -> bool:
    return False


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(report, ensure_ascii=False))
