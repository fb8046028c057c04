"""Training runs from the outside: started apart from this program, listed, followed and stopped.

A run is a folder (core.run_folder) and, while it works, a process of its own that outlives the viewer.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import platformdirs
import psutil

from napari_medreason.core.run_config import RunConfig, run_config
from napari_medreason.core.run_folder import (
    CONFIG,
    EVENTS,
    LAST,
    LOG,
    PLACE,
    PROCESS,
    RESULT,
    STOP,
    RunEvent,
    keep_paths_from,
    read_events,
)
from napari_medreason.errors import ExportError, RunError
from napari_medreason.io import replace_file

RunState = Literal["running", "ended", "broken off"]
"""broken off: its process is gone and left no result, as after a crash or a hard stop; it can be resumed."""
COMMAND = (sys.executable, "-m", "napari_medreason_training", "run")
"""What works on a run; the configuration and --folder follow."""
STATE_FILE = "state.safetensors"
_LOG_BYTES = 8192
_TAIL_BYTES = 8192
_CLOCK_SECONDS = 120.0
"""A start time follows the clock, which may have been put right since; ids are not reused that soon."""
_PIECE_BYTES = 1_000_000
"""More than any line has."""
_children: list[subprocess.Popen[bytes]] = []
"""Started here: they outlive this program, but while it runs it must take note of their end."""


@dataclass(frozen=True)
class RunSummary:
    """One run as a list shows it. reason: why it ended, "" while it has not; seconds: worked so far."""

    folder: Path
    name: str
    recipe: str
    state: RunState
    reason: str
    step: int
    seconds: float
    resumable: bool


def runs_root() -> Path:
    """Where runs lie by default; the environment variable MEDREASON_RUNS names another folder."""
    named = os.environ.get("MEDREASON_RUNS")
    return Path(named) if named else platformdirs.user_data_path("napari-medreason") / "runs"


def new_run_folder(name: str) -> Path:
    """A folder for a new run that is not there yet."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name) or "run"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        folder = runs_root() / (f"{stem}-{stamp}" + (f"-{number}" if number else ""))
        if not folder.exists():
            return folder
    raise RunError("no name for a new run folder is free; give the run another name")


def start(config_text: str, folder: Path, *, base: Path | None = None) -> int:
    """Start or resume a run in a process of its own; gives the process id.

    config_text: TOML; it is checked here, so that a mistake is told at once. base: folder that its relative
    paths start from, kept for later sittings. RunError when it is wrong, when the run is working already,
    when the folder holds another run, or when nothing can be written or started.
    """
    parse_config(config_text, CONFIG)
    if folder.exists() and process_of(folder) is not None:
        raise RunError(f"the run {folder.name} is working already; stop it first")
    there, fresh = folder.exists(), not (folder / CONFIG).exists()
    try:
        _prepare(folder, config_text, base)
        return _begin(folder)
    except (OSError, ExportError) as error:
        if fresh:
            _undo(folder, there=there)
        why = f"{error.strerror}; check space and rights" if isinstance(error, OSError) else error
        raise RunError(f"the run {folder.name} can't be started: {why}") from error


def _prepare(folder: Path, config_text: str, base: Path | None) -> None:
    """What lies in the folder before the process begins."""
    kept = folder / CONFIG
    if kept.exists() and kept.read_text(encoding="utf-8") != config_text:
        raise RunError(f"{folder.name} holds a run with another configuration; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(kept) as temporary:
        temporary.write_text(config_text, encoding="utf-8")
    if base is not None:
        keep_paths_from(folder, base)
    (folder / STOP).unlink(missing_ok=True)


def _begin(folder: Path) -> int:
    """Start the process, and note it; gives its id."""
    command = [*COMMAND, str(folder / CONFIG), "--folder", str(folder)]
    _reap()
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **_detached()
        )
    _children.append(process)
    try:
        started = {"pid": process.pid, "started": _start_time(process.pid)}
        with replace_file(folder / PROCESS) as temporary:
            temporary.write_text(json.dumps(started) + "\n", encoding="utf-8")
        (folder / RESULT).unlink(missing_ok=True)  # a run that could not be started keeps its result
    except (OSError, ExportError):
        process.kill()
        process.wait()
        raise
    return process.pid


def _undo(folder: Path, *, there: bool) -> None:
    """Take away what a first start has written that came to nothing: it would be listed as a run."""
    with contextlib.suppress(OSError):
        for name in (CONFIG, PLACE, LOG, PROCESS):
            (folder / name).unlink(missing_ok=True)
        if not there:
            folder.rmdir()


def _reap() -> None:
    """Let the system forget children that have ended."""
    for child in list(_children):
        if child.poll() is not None:
            with contextlib.suppress(ValueError):  # another thread was faster
                _children.remove(child)


