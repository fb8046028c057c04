"""What lies in a run folder, for the process that writes it and for the viewer that reads it.

    config.toml  environment.json  process.json  place.json  events.jsonl  stderr.log  stop
    checkpoints/last  checkpoints/best  samples/step-000100/  adapter/  result.json

Events are JSON lines: {"event", "step", "seconds", "values": {name: number}, "words"}. The last line may be
cut off by a hard stop; it is left out then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

CONFIG, ENVIRONMENT, PROCESS, PLACE = "config.toml", "environment.json", "process.json", "place.json"
EVENTS, LOG, STOP, RESULT = "events.jsonl", "stderr.log", "stop", "result.json"
LAST, BEST, SAMPLES, ADAPTER = "checkpoints/last", "checkpoints/best", "samples", "adapter"

EventKind = Literal["start", "step", "evaluation", "sample", "checkpoint", "warning", "end"]
EndReason = Literal["done", "stopped", "time", "steps", "disk", "no gain", "failed"]
_KINDS = frozenset(get_args(EventKind))


@dataclass(frozen=True)
class RunEvent:
    """One line of a run's events. seconds: worked so far, over all sittings. words: for people."""

    kind: EventKind
    step: int
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    words: str = ""

    def line(self) -> str:
        """The event as a JSON line."""
        return json.dumps(
            {
                "event": self.kind,
                "step": self.step,
                "seconds": round(self.seconds, 2),
                "values": dict(self.values),
                "words": self.words,
            },
            ensure_ascii=False,
        )


def read_events(text: str) -> Iterator[RunEvent]:
    """Events of complete lines; lines that are none are left out, such as one that a hard stop cut off."""
    for line in text[: text.rfind("\n") + 1].splitlines():
        event = _event(line)
        if event is not None:
            yield event


def _event(line: str) -> RunEvent | None:
    try:
        value: Any = json.loads(line)
        if not isinstance(value, dict) or value["event"] not in _KINDS:
            return None
        values = {str(name): float(number) for name, number in value["values"].items()}
        return RunEvent(
            value["event"], int(value["step"]), float(value["seconds"]), values, str(value["words"])
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def sample_folder(run: Path, step: int) -> Path:
    """Where the samples of an evaluation lie."""
    return run / SAMPLES / f"step-{step:06d}"


def keep_paths_from(run: Path, base: Path) -> None:
    """Note where the configuration's relative paths start, so that the run can be resumed from anywhere.

    The one absolute path in a run folder; an adapter that is exported holds none.
    """
    (run / PLACE).write_text(json.dumps({"paths_from": str(base.absolute())}) + "\n", encoding="utf-8")


def paths_from(run: Path, config_file: Path) -> Path:
    """Where relative paths of a configuration start: as noted for the run's own copy, else its folder."""
    folder = config_file.absolute().parent
    if folder != run.absolute():
        return folder
    try:
        return Path(json.loads((run / PLACE).read_text(encoding="utf-8"))["paths_from"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder
