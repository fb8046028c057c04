"""Import time of the plugin, and opening time of the Ask dock beyond napari's own start."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from table import milliseconds, print_table

REPEATS = 7
IMPORT = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"


def import_seconds(module: str) -> float:
    """Median time of one import in fresh processes, numpy already loaded (napari has it anyway)."""
    code = "import numpy; " + IMPORT.format(module)
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS)
    ]
    return median(runs)


def dock_seconds() -> tuple[float, float, float, bool]:
    """Seconds until a viewer stands, until the dock stands in it, for settings; whether torch was loaded."""
    import napari
    from napari.settings import get_plugin_settings
    from qtpy.QtWidgets import QApplication

    begin = time.perf_counter()
    viewer = napari.Viewer()
    QApplication.processEvents()
    stands = time.perf_counter()
    viewer.window.add_plugin_dock_widget("napari-medreason", "Ask")
    QApplication.processEvents()
    docked = time.perf_counter()
    get_plugin_settings("napari-medreason")
    read = time.perf_counter()
    viewer.close()
    return stands - begin, docked - stands, read - docked, "torch" in sys.modules


def main() -> None:
    rows = [
        (f"import {module}", milliseconds(import_seconds(module)))
        for module in ("napari_medreason", "napari_medreason.napari_hooks", "napari_medreason.cli")
    ]
    viewer, dock, settings, torch_loaded = dock_seconds()
    rows += [
        ("napari's own start (viewer window)", milliseconds(viewer)),
        ("Ask dock, beyond that", milliseconds(dock)),
        (
            "remembered settings, once, after the dock stands (napari reads all manifests)",
            milliseconds(settings),
        ),
        ("torch loaded in napari's process", "yes" if torch_loaded else "no"),
    ]
    print_table(("step", "time"), rows)


if __name__ == "__main__":
    main()
