"""The hub library's HTTP client (its proxies, its certificates), with faults told apart in few kinds.

Imported only inside functions, since the hub library takes a while to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]
from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

from napari_medreason.errors import WeightsError

CONNECT_SECONDS, READ_SECONDS = 15.0, 20.0
_TIMEOUT = (CONNECT_SECONDS, READ_SECONDS, READ_SECONDS, CONNECT_SECONDS)


class ConnectionLostError(Exception):
    """The server could not be reached or the connection ended early."""


@contextmanager
def reply_to_get(url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """The streamed reply; redirects are followed, and a token goes to the first host alone."""
    with _told(), get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as reply:
        yield reply


def size_of(url: str) -> int | None:
    """Bytes of the file at this address, None if its server does not say."""
    with _told():
        reply = get_session().head(
            url, headers={"Accept-Encoding": "identity"}, timeout=_TIMEOUT, follow_redirects=True
        )
    length = reply.headers.get("content-length", "")
    return int(length) if reply.is_success and length.isdigit() else None


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise WeightsError("nothing can be downloaded: HF_HUB_OFFLINE is set in the environment") from error
    except HTTPError as error:
        words = f"{type(error).__name__}: {str(error) or 'connection lost'}"
        raise ConnectionLostError(words[:160]) from error
