"""A tuned expert as an adapter folder: weights, description, card, and what it does better or worse."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.core.run_config import RunConfig
from napari_medreason.io import replace_file
from napari_medreason.models.embedded.adapter import BASE, CARD
from napari_medreason.models.embedded.network import GroundingNetwork
from napari_medreason.models.embedded.perception import Perceiver

from .before_after import pairs, plain, summary
from .card import ENOUGH_PATIENTS, GOOD_DICE
from .run_data import RunRecords, labelled_planes
from .runs import environment

if TYPE_CHECKING:
    from .recipe_embedded import TuningData

COMPARISON = "comparison.json"
AS_SEEN = (-2.0, 0.0, 0.9)
"""Presence weights of a new structure: it is there where a few pixels of it are seen, the surer the more.

Corrected slices always show it, and no others of those patients are known not to, so nothing else can be
fitted: a network learns to tell slices from phantoms instead.
"""


def export_tuned(network: GroundingNetwork, data: TuningData, *, config: RunConfig, folder: Path) -> None:
    """Write the adapter and judge it on the test records, apart; then move it whole, its card last."""
    apart = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(apart, ignore_errors=True)
    apart.mkdir(parents=True)
    packed = save({name: value.half().contiguous() for name, value in network.state_dict().items()})
    _write(apart / f"{data.expert.id}.safetensors", packed)
    description = _description(data, hashlib.sha256(packed).hexdigest())
    description["presence"] |= dict.fromkeys(data.new, AS_SEEN)
    _write_json(apart / f"{data.expert.id}.json", description)
    card = _card(data, config)
    _write_json(apart / CARD, card)  # without it nothing can be put on
    found = _compared(data.records, apart)
    if found:
        figures = summary(found)
        _write_json(apart / CARD, card | {"before_after": figures})
        _write_json(folder.parent / COMPARISON, {"pairs": plain(found), "summary": figures})
        _write_json(apart / f"{data.expert.id}.json", description | _evidence(description, data, figures))
    _move_whole(apart, folder)


def _move_whole(apart: Path, folder: Path) -> None:
    """Put the files in the place of older ones; the card comes last, since it makes an adapter whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    for file in sorted(apart.iterdir(), key=lambda file: file.name == CARD):
        file.replace(folder / file.name)
    apart.rmdir()


def _compared(records: RunRecords, folder: Path) -> list[Any]:
    before, after = Perceiver(), Perceiver()
    after.put_on(folder)
    return pairs(before, after, labelled_planes(records.test, records.images))


def _description(data: TuningData, sha256: str) -> dict[str, Any]:
    """The base's description with the new structures; what was measured on the base is no longer told."""
    own = data.expert.folder / f"{data.expert.id}.json"
    table: dict[str, Any] = json.loads(own.read_text(encoding="utf-8"))
    paired = [name for name in data.new if vocabulary()[name].paired]
    table |= {"structures": list(data.structures), "paired": sorted([*table["paired"], *paired])}
    table["overlaid"] = [name for name in data.new if vocabulary()[name].is_finding]
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
        "new_structures": list(data.new),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": environment()["packages"],
        "before_after": {},
    }


def _write_json(file: Path, table: Mapping[str, Any]) -> None:
    _write(file, (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode())


def _write(file: Path, content: bytes) -> None:
    with replace_file(file) as temporary:
        temporary.write_bytes(content)
