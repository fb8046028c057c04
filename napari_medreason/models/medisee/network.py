"""MediSee's network: LLaVA-Med writes, the heads read its candidate states, MedSAM draws.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_medreason.core.plane import Box, Point
from napari_medreason.errors import WeightsError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.checkpoints import load_strictly
from napari_medreason.models.llava_layout import (
    TOWER_PREFIX,
    LlavaWeights,
    read_settings,
    read_tower,
    read_tower_config,
    weight_shards,
)
from napari_medreason.models.llava_med import LlavaMed, instruction
from napari_medreason.models.loading import Placement, enough_memory
from napari_medreason.models.medisee.checkpoint import MediSeeTensors
from napari_medreason.models.medisee.conversation import (
    CANDIDATES,
    CANNED_ANSWER,
    Places,
    candidate_places,
    shown,
)
from napari_medreason.models.medisee.heads import MediSeeHeads, Proposal, corners, heads_for
from napari_medreason.models.medisee.medsam import (
    SamPicture,
    box_prompts,
    decode,
    embed_picture,
    load_sam,
    masks_in_picture,
    point_prompts,
)
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.reasoners.listening import CancelWatch


@dataclass(frozen=True)
class Spoken:
    """What was written, and the sequence whose states are read.

    text: with the candidate tokens. ids: prompt and answer, with the candidates at `places`. lacking: the
    candidates that the model did not write, so that the canned answer is read instead.
    """

    text: str
    ids: tuple[int, ...]
    places: Places
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hints:
    """What the user drew. box: MediSee's corners as shares of the picture; points: pixels of the picture."""

    box: Box | None = None
    points: tuple[Point, ...] = ()


