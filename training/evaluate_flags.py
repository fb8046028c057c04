"""How often the tests of an answer raise a flag, on right and on wrong answers about held-out patients.

The mirrored copies are the same scans with their pixels flipped left to right under the same
orientation, as a file with a wrong orientation would be: there the flag about the usual side should rise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Plane, cut, slice_count
from napari_medreason.core.plausibility import body_middle, shows_sides, usual_side
from napari_medreason.core.volume import default_window
from napari_medreason.models.embedded.checks import checks
from napari_medreason.models.embedded.experts import FOLDER
from napari_medreason.models.embedded.looking import look
from napari_medreason.models.embedded.perception import Perceiver

from .export_embedded import write_json
from .held_out import HeldOut, held_out, labels_on, load

RIGHT_FROM = 0.5
"""Dice from which an answer counts as right."""


@dataclass
class Raised:
    """Of the answers that a test judged, right and wrong ones: for each whether the flag was raised."""

    right: list[bool] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Counts and shares; a share of nothing is None."""
        result: dict[str, Any] = {}
        for name, flags in (("right", self.right), ("wrong", self.wrong)):
            share = round(sum(flags) / len(flags), 3) if flags else None
            result[name] = {"answers": len(flags), "flags": sum(flags), "share": share}
        return result


Counts = dict[str, dict[str, Raised]]
"""Test, then kind of question, to counts."""


def evaluate_flags(data: Path, out: Path, *, weights: Path | None = None, step: int = 1) -> None:
    """Write the shares of raised flags as JSON; `step` takes only every so many of the planes."""
    perceiver = Perceiver(weights or FOLDER)
    scans = []
    for scan in held_out(data, ()):
        counts: dict[str, Counts] = {"as it is": {}, "mirrored": {}}
        for plane, labels in _planes(data, scan, step):
            count(perceiver, scan, plane, labels, counts["as it is"])
            if shows_sides(plane):
                count(perceiver, scan, *_flipped(plane, labels), counts["mirrored"])
        scans.append({"scan": scan.name, "expert": scan.expert, **_figures(counts)})
    write_json(out, {"weights_sha256": perceiver.weights_sha256, "right_from": RIGHT_FROM, "scans": scans})


def count(
    perceiver: Perceiver, scan: HeldOut, plane: Plane, labels: NDArray[np.int64], counts: Counts
) -> None:
    """Ask for every labelled structure, on each side of a pair and on both, and count the flags."""
    expert = next(expert for expert in perceiver.experts if expert.id == scan.expert)
    seen = perceiver.perceive(plane, expert)
    middle = body_middle(plane)
    for name in (name for name in scan.members if name in expert.structures):
        paired = name in expert.paired
        for side in ("", "left", "right") if paired and middle is not None and shows_sides(plane) else ("",):
            found = look(seen, plane, name, side)
            truth = np.isin(labels, list(scan.members[name]))
            if side and middle is not None:
                truth &= (np.arange(truth.shape[1]) > middle) == (side == "left")
            right = _is_right(found.mask, truth)
            kind = "one of a pair" if side else "a pair" if paired else _unpaired(name)
            for check in checks(perceiver, plane, found):
                raised = counts.setdefault(check.name, {}).setdefault(kind, Raised())
                (raised.right if right else raised.wrong).append(not check.passed)


def _unpaired(name: str) -> str:
    return "with a usual side" if usual_side(name) else "in the middle"


def _is_right(mask: NDArray[np.bool_] | None, truth: NDArray[np.bool_]) -> bool:
    """Found well enough, or not found where there is nothing."""
    if mask is None:
        return not truth.any()
    return bool(2 * (mask & truth).sum() >= RIGHT_FROM * (mask.sum() + truth.sum()))


def _flipped(plane: Plane, labels: NDArray[np.int64]) -> tuple[Plane, NDArray[np.int64]]:
    return replace(plane, image=np.ascontiguousarray(plane.image[:, ::-1])), labels[:, ::-1]


def _planes(data: Path, scan: HeldOut, step: int) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
    volume, labels = load(data, scan)
    window, step = default_window(volume), scan.step * step
    for axis in scan.axes:
        for index in range(step // 2, slice_count(volume, axis), step):
            plane = cut(volume, axis, index, window)
            yield plane, labels_on(plane, labels)


def _figures(counts: dict[str, Counts]) -> dict[str, Any]:
    return {
        copy: {
            test: {kind: raised.figures() for kind, raised in kinds.items()} for test, kinds in tests.items()
        }
        for copy, tests in counts.items()
    }
