"""MedReasoner: a Reasoner proposes box and points, a Segmenter draws the mask (MedReasoner, section 4).

The box and points of the answer come from the mask, so that everything in one answer agrees; what the
Reasoner proposed is kept in the notes of the provenance.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np

from napari_medreason.core.grounding import Grounding, Provenance, Seconds, Workings, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.question import Question
from napari_medreason.core.recent import Recent
from napari_medreason.errors import CancelledError, ModelUnavailableError
from napari_medreason.models.base import (
    Cancelled,
    ModelInfo,
    OnText,
    Reasoner,
    Reasoning,
    ScoredMasks,
    Segmenter,
    prepare,
)
from napari_medreason.models.fit import Precision
from napari_medreason.models.pair_choice import is_address, placed_together, reasoner_family, segmenter_maker
from napari_medreason.models.proposal_words import answer_words, has_hints, proposal_notes
from napari_medreason.models.weights import combined_sha256

SegmentFrom = Literal["both", "box", "points"]
KEPT_EMBEDDINGS = 4
"""Planes whose embedding is kept, the least recently used one goes first."""


class MedReasoner:
    """Any Reasoner with any Segmenter as one GroundingModel.

    model_id: under which the model is listed. load_seconds: time it took to load, told with the first answer.
    segment_from: what of the proposal goes to the Segmenter; both is the paper's choice and the best in its
    comparison.
    """

    def __init__(
        self,
        reasoner: Reasoner,
        segmenter: Segmenter,
        *,
        model_id: str = "medreasoner",
        load_seconds: float = 0.0,
        segment_from: SegmentFrom = "both",
    ) -> None:
        self._segment_from = _known(segment_from)
        self.id = model_id
        self.reasoner = reasoner
        self.segmenter = segmenter
        self._load_seconds = load_seconds
        self._embeddings: Recent[Any] = Recent(KEPT_EMBEDDINGS)

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """Answer one question; CancelledError between the stages, AnswerFormatError for unusable text.

        A box or points drawn by the user take the place of all that was proposed. A mask without pixels
        makes the answer "unknown": that the Segmenter failed is no finding.
        """
        _check(cancelled)
        loaded = self._load_seconds + sum(prepare(part, question.plane) for part in self._parts)
        start = perf_counter()
        reasoning = self.reasoner.reason(question, on_text=on_text, cancelled=cancelled)
        reasoned = perf_counter()
        masks = self._segment(question, reasoning, cancelled) if reasoning.status == "found" else None
        seconds = Seconds(loaded, reasoned - start, perf_counter() - reasoned if masks is not None else 0.0)
        self._load_seconds = 0.0
        return self._grounding(question, reasoning, masks, seconds)

    def embedding(self, plane: Plane) -> Any:
        """The Segmenter's embedding of a plane, made once for the same pixels, place and window."""
        key = _plane_key(plane)
        kept = self._embeddings.get(key)
        return kept if kept is not None else self._embeddings.put(key, self.segmenter.embed(plane))

    def prepare(self, plane: Plane) -> None:
        """Let both parts load what a plane needs, where they offer that."""
        for part in self._parts:
            prepare(part, plane)

    @property
    def weights_sha256(self) -> str:
        """Both parts' hashes as one; an adapter of the Reasoner changes it."""
        return _weights_of_both(self.reasoner, self.segmenter)

    @property
    def _parts(self) -> tuple[Reasoner, Segmenter]:
        return self.reasoner, self.segmenter

    def close(self) -> None:
        """Give memory back."""
        self._embeddings.clear()
        for part in self._parts:
            close_part(part)

    def load_adapter(self, folder: Path) -> None:
        """Load a fine-tuned adapter into the Reasoner; ModelUnavailableError when it takes none."""
        load = getattr(self.reasoner, "load_adapter", None)
        if load is None:
            raise ModelUnavailableError(
                f"reasoner {self.reasoner.id} takes no adapter; choose the model that it was trained for"
            )
        self._changing(lambda: load(folder))

    def unload_adapter(self) -> None:
        """Take the Reasoner's adapter off again, if it has one."""
        unload = getattr(self.reasoner, "unload_adapter", None)
        if unload is not None:
            self._changing(unload)

    def _changing(self, change: Callable[[], None]) -> None:
        """Change the Reasoner; embeddings go with the segmenter's weights, if it shares them."""
        before = self.segmenter.weights_sha256
        change()
        if self.segmenter.weights_sha256 != before:
            self._embeddings.clear()

    def _segment(self, question: Question, reasoning: Reasoning, cancelled: Cancelled) -> ScoredMasks:
        _check(cancelled)
        embedding = self.embedding(question.plane)
        _check(cancelled)
        box, points = self._prompts(question, reasoning)
        masks = self.segmenter.segment(
            embedding, box=box, points=points or None, labels=[True] * len(points) if points else None
        )
        _check(cancelled)
        return masks

    def _prompts(self, question: Question, reasoning: Reasoning) -> tuple[Box | None, tuple[Point, ...]]:
        """Box and points for the Segmenter; what the Reasoner gave alone is used whatever was chosen."""
        if has_hints(question):
            return question.box, question.points
        box, points = reasoning.box, (*(reasoning.points or ()),)
        if self._segment_from == "points" and points:
            box = None
        if self._segment_from == "box" and box is not None:
            points = ()
        return box, points

    def _grounding(
        self, question: Question, reasoning: Reasoning, masks: ScoredMasks | None, seconds: Seconds
    ) -> Grounding:
        mask = masks.best if masks is not None and masks.best.any() else None
        emptied = masks is not None and mask is None
        box = mask_box(mask) if mask is not None else None
        about_mask = () if masks is None else self._mask_notes(masks)
        proposal = proposal_notes(question, reasoning, box)
        # The Reasoner's confidence is about its own proposal, not about a mask from what the user drew.
        hinted = mask is not None and has_hints(question)
        return Grounding(
            status="unknown" if emptied else reasoning.status,
            answer=answer_words(question, reasoning, emptied=emptied),
            grid=question.plane.grid,
            provenance=self._provenance(question, reasoning, seconds, (*about_mask, *proposal)),
            reasoning=reasoning.text,
            mask=mask,
            box=box,
            points=key_points(mask) if mask is not None else None,
            confidence=None if emptied or hinted else reasoning.confidence,
            structure=reasoning.structure,
            suggestions=reasoning.suggestions,
            workings=Workings(reasoning.box, reasoning.points),
        )

    def _mask_notes(self, masks: ScoredMasks) -> tuple[str, ...]:
        """How the Segmenter was used, and its score: about the outline, not about what was asked."""
        used: tuple[str, ...] = getattr(self.segmenter, "notes", ())
        if not masks.best.any():
            return used
        return *used, f"the segmenter's own estimate of the mask's overlap: {float(masks.scores[0]):.2f}"

    def _provenance(
        self, question: Question, reasoning: Reasoning, seconds: Seconds, drawing: tuple[str, ...]
    ) -> Provenance:
        window = question.plane.window
        return Provenance(
            model=self.id,
            weights_sha256=self.weights_sha256,
            seconds=seconds,
            templated=reasoning.templated,
            evidence=reasoning.evidence,
            segmenter=self.segmenter.id,
            window=(window.low, window.high),
            notes=(f"reasoner: {self.reasoner.id}", *reasoning.notes, *drawing),
        )


