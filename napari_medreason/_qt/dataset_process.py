"""A build in a process of its own: started, followed line by line, cancelled."""

from __future__ import annotations

import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QProcess, QTimer, Signal

from napari_medreason.errors import DataSetError

KILL_AFTER_MILLISECONDS = 3000
_TAIL_LINES = 20
_INPUT_FAULT = 2


class BuildProcess(QObject):
    """One build at a time. A killed build goes on with the next case when it is started again.

    progressed(event), done(event): the JSON objects that the command prints. failed(error): with the
    last line that it wrote. cancelled: it ended after `cancel`.
    """

    progressed = Signal(dict)
    done = Signal(dict)
    failed = Signal(Exception)
    cancelled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._buffer = b""
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._result: dict[str, Any] | None = None
        self._is_cancelled = False
        self._killer = QTimer(self)
        self._killer.setSingleShot(True)
        self._killer.setInterval(KILL_AFTER_MILLISECONDS)
        self._killer.timeout.connect(self._kill)

    @property
    def running(self) -> bool:
        """Whether a build is under way."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Process id, 0 when none runs."""
        return 0 if self._process is None else int(self._process.processId())

    def start(self, system: str, config: Path) -> None:
        """Start a build. -P keeps files of the current folder from being imported."""
        if self._process is not None:
            return
        self._buffer, self._result, self._is_cancelled = b"", None, False
        self._tail.clear()
        process = QProcess(self)
        process.readyReadStandardOutput.connect(self._read)
        process.readyReadStandardError.connect(self._read_faults)
        process.finished.connect(self._finish)
        process.errorOccurred.connect(self._on_error)
        self._process = process
        command = ["-P", "-m", "napari_medreason_training", "dataset", "build", system, str(config), "--json"]
        process.start(sys.executable, command)

    def cancel(self) -> None:
        """End the build; what it finished is kept. Killed when it does not end at once.

        A terminated build loses no more than a killed one. An interrupt would do nothing where the
        viewer was started with interrupts ignored, as in the background of a script.
        """
        if self._process is None or self._is_cancelled:
            return
        self._is_cancelled = True
        if sys.platform == "win32" or not self.pid:
            self._process.kill()
            return
        self._process.terminate()
        self._killer.start()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _read(self) -> None:
        if self._process is None:
            return
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:  # a library printed something
            return
        if not isinstance(event, dict):
            return
        if event.get("event") == "progress":
            self.progressed.emit(event)
        elif event.get("event") == "done":
            self._result = event

    def _read_faults(self) -> None:
        if self._process is not None:
            text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
            self._tail.extend(line for line in text.splitlines() if line.strip())

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._forget()
            self.failed.emit(DataSetError("the build can't be started: Python was not found; reinstall"))

    def _finish(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._read_faults()
        self._forget()
        if self._result is not None and code == 0:
            self.done.emit(self._result)
        elif self._is_cancelled:
            self.cancelled.emit()
        else:
            self.failed.emit(self._fault(code, status))

    def _fault(self, code: int, status: QProcess.ExitStatus) -> DataSetError:
        last = self._tail[-1] if self._tail else ""
        if code == _INPUT_FAULT and last:
            return DataSetError(last)
        how = "was killed" if status == QProcess.ExitStatus.CrashExit else f"ended with exit code {code}"
        words = f": {last:.300}" if last else ""
        return DataSetError(f"the build {how}{words}; start it again to go on after the last whole case")

    def _forget(self) -> None:
        process, self._process = self._process, None
        self._killer.stop()
        if process is not None:
            process.deleteLater()

    def close(self) -> None:
        """End a build at once and tell nobody; finished cases are kept."""
        process = self._process
        if process is not None:
            process.finished.disconnect()
            process.errorOccurred.disconnect()
            process.kill()
            process.waitForFinished(KILL_AFTER_MILLISECONDS)
            self._forget()
