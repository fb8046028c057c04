"""What a writer is asked for, the form its answer must have, and what is wrong with an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib.resources import files
from string import Template as Text
from typing import Any, Literal, Protocol

from napari_medreason.core.record import TemplateUse
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_grammar import diagnostic_words
from napari_medreason.core.template_names import names_in
from napari_medreason.errors import DataSetError

from ..targets import Target

TaskKind = Literal["caption", "attribute", "location", "evaluate", "ask", "description", "formats", "pair"]


@dataclass(frozen=True)
class Caption:
    """One sentence about the whole image."""

    caption: str


@dataclass(frozen=True)
class Descriptions:
    """A short and a long text about one structure; "" where an evaluator rejected it."""

    short: str
    long: str


@dataclass(frozen=True)
class Pair:
    """A question with its answer; both "" where there was nothing to ask."""

    question: str
    answer: str


@dataclass(frozen=True)
class Pairs:
    """The pairs made from a short and a long description."""

    short: Pair
    long: Pair


@dataclass(frozen=True)
class ReasonedPair:
    """A question with steps of reasoning and an answer."""

    question: str
    reasoning: str
    answer: str


@dataclass(frozen=True)
class Format:
    """One form of question and answer of a super-category."""

    id: int
    question: str
    answer: str


@dataclass(frozen=True)
class Formats:
    """The forms of one super-category."""

    supercategory: str
    formats: tuple[Format, ...]


FORMS: Mapping[TaskKind, type] = {
    "caption": Caption,
    "attribute": Descriptions,
    "location": Descriptions,
    "evaluate": Descriptions,
    "ask": Pairs,
    "description": Descriptions,
    "formats": Formats,
    "pair": ReasonedPair,
}
"""Which answer each kind of task has; its JSON has exactly these keys."""

MAY_BE_EMPTY = frozenset({"evaluate", "ask"})
"""Kinds in which "" says: rejected."""


@dataclass(frozen=True, eq=False)
class Task:
    """One text to write.

    key: stable name of what it is about; randomness and the cache go by it. prompt: for language models;
    it holds no file name and nothing from headers. target, others: for writers that go by the facts.
    given: earlier texts and settings. picture: PNG bytes of the plane, None unless images may be sent.
    split: of the record, for writers that keep wordings apart.
    """

    kind: TaskKind
    key: str
    prompt: str
    target: Target | None = None
    others: tuple[Target, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    split: str = "train"

    @property
    def facts(self) -> Facts | None:
        """Facts of the target."""
        return self.target.facts if self.target else None


@dataclass(frozen=True)
class Written:
    """An answer in the form FORMS[task.kind], and the templates used, by "short", "long" or ""."""

    answer: Any
    templates: Mapping[str, TemplateUse] = field(default_factory=dict)


@dataclass
class Usage:
    """What a writer has used so far; tokens and cost as far as the server tells them."""

    requests: int = 0
    retries: int = 0
    cached: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Writer(Protocol):
    """Writes texts. name, model: for the provenance of records."""

    @property
    def name(self) -> str:
        """Kind of writer."""

    @property
    def model(self) -> str:
        """Which model, "" for templates."""

    @property
    def usage(self) -> Usage:
        """What was used so far."""

    def write(self, task: Task) -> Written:
        """What was asked for; raises TextRefusedError for this text, WriterSilentError for good."""


class TextRefusedError(DataSetError):
    """No acceptable text came; the record is left out and counted under `reason`."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class WriterSilentError(DataSetError):
    """The writer can't go on; what is done is kept and the same build goes on later."""


@cache
def prompt_text(name: str) -> str:
    """The wording of a prompt, see the folder `prompts`."""
    return (files(__package__.rpartition(".")[0]) / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def prompt(name: str, /, **values: str) -> str:
    """A prompt with its $slots filled."""
    return Text(prompt_text(name)).substitute(values).strip()


def faults(task: Task, answer: Any) -> str:
    """What is wrong with an answer, as a short reason; "" for an acceptable one."""
    for check in _CHECKS:
        reason = check(task, answer)
        if reason:
            return reason
    return ""


def _empty(task: Task, answer: Any) -> str:
    if task.kind in MAY_BE_EMPTY:
        return _half_empty(answer) if isinstance(answer, Pairs) else ""
    return "empty text" if any(not text.strip() for text in texts(answer)) else ""


def _half_empty(answer: Pairs) -> str:
    halves = (answer.short, answer.long)
    return (
        "empty text" if any(bool(one.question.strip()) != bool(one.answer.strip()) for one in halves) else ""
    )


def _leaked(task: Task, answer: Any) -> str:
    if task.facts is None or task.kind in ("caption", "formats"):
        return ""
    hidden = questions(answer)
    return "name given away" if any(names_in(text, task.facts) for text in hidden if text) else ""


def _unnamed(task: Task, answer: Any) -> str:
    """The answer to a question must say what was meant."""
    if task.facts is None or task.kind not in ("ask", "pair"):
        return ""
    spoken = (
        (answer.answer,) if isinstance(answer, ReasonedPair) else (answer.short.answer, answer.long.answer)
    )
    wanted = task.facts
    return "answer does not name it" if any(text and not names_in(text, wanted) for text in spoken) else ""


def _diagnostic(task: Task, answer: Any) -> str:
    """Words that judge health, other than in the structure's own name ("liver tumour")."""
    own = (
        " ".join(task.facts.item.phrases if task.facts.item else (task.facts.name,)).lower()
        if task.facts
        else ""
    )
    found = (word for text in texts(answer) for word in diagnostic_words(text))
    return "diagnostic wording" if any(word not in own for word in found) else ""


def _length(task: Task, answer: Any) -> str:
    if task.kind not in ("attribute", "location", "evaluate"):
        return "too long" if any(len(text) > 2000 for text in texts(answer)) else ""
    short, long = len(answer.short.split()), len(answer.long.split())
    if short > 25 or long > 50:
        return "too long"
    return ""


def _format_count(task: Task, answer: Any) -> str:
    if not isinstance(answer, Formats):
        return ""
    wanted = int(task.given["count"])
    return "" if len(answer.formats) == wanted else "another number of formats"


_CHECKS: tuple[Callable[[Task, Any], str], ...] = (
    _empty,
    _format_count,
    _leaked,
    _unnamed,
    _diagnostic,
    _length,
)


def questions(answer: Any) -> tuple[str, ...]:
    """The texts of an answer that must not name the structure."""
    if isinstance(answer, Descriptions):
        return (answer.short, answer.long)
    if isinstance(answer, Pairs):
        return (answer.short.question, answer.long.question)
    return (answer.question,) if isinstance(answer, ReasonedPair) else ()


def texts(answer: Any) -> tuple[str, ...]:
    """Every text in an answer."""
    if isinstance(answer, str):
        return (answer,)
    if isinstance(answer, tuple):
        return tuple(text for part in answer for text in texts(part))
    if is_dataclass(answer):
        return tuple(text for entry in fields(answer) for text in texts(getattr(answer, entry.name)))
    return ()
