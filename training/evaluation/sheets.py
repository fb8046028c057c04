"""A sheet of pictures of a model's best and worst answers, to look at.

They show the images that were evaluated: they stay in the folder of results and belong into no repository.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation

from napari_medreason.core.evaluation_config import EvaluationConfig
from napari_medreason.core.plane import Plane
from napari_medreason.core.record import Record
from napari_medreason.io import replace_file
from napari_medreason.io.overlay import overlay_image

from .asked import asked_planes
from .predictions import Answer
from .scores import RecordScore

TILE, CAPTION, COLUMNS = 300, 88, 3
TRUE_COLOUR = (60, 230, 60)
_LETTERS = 44
"""Characters of one line under a picture."""


def chosen(scores: Sequence[RecordScore], count: int) -> list[RecordScore]:
    """The best answers and then the worst, by Dice, at most `count` of each and none twice.

    Of those without any overlap a wrong mask is worse than none. Different patients and structures first.
    """
    ordered = sorted(scores, key=lambda s: (-s.values["dice"], s.status == "found", s.record))
    best = _varied(ordered, count)
    shown = {score.record for score in best}
    rest = [score for score in ordered if score.record not in shown]
    return [*best, *reversed(_varied(rest[::-1], count))]


def _varied(ordered: Sequence[RecordScore], count: int) -> list[RecordScore]:
    """The first of each patient and structure, then the others, until there are enough; in their order."""
    firsts: dict[tuple[str, str], RecordScore] = {}
    for score in ordered:
        firsts.setdefault((score.patient, score.groups["structure"]), score)
    first = {score.record for score in firsts.values()}
    ranked = sorted(ordered, key=lambda score: score.record not in first)
    kept = {score.record for score in ranked[:count]}
    return [score for score in ordered if score.record in kept]


def write_sheet(
    file: Path,
    scores: Sequence[RecordScore],
    answers: Mapping[str, Answer],
    records: Mapping[str, Record],
    *,
    config: EvaluationConfig,
    base: Path,
) -> None:
    """Write the sheet of these answers as PNG, in their order."""
    wanted = [records[score.record] for score in scores]
    planes = {record.id: plane for plane, own in asked_planes(wanted, config, base) for record in own}
    tiles = [
        _tile(planes[score.record], records[score.record], answers[score.record], score) for score in scores
    ]
    sheet = _sheet(tiles, _title(scores[0].model))
    with replace_file(file) as temporary:
        sheet.save(temporary, format="PNG")


def _title(model: str) -> str:
    return f"{model}: best answers first, then the worst. Found: filled; true: green outline."


def _tile(plane: Plane, record: Record, answer: Answer, score: RecordScore) -> Image.Image:
    """The answer over the image, the true mask's outline, and a few lines of words."""
    found = answer.mask if answer.mask.any() else None
    picture = overlay_image(plane, found, answer.box, answer.points)
    outline = _outline(record, picture.size)
    pixels = np.array(picture)
    pixels[outline] = TRUE_COLOUR
    picture = Image.fromarray(pixels)
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE + CAPTION), "black")
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    lines = [
        f"{record.label}, Dice {score.values['dice']:.2f}, {score.status}",
        *_wrapped(record.question),
        *_wrapped(answer.words or "(no words)"),
    ]
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=12)
    for place, line in enumerate(lines):
        draw.text((4, TILE + 3 + 16 * place), line, fill="white", font=font)
    return tile


def _outline(record: Record, size: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """(rows, columns) of the picture: a line around the true mask, wide enough for a small picture."""
    mask = Image.fromarray(record.mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    inside = np.asarray(mask) > 0
    return np.asarray(binary_dilation(inside, iterations=4) & ~inside)


def _wrapped(text: str) -> list[str]:
    """Two lines at most."""
    return textwrap.wrap(text, _LETTERS, max_lines=2, placeholder=" …")


def _sheet(tiles: Sequence[Image.Image], title: str) -> Image.Image:
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    wide, high = max(columns, 2) * TILE, rows * (TILE + CAPTION)
    sheet = Image.new("RGB", (wide, high + 28), "black")
    ImageDraw.Draw(sheet).text((6, 7), title, fill="white", font=ImageFont.load_default(size=13))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, ((place % columns) * TILE, 28 + (place // columns) * (TILE + CAPTION)))
    return sheet
