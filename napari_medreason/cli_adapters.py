"""`medreason adapters …`: what was learnt on your own scans, kept apart from the models it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from napari_medreason.models.adapter_store import Adapter

adapters_app = typer.Typer(help="Adapters: what models have learnt on your own scans.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="See `medreason adapters list`.")]


@adapters_app.command("list")
def adapters_list(as_json: JsonOption = False) -> None:
    """List the adapters on this computer, and what each was measured to change."""
    from napari_medreason.models import adapters

    found = adapters.installed()
    if as_json:
        _print_json({"adapters": [_row(one) for one in found]})
        return
    if not found:
        print("no adapter yet; `medreason train` makes one, `medreason adapters import` takes it in")
        return
    for one in found:
        print(f"{one.id:<24} {one.model_id:<32} {one.card.figures}")
    print("Ask one with `medreason ask --model` and the name in the second column.")


@adapters_app.command("show")
def adapters_show(id_: IdArgument, as_json: JsonOption = False) -> None:
    """Show from what an adapter was made, how, and what it does better or worse."""
    from napari_medreason.models import adapters

    adapter = adapters.checked(adapters.get(id_))
    if as_json:
        _print_json({"adapter": _row(adapter)})
        return
    for line in _lines(adapter):
        print("".join(one for one in line if one.isprintable()))  # cards come from elsewhere, too


@adapters_app.command("import")
def adapters_import(
    path: Annotated[Path, typer.Argument(help="Folder, such as that of a run, or zip archive.")],
    name: Annotated[str, typer.Option(help="How you call it; its own name by default.")] = "",
    base: Annotated[
        str, typer.Option(help="For a PEFT adapter without a card: the weights that it was made for.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Take an adapter in, so that the model picker and --model know it; the folder given stays as it is."""
    from napari_medreason.models import adapters

    _told(adapters.import_from(path, name=name, base=base), as_json)


@adapters_app.command("export")
def adapters_export(
    id_: IdArgument, file: Annotated[Path, typer.Argument(help="Zip archive to write.")]
) -> None:
    """Write an adapter as one zip archive, with its card; it holds no scan and no patient."""
    from napari_medreason.models import adapters

    print(adapters.export_zip(id_, file))


@adapters_app.command("remove")
def adapters_remove(id_: IdArgument) -> None:
    """Delete an adapter; its base, other adapters and the run that made it stay."""
    from napari_medreason.models import adapters

    print(f"{adapters.remove(id_).id}: removed")


@adapters_app.command("merge")
def adapters_merge(
    id_: IdArgument,
    out: Annotated[Path, typer.Argument(help="New folder for the merged weights.")],
    base_folder: Annotated[
        Path | None, typer.Option(help="Folder of the base, if it is none of the known models.")
    ] = None,
) -> None:
    """Write base and adapter as one folder of weights, for programs that know no adapters."""
    from napari_medreason.models import adapters

    print(adapters.merge(id_, out, base_folder=base_folder))


def _lines(adapter: Adapter) -> list[str]:
    card = adapter.card
    return [
        card.name,
        f"asked as: {adapter.model_id}",
        f"made for: {card.base}",
        f"made: {card.date or 'unknown when'}, recipe {card.recipe or 'unknown'}",
        f"records: {_counts(card.records)}",
        f"patients: {_counts(card.patients)}",
        f"regions: {_counts(card.structures)}",
        f"held out: {card.figures}",
        *(f"  {name}: {_group(group)}" for name, group in sorted(card.before_after.items())),
        f"files: {', '.join(card.files)}",
        f"SHA-256 of the files: {adapter.sha256}",
    ]


def _told(adapter: Adapter, as_json: bool) -> None:
    if as_json:
        _print_json({"adapter": _row(adapter)})
    else:
        print(f"{adapter.id}: ask it with --model {adapter.model_id}; {adapter.card.figures}")


def _row(adapter: Adapter) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "id": adapter.id,
        "model": adapter.model_id,
        "sha256": adapter.sha256,
        "figures": adapter.card.figures,
        "card": asdict(adapter.card),
    }


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items()) or "unknown"


def _group(group: Any) -> str:
    if not isinstance(group, dict):
        return str(group)
    wanted = ("before", "after", "interval", "better", "regions", "patients", "resampled")
    return ", ".join(f"{name} {group[name]}" for name in wanted if group.get(name) is not None)


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(report, ensure_ascii=False))