def load_pair(
    *,
    reasoner: str | Path | None = None,
    segmenter: str | Path | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    segment_from: SegmentFrom = "both",
    model_id: str = "medreasoner",
    segmenter_id: str = "",
    **reasoner_options: Any,
) -> MedReasoner:
    """MedReasoner from a reasoner, a folder or the address of a server, and a segmenter, a folder or file.

    precision: None for what fits. segmenter_id: of the segmenter's weights in the catalogue, which say how
    they want their pixels; "" for what their names say. reasoner_options: `family` and `weights_id` (see
    `reasoner_family`) and `faithful`, which runs the Segmenter as the paper's released evaluation does; the
    others go to the Reasoner, such as `prompt`. ModelUnavailableError when one is missing or another model.
    """
    if reasoner is None or segmenter is None:
        raise ModelUnavailableError(
            "model medreasoner needs two local model folders, a reasoner such as Lingshu or MedReasoner-7B "
            "and a segmenter such as SAM 2; give both as options reasoner=FOLDER and segmenter=FOLDER"
        )
    start = perf_counter()
    _known(segment_from)  # before anything is loaded
    options = dict(reasoner_options)
    chosen = {key: options.pop(key, None) for key in ("family", "weights_id")}
    reasoners = reasoner_family(reasoner, **chosen)
    faithful = bool(options.pop("faithful", False))
    make_segmenter = segmenter_maker(segmenter, weights_id=segmenter_id, faithful=faithful)
    local = not is_address(reasoner) and reasoners.id != "endpoint"
    places = {"segmenter": Path(segmenter), **({"reasoner": Path(reasoner)} if local else {})}
    parts = placed_together(places, device=device, precision=precision)
    first, second = parts.get("reasoner", {}), parts["segmenter"]
    reasoning = reasoners.create(Path(reasoner) if local else reasoner, **first, **options)
    try:
        segmenting = make_segmenter(**second)
        load_seconds = perf_counter() - start
        return MedReasoner(
            reasoning, segmenting, model_id=model_id, load_seconds=load_seconds, segment_from=segment_from
        )
    except BaseException:
        close_part(reasoning)
        raise


def _known(segment_from: SegmentFrom) -> SegmentFrom:
    if segment_from not in get_args(SegmentFrom):
        raise ModelUnavailableError(
            f"segment_from={segment_from!r} is not known; accepted: {', '.join(get_args(SegmentFrom))}"
        )
    return segment_from


def _weights_of_both(reasoner: Reasoner, segmenter: Segmenter) -> str:
    """Both hashes as one; the common hash when both use the same weights, or one has none to show."""
    hashes = {reasoner.weights_sha256, segmenter.weights_sha256} - {""}
    return hashes.pop() if len(hashes) == 1 else combined_sha256(hashes)


def close_part(part: object) -> None:
    """Give a part's memory back, if it can."""
    close = getattr(part, "close", None)
    if close is not None:
        close()


def _plane_key(plane: Plane) -> bytes:
    digest = blake2b(np.ascontiguousarray(plane.image).data, digest_size=16)
    digest.update(repr((plane.grid, plane.window, plane.modality, plane.calibrated)).encode())
    return digest.digest()


def _check(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancelledError


MODELS = (
    ModelInfo(
        id="medreasoner",
        title="MedReasoner (own model folders)",
        system="MedReasoner",
        summary="A vision-language model reasons and points, SAM 2 draws; needs two local model folders",
        licence="as the weights in the folders",
        create=load_pair,
        needs_download=True,
    ),
)
