"""What every builder is given while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from napari_medreason.core.record import Record, System
from napari_medreason.core.templates import Template

from .cases import LoadedCase
from .config import BuildConfig
from .dropped import Dropped
from .making import Origin
from .targets import PlaneTargets
from .writers.task import Task, TextRefusedError, Writer, Written


@dataclass(frozen=True, eq=False)
class Context:
    """Configuration, writer and templates of a build; `dropped` counts for the case at work."""

    config: BuildConfig
    writer: Writer
    templates: Sequence[Template]
    dropped: Dropped

    def write(self, task: Task) -> Written | None:
        """What the writer makes of a task; None when it is refused, which is counted."""
        try:
            return self.writer.write(task)
        except TextRefusedError as error:
            self.dropped.add(f"text: {task.kind}: {error.reason}")
            return None


@dataclass(frozen=True)
class Builder:
    """One system's data set. build yields the records of one plane of a case."""

    system: System
    title: str
    build: Callable[[PlaneTargets, LoadedCase, Origin, Context], Iterator[Record]] = field(repr=False)
