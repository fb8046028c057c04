"""Writes a run folder: configuration, environment, events, samples and checkpoints, each whole or not at all.

The folder is all that the viewer sees of a run. A process that is killed loses nothing that was finished.
Of several processes (see several) only the main one writes; in the others writing does nothing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_folder import (
    BEST,
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    LAST,
    PROCESS,
    RESULT,
    STOP,
    EndReason,
    EventKind,
    RunEvent,
    read_events,
    sample_folder,
)
from napari_medreason.errors import RunError
from napari_medreason.io import replace_file

from . import several

STATE = "state.safetensors"
_PACKAGES = ("napari-medreason", "torch", "transformers", "peft", "trl", "accelerate", "numpy")
_SPARE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class State:
    """What a run goes on from. tensors: by name; progress: plain values, `step` and `seconds` among them."""

    tensors: dict[str, Tensor]
    progress: dict[str, Any]


class RunWriter:
    """One run folder, from its first sitting to its last.

    config_text: the configuration file as it was given; a folder that holds another one is refused, so
    that two runs never mix. RunError when the folder can't be used.
    """

    def __init__(self, folder: Path, config: RunConfig, config_text: str) -> None:
        self.folder, self.config = folder, config
        self._started = time.monotonic()
        self._before = 0.0
        _make(folder)
        kept = folder / CONFIG
        if kept.exists() and kept.read_text(encoding="utf-8") != config_text:
            raise RunError(
                f"{folder.name} holds a run with another configuration; resume it with its own "
                f"{CONFIG}, or name a new folder"
            )
        if not several.is_main():
            return
        _write_text(kept, config_text)
        _write_text(folder / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
        _write_text(folder / PROCESS, json.dumps(this_process()) + "\n")
        self._drop_old_stop()
        (folder / RESULT).unlink(missing_ok=True)

    def _drop_old_stop(self) -> None:
        """Forget a wish to stop of an earlier sitting; one that came while this process got ready counts."""
        import psutil

        stop = self.folder / STOP
        if stop.exists() and stop.stat().st_mtime < psutil.Process().create_time():
            stop.unlink()

    @property
    def last_step(self) -> int:
        """The step of the newest event, 0 when there is none."""
        file = self.folder / EVENTS
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        return max((event.step for event in read_events(text)), default=0)

    @property
    def seconds(self) -> float:
        """Time worked on the run, over all sittings."""
        return self._before + time.monotonic() - self._started

    def event(
        self, kind: EventKind, step: int, values: Mapping[str, float] | None = None, words: str = ""
    ) -> None:
        """Append one event."""
        if not several.is_main():
            return
        line = RunEvent(kind, step, self.seconds, values or {}, words).line()
        with (self.folder / EVENTS).open("a", encoding="utf-8") as handle:
            handle.write(line + "\n")

    def save(self, state: State, *, best: bool = False) -> None:
        """Write a checkpoint: the last, or the best one. RunError when the disk is full.

        seconds in the progress are filled in here.
        """
        if not several.is_main():
            return
        place = self.folder / (BEST if best else LAST)
        progress = {**state.progress, "seconds": self.seconds}
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
        needed = sum(value.numel() * value.element_size() for value in tensors.values())
        if shutil.disk_usage(self.folder).free < needed + _SPARE_BYTES:
            raise RunError(
                f"the disk has no room for a checkpoint of {needed / 1e6:.0f} MB; free some space and resume "
                "the run: its last checkpoint is kept"
            )
        place.mkdir(parents=True, exist_ok=True)
        try:
            with replace_file(place / STATE) as temporary:
                save_file(tensors, temporary, {"progress": json.dumps(progress)})
        except OSError as error:
            raise RunError(
                f"the checkpoint can't be written ({error.strerror or error}); the last one is kept"
            ) from error

    def load(self, *, best: bool = False) -> State | None:
        """The last (or best) checkpoint, None when there is none yet; events after it are taken back."""
        file = self.folder / (BEST if best else LAST) / STATE
        if not file.exists():
            return None
        state = read_state(file)
        if not best:
            self._before = float(state.progress["seconds"])
            self._started = time.monotonic()
            self._take_back(int(state.progress["step"]))
        return state

    def _take_back(self, step: int) -> None:
        """Leave out the events of steps that will be done again."""
        file = self.folder / EVENTS
        if not file.exists() or not several.is_main():
            return
        kept = [event for event in read_events(file.read_text(encoding="utf-8")) if event.step <= step]
        kept = [event for event in kept if event.kind != "end"]
        _write_text(file, "".join(f"{event.line()}\n" for event in kept))

    def sample(
        self,
        step: int,
        name: str,
        words: Mapping[str, Any],
        pictures: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> None:
        """Keep one answer: words as JSON, pictures as PNG of (rows, columns[, 3]) uint8."""
        if not several.is_main():
            return
        place = sample_folder(self.folder, step)
        place.mkdir(parents=True, exist_ok=True)
        for title, pixels in (pictures or {}).items():
            with replace_file(place / f"{name}-{title}.png") as temporary:
                Image.fromarray(pixels).save(temporary, format="PNG")
        _write_text(place / f"{name}.json", json.dumps(dict(words), ensure_ascii=False, indent=2) + "\n")

    def should_stop(self, step: int) -> EndReason | None:
        """Why the run ends now: asked to, or out of its budget; None to go on."""
        budget = self.config.budget
        if (self.folder / STOP).exists():
            return "stopped"
        if budget.steps and step >= budget.steps:
            return "steps"
        if budget.minutes and self.seconds >= 60 * budget.minutes:
            return "time"
        if budget.disk_megabytes and folder_bytes(self.folder) > budget.disk_megabytes * 1e6:
            return "disk"
        return None

    def end(self, step: int, reason: EndReason, values: Mapping[str, float], words: str = "") -> None:
        """Note how the run ended."""
        if not several.is_main():
            return
        self.event("end", step, values, words or reason)
        report = {"reason": reason, "step": step, "values": dict(values), "words": words}
        _write_text(self.folder / RESULT, json.dumps(report, ensure_ascii=False) + "\n")


def read_state(file: Path) -> State:
    """A checkpoint file; RunError when it is damaged."""
    try:
        with safe_open(file, "pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            progress: dict[str, Any] = json.loads(handle.metadata()["progress"])
    except Exception as error:  # safetensors raises a class of its own that is no OSError
        raise RunError(
            f"the checkpoint in {file.parent.name} is damaged ({type(error).__name__}); delete that folder "
            "to start again"
        ) from error
    return State(tensors, progress)


def random_state() -> dict[str, Tensor]:
    """The random generators of torch and NumPy as tensors."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries use it
    state = {
        "random.torch": torch.get_rng_state(),
        "random.numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "random.numpy_rest": torch.tensor(
            [float(position), float(has_gauss), float(gauss)], dtype=torch.float64
        ),
    }
    if torch.cuda.is_available():
        state["random.cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(tensors: Mapping[str, Tensor]) -> None:
    """Put the generators back as they were."""
    torch.set_rng_state(tensors["random.torch"])
    position, has_gauss, gauss = tensors["random.numpy_rest"].tolist()
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), gauss))  # noqa: NPY002
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])


def environment() -> dict[str, Any]:
    """Versions and device, enough to know later what a run was made with; no name of machine or user."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "device": device,
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def this_process() -> dict[str, float]:
    """Process id and start time, which together name a process for good."""
    import psutil

    return {"pid": os.getpid(), "started": psutil.Process().create_time()}


def data_sha256(lines: list[str]) -> str:
    """One hash of a set of records, whatever their order."""
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()


def folder_bytes(folder: Path) -> int:
    """Size of everything in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the run folder {folder.name} can't be made ({error.strerror or error}); name another one"
        ) from error


def _write_text(file: Path, text: str) -> None:
    with replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def note(words: str) -> None:
    """One line for the run's log; of several processes only the main one tells it."""
    if several.is_main():
        print(words, file=sys.stderr, flush=True)  # noqa: T201 - the log is standard error
