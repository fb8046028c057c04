"""MediSee as a GroundingModel: words, box and mask from one network.

The box and points of the answer come from the mask, as everywhere; the box that the network proposed is kept
in the notes. The system answers every question with a place: it never learnt to say that something is absent.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding, Provenance, Seconds, Workings, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Box
from napari_medreason.core.question import Question
from napari_medreason.core.recent import Recent
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, OnText, Reasoning
from napari_medreason.models.fit import Precision
from napari_medreason.models.medisee.conversation import asked, explanation, read_prompt, shown
from napari_medreason.models.medisee.pictures import box_in_plane, box_shares, isotropic_picture
from napari_medreason.models.proposal_words import answer_words, has_hints, proposal_notes
from napari_medreason.models.weights import weights_sha256

if TYPE_CHECKING:
    from napari_medreason.models.medisee.medsam import SamPicture
    from napari_medreason.models.medisee.network import Hints, MediSeeNetwork, Spoken
    from napari_medreason.models.reasoners.adapters import PutBack

KEPT_PICTURES = 4
"""Planes whose MedSAM embedding is kept, 4 MB each."""
BESIDE_BYTES = 4 * 94_000_000 + 4 * 37_000_000 + 4 * 12 * 4096**2
"""In 32 bits beside LLaVA-Med: MedSAM (ViT-B), the heads, and one attention map of 12 heads of MedSAM."""
ALWAYS_FOUND = "MediSee points at something for every question; it can't tell that a structure is not there"
_WORDLESS = "Here is the region that fits the question."
_OUTSIDE_LOGIT = -10.0


class MediSee:
    """MediSee on one device.

    prompt: a text file that holds `<image>` and `{question}` once each; None for the built-in one. explain:
    False answers without words of its own, faster, as all released scripts do.
    """

    def __init__(
        self,
        network: MediSeeNetwork,
        *,
        weights_sha256: str,
        model_id: str = "medisee",
        prompt: str | Path | None = None,
        explain: bool = True,
        max_new_tokens: int = 256,
    ) -> None:
        self.id, self.weights_sha256, self._base_sha256 = model_id, weights_sha256, weights_sha256
        self._take_off: Callable[[], PutBack] | None = None
        self.load_seconds = 0.0
        self._network = network
        self._prompt, self._explain, self._max_new_tokens = read_prompt(prompt), explain, max_new_tokens
        self._pictures: Recent[SamPicture] = Recent(KEPT_PICTURES)

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """Answer one question; CancelledError between layers of the networks.

        A mask without pixels makes the answer "unknown": that none could be drawn is no finding.
        """
        _check(cancelled)
        start = perf_counter()
        picture, frame = isotropic_picture(question.plane)
        pixels = self._network.pixels(picture)
        spoken = self._speak(question, pixels, on_text, cancelled)
        proposal = self._network.propose(spoken, pixels, cancelled=cancelled)
        reasoned = perf_counter()
        _check(cancelled)
        image = self._embedding(picture, cancelled)
        _check(cancelled)
        logits = self._network.draw(proposal, image, _hints(question, frame))
        mask = frame.map_to_plane(logits, fill=_OUTSIDE_LOGIT) > 0
        seconds = Seconds(self.load_seconds, reasoned - start, perf_counter() - reasoned)
        self.load_seconds = 0.0
        reasoning = self._reasoning(spoken, _plane_box(proposal.boxes, frame), picture.shape[:2])
        return self._grounding(question, reasoning, np.asarray(mask), seconds)

    def close(self) -> None:
        """Give memory back; the model is not used again."""
        self.unload_adapter()
        self._pictures.clear()
        self._network.close()

    def load_adapter(self, folder: Path) -> None:
        """Answer with a tuned adapter on, in place of one there is.

        WeightsError when it doesn't fit; the one before then stays.
        """
        from napari_medreason.models.medisee.adapter import put_on_medisee

        put_back = self._take_off() if self._take_off is not None else None
        try:
            take_off, sha256 = put_on_medisee(self._network, Path(folder), self._base_sha256)
        except BaseException:
            if put_back is not None:
                put_back()
            raise
        self._take_off, self.weights_sha256 = take_off, sha256

    def unload_adapter(self) -> None:
        """Take the adapter off again, if there is one; answers are then exactly the base's."""
        if self._take_off is not None:
            self._take_off()
            self._take_off, self.weights_sha256 = None, self._base_sha256

    def _speak(self, question: Question, pixels: Any, on_text: OnText, cancelled: Cancelled) -> Spoken:
        turn = asked(self._prompt, self._network.llava.plain(question.text))
        if not self._explain:
            return self._network.canned(turn)
        return self._network.speak(
            turn, pixels, max_new_tokens=self._max_new_tokens, on_text=on_text, cancelled=cancelled
        )

    def _embedding(self, picture: NDArray[np.uint8], cancelled: Cancelled) -> SamPicture:
        digest = blake2b(picture.data, digest_size=16)
        digest.update(repr(picture.shape).encode())
        kept = self._pictures.get(digest.digest())
        return kept or self._pictures.put(digest.digest(), self._network.embed(picture, cancelled=cancelled))

    def _reasoning(self, spoken: Spoken, box: Box | None, shape: tuple[int, int]) -> Reasoning:
        words = explanation(spoken.text)
        return Reasoning(
            "found",
            words or _WORDLESS,
            shown(spoken.text).strip(),
            box=box,
            templated=not words,
            notes=tuple(self._notes(spoken, box, shape)),
        )

    def _notes(self, spoken: Spoken, box: Box | None, shape: tuple[int, int]) -> list[str]:
        notes = [ALWAYS_FOUND]
        if spoken.lacking:
            notes.append(
                f"the model's text lacks {' and '.join(spoken.lacking)}, so box and mask were read from a "
                "canned answer that has them"
            )
        if not self._explain:
            notes.append("the canned answer was put in, as in the released scripts; the model wrote no words")
        if box is None:
            notes.append("the proposed box lies beside the image")
        if self._network.faithful and shape[0] != shape[1]:
            notes.append(
                "conventions of the released weights: the text part saw only the middle square of the image, "
                "and the box was scaled by the longer side in both directions"
            )
        return notes

    def _grounding(
        self, question: Question, reasoning: Reasoning, mask: NDArray[np.bool_], seconds: Seconds
    ) -> Grounding:
        drawn = bool(mask.any())
        box = mask_box(mask)
        window = question.plane.window
        provenance = Provenance(
            model=self.id,
            weights_sha256=self.weights_sha256,
            seconds=seconds,
            templated=reasoning.templated,
            segmenter="medsam",
            window=(window.low, window.high),
            notes=(*reasoning.notes, *proposal_notes(question, reasoning, box)),
        )
        return Grounding(
            status="found" if drawn else "unknown",
            answer=answer_words(question, reasoning, emptied=not drawn),
            grid=question.plane.grid,
            provenance=provenance,
            reasoning=reasoning.text,
            mask=mask if drawn else None,
            box=box,
            points=key_points(mask) if drawn else None,
            workings=Workings(reasoning.box),
        )


