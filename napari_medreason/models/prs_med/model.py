"""PRS-Med as a GroundingModel: an answer that names a place, and a mask made from the same question.

As released, the mask does not depend on the answer that is written, so whether both name the same place is
worth checking. The system answers every question with a mask: it never learnt that something can be absent.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding, Provenance, Seconds, Workings, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.medpos import locate
from napari_medreason.core.question import Question
from napari_medreason.core.recent import Recent
from napari_medreason.errors import CancelledError, WeightsError
from napari_medreason.models.base import Cancelled, OnText
from napari_medreason.models.fit import Precision
from napari_medreason.models.medisee.pictures import isotropic_picture
from napari_medreason.models.proposal_words import has_hints
from napari_medreason.models.prs_med.positions import NAMES_NO_PLACE, position_check

if TYPE_CHECKING:
    from torch import Tensor

    from napari_medreason.models.prs_med.adapter import TunedPrsMed
    from napari_medreason.models.prs_med.network import PrsMedNetwork

KEPT_PICTURES = 4
"""Planes whose image features are kept, 4 MB each."""
ALWAYS_FOUND = "PRS-Med draws a mask for every question; it can't tell that a structure is not there"
NO_HINTS = "PRS-Med takes no box or points; those that the user drew were not used"
STRETCHED = "as released, the mask's map was stretched between its own extremes before the threshold"
_WORDLESS = "Here is the region that fits the question."
_EMPTY = "The model drew no mask, which says nothing about whether what was asked for is on this slice."


class PrsMed:
    """PRS-Med on one device.

    faithful: stretch each image's mask probabilities from 0 to 1 before the threshold of 0.5, as the released
    code does when it saves them, so that there always is a mask. sampled: draw the words at random as
    released, in place of the likeliest ones. mask_from_answer: make the mask from question and written
    answer; decoder "v5" was trained with the true answer, but released to read the question alone. size:
    side of the square that the encoder sees; an adapter is asked at that of its training.
    """

    def __init__(
        self,
        network: PrsMedNetwork,
        *,
        model_id: str = "prs-med",
        faithful: bool = False,
        sampled: bool = False,
        mask_from_answer: bool = False,
        max_new_tokens: int = 256,
        size: int = 1024,
    ) -> None:
        self.id, self.load_seconds = model_id, 0.0
        self._base = network
        self._tuned: TunedPrsMed | None = None
        self._faithful, self._sampled, self._mask_from_answer = faithful, sampled, mask_from_answer
        self._max_new_tokens, self._base_size = max_new_tokens, size
        self._features: Recent[Tensor] = Recent(KEPT_PICTURES)
        self._use(network, size)

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """Answer one question; CancelledError between tokens and stages.

        A mask without pixels makes the answer "unknown": that none was drawn is no finding.
        """
        from scipy.special import expit

        from napari_medreason.models.prs_med.pictures import map_to_plane

        _check(cancelled)
        start = perf_counter()
        picture, frame = isotropic_picture(question.plane)
        words = self._write(question.text, picture, on_text, cancelled)
        reasoned = perf_counter()
        _check(cancelled)
        states = self._states(question.text, words, picture, cancelled)
        features = self._features_of(picture)
        _check(cancelled)
        logits = self._logits(features, states)
        inside = _stretched(logits) if self._faithful else logits
        mask = map_to_plane(inside, picture.shape[:2], frame) > 0
        probability = expit(map_to_plane(logits, picture.shape[:2], frame))
        seconds = Seconds(self.load_seconds, reasoned - start, perf_counter() - reasoned)
        self.load_seconds = 0.0
        grounding = self._grounding(question, words, np.asarray(mask), seconds)
        return replace(grounding, workings=Workings(probability=probability))

    def close(self) -> None:
        """Give memory back; the model is not used again."""
        self.unload_adapter()
        self._features.clear()
        self._network.close()

    def load_adapter(self, folder: Path) -> None:
        """Answer with a tuned adapter on, in place of one there is.

        WeightsError when it doesn't fit; the one before then stays.
        """
        from napari_medreason.models.prs_med.adapter import put_on_prs_med

        put_back = self._tuned.take_off() if self._tuned is not None else None
        try:
            self._tuned = put_on_prs_med(self._base, Path(folder), self._base_size)
        except BaseException:
            if put_back is not None:
                put_back()
            raise
        self._use(self._tuned.network, self._tuned.size)

    def unload_adapter(self) -> None:
        """Take the adapter off again, if there is one; answers are then exactly the base's."""
        if self._tuned is not None:
            self._tuned.take_off()
            self._tuned = None
            self._use(self._base, self._base_size)

    def _use(self, network: PrsMedNetwork, size: int) -> None:
        from napari_medreason.models.prs_med.prompts import prompts_for

        self._network, self._size, self.weights_sha256 = network, size, network.weights_sha256
        self._prompts = prompts_for(network.decoder.version, mask_from_answer=self._mask_from_answer)
        self._features.clear()
        network.language.forget_images()

    def _write(self, question: str, picture: NDArray[np.uint8], on_text: OnText, cancelled: Cancelled) -> str:
        """The tidy answer; writing ends where the model would go on as the user."""
        from napari_medreason.models.llava_med import Sampling
        from napari_medreason.models.prs_med.prompts import AnswerStream

        language, answer = self._network.language, AnswerStream(on_text)
        ids = language.token_ids(self._prompts.for_words(language.plain(question)))
        try:
            language.generate(
                ids,
                language.pixels(picture),
                max_new_tokens=self._max_new_tokens,
                on_text=answer,
                cancelled=lambda: answer.ended or cancelled(),
                sampling=Sampling() if self._sampled else None,
            )
        except CancelledError:
            if not answer.ended or cancelled():
                raise
        return answer.finish()

    def _states(self, question: str, words: str, picture: NDArray[np.uint8], cancelled: Cancelled) -> Tensor:
        """Hidden states (T, hidden) that the mask is made from."""
        language = self._network.language
        text = self._prompts.for_mask(language.plain(question), language.plain(words))
        ids, pixels = language.token_ids(text), language.pixels(picture)
        return language.hidden_states(ids, pixels, cancelled=cancelled)

    def _logits(self, features: Tensor, states: Tensor) -> Tensor:
        """A map (1, 1, size, size) that is above 0 inside the mask."""
        import torch

        from napari_medreason.models.loading import enough_memory

        with torch.inference_mode(), enough_memory(self.id):
            logits = self._network.logits(features, states[None])
        if not bool(logits.isfinite().all()):
            raise WeightsError(
                f"the mask of {self.id} holds values that are not numbers (NaN); use another precision such "
                "as fp32, or install the weights again"
            )
        return logits

    def _features_of(self, picture: NDArray[np.uint8]) -> Tensor:
        """The encoder's features, made once for the same pixels."""
        import torch

        from napari_medreason.models.loading import enough_memory
        from napari_medreason.models.prs_med.pictures import encoder_input

        digest = blake2b(picture.data, digest_size=16)
        digest.update(repr(picture.shape).encode())
        kept = self._features.get(digest.digest())
        if kept is not None:
            return kept
        with torch.inference_mode(), enough_memory(self.id):
            features = self._network.features(encoder_input(picture, self._size))
        return self._features.put(digest.digest(), features)

    def _grounding(
        self, question: Question, words: str, mask: NDArray[np.bool_], seconds: Seconds
    ) -> Grounding:
        drawn = bool(mask.any())
        check = position_check(words, mask, question.plane.grid.index) if drawn else None
        window = question.plane.window
        provenance = Provenance(
            model=self.id,
            weights_sha256=self.weights_sha256,
            seconds=seconds,
            templated=not words,
            window=(window.low, window.high),
            notes=tuple(self._notes(question, mask, compared=check is not None)),
        )
        return Grounding(
            status="found" if drawn else "unknown",
            answer=_answer(words, drawn=drawn),
            grid=question.plane.grid,
            provenance=provenance,
            reasoning=words,
            mask=mask if drawn else None,
            box=mask_box(mask),
            points=key_points(mask) if drawn else None,
            checks=(check,) if check else (),
        )

    def _notes(self, question: Question, mask: NDArray[np.bool_], *, compared: bool) -> list[str]:
        notes = [ALWAYS_FOUND, f"decoder {self._network.decoder.version}"]
        position = locate(mask, rule="released")
        if position is not None:
            notes.append(
                f"place of the mask in the image, by the rule of the training data: {position.label}"
            )
        if position is not None and not compared:
            notes.append(NAMES_NO_PLACE)
        if self._faithful:
            notes.append(STRETCHED)
        if has_hints(question):
            notes.append(NO_HINTS)
        return notes


