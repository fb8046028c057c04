"""The list of models and how to make one; importing it loads neither torch nor transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from napari_medreason.errors import UnknownModelError
from napari_medreason.models.adapted import adapted_info, adapted_infos, named_adapter
from napari_medreason.models.adapter_store import installed
from napari_medreason.models.base import GroundingModel, ModelInfo, Segmenter
from napari_medreason.models.discovery import declared, is_built_in
from napari_medreason.models.published import PAIRED, endpoint_models, named_pair, with_terms
from napari_medreason.models.segmenters import SegmenterInfo

__all__ = [
    "ModelInfo",
    "SegmenterInfo",
    "available",
    "create",
    "create_segmenter",
    "default",
    "info",
    "redrawing",
    "segmenters",
]


def available() -> dict[str, ModelInfo]:
    """Every known model by id: built-in ones, plugins' ones, those on servers, and those with an adapter.

    Plugins declare theirs under the entry points `napari_medreason.models`. Only a built-in model can be the
    default, so that installing a plugin does not change who answers.
    """
    found = {
        id_: _listed(cast(ModelInfo, info), built_in=is_built_in(origin))
        for id_, (info, origin) in declared("MODELS").items()
    }
    found |= {info.id: info for info in endpoint_models()}
    return found | adapted_infos(found, installed())


def _listed(info: ModelInfo, *, built_in: bool) -> ModelInfo:
    return with_terms(info) if built_in else replace(with_terms(info), default=False)


def default() -> str:
    """Id of the model that answers when none is named."""
    return next(id_ for id_, info in available().items() if info.default)


def info(name: str) -> ModelInfo:
    """The model list's entry for an id: a model, a pair (REASONER+SEGMENTER), or one with an adapter (…@ID).

    UnknownModelError lists the known ids; ModelUnavailableError when two weights make no pair, WeightsError
    when an adapter is damaged or for another base.
    """
    if (adapted := named_adapter(name)) is not None:
        base, adapter = adapted
        return adapted_info(info(base), adapter)
    models = available()
    if name not in models and (pair := named_pair(name)) is not None:
        return pair
    if name not in models:
        raise UnknownModelError(_unknown("model", name, list(models)))
    return models[name]


def create(name: str, /, **options: Any) -> GroundingModel:
    """The model with the id `name`; `options` go to its own `create`.

    UnknownModelError lists the known ids; ModelUnavailableError when it can't run here.
    """
    return info(name).create(**options)


def segmenters() -> dict[str, SegmenterInfo]:
    """Every known segmenter by id, from the same places as the models."""
    return {id_: cast(SegmenterInfo, info) for id_, (info, _) in declared("SEGMENTERS").items()}


def redrawing() -> frozenset[str]:
    """Ids that draw a mask anew from a moved box: segmenters, and models that hold one of their own."""
    pairs = (info.id for info in available().values() if info.system in PAIRED)
    return frozenset((*segmenters(), *pairs))


def create_segmenter(name: str, /, **options: Any) -> Segmenter:
    """The segmenter with the id `name`; options and errors as for `create`."""
    known = segmenters()
    if name not in known:
        raise UnknownModelError(_unknown("segmenter", name, list(known)))
    return known[name].create(**options)


def _unknown(kind: str, name: str, known: list[str]) -> str:
    listing = ", ".join(known) or "none"
    return f"{kind} {name!r} is not known; known: {listing}. Choose one of these, or check the spelling"
