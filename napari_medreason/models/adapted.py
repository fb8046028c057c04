"""A model with an adapter on it: which goes on which, how it is listed, and answers that name both.

No torch here. A model id such as `embedded@our-lesions` names a base and an adapter of the store;
`embedded@runs/first/adapter` names one by its folder, which is how a run's result is tried before it is
accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.adapter_store import (
    AT,
    OWN_FOLDER,
    OWN_MODEL,
    Adapter,
    checked,
    from_folder,
    get,
)
from napari_medreason.models.base import Cancelled, GroundingModel, ModelInfo, OnText, prepare
from napari_medreason.models.catalogue import catalogue

_EMBEDDED = ("embedded", "embedded-pair")


class AdaptedModel:
    """A base with an adapter on; only while the base has it on, which whoever made this sees to.

    base_id: the id that the base was asked for under.
    """

    def __init__(self, model: GroundingModel, adapter: Adapter, base_id: str) -> None:
        self.model, self.adapter, self.base_id = model, adapter, base_id
        self.id = f"{base_id}{AT}{adapter.id}"

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """The base's answer; its provenance names the adapter, and its weights' hash is of both."""
        grounding = self.model.ask(question, on_text=on_text, cancelled=cancelled)
        provenance, card = grounding.provenance, self.adapter.card
        words = f"adapter: {card.name}, weights {self.adapter.sha256[:12]}…"
        if provenance.evidence:  # the base's own, which stays; otherwise the figures take its place
            words += f"; {card.figures}"
        provenance = replace(
            provenance,
            model=self.id,
            segmenter=self.segmenter_id if self.segmenter is not None else provenance.segmenter,
            evidence=provenance.evidence or f"adapter {card.name}: {card.figures}",
            notes=(*provenance.notes, words),
        )
        return replace(grounding, provenance=provenance)

    @property
    def segmenter(self) -> Any:
        """The base's segmenter, None if it has none."""
        return getattr(self.model, "segmenter", None)

    @property
    def segmenter_id(self) -> str:
        """The base's segmenter is another one only if the adapter tuned it, as that of the embedded model.

        The composed pair has the embedded model's, which can be asked for under that id alone.
        """
        tuned = self.adapter.card.kind == "embedded-expert"
        return f"{self.segmenter.id}{AT}{self.adapter.id}" if tuned else str(self.segmenter.id)

    def embedding(self, plane: Plane) -> Any:
        """What the base's segmenter made, or makes, of a plane."""
        return getattr(self.model, "embedding", self.segmenter.embed)(plane)

    def prepare(self, plane: Plane) -> None:
        """Let the base load what a plane needs, if it offers that."""
        prepare(self.model, plane)

    def close(self) -> None:
        """Close the base."""
        self.model.close()

    def load_adapter(self, folder: Path) -> None:
        """One adapter is on already, so this always is a ModelUnavailableError."""
        raise ModelUnavailableError(f"{self.id} has an adapter on; ask {self.base_id}{AT}… for another one")


def named_adapter(model_id: str) -> tuple[str, Adapter] | None:
    """The base and the adapter that a model id names; None for an id without an adapter.

    UnknownModelError when the store has no such adapter, WeightsError when it is damaged or for another base.
    """
    base_id, at, named = model_id.partition(AT)
    if not at:
        return None
    by_folder = "/" in named or "\\" in named or named in (".", "..")
    adapter = from_folder(Path(named).expanduser()) if by_folder else get(named)
    check_base(base_id, adapter)
    return base_id, adapter


def check_base(base_id: str, adapter: Adapter) -> None:
    """WeightsError when an adapter was made for another base than the model with this id.

    Weights of the user's own may have become known by an id since; the base compares their hash.
    """
    base, kind = adapter.card.base, adapter.card.kind
    own = base.startswith(OWN_FOLDER)
    if kind == "embedded-expert":
        fits = base_id in _EMBEDDED
    elif kind == "peft":
        fits = base_id == OWN_MODEL or base_id.partition("+")[0] == base or (own and _has_reasoner(base_id))
    else:
        fits = base_id == kind and (own or base == kind)
    if not fits:
        made_for = f"a model folder of your own ({base.removeprefix(OWN_FOLDER)})" if own else base
        raise WeightsError(
            f"adapter {adapter.id} was made for {made_for}, not for {base_id}; ask {adapter.model_id}, or "
            "train one for that model"
        )


def _has_reasoner(base_id: str) -> bool:
    entry = catalogue().get(base_id.partition("+")[0])
    return entry is not None and entry.kind == "reasoner"


def put_on(model: GroundingModel, adapter: Adapter) -> None:
    """Put an adapter on its base, in place of the one that is on.

    WeightsError when it is damaged or does not fit; the base is then as it was.
    """
    checked(adapter)
    model.load_adapter(adapter.folder)


def take_off(model: GroundingModel) -> bool:
    """Take the adapter off; False when the model can't, so that it has to be loaded anew."""
    unload = getattr(model, "unload_adapter", None)
    if unload is None:
        return False
    unload()
    return True


def adapted_info(base: ModelInfo, adapter: Adapter) -> ModelInfo:
    """The model list's entry of a base with an adapter."""
    card = adapter.card
    return replace(
        base,
        id=f"{base.id}{AT}{adapter.id}",
        title=f"{base.title} + {card.name}",
        summary=f"{base.title}, tuned: {card.figures}{_learnt_from(adapter)}",
        create=partial(_create, base, adapter),
        default=False,
    )


def adapted_infos(models: Mapping[str, ModelInfo], adapters: Iterable[Adapter]) -> dict[str, ModelInfo]:
    """An entry for each adapter on the model that it was made for, where that is known here."""
    known = [(models[one.base_model], one) for one in adapters if one.base_model in models]
    return {info.id: info for info in (adapted_info(base, adapter) for base, adapter in known)}


def _learnt_from(adapter: Adapter) -> str:
    card = adapter.card
    if "train" not in card.records:
        return ""
    patients = card.patients.get("train", 0)
    return (
        f"; learnt from {card.records['train']} masks of {patients} patient{'' if patients == 1 else 's'}"
        f"{f', {card.date}' if card.date else ''}"
    )


def _create(base: ModelInfo, adapter: Adapter, /, **options: Any) -> GroundingModel:
    model = base.create(**options)
    try:
        put_on(model, adapter)
    except BaseException:
        model.close()
        raise
    return AdaptedModel(model, adapter, base.id)