def _detached() -> dict[str, Any]:
    """Settings that let the process live on when this one ends, and keep Ctrl+C here."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def parse_config(text: str, where: str) -> RunConfig:
    """A configuration from its text; RunError says what is wrong."""
    import tomllib

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{where} can't be read as TOML ({error}); correct it") from error
    return run_config(table, where)


def stop(folder: Path) -> None:
    """Ask a run to end after the step in hand; it writes a checkpoint first. RunError when that fails."""
    try:
        (folder / STOP).touch()
    except OSError as error:
        raise RunError(f"{folder.name} can't be stopped: {error.strerror}; check its folder") from error


def process_of(folder: Path) -> int | None:
    """The id of the process that works on a run, None when none does."""
    try:
        value = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        pid, started = int(value["pid"]), float(value["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    _reap()
    now = _start_time(pid)
    return pid if now > 0 and abs(now - started) < _CLOCK_SECONDS else None


def _start_time(pid: int) -> float:
    """When a process was started (seconds since 1970); -1 when it is gone."""
    try:
        process = psutil.Process(pid)
        return -1.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return -1.0


def summary(folder: Path) -> RunSummary:
    """A run as it stands; RunError when the folder holds none."""
    try:
        config = parse_config((folder / CONFIG).read_text(encoding="utf-8"), f"{folder.name}/{CONFIG}")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{folder.name} holds no run (no readable {CONFIG}); choose another folder") from error
    last = last_event(folder)
    running = process_of(folder) is not None
    reason = _reason(folder)
    state: RunState = "running" if running else ("ended" if reason else "broken off")
    return RunSummary(
        folder=folder,
        name=config.name or folder.name,
        recipe=config.recipe,
        state=state,
        reason="" if running else reason,
        step=last.step if last else 0,
        seconds=last.seconds if last else 0.0,
        resumable=not running and (folder / LAST / STATE_FILE).exists(),
    )


def _reason(folder: Path) -> str:
    try:
        return str(json.loads((folder / RESULT).read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def list_runs(root: Path | None = None) -> tuple[RunSummary, ...]:
    """All runs under a folder, the newest first; folders that hold none are left out."""
    found = []
    for folder in sorted((root or runs_root()).glob("*/"), key=_changed, reverse=True):
        try:
            found.append(summary(folder))
        except RunError:
            continue
    return tuple(found)


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


class EventTail:
    """Reads what a run has written since it was last asked; starts anew when events were taken back."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / EVENTS
        self._done = 0
        self._head = b""
        self._number = -1

    def read(self) -> tuple[bool, tuple[RunEvent, ...]]:
        """(whether earlier events no longer hold, new events)."""
        pieces = list(self.pieces())
        again = any(anew for anew, _ in pieces)
        return again, tuple(event for _, events in pieces for event in events)

    def pieces(self) -> Iterator[tuple[bool, tuple[RunEvent, ...]]]:
        """As `read`, about a megabyte of a long file at a time."""
        try:
            with self._file.open("rb") as handle:
                again = self._begins_anew(handle)
                if again:
                    self._done = 0
                handle.seek(self._done)
                while whole := _whole_lines(handle.read(_PIECE_BYTES)):
                    self._done += len(whole)
                    yield again, tuple(read_events(whole.decode("utf-8", errors="replace")))
                    again = False
                    handle.seek(self._done)
                if again:
                    yield again, ()
        except OSError:
            return

    def _begins_anew(self, handle: BinaryIO) -> bool:
        """Whether the file is another one, or shorter: events were taken back, and may have grown since."""
        head, number = handle.read(256), os.fstat(handle.fileno()).st_ino
        again = self._done > 0 and number != self._number
        again = again or not head.startswith(self._head) or handle.seek(0, os.SEEK_END) < self._done
        self._head, self._number = _whole_lines(head), number
        return again


def _whole_lines(text: bytes) -> bytes:
    return text[: text.rfind(b"\n") + 1]


def events(folder: Path) -> Iterator[RunEvent]:
    """All events of a run so far."""
    yield from EventTail(folder).read()[1]


def last_event(folder: Path) -> RunEvent | None:
    """The newest event of a run, None when there is none."""
    file, size = folder / EVENTS, _TAIL_BYTES
    while True:
        try:
            with file.open("rb") as handle:
                end = handle.seek(0, os.SEEK_END)
                handle.seek(max(0, end - size))
                text = handle.read().decode("utf-8", errors="replace")
        except OSError:
            return None
        found = list(read_events(text))
        if found or size >= end:
            return found[-1] if found else None
        size *= 8


def log_tail(folder: Path) -> str:
    """The last lines that the run's process wrote."""
    try:
        with (folder / LOG).open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - _LOG_BYTES))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
