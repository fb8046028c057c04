"""Joint training of PRS-Med: the words of the answer and the mask, from one look at the question.

One pass through the language model serves both: attention is causal, so hidden states at the question are
the same whether the answer follows or not. The mask is made from them alone, with gradients; the true answer
can't leak into it. (The released code made the mask from states that had seen the true answer.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.core.recent import Recent
from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_memory import KEPT_PICTURES
from napari_medreason.core.run_recipes_joint import PrsMedRecipe
from napari_medreason.models.prs_med.decoder import MaskDecoder, class_head
from napari_medreason.models.prs_med.folder import find_folder
from napari_medreason.models.prs_med.network import PrsMedNetwork, load_network
from napari_medreason.models.prs_med.pictures import encoder_input, map_to_plane
from napari_medreason.models.prs_med.prompts import Prompts, prompts_for, tidy

from ..losses_prs_med import cross_entropy_dice_loss, structure_loss
from ..runs import RunWriter
from .base import BaseFolders, base_folders, device_for, precision_of
from .module import SAID_TOKENS, JointModule, Seen
from .packing import Packed, TrainingText, answered, packed, text_loss
from .recipe import train_joint
from .samples import JointSample, Picture

LONGEST = 512
"""Ids of a text, as in the released training."""
_KINDS: Mapping[str, int] = {"MR": 0, "US": 1, "CT": 2, "CR": 3, "DX": 3, "XR": 3, "XC": 4, "ES": 5}
"""Modality of a record to its place in the decoder's PICTURE_KINDS; others are not taught."""
_UNKNOWN_KIND = -100


def train(writer: RunWriter, base: Path) -> EndReason:
    """Do a whole run of the recipe "prs-med", or go on with it; `base` is where its paths start."""
    folders = base_folders(writer.config.base, base, "prs-med")
    return train_joint(writer, base, lambda: prs_med_module(folders, writer.config.prs_med, writer), folders)


def prs_med_module(folders: BaseFolders, settings: PrsMedRecipe, writer: RunWriter) -> PrsMedModule:
    """The system of these folders, ready to be trained; WeightsError when one is missing or damaged."""
    network = load_network(
        find_folder(folders.weights),
        base=folders.language,
        vision_tower=folders.vision_tower,
        device=device_for(writer.config.device),
        precision=precision_of(settings.precision),
    )
    return PrsMedModule(network, settings)


