"""How long the viewer stands still for the MedPos dock after a brush stroke.

A Labels layer of 512 x 512 x 400 voxels with 100 labels (that of positions.py) in a real window, painted on
slices with many regions. `table`: from the end of a stroke's collection to the changed rows, which is
recomputing the slice, its rows, and Qt's sorted and filtered model. `words`: sentences of the chosen row.
`overlay`: its drawing, once strokes have paused. `repaint`: what window and canvas then need, also without
the dock for comparison. Wall time, and CPU time of the GUI thread, which other programs don't change.
Needs a display.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

import napari
import numpy as np
from positions import AFFINE_LPS, LABELS, label_map
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from table import milliseconds, print_table

from napari_medreason import layers
from napari_medreason._qt.medpos_dock import MedPosWidget
from napari_medreason._qt.medpos_model import HEADERS
from napari_medreason.core.volume import Volume

STROKES = 40
AREA = HEADERS.index("Area")
Times = tuple[float, float]
"""Wall and CPU seconds."""


def main() -> None:
    labels = label_map()
    viewer = napari.Viewer()
    study = Volume(np.broadcast_to(np.float32(0), labels.shape), AFFINE_LPS, modality="CT", name="empty")
    viewer.add_layer(napari.layers.Layer.create(*layers.image_layer(study)))
    image = viewer.layers[0]
    layer = viewer.add_labels(
        np.ascontiguousarray(layers.display_array(labels, layers.study_of(image))),
        scale=image.scale,
        translate=image.translate,
        units=image.units,
    )
    bare = _bare_strokes(viewer, layer)
    dock = MedPosWidget(viewer)
    viewer.window.add_dock_widget(dock, name="MedPos")
    begin = time.perf_counter()
    _wait(lambda: len(dock.view.table.regions.rows) > 0 and not dock.presenter.live.searching)
    opened = time.perf_counter() - begin
    alone = {"repaint without dock": bare}
    for sort, title in ((-1, "as made"), (AREA, "sorted by area")):
        dock.view.table.sortByColumn(sort, Qt.SortOrder.AscendingOrder)
        _report(title, alone | _strokes(viewer, layer, dock))
    rows = len(dock.view.table.regions.rows)
    print(f"\n{rows:,} rows, {LABELS} labels; first table, in the background: {opened:.1f} s")
    dock.close_all()
    viewer.close()


def _bare_strokes(viewer: napari.Viewer, layer: napari.layers.Labels) -> list[Times]:
    repaints = []
    for step in range(0, layer.data.shape[0], layer.data.shape[0] // STROKES):
        _show(viewer, step)
        layer.paint((step, 250, 250), 5)
        repaints.append(_times(QApplication.processEvents))
        layer.undo()
    return repaints


def _strokes(
    viewer: napari.Viewer, layer: napari.layers.Labels, dock: MedPosWidget
) -> dict[str, list[Times]]:
    random, presenter = np.random.default_rng(2), dock.presenter
    table = dock.view.table
    count = np.bincount([row.slice for row in table.regions.rows], minlength=layer.data.shape[0])
    found: dict[str, list[Times]] = {"table": [], "words": [], "repaint": [], "overlay": []}
    for index in np.argsort(-count)[:STROKES].tolist():
        step = presenter.live.source.study.display_index("axial", index)
        _show(viewer, step)
        table.choose(next(row.key for row in table.regions.rows if row.slice == index))
        QApplication.processEvents()
        y, x = random.integers(200, 300, 2).tolist()
        layer.paint((step, y, x), int(random.integers(1, LABELS + 1)))
        found["table"].append(_times(presenter.watcher._tell_painted))
        found["words"].append(_times(presenter.details.show_words))
        found["repaint"].append(_times(QApplication.processEvents))
        found["overlay"].append(_times(presenter.details.show_overlay))
    return found


def _show(viewer: napari.Viewer, step: int) -> None:
    viewer.dims.set_current_step(0, step)
    QApplication.processEvents()


def _report(title: str, found: dict[str, list[Times]]) -> None:
    print(f"\nRows {title}, {STROKES} strokes:\n")
    rows = []
    for name, times in found.items():
        wall, cpu = zip(*times, strict=True)
        rows.append((name, *map(milliseconds, (median(cpu), max(cpu), median(wall), max(wall)))))
    print_table(("step", "CPU, median", "CPU, most", "wall, median", "wall, most"), rows)


def _times(work: Callable[[], object]) -> Times:
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - wall, time.thread_time() - cpu


def _wait(ready: Callable[[], bool]) -> None:
    while not ready():
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
