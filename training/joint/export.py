"""A jointly trained system as an adapter folder: LoRA, parts, card, and what it does better or worse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from napari_medreason.core.run_config import RunConfig
from napari_medreason.io import replace_file
from napari_medreason.models.adapter_card import CARD, AdapterCard, write_adapter_card
from napari_medreason.models.joint_adapter import PARTS

from ..before_after import Pair, plain, summary
from ..measures import box_iou
from ..run_data import RunRecords
from ..runs import environment
from .base import BaseFolders
from .module import JointModule, Seen
from .samples import JointSample, joint_samples, mask_dice

COMPARISON = "comparison.json"


def export_joint(
    module: JointModule, data: RunRecords, folders: BaseFolders, *, config: RunConfig, folder: Path
) -> None:
    """Write the adapter, compare it with its base on the test records, then its card: that makes it whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    module.lora.save(folder)
    parts = {name: value.detach().cpu().contiguous().clone() for name, value in module.trained_parts()}
    with replace_file(folder / PARTS) as temporary:
        save_file(parts, temporary, {"format": "pt"})
    pairs = compared(module, joint_samples(data.test, data))
    figures: Mapping[str, Any] = summary(pairs) if pairs else {}
    if pairs:
        found = {"pairs": plain(pairs), "summary": figures}
        with replace_file(folder.parent / COMPARISON) as temporary:
            temporary.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    write_adapter_card(folder, _card(module, data, folders, config, dict(figures)))


def compared(module: JointModule, samples: list[JointSample]) -> list[Pair]:
    """Every test record before and after: Dice of the mask, and overlap of the box where one is proposed."""
    seen: list[list[Seen]] = []
    for context in (module.as_base(), nullcontext()):
        with context:
            seen.append([module.look(sample) for sample in samples])
    pairs = []
    for sample, before, after in zip(samples, *seen, strict=True):
        dice = [mask_dice(one.mask, sample.record.mask) for one in (before, after)]
        pairs.append(_pair(sample, "mask", *dice))
        if after.box_plane is not None:
            pairs.append(_pair(sample, "box", _overlap(before, sample), _overlap(after, sample)))
    return pairs


def _pair(sample: JointSample, way: str, before: float, after: float) -> Pair:
    record = sample.record
    name = record.structure or record.label
    return Pair(record.id, record.patient, name, way, before, after)


def _overlap(seen: Seen, sample: JointSample) -> float:
    return 0.0 if seen.box_plane is None else box_iou(seen.box_plane, sample.record.box_plane)


def _card(
    module: JointModule, data: RunRecords, folders: BaseFolders, config: RunConfig, figures: dict[str, Any]
) -> AdapterCard:
    """What the adapter was made from; numbers only, no path and no patient."""
    settings = {"seed": config.seed, "budget": asdict(config.budget), config.recipe: asdict(config.settings)}
    return AdapterCard(
        name=config.name or "tuned",
        kind=folders.system,
        base=folders.name,
        base_weights_sha256=module.weights_sha256,
        recipe=config.recipe,
        config=settings,
        data_sha256=data.sha256,
        records={split: count.records for split, count in data.check.splits.items()},
        patients={split: count.patients for split, count in data.check.splits.items()},
        structures=dict(data.check.structures),
        date=datetime.now(UTC).date().isoformat(),
        versions=environment()["packages"],
        before_after=figures,
    )