class PrsMedModule(JointModule):
    """LLaVA-Med with a LoRA, image encoder and mask decoder; the base's own parts are kept beside them."""

    def __init__(self, network: PrsMedNetwork, settings: PrsMedRecipe) -> None:
        super().__init__(network.language, settings)
        self.settings, self.weights_sha256 = settings, network.weights_sha256
        self.parts = ("encoder", "decoder") if settings.train_encoder else ("decoder",)
        self._base = network
        network.encoder.requires_grad_(False)
        network.decoder.requires_grad_(False)
        self.encoder = deepcopy(network.encoder).requires_grad_(settings.train_encoder)
        self.decoder = _decoder(network, settings).to(network.language.device)
        if settings.class_weight:
            self.kinds = class_head().to(network.language.device)
        self._tuned = (self.encoder, self.decoder)
        self._pictures: Recent[Tensor] = Recent(KEPT_PICTURES)

    def train(self, mode: bool = True) -> PrsMedModule:
        """An encoder that is not trained keeps the counts of its normalisations."""
        super().train(mode)
        self.encoder.train(mode and self.settings.train_encoder)
        return self

    def forward(self, samples: Sequence[JointSample], *, epoch: float) -> dict[str, Tensor]:
        """Losses of words, mask and (in the first epochs) kind of picture."""
        settings = self.settings
        texts, batch, states = self._read(samples)
        losses = {"text": text_loss(self.language, states, batch.labels)}
        logits, features = self._drawn(samples, texts, states)
        losses |= self._mask_losses(logits, self._targets(samples))
        total = settings.text_weight * losses["text"]
        total = total + settings.mask_weight * sum(losses[name] for name in losses if name != "text")
        if settings.class_weight and epoch < settings.class_epochs:
            losses["kind"] = self._kind_loss(features, samples)
            total = total + settings.class_weight * losses["kind"]
        return {"loss": total, **losses}

    @torch.no_grad()
    def look(self, sample: JointSample) -> Seen:
        """The mask from the question, as the model draws it when it is asked."""
        texts, batch, states = self._read([sample])
        logits, _ = self._drawn([sample], texts, states)
        mask = map_to_plane(logits, sample.picture.grey.shape, sample.picture.frame) > 0
        return Seen(np.asarray(mask), float(text_loss(self.language, states, batch.labels)))

    @torch.no_grad()
    def say(self, sample: JointSample) -> str:
        """The likeliest words."""
        self.language.forget_images()
        ids = self.language.token_ids(self._prompts.for_words(self._question(sample)))
        new = self.language.generate(
            ids, self.language.pixels(sample.picture.rgb), max_new_tokens=SAID_TOKENS
        )
        self.language.forget_images()
        return tidy(self.language.text_of(new))

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """The base's encoder and decoder, and no LoRA."""
        self.encoder, self.decoder = self._base.encoder, self._base.decoder
        try:
            with self.lora.off():
                yield
        finally:
            self.encoder, self.decoder = self._tuned

    @property
    def _prompts(self) -> Prompts:
        return prompts_for(self.decoder.version)

    def _question(self, sample: JointSample) -> str:
        return self.language.plain(sample.record.question)

    def _read(self, samples: Sequence[JointSample]) -> tuple[list[TrainingText], Packed, Tensor]:
        """Texts with the true answers, packed, and their hidden states."""
        learn_question = self.settings.text_on == "question and answer"
        texts = [
            answered(
                self.language,
                self._prompts.for_words(self._question(sample)),
                sample.record.answer,
                longest=LONGEST,
                learn_question=learn_question,
            )
            for sample in samples
        ]
        batch = packed(self.language, texts, self._pixels(samples))
        return texts, batch, self.language.states(batch.embeds, batch.attention)

    def _drawn(
        self, samples: Sequence[JointSample], texts: Sequence[TrainingText], states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (B, 1, size, size) and image features."""
        prompts = self._prompts
        if prompts.mask != prompts.words:
            texts, states = self._questions(samples)
        lengths = [self.language.expanded_index(text.ids, text.question_length) for text in texts]
        states = states[:, : max(lengths)]
        places = torch.arange(max(lengths), device=states.device)
        padding = places[None] >= torch.tensor(lengths, device=states.device)[:, None]
        features = self._features([sample.picture for sample in samples])
        return self.decoder(features, states, padding), features

    def _features(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, 256, rows, columns) image features, from memory where the encoder is not trained."""
        if self.settings.train_encoder:
            squares = torch.cat([encoder_input(picture.rgb, self.settings.size) for picture in pictures])
            return cast(Tensor, self.encoder(squares.to(self.language.device)))
        return torch.cat([self._frozen_features(picture) for picture in pictures])

    @torch.no_grad()
    def _frozen_features(self, picture: Picture) -> Tensor:
        kept = self._pictures.get(picture)
        if kept is None:
            square = encoder_input(picture.rgb, self.settings.size)
            kept = self._pictures.put(picture, self.encoder(square.to(self.language.device)))
        return kept

    def _questions(self, samples: Sequence[JointSample]) -> tuple[list[TrainingText], Tensor]:
        """States of the other prompt, where a decoder's mask is made from one of its own."""
        texts = []
        for sample in samples:
            ids = self.language.token_ids(self._prompts.for_mask(self._question(sample)))
            texts.append(TrainingText(tuple(ids), len(ids), len(ids)))
        batch = packed(self.language, texts, self._pixels(samples))
        return texts, self.language.states(batch.embeds, batch.attention)

    def _pixels(self, samples: Sequence[JointSample]) -> list[Tensor]:
        return [self.language.pixels(sample.picture.rgb) for sample in samples]

    def _targets(self, samples: Sequence[JointSample]) -> Tensor:
        """(B, 1, size, size) shares 0 to 1; the edges stay soft, as in the released training."""
        size = (self.settings.size, self.settings.size)
        masks = [torch.from_numpy(sample.mask_picture).float()[None, None] for sample in samples]
        squares = [functional.interpolate(mask, size, mode="bilinear", antialias=True) for mask in masks]
        return torch.cat(squares).clamp(0, 1).to(self.language.device)

    def _mask_losses(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        logits = logits.float()
        kind = self.settings.mask_loss
        if kind != "cross-entropy and dice":
            return {"mask": structure_loss(logits, target, as_released=kind == "structure as released")}
        cross = functional.binary_cross_entropy_with_logits(logits, target)
        return {"bce": cross, "dice": cross_entropy_dice_loss(logits, target) - cross}

    def _kind_loss(self, features: Tensor, samples: Sequence[JointSample]) -> Tensor:
        kinds = [_KINDS.get(sample.record.image.modality, _UNKNOWN_KIND) for sample in samples]
        truth = torch.tensor(kinds, device=features.device)
        # A sum over the known ones, since a mean over none is not a number.
        wrong = functional.cross_entropy(
            self.kinds(features).float(), truth, ignore_index=_UNKNOWN_KIND, reduction="sum"
        )
        return wrong / max(1, sum(kind != _UNKNOWN_KIND for kind in kinds))


def _decoder(network: PrsMedNetwork, settings: PrsMedRecipe) -> MaskDecoder:
    """The base's decoder to go on from, or a new one where another kind is asked for."""
    version = settings.decoder or network.decoder.version
    if version == network.decoder.version:
        decoder = deepcopy(network.decoder).requires_grad_(True)
    else:
        decoder = MaskDecoder(version, hidden_size=network.decoder.hidden_size)
    decoder.ffn.norm1.requires_grad_(False)  # nothing goes through it
    return decoder
