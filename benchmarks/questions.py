"""Time of a first and a second question, and of a moved box, through the engine process.

Every figure is what the viewer waits for: sending the plane, working, receiving the answer. The plain
comparison is a threshold with its largest island on the same plane, without any model or process.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Event

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import scipy
from table import milliseconds, print_table

from napari_medreason import io, models
from napari_medreason.core.plane import Plane, cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import default_window
from napari_medreason.engine.client import EngineClient
from napari_medreason_sample_data import ct_folder

QUESTION, OTHER_QUESTION = "Where is the liver?", "Where is the spleen?"
REPEATS = 7
SIZES = (256, 512)
LIVER_HU = (0.0, 200.0)
GOALS = {"ready": "5 s", "first": "1 s", "second": "1 s", "moved": "60 ms", "plain": ""}


def waited(start_request) -> tuple[float, object]:
    """Seconds from the call to its result, and the result; a failed request ends the benchmark."""
    done, kept = Event(), []

    def finish(value: object) -> None:
        kept.append(value)
        done.set()

    begin = time.perf_counter()
    start_request(finish)
    done.wait()
    seconds = time.perf_counter() - begin
    if isinstance(kept[0], Exception):
        raise kept[0]
    return seconds, kept[0]


def ask(client: EngineClient, plane: Plane, text: str) -> tuple[float, object]:
    return waited(
        lambda finish: client.ask(
            Question(text, plane),
            model=models.default(),
            on_text=lambda _: None,
            on_progress=lambda *_: None,
            on_result=finish,
            on_error=finish,
        )
    )


def segment(client: EngineClient, plane: Plane, box: tuple[float, ...]) -> float:
    return waited(
        lambda finish: client.segment(plane, segmenter="embedded", box=box, on_result=finish, on_error=finish)
    )[0]


def plain(plane: Plane) -> float:
    """Seconds of a threshold, an opening and the largest island."""
    begin = time.perf_counter()
    soft = scipy.ndimage.binary_opening((plane.image > LIVER_HU[0]) & (plane.image < LIVER_HU[1]))
    islands, _ = scipy.ndimage.label(soft)
    np.argmax(np.bincount(islands.ravel())[1:])
    return time.perf_counter() - begin


def resized(plane: Plane, side: int) -> Plane:
    """The same slice on a grid of `side` x `side` pixels."""
    rows, columns = plane.grid.shape
    image = scipy.ndimage.zoom(plane.image, (side / rows, side / columns), order=1)
    spacing = (plane.grid.spacing[0] * rows / side, plane.grid.spacing[1] * columns / side)
    return replace(plane, image=image, grid=replace(plane.grid, shape=(side, side), spacing=spacing))


def measure(client: EngineClient, planes: Sequence[Plane]) -> dict[str, float]:
    """Medians of each step over the planes."""
    seconds: dict[str, list[float]] = {"first": [], "second": [], "moved": [], "plain": []}
    for plane in planes:
        first, answer = ask(client, plane, QUESTION)
        seconds["first"].append(first)
        seconds["second"].append(ask(client, plane, OTHER_QUESTION)[0])
        x0, y0, x1, y1 = answer.box or (60.0, 60.0, 120.0, 120.0)
        seconds["moved"].append(segment(client, plane, (x0 + 3, y0 + 2, x1 + 3, y1 + 2)))
        seconds["plain"].append(plain(plane))
    return {name: median(values) for name, values in seconds.items()}


def main() -> None:
    volume = io.read(ct_folder())
    window = default_window(volume)
    middle = volume.shape_kji[0] // 2
    planes = [cut(volume, "axial", middle + step, window) for step in range(REPEATS + 1)]
    names = {
        "first": "first question on a slice, tests included",
        "second": "second question on it",
        "moved": "moved box on it",
        "plain": "plain comparison: threshold and largest island",
    }
    rows = []
    with EngineClient() as client:
        started, _ = waited(lambda finish: client.models(on_result=finish, on_error=finish))
        rows.append(("engine start, until it answers", "", milliseconds(started), GOALS["ready"], ""))
        cold, _ = ask(client, planes[0], QUESTION)
        rows.append(("model load and the very first question", "256", milliseconds(cold), "", ""))
        for side in SIZES:
            seconds = measure(client, [resized(plane, side) for plane in planes[1:]])
            for step, value in seconds.items():
                share = f"{value / seconds['first']:.2f}"
                rows.append((names[step], str(side), milliseconds(value), GOALS[step], share))
    print_table(("step", "pixels", f"median of {REPEATS}", "goal, under", "of the first question"), rows)


if __name__ == "__main__":
    main()
