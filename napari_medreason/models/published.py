"""The published systems as models that a user picks, each put together from the catalogue's weights.

A pair of any reasoner, or detector, and any segmenter of the catalogue can be asked for by their ids, such as
`lingshu-7b+medsam`; the reasoner's own id means the pair with MedSAM2, the segmenter of MedReasoner's paper.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from napari_medreason.errors import ModelUnavailableError, UnknownModelError, WeightsError
from napari_medreason.models import store
from napari_medreason.models.base import GroundingModel, ModelInfo
from napari_medreason.models.catalogue import BYTES_PER_PARAMETER, Weights, catalogue, weights
from napari_medreason.models.settings import Endpoint, read_settings

SEGMENTER = "medsam2"
"""Draws the masks of MedReasoner, unless another one is asked for."""
PAIRED = ("MedReasoner", "Grounding DINO")
"""Systems of models that hold a segmenter of their own."""
ENDPOINT = "endpoint:"
"""Ids of models on servers that the user named begin with this."""

_log = logging.getLogger(__name__)


def pair(reasoner: str, segmenter: str, *, model_id: str = "") -> ModelInfo:
    """MedReasoner with these weights; UnknownModelError or ModelUnavailableError when they make no pair."""
    first, second = _of_kind(reasoner, "reasoner"), _of_kind(segmenter, "segmenter")
    model_id = model_id or f"{reasoner}+{segmenter}"
    return _info(
        model_id,
        f"{first.title} with {second.title}",
        "MedReasoner",
        "A vision-language model reasons, gives a box and two points; a segmenter draws the mask",
        parts=(first, second),
        create=partial(_create_pair, model_id, reasoner, segmenter),
    )


def named_pair(model_id: str) -> ModelInfo | None:
    """The pair that an id such as `lingshu-7b+medsam` names; None for an id without "+".

    UnknownModelError for unknown weights, ModelUnavailableError for those that make no pair.
    """
    first, plus, segmenter = model_id.partition("+")
    if not plus:
        return None
    return _detector_pair(first, segmenter) if weights(first).kind == "detector" else pair(first, segmenter)


def _detector_pair(detector: str, segmenter: str) -> ModelInfo:
    first, second = _of_kind(detector, "detector"), _of_kind(segmenter, "segmenter")
    model_id = f"{detector}+{segmenter}"
    return _info(
        model_id,
        f"{first.title} with {second.title}",
        "Grounding DINO",
        "A detector finds a box from the structure's name, a segmenter draws the mask",
        parts=(first, second),
        create=partial(_create_detector_pair, model_id, detector, segmenter),
    )


def with_terms(info: ModelInfo) -> ModelInfo:
    """The entry with licence, consequence and memory of its weights, where it says nothing of its own."""
    if info.consequence or not info.weights or not set(info.weights) <= set(catalogue()):
        return info
    parts = tuple(weights(one) for one in info.weights)
    return replace(
        info, licence=_each("licence", parts), consequence=_each("consequence", parts), memory=_memory(parts)
    )


def endpoint_models() -> tuple[ModelInfo, ...]:
    """Models on the servers of the user's settings; none, with a warning, when those can't be read."""
    try:
        return tuple(endpoint_model(one) for one in read_settings().endpoints)
    except (ModelUnavailableError, UnknownModelError) as error:
        _log.warning("%s", error)
        return ()


def missing_weights(info: ModelInfo) -> tuple[Weights, ...]:
    """Those of a model's weights that are not here, or not whole."""
    return tuple(weights(one) for one in info.weights if not store.status(one).usable)


def endpoint_model(one: Endpoint) -> ModelInfo:
    """The model of a server; UnknownModelError or ModelUnavailableError for a wrong segmenter."""
    host = urlsplit(one.url).netloc
    segmenter = _of_kind(one.segmenter, "segmenter")
    info = _info(
        ENDPOINT + one.name,
        f"{one.model} on {host} with {segmenter.title}",
        "MedReasoner",
        f"The slice's pixels and the question are sent to {host}, nothing else; the mask is drawn here",
        parts=(segmenter,),
        create=partial(_create_endpoint, one),
        remote=True,
    )
    return info


def _of_kind(weights_id: str, kind: str) -> Weights:
    entry = weights(weights_id)
    if entry.kind != kind:
        fitting = ", ".join(one.id for one in catalogue().values() if one.kind == kind)
        raise ModelUnavailableError(f"{weights_id} is no {kind}; choose one of {fitting}")
    return entry


def _create_pair(model_id: str, reasoner: str, segmenter: str, /, **options: Any) -> GroundingModel:
    check_weights(model_id, (reasoner, segmenter))
    from napari_medreason.models.medreasoner import load_pair

    return load_pair(
        reasoner=store.folder(reasoner),
        segmenter=store.folder(segmenter),
        model_id=model_id,
        weights_id=reasoner,
        segmenter_id=segmenter,
        **options,
    )


