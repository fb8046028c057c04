"""The proofs of joint training: tiny systems learn which of three objects a question means, and where it is.

Data: simple synthetic shapes (shapes.py), 24 patients to learn from and 8 that are held out. Bases: random
weights at toy size in the released layouts (tiny.py), but for TinySAM's encoder, which has its real size, has
been shown such shapes before (tiny_encoder.py), and is frozen in the proof. Everything goes the way of a
user's run: configuration, run folder, adapter, card.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..run_command import execute, not_begun
from ..runs import note
from .base import System
from .export import COMPARISON
from .shapes import write_shapes
from .tiny import write_medisee_base, write_prs_med_base
from .tiny_encoder import STEPS

ENOUGH_DICE = 0.6
"""Mean Dice over the held-out patients that a proof must go beyond."""
SETTINGS: Mapping[System, Mapping[str, Any]] = {
    "prs-med": {
        "preset": "cpu-small",
        "size": 128,
        "train_encoder": False,
        "batch": 8,
        "steps": 350,
        "learning_rate": 1e-3,
        "warm_up_steps": 20,
    },
    "medisee": {"preset": "cpu-small", "steps": 700, "learning_rate": 3e-3},
}
_ABLATIONS: Mapping[str, tuple[System, Mapping[str, Any]]] = {
    "prs-med, LoRA on q, v": ("prs-med", {"lora_targets": ["q_proj", "v_proj"], "steps": 250}),
    "prs-med, LoRA on q, k, v, o": ("prs-med", {"steps": 250}),
    "medisee, text": ("medisee", {"decoder_box": False}),
    "medisee, box and text": ("medisee", {}),
}
"""What the papers vary, from what they found worse to what they found better."""


def prove_prs_med(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """A tiny PRS-Med learns; about four minutes of one core. `data` is not used."""
    return _proof("prs-med", seed, out)


def prove_medisee(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """A tiny MediSee learns; about three minutes of one core. `data` is not used."""
    return _proof("medisee", seed, out)


def prove_ablations(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """The papers' variants side by side, told whatever they show; about 11 minutes. `data` is not used."""
    figures = {
        name: _trained(system, seed, out, changed, name) for name, (system, changed) in _ABLATIONS.items()
    }
    names = list(figures)
    as_published = {
        better: figures[better]["dice"]["after"] >= figures[worse]["dice"]["after"]
        for worse, better in (names[:2], names[2:])
    }
    for better, agrees in as_published.items():
        note(f"{better} is {'at least as good, as' if agrees else 'worse, other than'} in the paper")
    return {"seed": seed, "variants": figures, "as_published": as_published}


def _proof(system: System, seed: int, out: Path) -> dict[str, Any]:
    figures = _trained(system, seed, out, {}, system)
    passed = figures["dice"]["after"] > ENOUGH_DICE
    note(f"held-out Dice over {ENOUGH_DICE}: {'yes' if passed else 'NO'}")
    return {"seed": seed, "passed": passed, **figures}


def _trained(system: System, seed: int, out: Path, changed: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One run from the beginning; its figures on the held-out patients."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    slug = "".join(one if one.isalnum() else "-" for one in name)
    work = out / f"prove-{slug}-{seed}-files"
    run = not_begun(work / "run")
    started = time.process_time()  # what the toy base costs counts too
    _write(work, system, seed, changed)
    reason = execute(work / "config.toml", run)
    summary = json.loads((run / COMPARISON).read_text(encoding="utf-8"))["summary"]
    figures = {
        "ended": reason,
        "cpu_minutes": round((time.process_time() - started) / 60, 1),
        "settings": {**SETTINGS[system], **changed},
        "dice": summary["mask"],
    }
    if "box" in summary:
        figures["box iou"] = summary["box"]
    _tell(name, figures)
    return figures


def _write(work: Path, system: System, seed: int, changed: Mapping[str, Any]) -> None:
    write_shapes(work, seed)
    if system == "prs-med":
        write_prs_med_base(work / "base-model", seed, encoder_steps=STEPS)
    else:
        write_medisee_base(work / "base-model", seed)
    settings = {**SETTINGS[system], **changed}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    head = f'recipe = "{system}"\nrecords = ["records.jsonl"]\nimages = "."\nbase = "base-model"\n'
    evaluation = "[evaluation]\nevery_steps = 160\nrecords = 48\nsamples = 2\n"
    config = f'{head}name = "proof"\nseed = {seed}\ndevice = "cpu"\n[{system.replace("-", "_")}]\n'
    (work / "config.toml").write_text(config + "\n".join(lines) + f"\n{evaluation}", encoding="utf-8")


def _tell(name: str, figures: Mapping[str, Any]) -> None:
    for measure in ("dice", "box iou"):
        own = figures.get(measure)
        if own is not None:
            note(
                f"{name}, {measure} on {own['patients']} held-out patients: {own['before']:.3f} to "
                f"{own['after']:.3f}, gain interval {own['interval']} ({figures['cpu_minutes']} CPU minutes)"
            )