def load_medisee(
    *,
    weights: str | Path,
    base: str | Path,
    vision_tower: str | Path,
    device: str | None = None,
    precision: Precision | None = None,
    faithful: bool = True,
    **options: Any,
) -> MediSee:
    """MediSee from its checkpoint (file or folder), LLaVA-Med's folder and CLIP's folder.

    faithful: the conventions of the released weights, see `MediSeeNetwork`; False for weights trained with
    sound ones. options: of `MediSee`, such as `prompt` or `explain`. WeightsError for a missing, damaged or
    other system's checkpoint; nothing stays loaded then.
    """
    from napari_medreason.models.loading import placement_for
    from napari_medreason.models.medisee.checkpoint import checkpoint_files, read_checkpoint
    from napari_medreason.models.medisee.network import MediSeeNetwork

    start = perf_counter()
    read_prompt(options.get("prompt"))
    weights, base, vision_tower = Path(weights), Path(base), Path(vision_tower)
    checkpoint_files(weights)
    # Before gigabytes are read and merged: LLaVA-Med in the checkpoint is as large as the base.
    placement = placement_for(base, device=device, precision=precision, beside=BESIDE_BYTES)
    tensors = read_checkpoint(weights)
    network = MediSeeNetwork.load(
        tensors, base=base, vision_tower=vision_tower, placement=placement, faithful=faithful
    )
    model = MediSee(network, weights_sha256=weights_sha256(tensors.files), **options)
    model.load_seconds = perf_counter() - start
    return model


def _hints(question: Question, frame: ModelFrame) -> Hints:
    from napari_medreason.models.medisee.network import Hints

    if not has_hints(question):
        return Hints()
    box = None if question.box is None else box_shares(question.box, frame)
    return Hints(box, tuple(frame.point_to_model(point) for point in question.points))


def _plane_box(boxes: Any, frame: ModelFrame) -> Box | None:
    from napari_medreason.models.medisee.heads import corners

    x0, y0, x1, y1 = corners(boxes)[0].tolist()
    return box_in_plane((x0, y0, x1, y1), frame)


def _check(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancelledError
