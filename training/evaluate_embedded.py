"""Figures of the embedded model on images it never saw, through the path that answers questions."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import AXES, Plane, cut, slice_count
from napari_medreason.core.volume import Window, default_window
from napari_medreason.io import read
from napari_medreason.models.embedded.experts import FOLDER, Expert
from napari_medreason.models.embedded.masks import margin
from napari_medreason.models.embedded.perception import Perceiver

from .baselines import ShapePrior, counted
from .config import read_config
from .curves import write_reliability
from .evaluation_cases import Case, Origin, real_cases, synthesised_cases
from .evaluation_tables import Row, pooled_dice, rows, summary
from .export_embedded import write_json
from .held_out import TEMPLATE, TISSUES
from .picture_sheet import write_sheets
from .slice_scores import Overlap, SliceScore, case_scores, overlap
from .train_embedded import device_tuning

CONFIGS = Path(__file__).parent / "configs"


def evaluate(
    data: Path,
    out: Path,
    *,
    weights: Path | None,
    before: tuple[str, ...],
    origins: Sequence[Origin],
    pictures: Path | None,
) -> None:
    """Measure weights on every image of these origins; write figures as JSON, and sheets of pictures."""
    device_tuning()
    perceiver = Perceiver(weights or FOLDER)
    priors = {expert.id: _prior(expert, data, out.parent / "phantoms") for expert in perceiver.experts}
    cases = _cases(data, before, origins)
    if pictures:
        write_sheets(cases, perceiver, pictures)
    scores = list(_all_scores(cases, perceiver, priors))
    totals = summary(scores)
    write_reliability(totals, out.with_name("reliability.svg"))
    write_json(
        out,
        {
            "weights_sha256": perceiver.weights_sha256,
            "training": {expert.id: _training(expert) for expert in perceiver.experts},
            "rows": rows(scores),
            "summary": totals,
            "template": template_figures(perceiver, data),
            "agreement": contrast_agreement(perceiver, data),
        },
    )


def _cases(data: Path, before: tuple[str, ...], origins: Sequence[Origin]) -> list[Case]:
    real = real_cases(data, before) if "real" in origins else []
    return [*real, *(synthesised_cases(data) if "synthesised" in origins else [])]


def _prior(expert: Expert, data: Path, cache: Path) -> ShapePrior:
    config = read_config(CONFIGS / f"{expert.id}.toml")
    return counted(config, data, cache, expert.structures)


def _all_scores(
    cases: Iterable[Case], perceiver: Perceiver, priors: dict[str, ShapePrior]
) -> Iterable[SliceScore]:
    for case in cases:
        sys.stderr.write(f"{case.name}, {case.patient}\n")
        yield from case_scores(case, perceiver, priors[case.expert])


def _training(expert: Expert) -> dict[str, Any]:
    """What the description says about the run: images, seed."""
    text = (expert.folder / f"{expert.id}.json").read_text(encoding="utf-8")
    training: dict[str, Any] = json.loads(text)["training"]
    return training


def template_figures(perceiver: Perceiver, data: Path) -> dict[str, Row]:
    """Grey and white matter on the MNI T1 template, every tenth slice of all three planes.

    The template is no patient: it is sharper and more regular than any scan.
    """
    expert = next(expert for expert in perceiver.experts if expert.id == "brain_mr")
    image = read(data / TEMPLATE.format("t1"))
    maps = {part: read(data / TEMPLATE.format(part)) for part in ("gm", "wm")}
    parts: dict[str, list[Overlap]] = {name: [] for name in TISSUES}
    for axis in AXES:
        for index in range(5, slice_count(image, axis), 10):
            seen = perceiver.perceive(cut(image, axis, index, default_window(image)), expert)
            for name, (part, *members) in TISSUES.items():
                share = cut(maps[part], axis, index, Window(0, 1)).image / maps[part].voxels.max()
                mask = seen.frame.map_to_plane(margin(seen, members), fill=-10.0) > 0
                parts[name].append(overlap(mask, share > 0.5))
    return {name: {"dice": pooled_dice(own)} for name, own in parts.items()}


OPEN_MS = "labelled/open_ms/{}_{}_mni.nii.gz"
"""Patient and contrast; T1, T2 and FLAIR of a patient lie on one grid."""


def contrast_agreement(perceiver: Perceiver, data: Path) -> dict[str, Row]:
    """Dice between what is found on a patient's T1 and on the same patient's T2 or FLAIR.

    No labels exist, so this is agreement between predictions, not accuracy.
    """
    files = (data / "labelled/open_ms").glob("*_T1_mni.nii.gz")
    parts: dict[str, list[Overlap]] = defaultdict(list)
    for patient in sorted(path.name.split("_")[0] for path in files):
        for tissues in _tissues_of_patient(perceiver, data, patient):
            for kind in ("T2", "FLAIR"):
                for name, mask in tissues["T1"].items():
                    parts[f"{name}, T1 and {kind}"].append(overlap(mask, tissues[kind][name]))
    return {name: {"dice": pooled_dice(own)} for name, own in parts.items()}


def _tissues_of_patient(
    perceiver: Perceiver, data: Path, patient: str
) -> Iterator[dict[str, dict[str, NDArray[np.bool_]]]]:
    """Contrast to tissue to mask (model pixels), for every tenth axial slice."""
    images = {kind: read(data / OPEN_MS.format(patient, kind)) for kind in ("T1", "T2", "FLAIR")}
    windows = {kind: default_window(image) for kind, image in images.items()}
    for index in range(10, slice_count(images["T1"], "axial"), 10):
        planes = {kind: cut(image, "axial", index, windows[kind]) for kind, image in images.items()}
        yield {kind: _tissues(perceiver, plane) for kind, plane in planes.items()}


def _tissues(perceiver: Perceiver, plane: Plane) -> dict[str, NDArray[np.bool_]]:
    expert = next(expert for expert in perceiver.experts if expert.id == "brain_mr")
    seen = perceiver.perceive(plane, expert)
    return {name: margin(seen, members) > 0 for name, (_, *members) in TISSUES.items()}
