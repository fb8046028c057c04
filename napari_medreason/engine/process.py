"""One engine process: its pipes, the three threads that serve them, and its end."""

from __future__ import annotations

import io
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from napari_medreason.engine.frames import (
    MAX_FIRST_FRAME_BYTES,
    MAX_FRAME_BYTES,
    Map,
    read_frame,
    write_frame,
)
from napari_medreason.errors import EngineError

logger = logging.getLogger(__name__)

_TAIL_LINES = 40
_LINE_BYTES = 4096
_EXIT_SECONDS = 1.0

OnFrame = Callable[["EngineProcess", Map], None]
OnEnd = Callable[["EngineProcess", EngineError | None], None]


def default_command() -> list[str]:
    """The engine of this Python; -P keeps files of the current folder from being imported."""
    return [sys.executable, "-P", "-m", "napari_medreason.engine"]


def ssh_command(host: str) -> list[str]:
    """The engine on another machine; EngineError when the host could be taken for an option."""
    if not host or host.startswith("-") or any(character.isspace() for character in host):
        raise EngineError(
            f"{host!r:.60} is no SSH host; use a name or user@name that does not begin with '-'"
        )
    return ["ssh", "-T", "-o", "BatchMode=yes", "--", host, "medreason", "engine"]


class EngineProcess:
    """A running engine; `on_frame` and `on_end` are called on its reader thread."""

    def __init__(self, command: Sequence[str], *, on_frame: OnFrame, on_end: OnEnd) -> None:
        self.planes: set[str] = set()
        self._on_frame, self._on_end = on_frame, on_end
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._popen = _start(command)
        self._stdin = cast(io.FileIO, self._popen.stdin)
        self._stdout = cast(io.FileIO, self._popen.stdout)
        self._stderr = cast(io.FileIO, self._popen.stderr)
        self._threads = [
            threading.Thread(target=target, name=f"medreason-engine-{name}", daemon=True)
            for name, target in (("write", self._write), ("read", self._read), ("log", self._log))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def send(self, frame: bytes) -> None:
        """Hand a packed frame to the writer thread; never waits."""
        self._outgoing.put(frame)

    def stop(self) -> None:
        """End the process: close its input, then ask it, then kill it; waits about 2 s at most."""
        self._outgoing.put(None)
        if not self._ends_within(_EXIT_SECONDS):
            self._popen.terminate()
            self._ends_within(_EXIT_SECONDS / 2)
        self.kill()

    def kill(self) -> None:
        """End the process at once, with the processes it started, and free pipes and threads."""
        if self._popen.poll() is None:
            _kill_group(self._popen)
        self._popen.wait()
        self._outgoing.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_EXIT_SECONDS)

    def reap(self) -> str:
        """Free everything after the process closed its output; says in a few words how it ended."""
        self._ends_within(_EXIT_SECONDS)
        self.kill()
        return self._how_it_ended()

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _how_it_ended(self) -> str:
        code = self._popen.returncode
        if code < 0:
            return f"killed by signal {-code}"
        last_line = next((line for line in reversed(self._tail) if line.strip()), "")
        return f"exit code {code}: {last_line:.200}" if code and last_line else f"exit code {code}"

    def _write(self) -> None:
        try:
            while (frame := self._outgoing.get()) is not None:
                write_frame(self._stdin, frame)
        except OSError:
            logger.debug("the engine process no longer reads")
        finally:
            self._stdin.close()

    def _read(self) -> None:
        fault: EngineError | None = None
        most_bytes = MAX_FIRST_FRAME_BYTES
        try:
            while (message := read_frame(self._stdout, most_bytes=most_bytes)) is not None:
                most_bytes = MAX_FRAME_BYTES
                self._on_frame(self, message)
        except EngineError as error:
            fault = error
        except OSError:
            logger.debug("the engine's output broke while reading")
        self._stdout.close()
        self._on_end(self, fault)

    def _log(self) -> None:
        with io.BufferedReader(self._stderr) as reader:
            while line := reader.readline(_LINE_BYTES):
                text = line.decode("utf-8", "replace").rstrip()
                self._tail.append(text)
                logger.info("engine: %s", text)


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start without a shell, in a session of its own: Ctrl-C in the viewer's terminal does not reach it."""
    extra: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        extra = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            list(command), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, shell=False, **extra
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"the engine command {command[0]!r} can't be started ({reason}); check the command"
        ) from None


def _kill_group(popen: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        popen.kill()
        return
    try:
        os.killpg(popen.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS refuses a signal to a process that has just ended
        logger.debug("the engine process ended by itself")
