"""What an engine can be asked about weights; these run beside the models, each on a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map
from napari_medreason.engine.methods import Request
from napari_medreason.engine.protocol_weights import summary, verified_to_map, weights_list_to_map
from napari_medreason.models import store
from napari_medreason.models.catalogue import catalogue, weights

_REPORT_SECONDS = 0.25


def weight_methods() -> dict[str, Callable[[Request, Fields], object]]:
    """The methods by name; each takes a request and its arguments and gives a map."""
    return {"weights": _weights, "pull": _pull, "verify": _verify, "use": _use}


def _weights(request: Request, fields: Fields) -> object:
    return weights_list_to_map((entry, store.status(entry.id)) for entry in catalogue().values())


def _pull(request: Request, fields: Fields) -> object:
    weights_id = fields.text("weights")
    store.pull(weights_id, progress=_Reporter(request, "downloading"), cancelled=request.cancelled.is_set)
    return _summary(weights_id)


def _verify(request: Request, fields: Fields) -> object:
    weights_id = fields.text("weights")
    reporter = _Reporter(request, "checking")
    return verified_to_map(store.verify(weights_id, progress=reporter, cancelled=request.cancelled.is_set))


def _use(request: Request, fields: Fields) -> object:
    weights_id, place = fields.text("weights"), fields.maybe("folder", fields.text)
    if place is None:
        store.use_downloaded(weights_id)
    else:
        store.use_folder(weights_id, place)
    return _summary(weights_id)


def _summary(weights_id: str) -> Map:
    return summary(weights(weights_id), store.status(weights_id))


class _Reporter:
    """Sends bytes as progress, a few times a second, with the file and the sizes in words."""

    def __init__(self, request: Request, stage: str) -> None:
        self._request, self._stage, self._sent = request, stage, 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        ended = total is not None and done >= total
        if not ended and time.monotonic() - self._sent < _REPORT_SECONDS:
            return
        self._sent = time.monotonic()
        fraction = min(done / total, 1.0) if total else None
        words = f"{self._stage}: {transfer_words(name, done, total)}" if name else self._stage
        self._request.reply("progress", {"stage": words, "fraction": fraction})


def transfer_words(name: str, done: int, total: int | None) -> str:
    """A file and how far all of it is, for the user."""
    of_all = f" of {store.gigabytes(total)}" if total is not None else ""
    return f"{name}, {store.gigabytes(done)}{of_all}"
