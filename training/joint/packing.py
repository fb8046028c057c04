"""Texts of several lengths with their images as one batch for LLaVA-Med, and the loss of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.models.llava_med import LlavaMed
from napari_medreason.models.llava_tokenizer import IMAGE_ID

IGNORED = -100
"""Label of a position whose word is not learnt."""


@dataclass(frozen=True)
class TrainingText:
    """Token ids of a question and its true answer. learnt_from: ids before this index are not learnt.

    question_length: how many ids the question has, all that the model is given when it is asked.
    """

    ids: tuple[int, ...]
    question_length: int
    learnt_from: int

    @property
    def labels(self) -> list[int]:
        """The ids that are learnt, IGNORED elsewhere; an image is never learnt."""
        return [
            id_ if place >= self.learnt_from and id_ != IMAGE_ID else IGNORED
            for place, id_ in enumerate(self.ids)
        ]


@dataclass(frozen=True, eq=False)
class Packed:
    """Embeddings (B, L, hidden) with images spliced in, filled up on the right; attention mask and labels."""

    embeds: Tensor
    attention: Tensor
    labels: Tensor


def answered(
    language: LlavaMed, question: str, answer: str, *, longest: int, learn_question: bool = False
) -> TrainingText:
    """A prompt with the answer that is to follow it, which ends with the end-of-sequence token.

    The prompt's ids are those of the prompt alone, as the model is given them when it is asked. An answer
    that makes the text longer than `longest` ids is cut short before its end token.
    """
    prompt = language.token_ids(question)
    words = language.tokenizer(language.plain(answer), add_special_tokens=False).input_ids
    words = list(words)[: max(0, longest - len(prompt) - 1)]
    ids = (*prompt, *words, int(language.tokenizer.eos_token_id))
    return TrainingText(ids, len(prompt), 1 if learn_question else len(prompt))


def expanded_labels(language: LlavaMed, labels: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Labels of the sequence in which the image takes its many places."""
    if IMAGE_ID not in ids:
        return list(labels)
    at = list(ids).index(IMAGE_ID)
    return [*labels[:at], *[IGNORED] * language.image_tokens, *labels[at + 1 :]]


def packed(language: LlavaMed, texts: Sequence[TrainingText], pixels: Sequence[Tensor]) -> Packed:
    """Texts with one image each as one batch; gradients flow to the embeddings."""
    embeds = [language.embed(text.ids, picture)[0][0] for text, picture in zip(texts, pixels, strict=True)]
    labels = [torch.tensor(expanded_labels(language, text.labels, text.ids)) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    lengths = torch.tensor([len(one) for one in embeds])
    attention = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    device = language.device
    return Packed(
        pad(embeds, batch_first=True),
        attention.long().to(device),
        pad(labels, batch_first=True, padding_value=IGNORED).to(device),
    )


def text_loss(language: LlavaMed, states: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the learnt words; states: (B, L, hidden) last hidden states.

    The output layer is asked only where a word is learnt, since all logits of a long text take much memory.
    """
    wanted = labels[:, 1:] != IGNORED
    logits = language.model.get_output_embeddings()(states[:, :-1][wanted])
    return functional.cross_entropy(logits.float(), labels[:, 1:][wanted])
