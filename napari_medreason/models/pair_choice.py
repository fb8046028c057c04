"""Which family a folder of a reasoner or a segmenter belongs to; imports no torch."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.base import Segmenter
from napari_medreason.models.discovery import declared
from napari_medreason.models.fit import Precision
from napari_medreason.models.reasoners import ReasonerInfo
from napari_medreason.models.segmenters import SegmenterInfo
from napari_medreason.models.segmenters.released import model_type_of


def is_address(place: str | Path) -> bool:
    """Whether a reasoner is named by the address of a server."""
    return isinstance(place, str) and place.lower().startswith(("http://", "https://"))


def reasoner_family(
    place: str | Path, *, family: str | None = None, weights_id: str | None = None
) -> ReasonerInfo:
    """The family by its id if one is given, else by the catalogue id, else by the folder.

    A folder tells it by its name, if its model type fits too, and otherwise by its model type alone.
    ModelUnavailableError lists the families, or the model types, that are known.
    """
    infos = {id_: cast(ReasonerInfo, info) for id_, (info, _) in declared("REASONERS").items()}
    family = family or ("endpoint" if is_address(place) else None)
    if family is not None:
        if family not in infos:
            raise ModelUnavailableError(f"reasoner family {family!r} is not known; known: {', '.join(infos)}")
        return infos[family]
    named = _named(infos, weights_id or Path(place).name)
    found = _model_type(Path(place))
    if named is not None and found in named.model_types:
        return named
    by_type = [info for info in infos.values() if found in info.model_types and not info.by_name_only]
    if not by_type:
        accepted = ", ".join(sorted({kind for info in infos.values() for kind in info.model_types}))
        raise ModelUnavailableError(
            f"{Path(place).name} holds a model of type {found!r}, which is no reasoner that is known here; "
            f"accepted: {accepted}"
        )
    return by_type[0]


def segmenter_family(place: str | Path) -> SegmenterInfo:
    """The family of a segmenter's folder or released checkpoint, by its model type.

    ModelUnavailableError lists the model types that are known.
    """
    infos = [cast(SegmenterInfo, info) for info, _ in declared("SEGMENTERS").values()]
    found = model_type_of(Path(place))
    for info in infos:
        if found in info.model_types:
            return info
    accepted = ", ".join(kind for info in infos for kind in info.model_types)
    raise ModelUnavailableError(
        f"{Path(place).name} holds a model of type {found!r}, which is no segmenter that is known here; "
        f"accepted: {accepted}"
    )


def segmenter_maker(
    place: str | Path, *, weights_id: str = "", faithful: bool = False
) -> Callable[..., Segmenter]:
    """What makes the segmenter of a place, from `device` and `precision`.

    weights_id: of the catalogue; a family that has one kind of weights need not take it. faithful: as the
    paper's released evaluation runs it. ModelUnavailableError as from `segmenter_family`, and when the family
    does not know `faithful`.
    """
    family = segmenter_family(place)
    options: dict[str, Any] = {}
    if faithful:
        if not _takes(family, faithful=True):
            raise ModelUnavailableError(
                f"segmenter {family.id} does not take the option 'faithful'; leave it out"
            )
        options["faithful"] = True
    if weights_id and _takes(family, weights_id=weights_id):
        options["weights_id"] = weights_id
    return partial(family.create, Path(place), **options)


def _takes(family: SegmenterInfo, **options: Any) -> bool:
    try:
        inspect.signature(family.create).bind(Path(), **options)
    except TypeError:
        return False
    return True


def placed_together(
    places: Mapping[str, Path], *, device: str | None, precision: Precision | None
) -> dict[str, dict[str, str]]:
    """Options `device` and `precision` for each part, so that all fit in memory together.

    Raises what models.placing.plan_folders raises.
    """
    from napari_medreason.models.placing import plan_folders

    names = {f"{part} {place.stem}": part for part, place in places.items()}
    folders = {name: places[part] for name, part in names.items()}
    plan = plan_folders(folders, device=device, precision=precision)
    return {part: {"device": plan.device, "precision": plan.precision(name)} for name, part in names.items()}


def _named(infos: dict[str, ReasonerInfo], name: str) -> ReasonerInfo | None:
    """The family of which a name's beginning is the longest one that fits."""
    fitting = [
        (len(start), id_)
        for id_, info in infos.items()
        for start in info.names
        if name.lower().startswith(start)
    ]
    return infos[max(fitting)[1]] if fitting else None


def _model_type(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder.name} has no readable config.json with a model_type; give the folder that holds "
            "config.json and the .safetensors files"
        ) from error
