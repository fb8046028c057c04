"""A reasoner with a segmenter, as the plugin runs them, beside a plain script of transformers, same run.

    python benchmarks/systems.py                       small networks of the real classes, on the CPU
    python benchmarks/systems.py --full-size           Qwen2.5-VL-7B and MedSAM2's SAM 2, on a GPU

Weights are random; they need the same time and memory as trained ones. Each row is a process of its own.
The segmenter is in 32 bits in all rows. "4-bit" of the plain script is the library's own default.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from table import print_table

GOALS = {"first token": 3.0, "overhead": 0.05, "memory": 10e9}


def measure(who: str, folders: tuple[Path, Path], precision: str, options: argparse.Namespace) -> dict:
    child = Path(__file__).with_name("systems_child.py")
    places = [str(folder) for folder in folders]
    command = [sys.executable, str(child), who, *places, precision, options.device, str(options.tokens)]
    settings = {"HF_HUB_OFFLINE": "1", **({} if options.full_size else {"OMP_NUM_THREADS": "1"})}
    environment = {**os.environ, **settings}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{who} in {precision} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(who: str, precision: str, figures: dict) -> tuple[str, ...]:
    first, second = figures["questions"]
    speed = (second["passes"] - 1) / (second["reason"] - second["first_token"])
    return (
        who,
        precision,
        f"{figures['load']:.1f} s",
        f"{first['first_token'] * 1000:.0f} ms",
        f"{first['total']:.2f} s",
        f"{second['first_token'] * 1000:.0f} ms",
        f"{second['total']:.2f} s",
        f"{speed:.1f}",
        f"{figures['peak'] / 1e9:.2f} GB",
        f"{first['vision_passes']} + {second['vision_passes']}",
    )


def ratios(precision: str, ours: dict, plain: dict, options: argparse.Namespace) -> list[str]:
    """What the goals are about, as sentences."""
    second, other = ours["questions"][1], plain["questions"][1]
    faster = other["first_token"] / second["first_token"]
    overhead = second["reason"] / second["network"] - 1
    small = "" if options.full_size else "; the goals are for full size"
    lines = [
        f"{precision}: second question {faster:.1f} times as fast to the first token as the plain script "
        f"(goal: at least {GOALS['first token']:.0f}{small})",
        f"{precision}: overhead over the time inside the network {overhead:.1%} "
        f"(goal: under {GOALS['overhead']:.0%}{small})",
        f"{precision}: whole second answer {other['total'] / second['total']:.2f} times as fast, "
        f"{second['passes']} and {other['passes']} passes",
    ]
    if options.full_size and precision == "4bit":
        lines.append(f"4bit: peak {ours['peak'] / 1e9:.2f} GB (goal: within {GOALS['memory'] / 1e9:.0f} GB)")
    return lines


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full-size", action="store_true", help="7 billion weights; needs a GPU of 24 GB")
    parser.add_argument("--tokens", type=int, default=128, help="tokens written for each answer")
    parser.add_argument("--precisions", default="", help="such as bf16,4bit")
    options = parser.parse_args()
    options.device = "cuda" if options.full_size else "cpu"
    options.precisions = (options.precisions or ("bf16,4bit" if options.full_size else "fp32,4bit")).split(
        ","
    )
    return options


def main() -> None:
    options = parsed()
    import torch
    from systems_models import save_systems

    size = "full" if options.full_size else "small"
    rows, sentences = [], []
    with tempfile.TemporaryDirectory() as folder:
        folders = save_systems(Path(folder), size, options.device)
        if options.full_size:
            torch.cuda.empty_cache()
        for precision in options.precisions:
            found = {who: measure(who, folders, precision, options) for who in ("ours", "plain")}
            rows += [row(who, precision, figures) for who, figures in found.items()]
            sentences += [*found["ours"]["notes"], *ratios(precision, found["ours"], found["plain"], options)]
    device = torch.cuda.get_device_name() if options.full_size else "CPU"
    print(f"{size} networks, {options.tokens} tokens for each answer, {device}")
    print(
        "" if options.full_size else "times are seconds of the processor, of the one thread that computes\n"
    )
    print_table(
        (
            "who",
            "weights",
            "load",
            "first question: first token",
            "whole",
            "second question: first token",
            "whole",
            "tokens per second",
            "peak memory",
            "passes of the vision tower",
        ),
        rows,
    )
    print()
    print("\n".join(sentences))


if __name__ == "__main__":
    main()
