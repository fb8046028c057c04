"""Prompt files: the text around the image and the question, which a user can replace by an own file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from napari_medreason.errors import ModelUnavailableError

IMAGE, QUESTION = "<image>", "{question}"
COORDINATES, EXAMPLE = "{coordinates}", "{example}"


@dataclass(frozen=True)
class Prompt:
    """Text before and after the image; one of them holds `{question}`."""

    before: str
    after: str

    def asked(self, question: str) -> AskedPrompt:
        """The prompt with a question in its place."""
        shared, place, rest = self.after.partition(QUESTION)
        tail = question + rest if place else rest
        return AskedPrompt(self.before.replace(QUESTION, question), shared, tail)


@dataclass(frozen=True)
class AskedPrompt:
    """before: ahead of the image. shared: after it, the same for every question. tail: the rest."""

    before: str
    shared: str
    tail: str


def read_prompt(file: str | Path | None, built_in: str, *, coordinates: str, example: str) -> Prompt:
    """A prompt file, or the built-in one, with what `{coordinates}` and `{example}` stand for put in.

    ModelUnavailableError when it can't be read, or lacks `<image>` or `{question}` or has one twice.
    """
    source = resources.files(__package__) / "prompts" / built_in if file is None else Path(file)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailableError(
            f"the prompt file {source.name} can't be read as UTF-8 text; check its path and encoding"
        ) from error
    if text.count(IMAGE) != 1 or text.count(QUESTION) != 1:
        raise ModelUnavailableError(
            f"the prompt file {source.name} needs {IMAGE} and {QUESTION} once each; it has "
            f"{text.count(IMAGE)} and {text.count(QUESTION)}, please add or remove them"
        )
    before, after = text.replace(COORDINATES, coordinates).replace(EXAMPLE, example).split(IMAGE)
    return Prompt(before, after)
