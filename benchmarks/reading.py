"""Time and memory to read a CT series of 300 slices: ours beside other readers, in one run.

Every reader gets the same folder and returns voxels in memory, each in a process of its own that has
imported what it needs. Readers take turns, so that whatever else the machine does falls on all of them;
times are medians, their ratios are what counts. pydicom's loop and napari's reader do not sort slices
by position, apply no slope and know no spacing; they are here because people use them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

sys.path.insert(0, str(Path(__file__).parent))
from opening import write_series
from table import print_table

REPEATS = 5
SYNTAXES: dict[str, UID] = {
    "uncompressed": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}
READERS = {
    "napari-medreason": """
from napari_medreason import io
def read(folder):
    return io.read(folder).voxels
""",
    "SimpleITK": """
import SimpleITK as sitk
def read(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
    return sitk.GetArrayViewFromImage(reader.Execute())
""",
    "pydicom, plain loop": """
import numpy as np, pydicom
from pathlib import Path
def read(folder):
    files = [pydicom.dcmread(path) for path in sorted(Path(folder).iterdir())]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    return np.stack([file.pixel_array for file in files])
""",
    "napari built in": """
import numpy as np
from napari_builtins.io import napari_get_reader
from pathlib import Path
def read(folder):
    files = [str(path) for path in sorted(Path(folder).iterdir())]
    return np.asarray(napari_get_reader(files)(files)[0][0])
""",
}
"""Code that defines `read(folder)`. Imports are not part of the time; a first small reading neither."""
RUN = """
import resource, sys, time
warm_up, folder = sys.argv[1:]
read(warm_up)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
voxels = read(folder)
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, (after - before) * 1024 / (voxels.size * 2))
"""


def measure(code: str, warm_up: Path, folder: Path) -> tuple[float, float] | None:
    """(seconds, peak memory in sizes of the array as int16); None where the reader can't read the series."""
    command = [sys.executable, "-W", "ignore", "-c", code + RUN, str(warm_up), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None
    seconds, memory = done.stdout.split()[-2:]
    return float(seconds), float(memory)


def rows(name: str, warm_up: Path, folder: Path) -> list[tuple[str, ...]]:
    """One row per reader; every reader has its turn before any has its next."""
    runs = {reader: [measure(code, warm_up, folder)] for reader, code in READERS.items()}
    able = [reader for reader, found in runs.items() if found[0] is not None]
    for _ in range(REPEATS - 1):
        for reader in able:
            runs[reader].append(measure(READERS[reader], warm_up, folder))
    ours = median(run[0] for run in runs["napari-medreason"] if run)
    return [row(name, reader, [run for run in found if run], ours) for reader, found in runs.items()]


def row(name: str, reader: str, runs: list[tuple[float, float]], ours: float) -> tuple[str, ...]:
    if not runs:
        return name, reader, "can't read it", "", ""
    seconds, memory = (median(column) for column in zip(*runs, strict=True))
    return name, reader, f"{seconds:.2f} s", f"{seconds / ours:.2f}", f"{memory:.2f}"


def main() -> None:
    table = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, syntax in SYNTAXES.items():
            folder = write_series(Path(temporary) / name.replace(" ", "-"), syntax)
            warm_up = Path(temporary) / f"few-{name.replace(' ', '-')}"
            warm_up.mkdir()
            for path in sorted(folder.iterdir())[:4]:
                (warm_up / path.name).write_bytes(path.read_bytes())
            table += rows(name, warm_up, folder)
    print_table(
        (
            "300 slices of 512 x 512",
            "reader",
            "time",
            "in times of ours",
            "peak memory, array = 1",
        ),
        table,
    )


if __name__ == "__main__":
    main()
