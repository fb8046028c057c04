"""A target and its plane in the words of a prompt: label names, boxes and facts, nothing that identifies."""

from __future__ import annotations

from collections.abc import Sequence

from napari_medreason.core.plane import cut
from napari_medreason.core.template_slots import render
from napari_medreason.core.volume import default_window

from .cases import LoadedCase
from .pictures import grey, png_bytes
from .targets import Target

_MOST_OTHERS = 12


def told(target: Target) -> str:
    """Name, box as shares of width and height, and what can be seen of a target."""
    facts = target.facts
    seen = [("position", facts.position), ("brightness", facts.brightness), ("side", facts.side)]
    known = "".join(f", {name} {value}" for name, value in seen if value)
    return f"{render('{name}', facts)}, box {box_shares(target)}{known}, {render('{shape}, {share}', facts)}"


def told_others(others: Sequence[Target]) -> str:
    """The other structures of the plane, a dozen at most."""
    if not others:
        return "none"
    return "; ".join(f"{render('{name}', one.facts)}, box {box_shares(one)}" for one in others[:_MOST_OTHERS])


def box_shares(target: Target) -> list[float]:
    """[left, top, right, bottom] as shares of width and height, three decimals."""
    rows, columns = target.image.shape
    x0, y0, x1, y1 = target.box_plane
    return [round(x0 / columns, 3), round(y0 / rows, 3), round(x1 / columns, 3), round(y1 / rows, 3)]


def point_shares(target: Target) -> list[list[float]]:
    """The key points as shares of width and height."""
    rows, columns = target.image.shape
    return [[round(x / columns, 3), round(y / rows, 3)] for x, y in target.key_points_plane]


def told_image(target: Target) -> str:
    """What the image is, such as "axial CT slice"."""
    return render("{image}", target.facts)


def picture(loaded: LoadedCase, target: Target) -> bytes | None:
    """The target's plane as PNG through the default window; None without an image."""
    if not loaded.has_pixels:
        return None
    window = default_window(loaded.volume)
    plane = cut(loaded.volume, target.image.axis, target.image.index, window)
    return png_bytes(grey(plane.image, window))
