"""Records and bases of random weights for the benchmark of training, small or full-size."""

import argparse
from pathlib import Path

from napari_medreason_training.joint import shapes, tiny
from napari_medreason_training.reasoning.spots import Spots, write_spots
from napari_medreason_training.reasoning.tiny_models import save_tiny_reasoner

WORDS = ["Where is the bright spot?", "It is bright.", "<think> </think> <answer> </answer> Bbox Points"]


def write_case(recipe: str, place: Path, options: argparse.Namespace) -> str | None:
    """Write what the recipe learns from and starts from; its base, None where there is none."""
    if recipe in ("sft", "grpo"):
        write_spots(place, 1, Spots(train=4, validation=1, test=1))
        return _reasoner(place, options)
    if recipe in ("prs-med", "medisee"):
        return _joint(recipe, place, options)
    if options.full_size:
        return None
    _lesions(place)
    return ""


def _reasoner(place: Path, options: argparse.Namespace) -> str:
    if not options.full_size:
        save_tiny_reasoner(place / "base", WORDS)
        return "base"
    import torch
    from systems_models import save_systems

    folder = save_systems(place, "full", options.device)[0]
    torch.cuda.empty_cache()
    return folder.name


def _joint(recipe: str, place: Path, options: argparse.Namespace) -> str | None:
    shapes.write_shapes(place, 1)
    if options.full_size:
        folder = options.prs_med if recipe == "prs-med" else options.medisee
        return None if folder is None else str(folder.absolute())
    write = tiny.write_prs_med_base if recipe == "prs-med" else tiny.write_medisee_base
    write(place / "base", 1)
    return "base"


def _lesions(place: Path) -> None:
    """Bright spots of heads, told as lesions, which the embedded model does not know."""
    from dataclasses import replace

    from napari_medreason.io.records import read_records, write_records

    write_spots(place, 1, Spots(train=2, validation=1, test=1))
    records = read_records(place / "records.jsonl")
    named = [replace(one, structure="white_matter_lesion", label="lesion") for one in records]
    write_records(place / "records.jsonl", named)
