"""A picture of one answer: the plane as the user sees it, with mask, box and key points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_medreason.core.geometry import OPPOSITE
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.errors import ExportError
from napari_medreason.io.atomic import replace_file

_LONG_SIDE = 768
_MASK_COLOUR = (255, 140, 0)
_BOX_COLOUR = (80, 220, 255)
_POINT_COLOUR = (255, 60, 160)
_LETTER_COLOUR = (255, 255, 160)
_TINT = 0.35
_LINE = 2
_RADIUS = 6


def write_overlay(
    path: Path,
    plane: Plane,
    mask: NDArray[np.bool_] | None = None,
    box: Box | None = None,
    points: Sequence[Point] | None = None,
) -> None:
    """Write a PNG of the plane through its window, enlarged without distortion to about 768 pixels.

    mask: (rows, columns) bool; box: half-open (x0, y0, x1, y1); points: (x, y); all in plane pixels.
    Letters at the borders name the patient's sides when the orientation is known. Raises ExportError.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ExportError(f"{path.name} is no PNG name; an overlay is written as .png")
    image = overlay_image(plane, mask, box, points)
    with replace_file(path) as temporary:
        image.save(temporary, format="PNG")


def overlay_image(
    plane: Plane,
    mask: NDArray[np.bool_] | None = None,
    box: Box | None = None,
    points: Sequence[Point] | None = None,
) -> Image.Image:
    """The picture that `write_overlay` writes, RGB."""
    scale = _scale(plane)
    size = _picture_size(plane, scale)
    picture = Image.fromarray(_grey(plane)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    if mask is not None:
        picture = _with_mask(picture, mask)
    draw = ImageDraw.Draw(picture)
    if box is not None:
        draw.rectangle(_box_pixels(box, scale), outline=_BOX_COLOUR, width=_LINE)
    for point in points or ():
        _draw_point(draw, point, scale)
    if plane.grid.orientation is not None:
        _draw_letters(draw, plane.grid.orientation, size)
    return picture


def _scale(plane: Plane) -> tuple[float, float]:
    """Picture pixels per plane pixel, (along x, along y)."""
    rows, columns = plane.image.shape
    row_mm, column_mm = plane.grid.spacing
    per_mm = _LONG_SIDE / max(rows * row_mm, columns * column_mm)
    return column_mm * per_mm, row_mm * per_mm


def _picture_size(plane: Plane, scale: tuple[float, float]) -> tuple[int, int]:
    rows, columns = plane.image.shape
    return max(1, round(columns * scale[0])), max(1, round(rows * scale[1]))


def _grey(plane: Plane) -> NDArray[np.uint8]:
    low, high = plane.window.low, plane.window.high
    values = np.nan_to_num(plane.image.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.asarray(np.round(np.clip((values - low) / (high - low), 0, 1) * 255), dtype=np.uint8)


def _with_mask(picture: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
    inside = np.asarray(large) > 0
    outline = inside & ~scipy.ndimage.binary_erosion(inside, iterations=_LINE)
    pixels = np.asarray(picture).astype(np.float64)
    colour = np.array(_MASK_COLOUR, np.float64)
    pixels[inside] = (1 - _TINT) * pixels[inside] + _TINT * colour
    pixels[outline] = colour
    return Image.fromarray(pixels.astype(np.uint8))


def _to_picture(x: float, y: float, scale: tuple[float, float]) -> tuple[float, float]:
    """Plane point, pixel centres at integers, to picture pixels."""
    return (x + 0.5) * scale[0], (y + 0.5) * scale[1]


def _box_pixels(box: Box, scale: tuple[float, float]) -> tuple[float, float, float, float]:
    """Half-open box to the outline around its pixels."""
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0] - 1, box[3] * scale[1] - 1


def _draw_point(draw: ImageDraw.ImageDraw, point: Point, scale: tuple[float, float]) -> None:
    x, y = _to_picture(point[0], point[1], scale)
    ring = (x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS)
    draw.ellipse(ring, outline=_POINT_COLOUR, width=_LINE)
    draw.line((x - _RADIUS, y, x + _RADIUS, y), fill=_POINT_COLOUR)
    draw.line((x, y - _RADIUS, x, y + _RADIUS), fill=_POINT_COLOUR)


def _draw_letters(draw: ImageDraw.ImageDraw, orientation: tuple[str, str], size: tuple[int, int]) -> None:
    """Patient directions at the four borders; orientation is that of growing x and y."""
    font = ImageFont.load_default(size=24)
    width, height = size
    right, bottom = orientation
    places = {
        (width - 6, height // 2, "rm"): right,
        (6, height // 2, "lm"): OPPOSITE[right],
        (width // 2, height - 6, "md"): bottom,
        (width // 2, 6, "ma"): OPPOSITE[bottom],
    }
    for (x, y, anchor), letter in places.items():
        draw.text(
            (x, y), letter, fill=_LETTER_COLOUR, font=font, anchor=anchor, stroke_width=2, stroke_fill="black"
        )
