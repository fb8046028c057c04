"""Label maps as runs: stretches of equal label along the rows of a stack of slices.

Box, area, centre and connected parts of every label on every slice follow from the runs alone, so
that a volume is read once, whatever the number and the values of its labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load at first use
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs as parallel int64 arrays: pixels `start` to `stop` - 1 of `row` on slice `plane` hold `label`."""

    label: Integers
    plane: Integers
    row: Integers
    start: Integers
    stop: Integers

    def __getitem__(self, chosen: NDArray[np.generic] | slice) -> Runs:
        return Runs(
            self.label[chosen], self.plane[chosen], self.row[chosen], self.start[chosen], self.stop[chosen]
        )

    @property
    def length(self) -> Integers:
        """Number of pixels of each run."""
        return self.stop - self.start


def find_runs(stack: NDArray[np.integer]) -> Runs:
    """The runs of all non-zero labels in a (slice, row, column) stack, in raster order."""
    columns, rows = max(stack.shape[2], 1), max(stack.shape[1], 1)
    flat = np.ascontiguousarray(stack).reshape(-1)
    begins = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins.reshape(-1, columns)[:, 0] = True
    first = np.flatnonzero(begins)
    kept = np.flatnonzero(flat[first])
    stop = np.append(first, flat.size)[kept + 1]
    first = first[kept]
    line, start = np.divmod(first, columns)
    plane, row = np.divmod(line, rows)
    return Runs(flat[first].astype(np.int64), plane, row, start, start + (stop - first))


def first_of_each(keys: Integers) -> Integers:
    """Where each stretch of equal keys begins."""
    changes = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    return np.concatenate([np.zeros(min(1, keys.size), np.int64), changes])


def connected(runs: Runs, region: Integers) -> Integers:
    """The 8-connected part that each run belongs to, numbered from 0 over all regions.

    runs: sorted by region, then row, then start; region: ascending whole numbers, one per run. Runs of
    different regions are never joined. Parts are numbered in the order of their first run.
    """
    width = int(runs.stop.max(initial=0)) + 2
    height = int(runs.row.max(initial=0)) + 2
    line = region * height + runs.row
    first, last = line * width + runs.start, line * width + runs.stop - 1
    below = (line + 1) * width
    # Touching by a corner counts, hence one column more on both sides.
    lowest = np.searchsorted(last, below + runs.start - 1, "left")
    counts = np.searchsorted(first, below + runs.stop, "right") - lowest
    ends = np.cumsum(counts)
    touched = np.arange(int(counts.sum())) - np.repeat(ends - counts - lowest, counts)
    row_ends = np.concatenate([[0], ends])
    links = scipy.sparse.csr_array((np.ones(touched.size), touched, row_ends), shape=(region.size,) * 2)
    part = scipy.sparse.csgraph.connected_components(links, directed=False)[1].astype(np.int64)
    order = np.argsort(np.unique(part, return_index=True)[1])
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return np.asarray(rank[part])


def paint(runs: Runs, shape: tuple[int, int], corner: tuple[int, int]) -> NDArray[np.bool_]:
    """A (rows, columns) bool mask of the runs; corner: the (column, row) of its first pixel."""
    mask = np.zeros(shape, bool)
    begin = (runs.row - corner[1]) * shape[1] + runs.start - corner[0]
    length = runs.length
    before = np.cumsum(length) - length
    mask.reshape(-1)[np.arange(int(length.sum())) + np.repeat(begin - before, length)] = True
    return mask
