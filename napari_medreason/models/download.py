"""One large file over HTTP: resumed by byte range, checked against its hash, renamed when it is whole.

The hub's own downloader deletes a partial file when it is interrupted; a checkpoint of 15 GB would then begin
anew each time. So bytes are fetched here, over the hub library's HTTP client (its proxies, its certificates).
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from napari_medreason.core.renaming import rename
from napari_medreason.errors import CancelledError, WeightsError
from napari_medreason.models.base import Cancelled
from napari_medreason.models.files import write_text

ATTEMPTS = 5
"""Without one more byte; every byte gained begins the count anew."""
WAIT_SECONDS = 1.0
"""Before the second attempt; doubled for each further one."""

OnBytes = Callable[[int], None]
"""Receives how many bytes of the file are on the disk now; goes back to 0 when it must begin anew."""

_HASHED_BYTES = 8 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch. size: bytes, None if unknown; sha256: "" if unknown; token: for its host alone."""

    name: str
    url: str
    size: int | None = None
    sha256: str = ""
    token: str | None = None


class RefusedError(WeightsError):
    """The server knows the file and does not give it: a login or accepted terms are missing."""


class _Interrupted(Exception):
    """The connection ended early; what came so far is kept."""


def part_of(target: Path) -> Path:
    """Where the bytes of an unfinished download are."""
    return target.with_name(f"{target.name}.part")


def fetch(file: RemoteFile, target: Path, *, on_bytes: OnBytes, cancelled: Cancelled) -> str:
    """Download to `target`, going on where an earlier attempt stopped; gives the file's SHA-256.

    CancelledError between two blocks, which keeps what is there. WeightsError when the server refuses,
    sends something else than was expected, or can't be reached any more, and when the disk is full.
    """
    part = part_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    attempt, most = 0, _size(part)
    while True:
        try:
            _receive(file, part, on_bytes, cancelled)
            return _finish(file, part, target, cancelled)
        except _Interrupted as fault:
            attempt, most = 1 if _size(part) > most else attempt + 1, max(most, _size(part))
            if attempt >= ATTEMPTS:
                raise WeightsError(
                    f"{file.name} could not be downloaded ({fault}); try again later, it goes on where it "
                    "stopped"
                ) from fault
            _log.info("%s: %s; attempt %d", file.name, fault, attempt + 1)
            _wait(WAIT_SECONDS * 2 ** (attempt - 1), cancelled)
        except OSError as error:
            raise _disk_fault(file.name, error) from error


def _receive(file: RemoteFile, part: Path, on_bytes: OnBytes, cancelled: Cancelled) -> None:
    """Bring the part to its full length."""
    from napari_medreason.models.http import ConnectionLostError, reply_to_get

    have = _resumable(file, part)
    if file.size is not None and have == file.size:
        return
    try:
        with reply_to_get(file.url, _headers(file, part, have)) as reply:
            _check_status(file, reply, part, have)
            _append(file, part, reply, have, on_bytes, cancelled)
    except ConnectionLostError as error:
        raise _Interrupted(str(error)) from error


def _headers(file: RemoteFile, part: Path, have: int) -> dict[str, str]:
    # Ranges count encoded bytes, so that a compressed reply could not be continued.
    headers = {"Accept-Encoding": "identity", "User-Agent": "napari-medreason"}
    if file.token:
        headers["Authorization"] = f"Bearer {file.token}"
    if have:
        headers["Range"] = f"bytes={have}-"
        # A known hash tells better than a tag whether the pieces fit; the tags of a content network's
        # servers may differ for the same bytes.
        if not file.sha256:
            headers["If-Range"] = str(_notes(part).get("etag", ""))
    return headers


def _check_status(file: RemoteFile, response: Any, part: Path, have: int) -> None:
    status = response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise RefusedError(f"{file.name}: the server asks for a login or accepted terms (HTTP {status})")
    if status == HTTPStatus.NOT_FOUND:
        raise WeightsError(
            f"{file.name} is not (any more) where it should be; look at the page of the weights"
        )
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        _forget(part)
        raise _Interrupted("the file on the server is shorter than what was kept of it")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise _Interrupted(f"the server answered HTTP {status}")
    if "text/html" in response.headers.get("content-type", "") and not file.name.endswith(".html"):
        raise WeightsError(
            f"{file.name}: the server sent a web page instead; check base_url and the proxy's login"
        )


