"""The loop around a language model: ask, check, ask again with what was wrong, keep what is right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from napari_medreason.core.strict import from_plain, parse_json, to_plain
from napari_medreason.errors import DataSetError

from ..config import WriterConfig
from .cache import TextCache, cache_key
from .task import FORMS, Task, TextRefusedError, Usage, WriterSilentError, Written, faults, prompt_text

Message = dict[str, Any]
_FENCE = re.compile(r"^```(?:json)?\s*\n(.*)\n```\s*$", re.DOTALL)
_LONGEST_ANSWER = 100_000
_LONGEST_PAUSE = 60.0


class NoAnswerError(Exception):
    """The model did not answer this time; it may the next. pause: seconds that the server asked for."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause


class Model(Protocol):
    """A language model. describe: what its answers depend on, for the cache."""

    @property
    def name(self) -> str:
        """Kind of writer."""

    @property
    def model(self) -> str:
        """Which model."""

    def describe(self) -> str:
        """Address, model and settings in one line."""

    def answer(self, messages: list[Message], attempt: int, task: Task, usage: Usage) -> str:
        """The text that follows the messages; raises NoAnswerError, or WriterSilentError for good."""


@dataclass
class CheckedWriter:
    """A Writer over a language model, with strict JSON, checks, retries and a cache."""

    inner: Model
    config: WriterConfig
    cache: TextCache
    usage: Usage = field(default_factory=Usage)
    sleep: Callable[[float], None] = time.sleep
    _silent: int = 0

    @property
    def name(self) -> str:
        """Kind of writer."""
        return self.inner.name

    @property
    def model(self) -> str:
        """Which model."""
        return self.inner.model

    def write(self, task: Task) -> Written:
        """An accepted answer, from the cache if it was written before."""
        key = cache_key(task, self.name, self.inner.describe())
        kept = self.cache.get(key)
        if kept is not None:
            self.usage.cached += 1
            return Written(from_plain(FORMS[task.kind], kept, "cached text"))
        answer = self._ask(task)
        self.cache.put(key, _plain(answer))
        return Written(answer)

    def _ask(self, task: Task) -> Any:
        messages = first_messages(task)
        reason, answered = "", False
        for attempt in range(self.config.attempts):
            try:
                text = self._try(messages, attempt, task)
            except NoAnswerError as error:
                reason = error.reason
                self._pause(attempt, error.pause)
                continue
            answered = True
            answer, reason = parsed(task, text)
            if not reason:
                self._silent = 0
                return answer
            messages = [*first_messages(task), *_correction(text, reason)]
        return self._give_up(reason, answered)

    def _try(self, messages: list[Message], attempt: int, task: Task) -> str:
        self.usage.requests += 1
        self.usage.retries += attempt > 0
        return self.inner.answer(messages, attempt, task, self.usage)

    def _pause(self, attempt: int, wanted: float | None) -> None:
        if attempt + 1 < self.config.attempts:
            pause = self.config.back_off * 2**attempt if wanted is None else wanted
            self.sleep(min(_LONGEST_PAUSE, pause))

    def _give_up(self, reason: str, answered: bool) -> Any:
        self.usage.refused += 1
        self._silent = 0 if answered else self._silent + 1
        if self._silent >= self.config.give_up_after:
            raise WriterSilentError(
                f"{self.inner.describe()} gave no answer to {self._silent} texts in a row ({reason}); "
                "what is done is kept: check the writer, then start the same build again"
            )
        raise TextRefusedError(reason)


def first_messages(task: Task) -> list[Message]:
    """System message and prompt, with the picture where one may be sent."""
    content: Any = task.prompt
    if task.picture is not None:
        content = [{"type": "text", "text": task.prompt}, {"type": "image", "png": task.picture}]
    return [
        {"role": "system", "content": prompt_text("system").strip()},
        {"role": "user", "content": content},
    ]


def _correction(text: str, reason: str) -> list[Message]:
    words = f"That answer was refused: {reason}. Answer again with one JSON object of the form asked for."
    return [{"role": "assistant", "content": text[:2000]}, {"role": "user", "content": words}]


def parsed(task: Task, text: str) -> tuple[Any, str]:
    """(answer, "") of a model's text, or (None, reason) when it is not what was asked for."""
    if len(text) > _LONGEST_ANSWER:
        return None, "too long"
    fence = _FENCE.match(text.strip())
    try:
        value = parse_json(fence.group(1) if fence else text.strip(), "answer")
    except DataSetError:
        return None, "bad JSON"
    try:
        answer = from_plain(FORMS[task.kind], value, "answer")
    except DataSetError:
        return None, "JSON of another form"
    return answer, faults(task, answer)


def _plain(answer: Any) -> Any:
    """An answer as JSON values, tuples of dataclasses included."""
    plain = to_plain(answer)
    if "formats" in plain:
        plain["formats"] = [to_plain(entry) for entry in plain["formats"]]
    return plain
