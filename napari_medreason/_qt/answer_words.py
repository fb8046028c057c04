"""What the Ask dock writes about an answer; plain functions without Qt."""

from __future__ import annotations

from napari_medreason.core.grounding import Provenance
from napari_medreason.session import Answer, PromptState

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
    """A stage of the engine as words for the status line; what follows a colon is for the user already."""
    word, _, more = stage.partition(": ")
    return STAGES.get(word, word.capitalize()) + (f" ({more})" if more else "")


def answer_text(answer: Answer) -> str:
    """The full answer: the short words, the reasoning where it says more, failed tests, what else to ask."""
    grounding = answer.grounding
    parts = [grounding.answer]
    if grounding.reasoning and grounding.reasoning.strip() != grounding.answer.strip():
        parts.append(grounding.reasoning)
    if not answer.corrected:
        parts += [check.words for check in grounding.checks if not check.passed]
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
    return f"{_outcome(answer)} · {grid.axis} {grid.index}{frame} · {answer.place.image_name}"


def _outcome(answer: Answer) -> str:
    if answer.corrected and answer.state is not None:
        return "corrected by you" if answer.state.mask.any() else "empty after your correction"
    status, confidence = _STATUS[answer.grounding.status], answer.grounding.confidence
    if confidence is None or not answer.grounding.present:
        return status
    # No model is that sure: 99.6 % is not rounded to all.
    return f"{status}, model confidence {min(99, round(100 * confidence))} %"


def provenance_text(answer: Answer) -> str:
    """Where an answer comes from and what was measured about it, for the line below the text."""
    provenance = answer.grounding.provenance
    lines = [_maker(answer, provenance), _circumstances(provenance)]
    lines += [line for line in (provenance.evidence, *provenance.notes, *answer.place.notes) if line]
    passed = [check.name for check in answer.grounding.checks if check.passed]
    if passed and not answer.corrected:
        lines.append(f"Tests passed: {', '.join(passed)}.")
    if answer.state is not None and answer.corrected:
        lines.append(_correction(answer.state) if answer.position > 0 else "Mask painted over by you.")
    if not answer.place.study.orientation_known:
        lines.append("Orientation of this image is unknown: no patient left or right.")
    return "\n".join(lines)


def _correction(state: PromptState) -> str:
    drawn = (("box", state.box is not None), ("points", bool(state.points)))
    prompt = " and ".join(name for name, is_there in drawn if is_there)
    return f"Mask redrawn from your {prompt} by “{state.segmenter}”{_weights(state.weights_sha256)}."


def _weights(sha256: str) -> str:
    return f" (weights {sha256[:8]})" if sha256 else ""


def _maker(answer: Answer, provenance: Provenance) -> str:
    kind = "Templated answer" if provenance.templated else "Answer in the model's own words"
    return f"{kind} by {answer.model}{_weights(provenance.weights_sha256)}"


def _circumstances(provenance: Provenance) -> str:
    seconds = provenance.seconds
    window = provenance.window
    shown = "" if window is None else f", window {window[0]:g} to {window[1]:g}"
    return f"{seconds.load + seconds.reason + seconds.segment:.1f} s{shown}"
