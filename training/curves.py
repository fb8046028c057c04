"""Curves of a training run as one SVG picture, drawn from its events; any browser shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from napari_medreason.errors import MedReasonError

from .train_embedded import EVENTS

WIDTH, HEIGHT, MARGIN = 720, 260, 46
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
LOSSES = ("loss", "structure", "presence", "side", "prompt")
SCORES = ("dice", "prompt_dice", "presence_accuracy")
Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """A named line through (x, y) points."""

    name: str
    points: tuple[Point, ...]


def read_events(run: Path) -> list[dict[str, Any]]:
    """Whole lines of the run's events; MedReasonError when it has none."""
    file = run / EVENTS
    if not file.exists():
        raise MedReasonError(f"{run.name} has no {EVENTS}; give the folder of a training run")
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def curves(events: Sequence[dict[str, Any]], kind: str, names: Sequence[str]) -> list[Curve]:
    """The named values of all events of a kind ("step" or "validation") over the images seen."""
    own = [event for event in events if event["event"] == kind]
    lines = (Curve(name, tuple((e["images"], e[name]) for e in own if name in e)) for name in names)
    return [line for line in lines if line.points]


def write_curves(run: Path, out: Path) -> None:
    """Losses above, validation scores below; written in one go, so a browser can reload it at any time."""
    events = read_events(run)
    panels = [
        panel("losses (running means)", curves(events, "step", LOSSES), 0),
        panel("validation on synthetic images", curves(events, "validation", SCORES), HEIGHT),
    ]
    temporary = out.with_name(f"{out.name}.part")
    temporary.write_text(document(panels, 2 * HEIGHT), encoding="utf-8")
    temporary.replace(out)


def write_reliability(groups: Sequence[dict[str, Any]], out: Path) -> None:
    """Reliability diagrams: how often a structure was there, over the chance that was told for it."""
    panels = []
    for number, group in enumerate(groups):
        points = tuple((told, seen) for _, told, seen in group["reliability"])
        title = f"{group['images']}: chance told, and share that was there"
        lines = [Curve(f"error {group['calibration_error']}", points), Curve("", ((0, 0), (1, 1)))]
        panels.append(panel(title, lines, number * HEIGHT))
    temporary = out.with_name(f"{out.name}.part")
    temporary.write_text(document(panels, max(1, len(panels)) * HEIGHT), encoding="utf-8")
    temporary.replace(out)


def document(panels: Sequence[str], height: int) -> str:
    """Panels as one SVG file."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
    )
    return f'{head} font-size="11"><rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n'


def panel(title: str, lines: Sequence[Curve], top: int) -> str:
    """One set of axes with its curves; both axes begin at 0."""
    largest_x = max((x for line in lines for x, _ in line.points), default=1.0) or 1.0
    largest_y = max((y for line in lines for _, y in line.points), default=1.0) or 1.0
    parts = [f'<g transform="translate(0 {top})"><text x="{MARGIN}" y="18">{escape(title)}</text>']
    parts.append(_axes(largest_x, largest_y))
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(_path(line.points, largest_x, largest_y, colour))
        parts.append(
            f'<text x="{WIDTH - 150}" y="{36 + 14 * number}" fill="{colour}">{escape(line.name)}</text>'
        )
    return "".join([*parts, "</g>"])


def _axes(largest_x: float, largest_y: float) -> str:
    left, right, low, high = MARGIN, WIDTH - 160, HEIGHT - 26, 28
    frame = f'<path d="M{left} {high}V{low}H{right}" fill="none" stroke="black"/>'
    marks = f'<text x="{left - 6}" y="{high + 4}" text-anchor="end">{largest_y:.3g}</text>'
    marks += f'<text x="{left - 6}" y="{low}" text-anchor="end">0</text>'
    return frame + marks + f'<text x="{right}" y="{low + 16}" text-anchor="end">{largest_x:.6g}</text>'


def _path(points: Sequence[Point], largest_x: float, largest_y: float, colour: str) -> str:
    wide, high = WIDTH - 160 - MARGIN, HEIGHT - 26 - 28
    places = [
        f"{MARGIN + wide * x / largest_x:.1f} {HEIGHT - 26 - high * y / largest_y:.1f}" for x, y in points
    ]
    return f'<path d="M{"L".join(places)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
