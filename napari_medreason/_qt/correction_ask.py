"""Answers of the engine, waited for on a thread of one's own: what pre-labelling asks with. No Qt here."""

from __future__ import annotations

import queue

from napari_medreason.core.anatomy import structures
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.label_names import named
from napari_medreason.core.question import Question
from napari_medreason.engine.client import EngineClient
from napari_medreason.errors import CancelledError
from napari_medreason.worklist import Ask, LabelDefinition
from napari_medreason.worklist.prelabels import Cancelled

_LOOK_SECONDS = 0.1


def engine_ask(client: EngineClient, *, model: str, cancelled: Cancelled) -> Ask:
    """`ask(question)` that waits for the engine; CancelledError soon after `cancelled` says so.

    Never call it on the GUI thread. Raises what the engine answers with.
    """

    def ask(question: Question) -> Grounding:
        answers: queue.SimpleQueue[Grounding | Exception] = queue.SimpleQueue()
        request = client.ask(
            question,
            model=model,
            on_text=_ignore,
            on_progress=_ignore,
            on_result=answers.put,
            on_error=answers.put,
        )
        while not cancelled():
            try:
                answer = answers.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        client.cancel(request)
        raise CancelledError("pre-labelling was cancelled")

    return ask


def _ignore(*_: object) -> None:
    """Words and stages of single answers are not shown."""


def definition(value: int, name: str) -> LabelDefinition:
    """A label by its name; what is in the vocabulary gets a question for the model."""
    found = named(name)
    if not found.structure:
        return LabelDefinition(value, name.strip())
    structure = structures()[found.structure]
    words = f"{found.side} {found.name}".strip()
    article = f"{structure.article} " if structure.article else ""
    return LabelDefinition(value, words, structure.id, f"Where is {article}{words}?")