class MediSeeNetwork:
    """The three parts on one device.

    faithful: the conventions that the released weights were trained with, which differ from sound ones where
    a picture is not square: boxes times 1024 along both sides, and only the picture's middle square for CLIP.
    decoder_box: whether the proposed box is a prompt of the mask decoder beside the text.
    """

    decoder_box = True

    def __init__(self, llava: LlavaMed, heads: MediSeeHeads, sam: Any, *, faithful: bool) -> None:
        self.llava, self.heads, self.sam, self.faithful = llava, heads, sam, faithful
        self._watch = CancelWatch(sam)
        self._candidates = [int(id_) for id_ in llava.tokenizer.convert_tokens_to_ids(list(CANDIDATES))]

    @classmethod
    def load(
        cls, tensors: MediSeeTensors, *, base: Path, vision_tower: Path, placement: Placement, faithful: bool
    ) -> MediSeeNetwork:
        """From a checkpoint taken apart; tokenizer and configuration come from the base's folder.

        Heads and MedSAM, which are small, stay in 32-bit. WeightsError names what does not fit.
        """
        heads, sam = heads_for(tensors.heads), load_sam(tensors.sam, what=f"MedSAM in {tensors.name}")
        load_strictly(
            heads, {k: v.float() for k, v in tensors.heads.items()}, what=f"heads in {tensors.name}"
        )
        llava = LlavaMed.of(
            _llava_weights(tensors, base, vision_tower), base, placement, extra_tokens=CANDIDATES
        )
        if heads.size != llava.hidden_size:
            raise WeightsError(f"the heads in {tensors.name} are for another base than {base.name}")
        with enough_memory(tensors.name):
            return cls(llava, heads.to(llava.device).eval(), sam.to(llava.device), faithful=faithful)

    def pixels(self, picture: NDArray[np.uint8]) -> Tensor:
        """CLIP's input for a (rows, columns, 3) uint8 RGB picture."""
        return self.llava.pixels(picture, "centre_crop" if self.faithful else "pad")

    def embed(self, picture: NDArray[np.uint8], *, cancelled: Cancelled = lambda: False) -> SamPicture:
        """MedSAM's embedding of the same picture, which takes long on a CPU."""
        with torch.inference_mode(), enough_memory(self.llava.name), self._watch.listening(cancelled):
            return embed_picture(self.sam, picture)

    def speak(
        self, turn: str, pixels: Tensor, *, max_new_tokens: int, on_text: OnText, cancelled: Cancelled
    ) -> Spoken:
        """The answer in the model's own words; where it lacks a candidate, the canned answer is read."""
        prompt = self.llava.token_ids(instruction(turn))
        new = self.llava.generate(
            prompt,
            pixels,
            max_new_tokens=max_new_tokens,
            on_text=lambda text: on_text(shown(text)),
            cancelled=cancelled,
        )
        text, ids = self.llava.text_of(new), (*prompt, *new)
        places = candidate_places(ids, self._candidates, start=len(prompt))
        if places is not None:
            return Spoken(text, ids, places)
        lacking = tuple(
            word for word, id_ in zip(CANDIDATES, self._candidates, strict=True) if id_ not in new
        )
        return replace(self.canned(turn), text=text, lacking=lacking)

    def canned(self, turn: str) -> Spoken:
        """The canned answer put in without writing a word, as all released scripts do."""
        start = len(self.llava.token_ids(instruction(turn)))
        ids = tuple(self.llava.token_ids(instruction(turn) + CANNED_ANSWER))
        places = candidate_places(ids, self._candidates, start=start)
        if places is None:
            raise WeightsError(f"the tokenizer of {self.llava.name} does not know {' and '.join(CANDIDATES)}")
        return Spoken(CANNED_ANSWER.strip(), ids, places)

    def propose(self, spoken: Spoken, pixels: Tensor, *, cancelled: Cancelled = lambda: False) -> Proposal:
        """Box and text prompt from the states that predict the candidate tokens.

        WeightsError when they are not numbers.
        """
        ids = list(spoken.ids)
        states = self.llava.hidden_states(ids[: max(spoken.places)], pixels, cancelled=cancelled)
        with torch.inference_mode():
            seg, bbox = (states[self.predicting(ids, place)].float()[None] for place in spoken.places)
            proposal: Proposal = self.heads(seg, bbox)
        if not all(part.isfinite().all() for part in proposal):
            raise WeightsError(
                f"{self.llava.name} computed values that are not numbers (NaN); its weights are damaged, "
                "or the precision is too small: try bf16 or fp32, or install the weights again"
            )
        return proposal

    def predicting(self, ids: list[int], place: int) -> int:
        """Index of the state that predicts the id at `place`, in the sequence with the image spliced in."""
        return self.llava.expanded_index(ids, place) - 1

    def draw(self, proposal: Proposal, image: SamPicture, hints: Hints) -> NDArray[np.float32]:
        """(rows, columns) mask logits in the picture's pixels; what the user drew replaces the box."""
        size = int(self.sam.config.vision_config.image_size)
        with torch.inference_mode(), enough_memory(self.llava.name):
            prompts = self._prompts(proposal, image, hints, size)
            logits = masks_in_picture(decode(self.sam, image, prompts, proposal.text), image, size)
        return logits[0].cpu().numpy()

    def close(self) -> None:
        """Give memory back; it is not used again."""
        self.llava.close()
        del self.heads, self.sam
        give_memory_back()

    def _prompts(self, proposal: Proposal, image: SamPicture, hints: Hints, size: int) -> Tensor:
        boxes = corners(proposal.boxes) if hints.box is None else self._tensor([hints.box])
        pixels = scaled_boxes(boxes, image.resized, size, faithful=self.faithful and hints.box is None)
        if not hints.points:
            prompts = box_prompts(self.sam, pixels)
            return prompts if self.decoder_box or hints.box is not None else prompts[:, :0]
        rows, columns = image.shape
        scale = self._tensor([image.resized[1] / columns, image.resized[0] / rows])
        points = self._tensor([hints.points]) * scale
        return point_prompts(self.sam, points, None if hints.box is None else pixels)

    def _tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.sam.device)


def scaled_boxes(boxes: Tensor, resized: tuple[int, int], size: int, *, faithful: bool) -> Tensor:
    """(n, 4) corners as shares of the picture in pixels of the square that MedSAM sees.

    The picture takes only `resized` (rows, columns) of that square. faithful: both sides by its whole `size`,
    as released, which puts boxes of pictures that are not square beside the object.
    """
    rows, columns = (size, size) if faithful else resized
    return boxes * torch.tensor([columns, rows, columns, rows], dtype=boxes.dtype, device=boxes.device)


def _llava_weights(tensors: MediSeeTensors, base: Path, vision_tower: Path) -> LlavaWeights:
    """LLaVA-Med of the checkpoint; with the stock CLIP tower where it holds none."""
    settings, tower_config = read_settings(base), read_tower_config(vision_tower)
    llava, files = tensors.llava, tensors.files
    if not any(name.startswith(TOWER_PREFIX) for name in llava):
        tower_files = weight_shards(vision_tower)
        llava, files = {**llava, **read_tower(tower_files, vision_tower.name)}, (*files, *tower_files)
    return LlavaWeights(tensors.name, settings, tower_config, llava, files)
