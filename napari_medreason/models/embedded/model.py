"""The embedded model as a GroundingModel: the direct path, and the composed pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter

from napari_medreason.core.grounding import Check, Grounding, Provenance, Seconds, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import Plane
from napari_medreason.core.question import Question
from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, ModelInfo, OnText, prepare
from napari_medreason.models.embedded.answering import answer
from napari_medreason.models.embedded.checks import checks
from napari_medreason.models.embedded.looking import Answer, redrawn
from napari_medreason.models.embedded.perception import Perceiver
from napari_medreason.models.embedded.reasoner import EmbeddedReasoner
from napari_medreason.models.embedded.segmenter import EmbeddedSegmenter
from napari_medreason.models.medreasoner import MedReasoner

HINTS_NOT_USED = "the box or points were not used, since the structure was not found"


class EmbeddedModel:
    """Question to mask in one pass; box and key points are read from the mask."""

    id = "embedded"

    def __init__(self, perceiver: Perceiver | None = None) -> None:
        self.perceiver = perceiver or Perceiver()
        self.segmenter = EmbeddedSegmenter(self.perceiver)

    def prepare(self, plane: Plane) -> None:
        """Load what this plane needs, so that loading isn't counted as reasoning."""
        if self.perceiver.expert_for(plane) is not None:
            self.perceiver.prepare(plane)

    def ask(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Grounding:
        """Answer one question; the words come from a template and are marked so."""
        if cancelled():
            raise CancelledError
        loaded, start = prepare(self, question.plane), perf_counter()
        found = answer(question, self.perceiver)
        reasoned = perf_counter()
        shown = self._with_hints(question, found)
        if cancelled():
            raise CancelledError
        on_text(shown.words)
        tested = checks(self.perceiver, question.plane, shown, drawn=shown.mask is not found.mask)
        seconds = Seconds(loaded, reasoned - start, perf_counter() - reasoned)
        return self._grounding(question, shown, seconds, tested)

    def _with_hints(self, question: Question, found: Answer) -> Answer:
        """The answer about what the user's box or points hold, where there are any."""
        if question.box is None and not question.points:
            return found
        if found.status != "found":
            return replace(found, doubts=(*found.doubts, HINTS_NOT_USED))
        seen = self.segmenter.embed(question.plane)
        drawn = self.segmenter.segment(seen, box=question.box, points=question.points or None).best
        return redrawn(seen, question.plane, found, drawn)

    def _grounding(
        self, question: Question, found: Answer, seconds: Seconds, tested: tuple[Check, ...]
    ) -> Grounding:
        window, mask = question.plane.window, found.mask
        return Grounding(
            status=found.status,
            answer=found.words,
            grid=question.plane.grid,
            provenance=Provenance(
                model=self.id,
                weights_sha256=self.perceiver.weights_sha256,
                seconds=seconds,
                templated=True,
                evidence=found.evidence,
                segmenter=self.segmenter.id,
                window=(window.low, window.high),
                notes=found.notes,
            ),
            mask=mask,
            box=mask_box(mask) if mask is not None else None,
            points=key_points(mask) if mask is not None else None,
            confidence=found.confidence,
            structure=found.structure,
            suggestions=found.suggestions,
            checks=tested,
        )

    def close(self) -> None:
        """Give memory back."""
        self.perceiver.close()

    def load_adapter(self, folder: Path) -> None:
        """Look with the tuned expert of a folder; WeightsError when it does not fit, nothing changes then."""
        self.perceiver.put_on(folder)

    def unload_adapter(self) -> None:
        """Look with the experts that came with the model again."""
        self.perceiver.take_off()


def create(folder: str | Path | None = None) -> EmbeddedModel:
    """The embedded model; folder: of other weights of it, such as merged ones."""
    return EmbeddedModel(_perceiver(folder))


def create_pair(folder: str | Path | None = None) -> MedReasoner:
    """The embedded Reasoner and Segmenter composed as any other pair; they share what they saw."""
    perceiver = _perceiver(folder)
    return MedReasoner(EmbeddedReasoner(perceiver), EmbeddedSegmenter(perceiver), model_id="embedded-pair")


def _perceiver(folder: str | Path | None) -> Perceiver:
    return Perceiver() if folder is None else Perceiver(Path(folder))


MODELS = (
    ModelInfo(
        id="embedded",
        title="Embedded",
        system="napari-medreason",
        summary="Small grounding network that comes with the plugin; organs on CT, brain structures on MR",
        licence="BSD-3-Clause; data sources in the model card",
        create=create,
        default=True,
    ),
    ModelInfo(
        id="embedded-pair",
        title="Embedded, composed",
        system="MedReasoner",
        summary="The embedded network as reasoner and as segmenter: box and points first, then the mask",
        licence="BSD-3-Clause; data sources in the model card",
        create=create_pair,
    ),
)
