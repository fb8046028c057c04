"""Joint training of MediSee: words, box and mask; and its second stage, which teaches where to look.

The true answer's candidate tokens are read where the model predicts them, as when it is asked. In the second
stage each question is also asked by the plain name of its structure, and where the image is like the fused
state then is the teacher for the question that needs reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_medreason.core.recent import Recent
from napari_medreason.core.run_folder import EndReason
from napari_medreason.core.run_memory import KEPT_PICTURES
from napari_medreason.core.run_recipes_joint import MediSeeRecipe
from napari_medreason.models.llava_tokenizer import IMAGE_ID
from napari_medreason.models.loading import placement_for
from napari_medreason.models.medisee.adapter import ROWS, WORDS, word_rows
from napari_medreason.models.medisee.checkpoint import checkpoint_files, read_checkpoint
from napari_medreason.models.medisee.conversation import CANDIDATES, explanation
from napari_medreason.models.medisee.heads import Proposal, corners
from napari_medreason.models.medisee.medsam import (
    SamPicture,
    box_prompts,
    decode,
    embed_picture,
    masks_in_picture,
)
from napari_medreason.models.medisee.model import BESIDE_BYTES
from napari_medreason.models.medisee.network import MediSeeNetwork, scaled_boxes
from napari_medreason.models.medisee.pictures import box_in_plane
from napari_medreason.models.weights import weights_sha256

from ..losses_medisee import (
    FOREGROUND,
    corner_loss,
    cross_entropy_loss,
    dice_loss,
    mask_to_box,
    overlap_loss,
    similarity_loss,
)
from ..runs import RunWriter
from .base import BaseFolders, base_folders, device_for, precision_of
from .medisee_texts import CANNED, PLAIN_QUESTION, MediSeeTexts
from .module import SAID_TOKENS, JointModule, Seen
from .packing import TrainingText, packed, text_loss
from .recipe import train_joint
from .samples import JointSample, Picture
from .word_rows import TrainedRows


def train(writer: RunWriter, base: Path) -> EndReason:
    """Do a whole run of the recipe "medisee", or go on with it; `base` is where its paths start."""
    folders = base_folders(writer.config.base, base, "medisee")
    return train_joint(writer, base, lambda: medisee_module(folders, writer), folders)


def medisee_module(folders: BaseFolders, writer: RunWriter) -> MediSeeModule:
    """The system of these folders, ready to be trained; WeightsError when one is missing or damaged."""
    settings = writer.config.medisee
    checkpoint_files(folders.weights)
    placement = placement_for(
        folders.language,
        device=device_for(writer.config.device),
        precision=precision_of(settings.precision),
        beside=BESIDE_BYTES,
    )
    tensors = read_checkpoint(folders.weights)
    network = MediSeeNetwork.load(
        tensors,
        base=folders.language,
        vision_tower=folders.vision_tower,
        placement=placement,
        faithful=settings.faithful,
    )
    return MediSeeModule(network, settings, weights_sha256(tensors.files))


@dataclass(frozen=True, eq=False)
class _Read:
    """A batch that went through the language model. proposal: what the heads make of it."""

    texts: list[TrainingText]
    labels: Tensor
    states: Tensor
    proposal: Proposal


class MediSeeModule(JointModule):
    """LLaVA-Med with a LoRA and trained word rows, heads, and MedSAM's mask decoder."""

    parts = ("heads", "mask_decoder")

    def __init__(self, network: MediSeeNetwork, settings: MediSeeRecipe, sha256: str) -> None:
        super().__init__(network.llava, settings)
        self.settings, self.weights_sha256, self.network = settings, sha256, network
        network.sam.requires_grad_(False)
        network.heads.requires_grad_(False)
        self._base = (network.heads, network.sam.mask_decoder)
        self.heads = deepcopy(network.heads).requires_grad_(True)
        self.mask_decoder = deepcopy(network.sam.mask_decoder).requires_grad_(True)
        # The head that rates masks is not asked for, so it would get no gradient.
        self.mask_decoder.iou_prediction_head.requires_grad_(False)
        self._use(self.heads, self.mask_decoder)
        words = len(word_rows(network)[0])
        self.rows = TrainedRows(self.llava, len(CANDIDATES) if settings.words == "candidates" else words)
        self._pictures: Recent[SamPicture] = Recent(KEPT_PICTURES)
        self._texts = MediSeeTexts(network.llava)

    def forward(self, samples: Sequence[JointSample], *, epoch: float) -> dict[str, Tensor]:
        """Losses of words, mask, box, and of where the image is looked at in the second stage."""
        settings = self.settings
        read = self._read(samples, [self._texts.true_answer(sample.record, epoch) for sample in samples])
        losses = {"text": text_loss(self.language, read.states, read.labels)}
        losses |= self._mask_losses(samples, read.proposal)
        truth = torch.tensor([_true_corners(sample) for sample in samples], device=self.language.device)
        boxes = read.proposal.boxes.float()
        losses |= {"box": corner_loss(boxes, truth), "giou": overlap_loss(boxes, truth)}
        total = settings.text_weight * losses["text"] + settings.cross_entropy_weight * losses["bce"]
        total = total + settings.dice_weight * losses["dice"] + settings.box_weight * losses["box"]
        total = total + settings.overlap_weight * losses["giou"]
        if settings.similarity_weight:
            losses["similarity"] = self._similarity(samples, read)
            total = total + settings.similarity_weight * losses["similarity"]
        return {"loss": total, **losses}

    @torch.no_grad()
    def look(self, sample: JointSample) -> Seen:
        """Mask and box from the canned answer, as in all released scripts; text loss of the true one."""
        true = self._read([sample], [self._texts.true_answer(sample.record, 0)])
        read = self._read([sample], [CANNED])
        picture = sample.picture
        mask = picture.frame.map_to_plane(self._logits(sample, read.proposal, 0)[0].cpu().numpy(), -10.0) > 0
        x0, y0, x1, y1 = corners(read.proposal.boxes)[0].tolist()
        box = box_in_plane((x0, y0, x1, y1), picture.frame) or (0.0, 0.0, 0.0, 0.0)
        return Seen(np.asarray(mask), float(text_loss(self.language, true.states, true.labels)), box)

    @torch.no_grad()
    def say(self, sample: JointSample) -> str:
        """The model's own words without the candidates."""
        self.language.forget_images()
        ids = self.language.token_ids(self._texts.asked(sample.record.question))
        new = self.language.generate(ids, self._pixels(sample), max_new_tokens=SAID_TOKENS)
        self.language.forget_images()
        text = self.language.text_of(new)
        return explanation(text) or text.strip()

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """The base's heads, mask decoder and words, and no LoRA."""
        self._use(*self._base)
        try:
            with self.lora.off(), self.rows.off():
                yield
        finally:
            self._use(self.heads, self.mask_decoder)

    def trained_parts(self) -> Iterator[tuple[str, Tensor]]:
        """Heads and mask decoder, and the rows of words that were trained."""
        yield from super().trained_parts()
        for name, row in zip(ROWS, (self.rows.embed, self.rows.output), strict=True):
            yield f"{WORDS}.{name}", row

    def _use(self, heads: torch.nn.Module, mask_decoder: torch.nn.Module) -> None:
        self.network.heads, self.network.sam.mask_decoder = heads, mask_decoder  # type: ignore[assignment]

    def _read(
        self,
        samples: Sequence[JointSample],
        answers: Sequence[str],
        questions: Sequence[str] = (),
    ) -> _Read:
        told = questions or [sample.record.question for sample in samples]
        texts, places = zip(*map(self._texts.text, told, answers), strict=True)
        batch = packed(self.language, texts, [self._pixels(sample) for sample in samples])
        states = self.language.states(batch.embeds, batch.attention)
        at = [
            [self.network.predicting(list(text.ids), one) for one in place]
            for text, place in zip(texts, places, strict=True)
        ]
        rows = torch.arange(len(at), device=states.device)
        seg, bbox = (
            states[rows, torch.tensor(column, device=states.device)] for column in zip(*at, strict=True)
        )
        return _Read(list(texts), batch.labels, states, self.network.heads(seg.float(), bbox.float()))

    def _pixels(self, sample: JointSample) -> Tensor:
        return self.network.pixels(sample.picture.rgb)

    def _embedding(self, picture: Picture) -> SamPicture:
        kept = self._pictures.get(picture)
        if kept is None:
            with torch.no_grad():
                kept = self._pictures.put(picture, embed_picture(self.network.sam, picture.rgb))
        return kept

    def _logits(self, sample: JointSample, proposal: Proposal, place: int) -> Tensor:
        """(1, rows, columns) mask logits in the picture's pixels."""
        sam, image = self.network.sam, self._embedding(sample.picture)
        size = int(sam.config.vision_config.image_size)
        boxes = corners(proposal.boxes[place : place + 1].float())
        pixels = scaled_boxes(boxes, image.resized, size, faithful=self.network.faithful)
        prompts = box_prompts(sam, pixels)
        if not self.settings.decoder_box:
            prompts = prompts[:, :0]
        logits = decode(sam, image, prompts, proposal.text[place : place + 1].float())
        return masks_in_picture(logits.float(), image, size)

    def _mask_losses(self, samples: Sequence[JointSample], proposal: Proposal) -> dict[str, Tensor]:
        sums = []
        for place, sample in enumerate(samples):
            logits = self._logits(sample, proposal, place)
            target = torch.from_numpy(sample.mask_picture)[None].float().to(logits.device)
            sums.append(
                torch.stack([cross_entropy_loss(logits, target, 1.0), dice_loss(logits, target, 1.0)])
            )
        cross, dice = torch.stack(sums).mean(0)
        return {"bce": cross, "dice": dice}

    def _similarity(self, samples: Sequence[JointSample], read: _Read) -> Tensor:
        with torch.no_grad():
            names = [PLAIN_QUESTION.format(name=sample.record.label) for sample in samples]
            teacher = self._read(samples, [CANNED] * len(samples), names)
        return similarity_loss(
            self._image_states(read),
            read.proposal.fused_seg,
            self._image_states(teacher),
            teacher.proposal.fused_seg,
        )

    def _image_states(self, read: _Read) -> Tensor:
        """(B, image tokens, hidden) last hidden states at the image."""
        length = self.language.image_tokens
        starts = [text.ids.index(IMAGE_ID) for text in read.texts]
        return torch.stack(
            [states[at : at + length].float() for states, at in zip(read.states, starts, strict=True)]
        )


def _true_corners(sample: JointSample) -> tuple[float, float, float, float]:
    """Shares of the picture; as in the released data, the last pixel's index is the end."""
    return mask_to_box(sample.mask_picture.astype(np.uint8) * FOREGROUND, as_released=True)
