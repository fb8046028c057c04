"""Time of a first and a second question, and of a moved box, through the engine process.

Every figure is what the viewer waits for: sending the plane, working, receiving the answer.
"""

import sys
import time
from pathlib import Path
from statistics import median
from threading import Event

sys.path.insert(0, str(Path(__file__).parent))
from table import milliseconds, print_table

from napari_medreason import io, models
from napari_medreason.core.plane import Plane, cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import default_window
from napari_medreason.engine.client import EngineClient
from napari_medreason_sample_data import ct_folder

QUESTION, OTHER_QUESTION = "Where is the liver?", "Where is the spleen?"
REPEATS = 7


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


def main() -> None:
    volume = io.read(ct_folder())
    window = default_window(volume)
    middle = volume.shape_kji[0] // 2
    first, second, moved = [], [], []
    with EngineClient() as client:
        cold, _ = ask(client, cut(volume, "axial", middle, window), QUESTION)
        for step in range(1, REPEATS + 1):
            plane = cut(volume, "axial", middle + step, window)
            seconds, answer = ask(client, plane, QUESTION)
            first.append(seconds)
            second.append(ask(client, plane, OTHER_QUESTION)[0])
            x0, y0, x1, y1 = answer.box or (60.0, 60.0, 120.0, 120.0)
            moved.append(segment(client, plane, (x0 + 3, y0 + 2, x1 + 3, y1 + 2)))
    base = median(first)
    rows = [("engine start, model load and first question", milliseconds(cold), "")]
    for name, values in (
        ("first question on a slice", first),
        ("second question on it", second),
        ("moved box on it", moved),
    ):
        rows.append((name, milliseconds(median(values)), f"{median(values) / base:.2f}"))
    print_table(("step", f"median of {REPEATS}", "of the first question"), rows)


if __name__ == "__main__":
    main()
