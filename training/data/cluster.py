"""Work on each case spread over a Ray cluster, for sets larger than one machine.

What is worked on, its order, and the writing of files stay with the process that builds: only the pure
function from a case to a text runs elsewhere. So the files are the same bytes as those of a plain build.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from napari_medreason.errors import DataSetError, MedReasonError

from .cases import Case
from .config import WriterConfig

Each = Callable[[Callable[[Case], str], Iterable[Case]], Iterator[str]]
"""What `map` is for one machine: the texts that a function makes of cases, in the order of the cases."""

MOST_TASKS = 10_000
"""Beyond this many cases a task holds several, because Ray's cost per task would grow too large."""


@contextmanager
def cluster(writer: WriterConfig) -> Iterator[Each]:
    """A replacement for `map` on the cluster that RAY_ADDRESS names, or on one started here until the end.

    Every machine needs this package and the sources under the same paths. Raises DataSetError without
    Ray, without a cluster at that address, and for a writer that keeps its texts in a file.
    """
    if writer.kind != "template":
        raise DataSetError(
            f"--cluster works with the template writer, not with {writer.kind!r}, whose accepted texts are "
            "in one file; leave --cluster out"
        )
    ray = _library()
    started_here = not ray.is_initialized()
    if started_here:
        _start(ray)
    try:
        yield _each
    finally:
        if started_here:
            ray.shutdown()


def _library() -> Any:
    """Ray, with its reports about use to its makers switched off unless the user decided otherwise."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DataSetError(
            "--cluster needs Ray; install napari-medreason[cluster] or leave --cluster out"
        ) from error
    return ray


def _start(ray: Any) -> None:
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise DataSetError(
            "no Ray cluster answers at the address in RAY_ADDRESS; start it, or unset RAY_ADDRESS for a "
            "cluster on this machine"
        ) from error


def _each(function: Callable[[Case], str], cases: Iterable[Case]) -> Iterator[str]:
    import ray

    try:
        for row in _rows(function, [replace(case, root=case.root.absolute()) for case in cases]):
            if row["fault"]:
                raise DataSetError(row["fault"])
            yield row["text"]
    except ray.exceptions.RayTaskError:
        raise  # a fault of this program; its traceback is wanted
    except ray.exceptions.RayError as error:
        raise DataSetError(
            f"the Ray cluster failed ({type(error).__name__}); start the same command again to go on"
        ) from error


def _rows(function: Callable[[Case], str], cases: list[Case]) -> Iterator[dict[str, str]]:
    import ray

    if not cases:
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # below, its log files quote rows: paths, patients
    data = ray.data.from_items(cases, override_num_blocks=min(len(cases), MOST_TASKS))
    data.context.execution_options.preserve_order = True
    data.context.enable_progress_bars = False
    yield from data.map(_row, fn_args=(function,)).iter_rows()


def _row(row: dict[str, Any], function: Callable[[Case], str]) -> dict[str, str]:
    """Runs on a worker: a fault of the input travels back as words, so that the build can end with them."""
    try:
        return {"text": function(row["item"]), "fault": ""}
    except MedReasonError as error:
        return {"text": "", "fault": str(error)}
