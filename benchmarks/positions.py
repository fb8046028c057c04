"""Time of MedPos positions for a whole label map, against a plain loop and against find_objects.

The label map has 512 x 512 x 400 voxels and 100 labels, ellipsoids of many sizes, about 5,000
label-in-slice regions. The plain loop looks at full slices, one mask at a time; it would take many
minutes, so it is timed on regions drawn at random and multiplied up.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import scipy
from table import milliseconds, print_table

from napari_medreason.core.regions import RegionTable, slice_regions

SHAPE_KJI = (400, 512, 512)
LABELS = 100
SAMPLED_REGIONS = 60
REPEATS = 3
PAINTED_SLICES = 25
AFFINE_LPS = np.diag([0.8, 0.8, 1.0, 1.0])


def label_map(seed: int = 0) -> np.ndarray:
    """(k, j, i) int32 with ellipsoids of half axes 12 to 45 pixels and about 50 slices' height."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE_KJI, np.int32)
    for label in range(1, LABELS + 1):
        half = np.array([random.integers(18, 36), random.integers(12, 46), random.integers(12, 46)])
        centre = [int(random.integers(h, size - h)) for h, size in zip(half, SHAPE_KJI, strict=True)]
        low = [max(0, c - h) for c, h in zip(centre, half, strict=True)]
        window = tuple(slice(a, c + h + 1) for a, c, h in zip(low, centre, half, strict=True))
        k, j, i = np.ogrid[window]
        inside = sum(((n - c) / h) ** 2 for n, c, h in zip((k, j, i), centre, half, strict=True)) <= 1
        labels[window][inside] = label
    return labels


def plain(mask: np.ndarray) -> tuple[object, ...]:
    """Box, centre, area, quadrant and key points of one mask, looking at the full slice each time."""
    pixels = np.argwhere(mask)
    (y0, x0), (y1, x1) = pixels.min(axis=0), pixels.max(axis=0) + 1
    center = (x0 + x1 - 1) / 2, (y0 + y1 - 1) / 2
    side = "left" if center[0] < (mask.shape[1] - 1) / 2 else "right"
    height = "top" if center[1] < (mask.shape[0] - 1) / 2 else "bottom"
    depth = scipy.ndimage.distance_transform_edt(mask)
    first = np.unravel_index(depth.argmax(), depth.shape)
    rows, columns = np.indices(mask.shape)
    away = np.hypot(rows - first[0], columns - first[1]) >= 0.95 * depth[first]
    second = np.unravel_index((depth * away).argmax(), depth.shape)
    return (x0, y0, x1, y1), center, len(pixels), f"{height} {side}", first, second


def seconds_of(work: Callable[[], object], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times)


def plain_seconds(labels: np.ndarray, table: RegionTable, seed: int = 1) -> float:
    """Time of the plain loop over all regions, from some of them."""
    rows = np.random.default_rng(seed).choice(len(table), SAMPLED_REGIONS, replace=False)
    begin = time.perf_counter()
    for row in rows:
        plain(labels[table.slice[row]] == table.label[row])
    return (time.perf_counter() - begin) / SAMPLED_REGIONS * len(table)


def painting_seconds(labels: np.ndarray, table: RegionTable) -> np.ndarray:
    """(n, 2): time, and processor time, to refresh the table after a brush stroke on busy slices."""
    busiest = np.argsort(-np.bincount(table.slice, minlength=SHAPE_KJI[0]))[:PAINTED_SLICES]
    times = []
    for index in busiest.tolist():
        labels[index, 250:262, 250:262] = 7
        begin, begin_processor = time.perf_counter(), time.process_time()
        table = table.updated(labels, [index])
        times.append((time.perf_counter() - begin, time.process_time() - begin_processor))
    return np.array(times)


def main() -> None:
    labels = label_map()
    table = slice_regions(labels, affine_lps=AFFINE_LPS)
    objects = seconds_of(lambda: [scipy.ndimage.find_objects(plane) for plane in labels])
    boxes = seconds_of(lambda: slice_regions(labels, affine_lps=AFFINE_LPS, key_points=False))
    everything = seconds_of(lambda: slice_regions(labels, affine_lps=AFFINE_LPS))
    loop = plain_seconds(labels, table)
    painted = painting_seconds(labels, table)
    print(f"{len(table):,} regions of {LABELS} labels on {SHAPE_KJI[0]} slices of 512 x 512\n")
    print_table(
        ("step", "time", "compared; for painting, processor time"),
        [
            ("all columns with key points", milliseconds(everything), f"{loop / everything:.0f} x faster"),
            (f"plain loop (from {SAMPLED_REGIONS} regions)", milliseconds(loop), "1"),
            ("box, centre, words, sizes, parts", milliseconds(boxes), f"{boxes / objects:.2f} x the time"),
            ("2D find_objects, all slices", milliseconds(objects), "1"),
            ("one painted slice, median", *map(milliseconds, np.median(painted, axis=0))),
            ("one painted slice, slowest", *map(milliseconds, painted.max(axis=0))),
        ],
    )


if __name__ == "__main__":
    main()
