"""The embedded model as a Reasoner: box, key points and templated words, no mask."""

from __future__ import annotations

from pathlib import Path

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.question import Question
from napari_medreason.errors import CancelledError
from napari_medreason.models.base import Cancelled, OnText, Reasoning
from napari_medreason.models.embedded.answering import answer
from napari_medreason.models.embedded.perception import Perceiver


class EmbeddedReasoner:
    """Says where a structure is; `perceiver` may be shared with an EmbeddedSegmenter."""

    id = "embedded"

    def __init__(self, perceiver: Perceiver | None = None) -> None:
        self.perceiver = perceiver or Perceiver()

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights of all experts."""
        return self.perceiver.weights_sha256

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """Answer in words, a box and two points; the words come from a template."""
        if cancelled():
            raise CancelledError
        found = answer(question, self.perceiver)
        on_text(found.words)
        return Reasoning(
            status=found.status,
            answer=found.words,
            box=mask_box(found.mask) if found.mask is not None else None,
            points=key_points(found.mask) if found.mask is not None else None,
            confidence=found.confidence,
            structure=found.structure,
            templated=True,
            evidence=found.evidence,
            notes=found.notes,
            suggestions=found.suggestions,
        )

    def load_adapter(self, folder: Path) -> None:
        """Look with the tuned expert of a folder, and the segmenter that shares the perceiver with it."""
        self.perceiver.put_on(folder)

    def unload_adapter(self) -> None:
        """Look with the experts that came with the model again."""
        self.perceiver.take_off()

    def close(self) -> None:
        """Give memory back."""
        self.perceiver.close()
