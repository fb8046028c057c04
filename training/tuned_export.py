"""A tuned expert as an adapter folder: weights, description, card, and what it does better or worse."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.core.run_config import RunConfig
from napari_medreason.io import replace_file
from napari_medreason.models.embedded.adapter import BASE, CARD
from napari_medreason.models.embedded.averaging import network_maps
from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import Perceiver, areas

from .before_after import pairs, plain, summary
from .calibration import LEAST_CASES, logistic_fit
from .card import ENOUGH_PATIENTS, GOOD_DICE
from .losses import present
from .replay import Replay
from .run_data import RunRecords, labelled_planes
from .runs import environment
from .train_embedded import seeded
from .tuned_slices import SliceSource

if TYPE_CHECKING:
    from .recipe_embedded import TuningData

COMPARISON = "comparison.json"
CALIBRATION_BATCHES, CALIBRATION_SEED = 12, 4_343
USUAL = (-2.5, 0.5, 0.9)
"""Presence weights like those of the shipped structures, for one with too few cases to fit its own."""


def export_tuned(
    network: GroundingNetwork,
    data: TuningData,
    source: SliceSource,
    replay: Replay,
    *,
    config: RunConfig,
    folder: Path,
) -> None:
    """Write the adapter, then judge it on the test records, then its card; the card makes it whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    packed = save({name: value.half().contiguous() for name, value in network.state_dict().items()})
    _write(folder / f"{data.expert.id}.safetensors", packed)
    description = _description(data, hashlib.sha256(packed).hexdigest())
    description["presence"] |= presence_of_new(network, data, source, replay)
    _write_json(folder / f"{data.expert.id}.json", description)
    card = _card(data, config)
    _write_json(folder / CARD, card)
    found = _compared(data.records, folder)
    if found:
        figures = summary(found)
        _write_json(folder / CARD, card | {"before_after": figures})
        _write_json(folder.parent / COMPARISON, {"pairs": plain(found), "summary": figures})
        description |= _evidence(description, data, figures)
        _write_json(folder / f"{data.expert.id}.json", description)


def _compared(records: RunRecords, folder: Path) -> list[Any]:
    before, after = Perceiver(), Perceiver()
    after.put_on(folder)
    return pairs(before, after, labelled_planes(records.test, records.images))


def _description(data: TuningData, sha256: str) -> dict[str, Any]:
    """The base's description with the new structures; what was measured on the base is no longer told."""
    own = data.expert.folder / f"{data.expert.id}.json"
    table: dict[str, Any] = json.loads(own.read_text(encoding="utf-8"))
    new = data.structures[len(data.expert.structures) :]
    paired = [name for name in new if vocabulary()[name].paired]
    table |= {"structures": list(data.structures), "paired": sorted([*table["paired"], *paired])}
    table |= {"sha256": sha256, "training": {"tuned from": data.expert.sha256}}
    table["evidence"] = {name: f"{line}, before tuning" for name, line in table["evidence"].items()}
    return table


def _evidence(
    description: Mapping[str, Any], data: TuningData, figures: Mapping[str, Any]
) -> dict[str, dict[str, str]]:
    """Lines and levels of the structures that the test records measure."""
    evidence, level = dict(description["evidence"]), dict(description["level"])
    for name in data.structures:
        own = figures.get(f"named {name}")
        if own is None:
            continue
        patients = own["patients"]
        good = "supported" if patients >= ENOUGH_PATIENTS else "preliminary"
        level[name] = good if own["after"] >= GOOD_DICE else "experimental"
        who = f"{patients} held-out patient{'s' if patients > 1 else ''}, {own['regions']} slices"
        evidence[name] = (
            f"{vocabulary()[name].name} on {data.expert.modality}, tuned here: Dice {own['after']:.2f} "
            f"on {who} (before tuning {own['before']:.2f}); {level[name]}"
        )
    return {"evidence": evidence, "level": level}


@torch.no_grad()
def presence_of_new(
    network: GroundingNetwork, data: TuningData, source: SliceSource, replay: Replay
) -> dict[str, tuple[float, float, float]]:
    """How sure the network may be that a new structure is there; from images of the training slices."""
    new = data.structures[len(data.expert.structures) :]
    if not new:
        return {}
    cues, there, known = _cues(network, data, source, replay)
    result = {}
    for name in new:
        k = data.structures.index(name)
        told, looked = there[:, k], known[:, k]
        enough = min((told & looked).sum(), (~told & looked).sum()) >= LEAST_CASES
        result[name] = logistic_fit(cues[looked, k], told[looked]) if enough else USUAL
    return result


def _cues(network: GroundingNetwork, data: TuningData, source: SliceSource, replay: Replay) -> Sequence[Any]:
    """Presence logit and log(1 + area) (n, K, 2), whether it is there and was looked for (n, K)."""
    cues, there, known = [], [], []
    for step in range(CALIBRATION_BATCHES):
        for images in (source, replay):
            batch = images.batch(4, 0.5, seeded(CALIBRATION_SEED, step))
            maps = network_maps(
                network,
                batch.channels,
                batch.plane,
                data.expert.pixel_mm,
                symmetric=data.expert.symmetric,
            )
            area = np.stack([areas(image.numpy()) for image in maps.logits])
            cues.append(np.stack([maps.presence.numpy(), np.log1p(area)], -1))
            there.append(present(batch.labels, batch.known.shape[1]).numpy() > 0.5)
            known.append(batch.known[:, 1:].numpy())
    return np.concatenate(cues), np.concatenate(there), np.concatenate(known)


def _card(data: TuningData, config: RunConfig) -> dict[str, Any]:
    """What an adapter was made from; numbers only, no path and no patient."""
    records = data.records
    settings = {"seed": config.seed, "budget": asdict(config.budget), "embedded": asdict(config.embedded)}
    return {
        "format": 1,
        "kind": "embedded-expert",
        "name": config.name or "tuned",
        "base": BASE,
        "base_weights_sha256": Perceiver().weights_sha256,
        "expert": data.expert.id,
        "expert_sha256": data.expert.sha256,
        "recipe": config.recipe,
        "config": settings,
        "data_sha256": records.sha256,
        "records": {split: count.records for split, count in records.check.splits.items()},
        "patients": {split: count.patients for split, count in records.check.splits.items()},
        "structures": dict(records.check.structures),
        "new_structures": list(data.structures[len(data.expert.structures) :]),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": environment()["packages"],
        "before_after": {},
    }


def _write_json(file: Path, table: Mapping[str, Any]) -> None:
    _write(file, (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode())


def _write(file: Path, content: bytes) -> None:
    with replace_file(file) as temporary:
        temporary.write_bytes(content)