def load_prs_med(
    *,
    weights: str | Path,
    base: str | Path,
    vision_tower: str | Path,
    device: str | None = None,
    precision: Precision | None = None,
    **options: Any,
) -> PrsMed:
    """PRS-Med from its folder (llm_seg_N, or one that holds several), LLaVA-Med's folder and CLIP's folder.

    precision: of LLaVA-Med, None: what fits. options: of `PrsMed`, such as `faithful`. WeightsError for a
    missing, damaged or other system's file; nothing stays loaded then.
    """
    from napari_medreason.models.prs_med.folder import find_folder
    from napari_medreason.models.prs_med.network import load_network

    start = perf_counter()
    network = load_network(
        find_folder(Path(weights)),
        base=Path(base),
        vision_tower=Path(vision_tower),
        device=device,
        precision=precision,
    )
    model = PrsMed(network, **options)
    model.load_seconds = perf_counter() - start
    return model


def _stretched(logits: Tensor) -> Tensor:
    """Probabilities stretched from 0 to 1, less the threshold of 0.5."""
    probability = logits.sigmoid()
    low, high = probability.amin(), probability.amax()
    return (probability - low) / (high - low).clamp(min=1e-12) - 0.5


def _answer(words: str, *, drawn: bool) -> str:
    if drawn:
        return words or _WORDLESS
    return f"{_EMPTY} Its words alone: {words}" if words else f"{_EMPTY} Ask in other words."


def _check(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancelledError
