"""Weights as maps: what an engine knows of them, and what it did with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import Map
from napari_medreason.engine.protocol import take_sizes
from napari_medreason.models.catalogue import Weights
from napari_medreason.models.store import Verified, WeightsStatus

BACKGROUND_METHODS = ("weights", "pull", "verify", "use")
"""Methods that an engine works on beside its models: a question need not wait for a download."""


@dataclass(frozen=True)
class WeightsSummary:
    """A set of weights as the engine's machine has it; see models.catalogue.Weights and models.store.

    memory: bytes of the parameters alone by precision, empty if unknown. bytes_total: None if unknown.
    """

    id: str
    title: str
    kind: str
    licence: str
    consequence: str
    page: str
    gated: bool
    downloadable: bool
    pinned: bool
    modalities: tuple[str, ...]
    memory: dict[str, int]
    state: str
    fault: str
    bytes_here: int
    bytes_total: int | None
    revision: str

    @property
    def usable(self) -> bool:
        """Whether a model can load them."""
        return self.state in ("installed", "own")


def summary(entry: Weights, status: WeightsStatus) -> Map:
    """An entry of the catalogue with what is here of it, as a map; the fields of WeightsSummary."""
    return {
        "id": entry.id,
        "title": entry.title,
        "kind": entry.kind,
        "licence": entry.licence,
        "consequence": entry.consequence,
        "page": entry.page,
        "gated": entry.gated,
        "downloadable": entry.downloadable,
        "pinned": entry.pinned,
        "modalities": list(entry.modalities),
        "memory": dict(entry.memory),
        "state": status.state,
        "fault": status.fault,
        "bytes_here": status.bytes_here,
        "bytes_total": status.bytes_total,
        "revision": status.revision,
    }


def weights_list_to_map(entries: Iterable[tuple[Weights, WeightsStatus]]) -> Map:
    """All weights as a map."""
    return {"weights": [summary(entry, status) for entry, status in entries]}


def map_to_weights_list(value: object) -> tuple[WeightsSummary, ...]:
    """WeightsSummary objects from their map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "weights") as fields:
        return tuple(map_to_summary(row) for row in fields.maps("weights"))


def map_to_summary(value: object) -> WeightsSummary:
    """A WeightsSummary from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "weights") as fields:
        return WeightsSummary(
            id=fields.text("id"),
            title=fields.text("title"),
            kind=fields.text("kind"),
            licence=fields.text("licence"),
            consequence=fields.text("consequence"),
            page=fields.text("page"),
            gated=fields.flag("gated"),
            downloadable=fields.flag("downloadable"),
            pinned=fields.flag("pinned"),
            modalities=fields.texts("modalities"),
            memory=take_sizes(fields, "memory"),
            state=fields.text("state"),
            fault=fields.text("fault"),
            bytes_here=fields.integer("bytes_here"),
            bytes_total=fields.maybe("bytes_total", fields.integer),
            revision=fields.text("revision"),
        )


def verified_to_map(verified: Verified) -> Map:
    """What a verification read, as a map."""
    return {"files": verified.files, "bytes": verified.bytes, "known": verified.known}


def map_to_verified(value: object) -> Verified:
    """A Verified from its map; EngineError when a field is missing, unknown or wrong."""
    with Fields(value, "verified") as fields:
        return Verified(fields.integer("files"), fields.integer("bytes"), fields.flag("known"))
