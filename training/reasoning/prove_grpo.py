"""Does GRPO teach a reasoner to see? A tiny Qwen2.5-VL on made slices, on one processor core.

A warm-up by SFT on loosely drawn boxes (see spots) ends where answers have their form and boxes are still
poor; then rewards alone go on, which know the true boxes. Both are whole runs, as a user would start them.
Held-out patients are compared before and after GRPO, box by box, and form apart from boxes. Settings were
chosen on seed 1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from napari_medreason.core.answer_text import format_answer
from napari_medreason.core.run_folder import ADAPTER, read_events
from napari_medreason.core.run_recipes_reasoning import RewardVariant

from ..run_command import execute, not_begun
from ..runs import note
from ..tuned_export import COMPARISON
from .spots import ANSWER, LOOSE_RECORDS, QUESTION, RECORDS, Spots, write_spots
from .tiny_models import save_tiny_reasoner

SPOTS = Spots(train=80, validation=2, test=12)
WARM_UP, WARM_UP_STEPS = "warm-up", 900
STEPS = 80
ENOUGH_FORM = 0.95
VARIANTS: tuple[RewardVariant, ...] = ("soft", "hard", "base")
_WRITTEN = format_answer(ANSWER, (1, 2, 3, 4), ((1, 2), (3, 4)))
_SHARED: Mapping[str, Any] = {
    "preset": "cpu-small",
    "prompt": "prompt.txt",
    "max_answer_tokens": 26,
    "repetition_penalty": 1.0,
    # With the image encoder trained as well, trials left the start faster and lost boxes.
    "vision": False,
}
_WARM_UP: Mapping[str, Any] = {**_SHARED, "learning_rate": 3e-3}
_GRPO: Mapping[str, Any] = {**_SHARED, "learning_rate": 1e-4, "prompts": 8, "group": 8, "at_once": 64}


def prove(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """Warm up and go on with soft rewards; about three minutes of one core. `data` is not used."""
    del data
    work = _warmed_up(seed, out, "grpo")
    figures = _rewarded(work, "soft", seed)
    _tell("grpo", figures)
    gain = figures["box"]["interval"]
    warm_up = _warm_up_figures(work)
    passed = bool(gain is not None and gain[0] > 0 and warm_up["form_was_enough"])
    return {"seed": seed, "passed": passed, **warm_up, "steps": STEPS, **figures}


def prove_rewards(seed: int, data: Path | None, out: Path) -> dict[str, Any]:
    """The variants of the reward from one warm-up, beside more SFT; about six minutes of one core."""
    del data
    work = _warmed_up(seed, out, "rewards")
    figures: dict[str, Any] = {variant: _rewarded(work, variant, seed) for variant in VARIANTS}
    figures["more SFT"] = _more_examples(work, seed)
    for name, own in figures.items():
        _tell(name, own)
    order = sorted(figures, key=lambda name: -figures[name]["box"]["after"])
    return {"seed": seed, **_warm_up_figures(work), "steps": STEPS, "order": order, "variants": figures}


def _warmed_up(seed: int, out: Path, name: str) -> Path:
    """A folder with records, the untrained model and a warm-up run."""
    torch.set_num_threads(1)
    work = out / f"{name}-{seed}"
    write_spots(work, seed, SPOTS)
    (work / "prompt.txt").write_text("<image>\n{question}\n", encoding="utf-8")
    save_tiny_reasoner(work / "untrained", [f"{QUESTION}\n", _WRITTEN], seed=seed, width=64, layers=2)
    _run(work, WARM_UP, "sft", "untrained", seed=seed, steps=WARM_UP_STEPS, settings=_WARM_UP)
    return work


def _rewarded(work: Path, variant: RewardVariant, seed: int) -> dict[str, Any]:
    """GRPO from the warm-up; the figures on the test records."""
    settings = {**_GRPO, "reward": variant}
    base = f"{WARM_UP}/{ADAPTER}"
    return _run(work, f"grpo-{variant}", "grpo", base, seed=seed, steps=STEPS, settings=settings)


def _more_examples(work: Path, seed: int) -> dict[str, Any]:
    """SFT from the warm-up on as many examples as GRPO has questions, with the true boxes."""
    questions = int(_GRPO["prompts"])
    settings = {**_SHARED, "learning_rate": 3e-4, "batch": questions, "at_once": questions}
    base = f"{WARM_UP}/{ADAPTER}"
    return _run(work, "more-sft", "sft", base, seed=seed, steps=STEPS, settings=settings)


def _run(
    work: Path, name: str, recipe: str, base: str, *, seed: int, steps: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """A whole run; how its result compares with its base on the test records."""
    started = time.process_time()
    lines = [
        f'recipe = "{recipe}"',
        f'records = ["{LOOSE_RECORDS if name == WARM_UP else RECORDS}"]\nimages = "."\ndevice = "cpu"',
        f'base = "{base}"\nname = "{name}"\nseed = {seed}',
        f"[budget]\nsteps = {steps}",
        f"[evaluation]\nevery_steps = {steps // 4}\nrecords = 32\ncheckpoint_seconds = 600.0",
        f"[{recipe}]",
        *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
    ]
    config = work / f"{name}.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    execute(config, not_begun(work / name))
    summary = json.loads((work / name / COMPARISON).read_text(encoding="utf-8"))["summary"]
    minutes = round((time.process_time() - started) / 60, 1)
    ways = {way: summary[way] for way in ("box", "points", "format")}
    return {**ways, "cpu_minutes": minutes, "curve": _curve(work / name)}


def _curve(run: Path) -> list[list[float]]:
    """Step and box IoU of each evaluation on the validation records."""
    events = read_events((run / "events.jsonl").read_text(encoding="utf-8"))
    return [[e.step, round(e.values["box iou"], 3)] for e in events if e.kind == "evaluation"]


def _warm_up_figures(work: Path) -> dict[str, Any]:
    table = json.loads((work / WARM_UP / COMPARISON).read_text(encoding="utf-8"))["summary"]
    form = table["format"]["after"]
    return {
        "warm_up": {"steps": WARM_UP_STEPS, "box": table["box"]["after"], "format": form},
        "form_was_enough": form >= ENOUGH_FORM,
    }


def _tell(name: str, figures: dict[str, Any]) -> None:
    box, form = figures["box"], figures["format"]
    note(
        f"{name}: box IoU {box['before']:.3f} to {box['after']:.3f}, gain {box['gain']:+.3f} with interval "
        f"{box['interval']} over {box['patients']} patients, better on {box['better']} of {box['regions']}; "
        f"form {form['before']:.3f} to {form['after']:.3f}; {figures['cpu_minutes']} CPU minutes"
    )
