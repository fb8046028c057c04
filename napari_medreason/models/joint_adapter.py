"""Adapters of PRS-Med and MediSee: a LoRA for the words, and whole parts that were trained beside it.

A folder with `adapter.json` (models.adapter_card), a PEFT adapter (`adapter_config.json`,
`adapter_model.safetensors`) and `parts.safetensors`. Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from napari_medreason.errors import WeightsError
from napari_medreason.models.adapter_card import Kind, read_adapter_card
from napari_medreason.models.checkpoints import Tensors, read_tensors
from napari_medreason.models.reasoners.adapters import WEIGHTS, PutBack, put_on
from napari_medreason.models.weights import combined_sha256, file_sha256

T = TypeVar("T")
PARTS = "parts.safetensors"


@dataclass(frozen=True, eq=False)
class JointAdapter:
    """An adapter that was read and belongs to the base. parts: tensors, the first name is the part's.

    settings: what its card says of its training. sha256: of the base with the adapter on.
    """

    folder: Path
    parts: Tensors
    settings: Mapping[str, Any]
    sha256: str

    def part(self, name: str) -> Tensors:
        """The tensors of one part by their names in it; {} when it was not trained."""
        return {
            key[len(name) + 1 :]: value for key, value in self.parts.items() if key.startswith(f"{name}.")
        }

    def setting(self, name: str, usual: T, accepted: Callable[[T], bool] = lambda _: True) -> T:
        """A setting of its training by which it must be asked too; `usual` where its card tells none.

        WeightsError for a value of another type, or that is not accepted.
        """
        value = self.settings.get(name, usual)
        if type(value) is not type(usual) or not accepted(value):
            raise WeightsError(
                f"the card of {self.folder.name} says {name} = {value!r:.40}, with which it can't be asked; "
                "get the adapter again, or export it again"
            )
        return value

    def put_on_words(self, network: Any) -> Callable[[], PutBack]:
        """Put the LoRA on a network in place; gives what takes it off. WeightsError when it does not fit."""
        return put_on(network, self.folder)[0]


def read_joint_adapter(folder: Path, kind: Kind, base_sha256: str) -> JointAdapter:
    """An adapter folder; WeightsError when it is another model's, for other weights, or damaged."""
    card = read_adapter_card(folder)
    if card.kind != kind:
        raise WeightsError(
            f"{folder.name} is an adapter for {card.base} ({card.kind}), not for {kind}; choose the model "
            "that it was trained for"
        )
    if card.base_weights_sha256 != base_sha256:
        raise WeightsError(
            f"{folder.name} was trained for other weights of {card.base} than those that are loaded; load "
            "the same ones, or train it again on these"
        )
    file = folder / PARTS
    if not file.is_file():
        raise WeightsError(f"{folder.name} holds no {PARTS}; get the adapter again, or export it again")
    parts = read_tensors(file)
    broken = next((name for name, value in parts.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise WeightsError(
            f"{broken} in {PARTS} of {folder.name} holds values that are not numbers; its training failed, "
            "choose another run"
        )
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(f"{folder.name} holds no {WEIGHTS}; get the adapter again, or export it again")
    sha256 = combined_sha256([base_sha256, file_sha256(file), file_sha256(folder / WEIGHTS)])
    settings = card.config.get(card.recipe)
    return JointAdapter(folder, parts, settings if isinstance(settings, Mapping) else {}, sha256)
