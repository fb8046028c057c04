"""Figures on held-out real patients, measured through the same path that answers questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import is_known, leaves, structures
from napari_medreason.core.plane import AXES, Plane, cut, slice_count
from napari_medreason.core.volume import Window, default_window
from napari_medreason.io import read
from napari_medreason.models.embedded.answering import look
from napari_medreason.models.embedded.experts import FOLDER, Expert
from napari_medreason.models.embedded.masks import margin
from napari_medreason.models.embedded.perception import Perceiver

from .export_embedded import write_json
from .held_out import TEMPLATE, TISSUES, HeldOut, held_out, labels_on, load
from .losses import PRESENT_PIXELS
from .train_embedded import device_tuning

GROUPS = ("brain", "cerebellum", "ventricles", "basal_ganglia")


@dataclass
class Score:
    """Counts of one structure on one patient."""

    both: int = 0
    predicted: int = 0
    true: int = 0
    seen: list[tuple[bool, bool]] = field(default_factory=list)

    def add(self, mask: NDArray[np.bool_] | None, truth: NDArray[np.bool_], least: float) -> None:
        """Count one slice; a truth of fewer than `least` pixels counts for Dice, not for presence."""
        guess = mask if mask is not None else np.zeros_like(truth)
        self.both += int((guess & truth).sum())
        self.predicted += int(guess.sum())
        self.true += int(truth.sum())
        if truth.sum() >= least or not truth.any():
            self.seen.append((bool(truth.any()), mask is not None))

    def figures(self) -> dict[str, Any]:
        """Dice over all slices, slices with and without the structure, and how many were told right."""
        there = [found for present, found in self.seen if present]
        gone = [found for present, found in self.seen if not present]
        total = self.predicted + self.true
        return {
            "dice": round(2 * self.both / total, 3) if total else None,
            "slices": len(there),
            "slices_without": len(gone),
            "sensitivity": round(sum(there) / len(there), 3) if there else None,
            "specificity": round(1 - sum(gone) / len(gone), 3) if gone else None,
        }


def evaluate(data: Path, out: Path, *, weights: Path | None, before: tuple[str, ...]) -> None:
    """Measure the weights on every held-out scan and write the figures as JSON."""
    device_tuning()
    perceiver = Perceiver(weights or FOLDER)
    measured: list[dict[str, Any]] = []
    for scan in held_out(data, before):
        scores = scan_scores(perceiver, data, scan)
        rows = {name: score.figures() for name, score in scores.items() if score.true or score.predicted}
        measured.append({"scan": scan.name, "expert": scan.expert, "labels": scan.note, "structures": rows})
    template = {name: score.figures() for name, score in template_scores(perceiver, data).items()}
    write_json(out, {"weights_sha256": perceiver.weights_sha256, "scans": measured, "template": template})


def template_scores(perceiver: Perceiver, data: Path) -> dict[str, Score]:
    """Grey and white matter on the MNI T1 template, every tenth slice of all three planes.

    The template is no patient: it is sharper and more regular than any scan.
    """
    expert = next(expert for expert in perceiver.experts if expert.id == "brain_mr")
    image = read(data / TEMPLATE.format("t1"))
    maps = {part: read(data / TEMPLATE.format(part)) for part in ("gm", "wm")}
    scores = {name: Score() for name in TISSUES}
    for axis in AXES:
        for index in range(5, slice_count(image, axis), 10):
            seen = perceiver.perceive(cut(image, axis, index, default_window(image)), expert)
            for name, (part, *members) in TISSUES.items():
                share = cut(maps[part], axis, index, Window(0, 1)).image / maps[part].voxels.max()
                mask = seen.frame.map_to_plane(margin(seen, members), fill=-10.0) > 0
                scores[name].add(mask if mask.any() else None, share > 0.5, 1)
    return scores


def scan_scores(perceiver: Perceiver, data: Path, scan: HeldOut) -> dict[str, Score]:
    """Scores of every labelled structure, and of groups whose parts are all labelled."""
    expert = next(expert for expert in perceiver.experts if expert.id == scan.expert)
    names = [name for name in scan.members if name in expert.structures]
    names += [group for group in GROUPS if group in structures() and is_known(group, names)]
    scores = {name: Score() for name in names}
    for plane, labels in _planes(data, scan):
        _score_plane(perceiver, expert, scan, plane, labels, scores)
    return scores


def _score_plane(
    perceiver: Perceiver,
    expert: Expert,
    scan: HeldOut,
    plane: Plane,
    labels: NDArray[np.int64],
    scores: dict[str, Score],
) -> None:
    seen = perceiver.perceive(plane, expert)
    least = PRESENT_PIXELS * expert.pixel_mm**2 / (plane.grid.spacing[0] * plane.grid.spacing[1])
    for name, score in scores.items():
        values = [value for member in leaves(name) for value in scan.members[member]]
        score.add(look(seen, plane, name, "").mask, np.isin(labels, values), least)


def _planes(data: Path, scan: HeldOut) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
    volume, labels = load(data, scan)
    window = default_window(volume)
    for axis in scan.axes:
        for index in range(scan.step // 2, slice_count(volume, axis), scan.step):
            plane = cut(volume, axis, index, window)
            yield plane, labels_on(plane, labels)