def _create_detector_pair(model_id: str, detector: str, segmenter: str, /, **options: Any) -> GroundingModel:
    check_weights(model_id, (detector, segmenter))
    from napari_medreason.models.grounding_dino import load_grounding_dino

    return load_grounding_dino(
        detector=store.folder(detector),
        segmenter=store.folder(segmenter),
        model_id=model_id,
        segmenter_id=segmenter,
        **options,
    )


def _create_endpoint(one: Endpoint, /, **options: Any) -> GroundingModel:
    check_weights(ENDPOINT + one.name, (one.segmenter,))
    from napari_medreason.models.medreasoner import load_pair

    chosen = {"model": one.model, "allow_endpoint": one.consent, "coordinates": one.coordinates}
    if one.key_variable:
        chosen["key_variable"] = one.key_variable
    return load_pair(
        reasoner=one.url,
        segmenter=store.folder(one.segmenter),
        model_id=ENDPOINT + one.name,
        segmenter_id=one.segmenter,
        **{**chosen, **options},
    )


def _create_medisee(**options: Any) -> GroundingModel:
    check_weights("medisee", _MEDISEE)
    from napari_medreason.models.medisee.model import load_medisee

    checkpoint, base, tower = (store.folder(one) for one in _MEDISEE)
    return load_medisee(weights=checkpoint, base=base, vision_tower=tower, **options)


def _create_prs_med(**options: Any) -> GroundingModel:
    check_weights("prs-med", _PRS_MED)
    from napari_medreason.models.prs_med.model import load_prs_med

    checkpoint, base, tower = (store.folder(one) for one in _PRS_MED)
    return load_prs_med(weights=checkpoint, base=base, vision_tower=tower, **options)


def check_weights(model_id: str, needed: Iterable[str]) -> None:
    """WeightsError when weights are missing or faulty; names them all and the one command that gets them."""
    statuses = [store.status(one) for one in needed]
    for status in statuses:
        if status.fault:
            raise WeightsError(status.fault)
    missing = [weights(status.id) for status in statuses if not status.usable]
    if len(missing) == 1:
        raise WeightsError(
            f"model {model_id} needs {missing[0].title}, which is not on this computer; "
            f"{store.how_to_get(missing[0])}"
        )
    if missing:
        titles = " and ".join(entry.title for entry in missing)
        by_hand = "; ".join(f"{one.title}: {store.how_to_get(one)}" for one in missing)
        fetched = all(entry.downloadable for entry in missing)
        how = f"get them with `medreason models pull {model_id}`" if fetched else by_hand
        raise WeightsError(f"model {model_id} needs {titles}, which are not on this computer; {how}")


def _info(
    model_id: str,
    title: str,
    system: str,
    summary: str,
    *,
    parts: tuple[Weights, ...],
    create: Callable[..., GroundingModel],
    remote: bool = False,
) -> ModelInfo:
    return ModelInfo(
        id=model_id,
        title=title,
        system=system,
        summary=summary,
        licence=_each("licence", parts),
        create=create,
        needs_download=True,
        weights=tuple(entry.id for entry in parts),
        consequence=_each("consequence", parts),
        memory=_memory(parts),
        modalities=parts[0].modalities,
        remote=remote,
    )


def _each(field: str, parts: tuple[Weights, ...]) -> str:
    """What the parts say, with their names if they differ."""
    words = {entry.title: getattr(entry, field) or "unknown" for entry in parts}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return "; ".join(f"{title}: {text}" for title, text in words.items())


def _memory(parts: tuple[Weights, ...]) -> dict[str, int]:
    """Bytes of the parameters by precision; a system's own checkpoint already holds its parts."""
    counted = parts[:1] if parts[0].id == "medisee" else parts
    if not all(entry.memory for entry in counted):
        return {}
    return {name: sum(entry.memory[name] for entry in counted) for name in BYTES_PER_PARAMETER}


_MEDISEE = ("medisee", "llava-med-7b", "clip-vit-l-336")
_PRS_MED = ("prs-med", "llava-med-7b", "clip-vit-l-336")

MODELS = (
    *(
        pair(entry.id, SEGMENTER, model_id=entry.id)
        for entry in catalogue().values()
        if entry.kind == "reasoner"
    ),
    _info(
        "medisee",
        "MediSee",
        "MediSee",
        "LLaVA-Med writes candidate tokens, routers weigh them, MedSAM draws with box and text; "
        "always answers that something was found",
        parts=tuple(weights(one) for one in _MEDISEE),
        create=_create_medisee,
    ),
    _info(
        "prs-med",
        "PRS-Med",
        "PRS-Med",
        "LLaVA-Med writes where something lies, a mask decoder reads its words; both places are compared",
        parts=tuple(weights(one) for one in _PRS_MED),
        create=_create_prs_med,
    ),
)