def _append(
    file: RemoteFile, part: Path, response: Any, have: int, on_bytes: OnBytes, cancelled: Cancelled
) -> None:
    start = have if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
    if start and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
        _forget(part)
        raise _Interrupted("the server sent another range than was asked for")
    _note(part, file, response.headers.get("etag", ""))
    done = start
    on_bytes(done)
    with part.open("r+b" if start else "wb") as stream:
        stream.truncate(start)
        stream.seek(start)
        for block in response.iter_raw():  # as they come: a buffer would be lost with the connection
            if cancelled():
                raise CancelledError("the download was cancelled; what is there is kept")
            if file.size is not None and done + len(block) > file.size:
                raise WeightsError(
                    f"{file.name}: the server sends more than the {file.size} bytes it should have"
                )
            stream.write(block)
            done += len(block)
            on_bytes(done)
        stream.flush()
        os.fsync(stream.fileno())
    if file.size is not None and done < file.size:
        _refuse_short(file, response, done)


def _refuse_short(file: RemoteFile, response: Any, done: int) -> None:
    """A reply without a length may have been cut off; one that came as long as it said was not."""
    if "content-length" in response.headers:
        raise WeightsError(f"{file.name}: the server has {done} bytes of the {file.size} that it should have")
    raise _Interrupted(f"{done} of {file.size} bytes came")


def _finish(file: RemoteFile, part: Path, target: Path, cancelled: Cancelled) -> str:
    digest = sha256_of(part, cancelled=cancelled)
    if file.sha256 and digest != file.sha256.lower():
        _forget(part)
        raise WeightsError(
            f"{file.name} is not what it should be: its SHA-256 is {digest[:12]}…, {file.sha256[:12]}… is "
            "expected; nothing was kept, try again or choose another base_url"
        )
    rename(part, target)
    _forget(part)
    return digest


def sha256_of(file: Path, *, on_bytes: OnBytes | None = None, cancelled: Cancelled) -> str:
    """SHA-256 of a file's bytes, read anew; CancelledError between two blocks."""
    digest, done = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_HASHED_BYTES):
            if cancelled():
                raise CancelledError("the check was cancelled")
            digest.update(block)
            done += len(block)
            if on_bytes is not None:
                on_bytes(done)
    return digest.hexdigest()


def _resumable(file: RemoteFile, part: Path) -> int:
    """How many bytes of the part can be kept: all, unless they belong to another version of the file."""
    notes, have = _notes(part), _size(part)
    same = notes.get("url") == file.url and notes.get("sha256") == file.sha256
    certain = bool(file.sha256) or bool(notes.get("etag"))  # else nothing would tell two versions apart
    if not (same and certain) or (file.size is not None and have > file.size):
        _forget(part)
        return 0
    return have


def _notes_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _notes(part: Path) -> dict[str, Any]:
    try:
        content = json.loads(_notes_file(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _note(part: Path, file: RemoteFile, etag: str) -> None:
    strong = (
        "" if etag.startswith("W/") else etag
    )  # only a strong one may stand in If-Range (RFC 9110, 13.1.5)
    write_text(_notes_file(part), json.dumps({"url": file.url, "sha256": file.sha256, "etag": strong}))


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:
        return 0


def _wait(seconds: float, cancelled: Cancelled) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cancelled():
            raise CancelledError("the download was cancelled; what is there is kept")
        time.sleep(0.05)


def _disk_fault(name: str, error: OSError) -> WeightsError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return WeightsError(
            f"the disk is full while {name} is downloaded; free some space and start again, it goes on "
            "where it stopped; MEDREASON_WEIGHTS in the environment chooses another folder"
        )
    return WeightsError(
        f"{name} can't be written ({error.strerror or error}); check the folder of the weights"
    )
