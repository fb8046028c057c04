"""Longest time the viewer's event loop stands still while a question is answered.

The same model answers once in the engine process and once in a napari `thread_worker` inside the
viewer's process, each in a fresh viewer; a timer asks to run every 5 ms from sending the question to
having its result. Adding the answer's layers is measured apart. Needs a display.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from table import milliseconds, print_table

REPEATS = 8
MODEL = "embedded"
WAYS = {
    "engine": "engine process",
    "thread": "thread_worker in napari's process",
    "nothing": "nowhere: no question, 0.5 s",
}


def measure(way: str) -> dict[str, list[float]]:
    """Longest gaps between timer ticks and answer times of REPEATS questions, in seconds."""
    if way == "thread":
        import torch  # noqa: F401 - after an OpenGL context exists its import can crash on Mesa drivers

    import napari
    from napari.layers import Layer

    from napari_medreason import io, layers, napari_hooks
    from napari_medreason_sample_data import ct_folder

    viewer = napari.Viewer()
    viewer.add_layer(Layer.create(*napari_hooks.sample_ct()[0]))
    study, volume = layers.study_of(viewer.layers[0]), io.read(ct_folder())
    asker = {"engine": EngineAsker, "thread": ThreadAsker, "nothing": Waiter}[way]()
    answers = [asker(plane_of(volume, 0))]  # loads the model, not measured
    settle()
    planes = [plane_of(volume, step) for step in range(1, REPEATS + 1)]
    gaps, times = [], []
    for plane in planes:
        with Ticks() as ticks:
            begin = time.perf_counter()
            answers.append(asker(plane))
            times.append(time.perf_counter() - begin)
        gaps.append(ticks.longest)
    added = add_layers(viewer, study, answers[-1]) if answers[-1] is not None else 0.0
    asker.close()
    viewer.close()
    return {"gaps": gaps, "times": times, "layers": [added]}


def add_layers(viewer, study, grounding) -> float:
    """Seconds that adding the three layers of an answer takes."""
    from napari.layers import Layer

    from napari_medreason import layers

    begin = time.perf_counter()
    image = viewer.layers[0]
    made = layers.answer_layers(
        grounding,
        study,
        layers.AnswerLabel("1", "Where is the liver?", "1 liver", (1.0, 0.8, 0.0)),
        image_shape=image.data.shape,
        frame=None,
        transform={name: getattr(image, name) for name in ("scale", "translate", "units", "axis_labels")},
    )
    for entry in made:
        viewer.add_layer(Layer.create(*entry))
    return time.perf_counter() - begin


def settle() -> None:
    """Let napari draw and finish what it does after a layer was added."""
    from qtpy.QtWidgets import QApplication

    end = time.perf_counter() + 2.0
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def plane_of(volume, step: int):
    from napari_medreason.core.plane import cut
    from napari_medreason.core.volume import default_window
    from napari_medreason.napari_hooks import DEMO_SLICE

    return cut(volume, "axial", DEMO_SLICE + step, default_window(volume))


class Ticks:
    """Counts on the event loop: the longest time between two runs of a 5 ms timer."""

    def __enter__(self):
        from qtpy.QtCore import Qt, QTimer

        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(5)
        return self

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()


class EngineAsker:
    """Asks the engine process, as the dock does."""

    def __init__(self) -> None:
        from napari_medreason._qt.engine_bridge import EngineBridge

        self.bridge = EngineBridge()

    def __call__(self, plane):
        from napari_medreason.core.question import Question

        return wait_for(
            lambda done: self.bridge.ask(
                Question("Where is the liver?", plane),
                model=MODEL,
                on_text=lambda _: None,
                on_progress=lambda *_: None,
                on_result=done,
                on_error=done,
            )
        )

    def close(self) -> None:
        self.bridge.close()


class Waiter:
    """Asks nothing: what the viewer's own work costs."""

    def __call__(self, plane) -> None:
        from qtpy.QtCore import QTimer

        wait_for(lambda done: QTimer.singleShot(500, lambda: done(None)))

    def close(self) -> None:
        """Nothing to close."""


class ThreadAsker:
    """Runs the same model in a napari worker thread of this process."""

    def __init__(self) -> None:
        from napari_medreason import models

        self.model = models.create(MODEL)

    def __call__(self, plane):
        from napari.qt.threading import create_worker

        from napari_medreason.core.question import Question

        def answer():
            return self.model.ask(
                Question("Where is the liver?", plane), on_text=lambda _: None, cancelled=lambda: False
            )

        def start(done) -> None:
            self.worker = create_worker(answer, _connect={"returned": done, "errored": done})

        return wait_for(start)

    def close(self) -> None:
        self.model.close()


def wait_for(start):
    """Run the event loop until the request that `start` sends has its result."""
    from qtpy.QtCore import QEventLoop

    loop, kept = QEventLoop(), []

    def done(value: object) -> None:
        kept.append(value)
        loop.quit()

    start(done)
    loop.exec()
    if isinstance(kept[0], Exception):
        raise kept[0]
    return kept[0]


def main() -> None:
    rows = []
    for way, name in WAYS.items():
        run = subprocess.run([sys.executable, __file__, way], capture_output=True, text=True, check=True)
        result = json.loads(run.stdout.splitlines()[-1])
        rows.append(
            (
                name,
                milliseconds(max(result["gaps"])),
                milliseconds(median(result["gaps"])),
                milliseconds(median(result["times"])),
                milliseconds(result["layers"][0]),
            )
        )
    header = ("model runs in", f"longest gap of {REPEATS}", "median gap", "median answer", "adding layers")
    print_table(header, rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
