"""A tuned reasoner as a folder: PEFT adapter or whole model, its card, and how it compares with its base."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medreason.io import replace_file
from napari_medreason.models.adapter_card import CARD, AdapterCard, write_adapter_card

from ..before_after import Pair, plain, summary
from ..runs import environment
from ..tuned_export import COMPARISON
from .answering import Judged
from .base_model import device_of, load_network
from .conversations import Conversation

if TYPE_CHECKING:
    from .tuning import ReasonerTuning

_WAYS = {"box": "box_iou", "points": "points_dice", "format": "formed"}
"""What is compared, and which measure of an answer it is."""


def export_reasoner(tuning: ReasonerTuning, folder: Path) -> None:
    """Write weights, compare with the base on the test records, then write the card, which makes it whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    _write_weights(tuning, folder)
    asked = tuning.data.test()
    figures: dict[str, Any] = {}
    if asked:
        found = pairs(_before(tuning, asked), tuning.judge(asked), asked)
        figures = summary(found)
        with replace_file(folder.parent / COMPARISON) as temporary:
            text = json.dumps({"pairs": plain(found), "summary": figures}, ensure_ascii=False, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
    write_adapter_card(folder, _card(tuning, figures))


def pairs(before: Sequence[Judged], after: Sequence[Judged], asked: Sequence[Conversation]) -> list[Pair]:
    """Each record's answers before and after: box IoU, Dice of the points' circles, and form (0 or 1)."""
    return [
        Pair(
            one.record.id,
            one.record.patient,
            one.record.structure,
            way,
            float(getattr(first, measure)),
            float(getattr(second, measure)),
        )
        for first, second, one in zip(before, after, asked, strict=True)
        for way, measure in _WAYS.items()
    ]


def _before(tuning: ReasonerTuning, asked: Sequence[Conversation]) -> list[Judged]:
    """Answers of the base: with the adapter off, or of its folder when all weights were trained."""
    if tuning.settings.trained == "low-rank":
        with tuning.network.disable_adapter():
            return tuning.judge(asked)
    device = device_of(tuning.config.device)
    return tuning.judge(asked, load_network(tuning.data.base, tuning.settings, device))


def _write_weights(tuning: ReasonerTuning, folder: Path) -> None:
    """PEFT's folder of the adapter; or the whole model with its tokenizer and image processor."""
    network = tuning.network
    if tuning.settings.trained == "low-rank":
        # PEFT would write the folder of the base, which says where the user keeps things, and would look for
        # its embedding layers on the hub; none of them is ever trained.
        network.peft_config["default"].base_model_name_or_path = tuning.data.base.name
        network.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        return
    network.save_pretrained(folder)
    tuning.data.processor.save_pretrained(folder)


def _card(tuning: ReasonerTuning, figures: dict[str, Any]) -> AdapterCard:
    config, records, base = tuning.config, tuning.data.records, tuning.data.base
    table = config.recipe
    return AdapterCard(
        name=config.name or "tuned",
        kind="peft",
        base=base.name,
        base_weights_sha256=base.sha256,
        recipe=config.recipe,
        config={"seed": config.seed, "budget": asdict(config.budget), table: asdict(tuning.settings)},
        data_sha256=records.sha256,
        records={split: count.records for split, count in records.check.splits.items()},
        patients={split: count.patients for split, count in records.check.splits.items()},
        structures=dict(records.check.structures),
        date=datetime.now(UTC).date().isoformat(),
        versions=environment()["packages"],
        before_after=figures,
        extra={"whole_model": True} if tuning.settings.trained == "all" else {},
    )
