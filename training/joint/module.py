"""What the two systems that learn words and masks together have in common while they are trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_medreason.core.plane import Box
from napari_medreason.core.run_recipes_joint import MediSeeRecipe, PrsMedRecipe
from napari_medreason.models.llava_med import LlavaMed

from .lora import TextLora
from .samples import JointSample

SAID_TOKENS = 64
"""Longest answer that is written for a sample of an evaluation."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a system makes of a question. mask: (rows, columns) bool in the plane's pixels.

    box_plane: the box that it proposes, None when it proposes none. text_loss: of the true answer's words.
    """

    mask: NDArray[np.bool_]
    text_loss: float
    box_plane: Box | None = None


class JointModule(nn.Module):
    """One system with everything frozen but what is trained.

    The LoRA is put into `language` in place. parts: names of the sub-modules that are trained as a whole.
    weights_sha256: of the base.
    """

    parts: tuple[str, ...]
    weights_sha256: str

    def __init__(self, language: LlavaMed, settings: PrsMedRecipe | MediSeeRecipe) -> None:
        super().__init__()
        self.language, self.llava = language, language.model
        self.llava.requires_grad_(False)
        self.lora = TextLora(self.llava, settings)
        if settings.checkpointing:
            self.llava.gradient_checkpointing_enable({"use_reentrant": False})

    @abstractmethod
    def forward(self, samples: Sequence[JointSample], *, epoch: float) -> dict[str, Tensor]:
        """The losses of a batch by name; `loss` is their weighted sum. epoch: passes done so far."""

    @abstractmethod
    def look(self, sample: JointSample) -> Seen:
        """Mask and box as the model finds them from the question alone."""

    @abstractmethod
    def say(self, sample: JointSample) -> str:
        """The answer in the model's own words."""

    @abstractmethod
    def as_base(self) -> AbstractContextManager[None]:
        """The system as it was before training, in this block."""

    def changing(self) -> dict[str, Tensor]:
        """Everything that training changes: trained parameters, and counts of the parts' normalisations."""
        found = {name: value for name, value in self.named_parameters() if value.requires_grad}
        return found | {name: value for name, value in self.named_buffers() if self._of_part(name)}

    def trained_parts(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of the parts as an adapter keeps them."""
        for part in self.parts:
            module: Any = self.get_submodule(part)
            for name, value in module.state_dict().items():
                yield f"{part}.{name}", value

    def _of_part(self, name: str) -> bool:
        return name.partition(".")[0] in self.parts
