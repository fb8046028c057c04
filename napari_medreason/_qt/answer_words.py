"""What the Ask dock writes about an answer; plain functions without Qt."""

from __future__ import annotations

from napari_medreason.core.grounding import Provenance
from napari_medreason.session import Answer

STAGES = {
    "starting": "Starting the engine",
    "loading": "Loading the model",
    "downloading": "Downloading the model",
    "embedding": "Looking at the image",
    "reasoning": "Reasoning",
    "segmenting": "Drawing the mask",
}
_STATUS = {
    "found": "found",
    "absent": "not seen here",
    "unknown": "not known to the model",
    "outside": "other body part",
}


def stage_words(stage: str) -> str:
    """A stage of the engine as words for the status line."""
    return STAGES.get(stage, stage.capitalize())


def answer_text(answer: Answer) -> str:
    """The full answer: the short words, then the reasoning where it says more, then what else to ask."""
    grounding = answer.grounding
    parts = [grounding.answer]
    if grounding.reasoning and grounding.reasoning.strip() != grounding.answer.strip():
        parts.append(grounding.reasoning)
    if not all(name in grounding.answer for name in grounding.suggestions):
        parts.append("You could ask about: " + ", ".join(grounding.suggestions) + ".")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def row_title(answer: Answer) -> str:
    """The line of an answer in the list."""
    return f"{answer.number}  {answer.question}"


def row_detail(answer: Answer) -> str:
    """The second line of an answer in the list: outcome, place and image."""
    grid = answer.grounding.grid
    frame = "" if answer.place.frame is None else f", frame {answer.place.frame}"
    confidence = answer.grounding.confidence
    sure = "" if confidence is None or not answer.grounding.present else f" ({confidence:.0%})"
    outcome = _STATUS[answer.grounding.status] + sure
    return f"{outcome} · {grid.axis} {grid.index}{frame} · {answer.place.image_name}"


def provenance_text(answer: Answer) -> str:
    """Where an answer comes from and what was measured about it, for the line below the text."""
    provenance = answer.grounding.provenance
    lines = [_maker(answer, provenance), _circumstances(provenance)]
    lines += [line for line in (provenance.evidence, *provenance.notes, *answer.place.notes) if line]
    state = answer.state
    if state is not None and answer.position > 0:
        lines.append(f"Mask redrawn from your box and points by “{state.segmenter}”.")
    if not answer.place.study.orientation_known:
        lines.append("Orientation of this image is unknown: no patient left or right.")
    return "\n".join(lines)


def _maker(answer: Answer, provenance: Provenance) -> str:
    kind = "Templated answer" if provenance.templated else "Answer in the model's own words"
    weights = f" (weights {provenance.weights_sha256[:8]})" if provenance.weights_sha256 else ""
    return f"{kind} by {answer.model}{weights}"


def _circumstances(provenance: Provenance) -> str:
    seconds = provenance.seconds
    window = provenance.window
    shown = "" if window is None else f", window {window[0]:g} to {window[1]:g}"
    return f"{seconds.load + seconds.reason + seconds.segment:.1f} s{shown}"
