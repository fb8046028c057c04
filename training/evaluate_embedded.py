"""Figures on held-out real patients, measured through the same path that answers questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import is_known, leaves, structures
from napari_medreason.core.grounding import mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import AXES, Plane, cut, slice_count
from napari_medreason.core.volume import Window, default_window
from napari_medreason.io import read
from napari_medreason.models.embedded.answering import look
from napari_medreason.models.embedded.experts import FOLDER
from napari_medreason.models.embedded.masks import margin
from napari_medreason.models.embedded.perception import Perceiver, Perception
from napari_medreason.models.embedded.segmenter import EmbeddedSegmenter

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


@dataclass
class Scores:
    """One structure on one patient: the direct path, the composed pair, and prompts from the truth."""

    direct: Score = field(default_factory=Score)
    pair: Score = field(default_factory=Score)
    prompted: Score = field(default_factory=Score)

    def figures(self) -> dict[str, Any]:
        """Figures of the direct path, and the Dice of the other two."""
        others = {"dice_pair": self.pair, "dice_prompted": self.prompted}
        return self.direct.figures() | {name: score.figures()["dice"] for name, score in others.items()}


def evaluate(data: Path, out: Path, *, weights: Path | None, before: tuple[str, ...]) -> None:
    """Measure the weights on every held-out scan and write the figures as JSON."""
    device_tuning()
    perceiver = Perceiver(weights or FOLDER)
    measured: list[dict[str, Any]] = []
    for scan in held_out(data, before):
        scores = scan_scores(perceiver, data, scan).items()
        rows = {name: s.figures() for name, s in scores if s.direct.true or s.direct.predicted}
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


def scan_scores(perceiver: Perceiver, data: Path, scan: HeldOut) -> dict[str, Scores]:
    """Scores of every labelled structure, and of groups whose parts are all labelled."""
    expert = next(expert for expert in perceiver.experts if expert.id == scan.expert)
    names = [name for name in scan.members if name in expert.structures]
    names += [group for group in GROUPS if group in structures() and is_known(group, names)]
    scores = {name: Scores() for name in names}
    segmenter = EmbeddedSegmenter(perceiver)
    for plane, labels in _planes(data, scan):
        seen = perceiver.perceive(plane, expert)
        for name, score in scores.items():
            values = [value for member in leaves(name) for value in scan.members[member]]
            _add_slice(score, look(seen, plane, name, "").mask, np.isin(labels, values), (segmenter, seen))
    return scores


def _add_slice(
    scores: Scores,
    mask: NDArray[np.bool_] | None,
    truth: NDArray[np.bool_],
    seen: tuple[EmbeddedSegmenter, Perception],
) -> None:
    """Count one slice for all three ways to a mask."""
    frame = seen[1].frame
    least = PRESENT_PIXELS / (frame.scale[0] * frame.scale[1])
    scores.direct.add(mask, truth, least)
    scores.pair.add(_from_prompts_of(mask, *seen), truth, least)
    if truth.sum() >= least:
        scores.prompted.add(_from_prompts_of(truth, *seen), truth, least)


def _from_prompts_of(
    mask: NDArray[np.bool_] | None, segmenter: EmbeddedSegmenter, seen: Perception
) -> NDArray[np.bool_] | None:
    """The segmenter's mask from the box and the key points of a mask."""
    if mask is None:
        return None
    drawn = segmenter.segment(seen, box=mask_box(mask), points=key_points(mask)).best
    return drawn if drawn.any() else None


def _planes(data: Path, scan: HeldOut) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
    volume, labels = load(data, scan)
    window = default_window(volume)
    for axis in scan.axes:
        for index in range(scan.step // 2, slice_count(volume, axis), scan.step):
            plane = cut(volume, axis, index, window)
            yield plane, labels_on(plane, labels)
