"""How far a build is: one line for people, one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TextIO

from .config import WriterConfig
from .writers.task import Usage


@dataclass(frozen=True)
class Progress:
    """State of a build after a case. resumed: cases that were done by an earlier start."""

    cases: int
    total: int
    resumed: int
    records: int
    dropped: int
    usage: Usage


Report = Callable[[Progress], None]


def line(progress: Progress, writer: WriterConfig) -> str:
    """One line: cases, records, what was left out, and for a model its requests, tokens and cost."""
    words = (
        f"case {progress.cases}/{progress.total}, {progress.records:,} records, {progress.dropped:,} left out"
    )
    usage = progress.usage
    if not usage.requests and not usage.cached:
        return words
    words += (
        f"; {usage.requests:,} requests ({usage.retries:,} again, {usage.refused:,} texts refused, "
        f"{usage.cached:,} from cache), {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
    )
    if writer.price_input or writer.price_output:
        words += f", {usage.cost:.4f} {writer.currency}"
    return words


def to_stream(writer: WriterConfig, *, as_json: bool, stream: TextIO | None = None) -> Report:
    """A report that writes a line per case: JSON to standard output, words to standard error."""

    def report(progress: Progress) -> None:
        target = stream or (sys.stdout if as_json else sys.stderr)
        text = json.dumps({"event": "progress", **asdict(progress)}) if as_json else line(progress, writer)
        target.write(text + "\n")
        target.flush()

    return report
