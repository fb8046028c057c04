"""Texts that were written and accepted, kept on disk so that a build goes on where it was stopped."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from napari_medreason.core.strict import parse_json
from napari_medreason.errors import DataSetError, ExportError

from .task import Task


class TextCache:
    """Answers by the digest of what was asked, in a file that only grows.

    Every answer is flushed to the disk at once. A last line that was cut by a kill is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers: dict[str, Any] = {}
        self._file: IO[bytes] | None = None
        self._load()

    def __len__(self) -> int:
        return len(self._answers)

    def __enter__(self) -> TextCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def get(self, key: str) -> Any:
        """The answer kept under a key as JSON values, None when there is none."""
        return self._answers.get(key)

    def put(self, key: str, answer: Any) -> None:
        """Keep an answer; ExportError when the disk is full, and then nothing earlier is lost."""
        line = json.dumps({"key": key, "answer": answer}, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            self._file.write(line.encode("utf-8"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ExportError(
                f"{self._path.name} can't be written: {error.strerror}; check space and permission, "
                "then start the same build again"
            ) from error
        self._answers[key] = answer

    def _load(self) -> None:
        if not self._path.is_file():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self._path.open("rb+") as file:
                file.truncate(len(whole))
        for number, line in enumerate(whole.decode("utf-8", errors="replace").split("\n")[:-1], 1):
            try:
                entry = parse_json(line, f"{self._path.name}, line {number}")
                self._answers[str(entry["key"])] = entry["answer"]
            except (DataSetError, KeyError, TypeError):
                continue  # a damaged line costs one text, which is written again


def cache_key(task: Task, writer: str, settings: str) -> str:
    """Digest of everything an answer depends on."""
    digest = sha256()
    for part in (writer, settings, task.kind, task.key, task.prompt):
        digest.update(part.encode("utf-8") + b"\0")
    digest.update(task.picture or b"")
    return digest.hexdigest()
