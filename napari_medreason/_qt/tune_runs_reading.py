"""What the Runs page shows, read from run folders; off the GUI thread, since runs may be many or large."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from napari_medreason import jobs
from napari_medreason._qt.tune_runs_history import Curve, CurveName, RunHistory, seconds_left
from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_folder import ADAPTER, BEST, CONFIG, RESULT, SAMPLES, STOP
from napari_medreason.errors import RunError, WeightsError
from napari_medreason.jobs import RunSummary
from napari_medreason.models import adapter_store
from napari_medreason.models.adapter_card import CARD
from napari_medreason.models.adapter_store import Adapter


@dataclass(frozen=True)
class ListedRun:
    """A run as a row of the list. best: its best validation value so far, None before there is one."""

    summary: RunSummary
    best: float | None
    stopping: bool

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.summary.folder

    @property
    def running(self) -> bool:
        """Whether a process works on it."""
        return self.summary.state == "running"


def read_list(others: Iterable[Path] = ()) -> tuple[ListedRun, ...]:
    """All runs, the newest first, then those of folders elsewhere; what holds no run is left out."""
    found = {run.folder.resolve(): run for run in jobs.list_runs()}
    for folder in others:
        try:
            found.setdefault(folder.resolve(), jobs.summary(folder))
        except RunError:
            continue
    return tuple(_listed(run) for run in found.values())


def _listed(run: RunSummary) -> ListedRun:
    stopping = run.state == "running" and (run.folder / STOP).exists()
    return ListedRun(run, _best(run.folder), stopping)


def _best(folder: Path) -> float | None:
    value = _result(folder).get("values", {}).get("best")
    if value is None:
        value = _checkpoint_progress(folder).get("best")
    return float(value) if isinstance(value, int | float) else None


def _checkpoint_progress(folder: Path) -> Mapping[str, Any]:
    """What the best checkpoint notes about itself; empty when there is none, or it is being replaced."""
    try:
        with safe_open(folder / BEST / jobs.STATE_FILE, "numpy") as handle:
            found = json.loads((handle.metadata() or {}).get("progress", "{}"))
    except (OSError, ValueError, SafetensorError):
        return {}
    return found if isinstance(found, dict) else {}


def _result(folder: Path) -> Mapping[str, Any]:
    found = _json(folder / RESULT)
    return found if isinstance(found, dict) and isinstance(found.get("values", {}), dict) else {}


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, eq=False)
class RunReport:
    """All that is shown of the chosen run. curves: None when they are as before. card: of its adapter.

    accepted: the same adapter in the store of this computer, None when it is not there. fault: why what the
    run has made can't be used as an adapter, "" when it can.
    """

    run: ListedRun
    curves: Mapping[CurveName, Curve] | None
    warnings: tuple[str, ...]
    end: str
    log: str
    sample_steps: tuple[int, ...]
    total_steps: int
    seconds_left: float | None
    card: Mapping[str, Any] | None
    accepted: Adapter | None
    fault: str


class FollowedRun:
    """The chosen run, read on from where it was last read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tail = jobs.EventTail(folder)
        self._history = RunHistory()
        self._config: RunConfig | None = None
        self._fault = ""
        self._hashed: tuple[frozenset[tuple[str, int]], Mapping[str, str]] = (frozenset(), {})

    def read(self) -> RunReport:
        """What is there now; RunError when the folder holds no run any more."""
        run = _listed(jobs.summary(self.folder))
        for again, events in self._tail.pieces():
            if again:
                self._history = RunHistory()
            self._history.add(events)
        history, total = self._history, self._total_steps()
        left = seconds_left(history, total_steps=total, budget_minutes=self._budget_minutes())
        return RunReport(
            run=run,
            curves=history.curves() if history.changed else None,
            warnings=tuple(history.warnings),
            end=str(_result(self.folder).get("words", "")) or history.end,
            log=jobs.log_tail(self.folder),
            sample_steps=sample_steps(self.folder),
            total_steps=total,
            seconds_left=left if run.running else None,
            card=read_card(self.folder),
            accepted=self._accepted(),
            fault=self._fault,
        )

    def _accepted(self) -> Adapter | None:
        """By content: a run may have been accepted under another name, or before this program began."""
        files = self._adapter_files()
        return next((one for one in adapter_store.installed() if files and one.card.files == files), None)

    def _adapter_files(self) -> Mapping[str, str]:
        """Hashes of the adapter's files, taken when one of them has changed; empty while it is not whole."""
        place = self.folder / ADAPTER
        try:
            state = frozenset((file.name, file.stat().st_mtime_ns) for file in place.iterdir())
        except OSError:
            return {}
        if state != self._hashed[0]:
            self._hashed, self._fault = (state, {}), ""
            try:
                self._hashed = state, adapter_store.from_folder(place).card.files
            except WeightsError as error:
                self._fault = str(error)
        return self._hashed[1]

    @property
    def config(self) -> RunConfig:
        """Its configuration; RunError when it can't be read."""
        if self._config is None:
            text = (self.folder / CONFIG).read_text(encoding="utf-8")
            self._config = jobs.parse_config(text, CONFIG)
        return self._config

    def _total_steps(self) -> int:
        config = self.config
        return int(self._history.total_steps or config.budget.steps or getattr(config.settings, "steps", 0))

    def _budget_minutes(self) -> float:
        return self.config.budget.minutes


def read_card(folder: Path) -> Mapping[str, Any] | None:
    """The card of a run's adapter, None when it has none yet; figures that are none are left out."""
    found = _json(folder / ADAPTER / CARD)
    if not isinstance(found, dict):
        return None
    return found if isinstance(found.get("before_after", {}), dict) else found | {"before_after": {}}


def sample_steps(folder: Path) -> tuple[int, ...]:
    """Steps with sample answers, ascending."""
    names = (place.name.removeprefix("step-") for place in (folder / SAMPLES).glob("step-*"))
    return tuple(sorted(int(name) for name in names if name.isdigit()))


@dataclass(frozen=True)
class SampleAnswer:
    """One sample: words as they were written, and pictures (PNG files) by title."""

    name: str
    words: Mapping[str, Any]
    pictures: Mapping[str, bytes]


def read_samples(place: Path) -> tuple[SampleAnswer, ...]:
    """The samples of one evaluation; those that can't be read are left out."""
    found = []
    for file in sorted(place.glob("*.json")):
        words = _json(file)
        if isinstance(words, dict):
            found.append(SampleAnswer(file.stem, words, _pictures(place, file.stem)))
    return tuple(found)


def _pictures(place: Path, name: str) -> dict[str, bytes]:
    pictures = {}
    for file in sorted(place.glob(f"{name}-*.png")):
        try:
            pictures[file.stem.removeprefix(f"{name}-")] = file.read_bytes()
        except OSError:
            continue
    return pictures
