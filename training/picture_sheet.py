"""Sheets of pictures to look at: what was found beside what is true, for a few slices of each case.

Sheets of real scans belong outside the repository; only those of synthesised images may be published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_medreason.core.anatomy import structures
from napari_medreason.core.plane import Plane
from napari_medreason.models.embedded.perception import Perceiver, Perception

from .evaluation_cases import Case

TILE = 220
PER_CASE = 4
STRENGTH = 0.5
"""How strongly a structure's colour covers the image."""
Picture = NDArray[np.uint8]


def write_sheets(cases: Sequence[Case], perceiver: Perceiver, folder: Path) -> list[Path]:
    """One PNG per kind of image: found on the left, true on the right; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in dict.fromkeys(case.name for case in cases):
        case = next(case for case in cases if case.name == name)
        file = folder / f"{name.replace(' ', '_')}.png"
        sheet(case, perceiver).save(file, optimize=True)
        files.append(file)
    return files


def sheet(case: Case, perceiver: Perceiver) -> Image.Image:
    """Pairs of pictures of some slices on every plane."""
    expert = next(expert for expert in perceiver.experts if expert.id == case.expert)
    rows = []
    for plane, labels in _some(case):
        seen = perceiver.perceive(plane, expert)
        names = [name for name in case.members if name in expert.structures]
        true = np.zeros(labels.shape, np.int64)
        for index, name in enumerate(names):
            true[np.isin(labels, list(case.members[name]))] = index + 1
        pair = [_tile(plane, codes, names) for codes in (_found(seen, names), true)]
        rows.append(np.concatenate(pair, axis=1))
    per_line = 3
    blank = np.zeros_like(rows[0])
    rows += [blank] * (-len(rows) % per_line)
    lines = [np.concatenate(rows[n : n + per_line], axis=1) for n in range(0, len(rows), per_line)]
    return _titled(Image.fromarray(np.concatenate(lines)), case)


def _some(case: Case) -> list[tuple[Plane, NDArray[np.int64]]]:
    """Slices with most labels in view, a few per plane, spread over the case."""
    planes = [(plane, labels) for plane, labels in case.planes() if labels.any()]
    result = []
    for axis in case.axes:
        own = [pair for pair in planes if pair[0].grid.axis == axis]
        step = max(1, len(own) // PER_CASE)
        result += own[step // 2 :: step][:PER_CASE]
    return result


def _found(seen: Perception, names: Sequence[str]) -> NDArray[np.int64]:
    """(rows, columns) plane pixels: 0 or 1 + index in names of the best structure."""
    logits = np.stack([seen.logits[seen.expert.structures.index(name)] for name in names])
    native = np.stack([seen.frame.map_to_plane(values, fill=-10.0) for values in logits])
    best: NDArray[np.int64] = np.where(native.max(0) > 0, 1 + native.argmax(0), 0)
    return best


def _tile(plane: Plane, codes: NDArray[np.int64], names: Sequence[str]) -> Picture:
    low, high = plane.window.low, plane.window.high
    grey = (np.clip((plane.image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.float32)
    colours = np.array([(0, 0, 0), *(structures()[name].colour for name in names)], np.float32)
    share = np.where(codes > 0, STRENGTH, 0.0)[..., None]
    mixed = grey[..., None] * (1 - share) + colours[codes] * share
    return _fitted(Image.fromarray(mixed.astype(np.uint8)), plane)


def _fitted(picture: Image.Image, plane: Plane) -> Picture:
    """The picture in a square tile, its pixels as wide as they are high in mm."""
    rows, columns = plane.grid.shape
    high, wide = rows * plane.grid.spacing[0], columns * plane.grid.spacing[1]
    scale = (TILE - 4) / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    tile = Image.new("RGB", (TILE, TILE))
    place = ((TILE - size[0]) // 2, (TILE - size[1]) // 2)
    tile.paste(picture.resize(size, Image.Resampling.BILINEAR), place)
    return np.asarray(tile)


def _titled(picture: Image.Image, case: Case) -> Image.Image:
    result = Image.new("RGB", (picture.width, picture.height + 24), "black")
    result.paste(picture, (0, 24))
    words = f"{case.name} ({case.origin}, {case.patient}): found on the left, {case.labels_by} on the right"
    ImageDraw.Draw(result).text((6, 6), words, fill="white")
    return result
