"""One step of each training recipe beside a plain script of TRL and PEFT: time, memory, samples per second.

    python benchmarks/training.py                           small networks of the real classes, on the CPU
    python benchmarks/training.py --full-size               4-bit Qwen2.5-VL-7B with random weights, on a GPU
    python benchmarks/training.py --full-size --prs-med FOLDER --medisee FOLDER     and 7B joint training

Both train batches of the same size from the same pictures. The plain scripts of SFT and GRPO are TRL's own
loop with PEFT's adapter: it draws an order (and for GRPO answers) of its own, GRPO's loss has TRL's defaults,
and its reward is the answer's length. Those of joint training are PyTorch's loop around the same network,
losses and batches, without accelerate, run folder or schedule. Each row is a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from table import print_table

GOAL_SLOWER, GOAL_BYTES = 0.05, 24e9
PRESET = {"sft": "one-gpu-4bit", "grpo": "one-gpu-4bit", "prs-med": "one-gpu", "medisee": "one-gpu"}
SMALL = {
    "sft": {"batch": 8, "at_once": 8, "trained": "low-rank"},
    "grpo": {"prompts": 4, "group": 4, "at_once": 16, "max_answer_tokens": 32, "trained": "low-rank"},
    "prs-med": {"batch": 4, "size": 128},
    "medisee": {"batch": 4},
    "embedded": {},
}


def measure(recipe: str, who: str, place: Path, options: argparse.Namespace) -> dict:
    """Figures of one child process: seconds of each step, samples of a step, peak bytes."""
    child = Path(__file__).with_name("training_child.py")
    command = [sys.executable, str(child), recipe, who, str(place), str(options.steps), options.device]
    threads = {} if options.full_size else {"OMP_NUM_THREADS": "1"}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **threads}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{who} {recipe} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def configuration(recipe: str, base: str, options: argparse.Namespace) -> dict:
    """The run's configuration as plain values."""
    own = {"preset": PRESET[recipe]} if options.full_size else dict(SMALL[recipe])
    if not options.full_size and recipe != "embedded":
        own["preset"] = "cpu-small"
    table = {"recipe": recipe, "records": ["records.jsonl"], "images": ".", "device": options.device}
    return {**table, "base": base, recipe.replace("-", "_"): own}


def prepared(recipe: str, place: Path, options: argparse.Namespace) -> bool:
    """Write records, base and configuration of a recipe; False where nothing can be measured."""
    from training_cases import write_case

    place.mkdir()
    base = write_case(recipe, place, options)
    if base is None:
        return False
    (place / "config.json").write_text(json.dumps(configuration(recipe, base, options)))
    return True


def row(recipe: str, found: dict[str, dict]) -> tuple[str, ...]:
    ours = found["ours"]
    seconds = median(ours["seconds"])
    plain = median(found["plain"]["seconds"]) if "plain" in found else None
    return (
        recipe,
        f"{seconds:.3f} s",
        "" if plain is None else f"{plain:.3f} s",
        "" if plain is None else f"{seconds / plain - 1:+.1%}",
        f"{ours['samples'] / seconds:.2f}",
        f"{ours['peak'] / 1e9:.2f} GB",
        "" if plain is None else f"{found['plain']['peak'] / 1e9:.2f} GB",
        ours["estimate"],
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full-size", action="store_true", help="7 billion weights; needs a GPU of 24 GB")
    parser.add_argument("--prs-med", type=Path, help="folder of a full-size base in its released layout")
    parser.add_argument("--medisee", type=Path, help="the same for MediSee")
    parser.add_argument("--recipes", default="embedded,sft,grpo,prs-med,medisee")
    parser.add_argument("--steps", type=int, default=0, help="measured steps; 10, or 3 at full size")
    options = parser.parse_args()
    options.device = "cuda" if options.full_size else "cpu"
    options.steps = options.steps or (3 if options.full_size else 10)
    return options


def main() -> None:
    options = parsed()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in options.recipes.split(","):
            place = Path(folder) / recipe
            if prepared(recipe, place, options):
                who = ("ours",) if recipe == "embedded" else ("ours", "plain")
                rows.append(row(recipe, {one: measure(recipe, one, place, options) for one in who}))
    size = "4-bit, 7 billion weights" if options.full_size else "small networks"
    print(f"{size}, random weights, {options.device}, median of {options.steps} steps after two others")
    if options.full_size:
        print(
            f"goals: at most {GOAL_SLOWER:.0%} slower than the plain script, within {GOAL_BYTES / 1e9:.0f} GB"
        )
    else:
        print("times are seconds of the processor, of the one thread that computes")
    print()
    header = ("recipe", "step", "plain script", "slower by", "samples per second")
    print_table((*header, "peak memory", "of the plain script", "estimated before the start"), rows)


if __name__ == "__main__":
    main()
