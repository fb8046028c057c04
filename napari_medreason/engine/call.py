"""A request as the client keeps it until it ends, and the one place where a viewer's callbacks are called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_medreason.core.plane import Plane
from napari_medreason.engine.frames import Map

logger = logging.getLogger(__name__)

OnState = Callable[[str], None]
OnError = Callable[[Exception], None]
OnProgress = Callable[[str, float | None], None]


@dataclass(eq=False)
class Call:
    """One request until it ends. `begun`: the engine works on it, so it can't be sent again unseen."""

    method: str
    arguments: Callable[[], Map]
    decode: Callable[[object], Any]
    on_result: Callable[[Any], None]
    on_error: OnError
    on_text: Callable[[str], None] | None = None
    on_progress: OnProgress | None = None
    plane: Plane | None = None
    id: int = -1
    planes: tuple[Plane, ...] = ()
    plane_keys: tuple[str, ...] = ()
    begun: bool = False
    plane_resent: bool = False


def deliver(callback: Callable[..., None] | None, *values: object) -> None:
    """Call a viewer's callback; a fault in it is logged and harms no other request."""
    if callback is None:
        return
    try:
        callback(*values)
    except Exception:  # the request border: what a viewer does wrong must not end the client
        logger.exception("a callback of the engine client failed")
