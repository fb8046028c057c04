"""What is known before a run starts: its records as it would use them, and its memory. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from napari_medreason._qt.tune_records import PreparedRecords, RecordReader, RecordSet, SplitPlan, prepared
from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.core.run_check import DataCheck, check_data
from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_memory import check_memory
from napari_medreason.errors import RunError

MOST_NAMES = 8


@dataclass(frozen=True, eq=False)
class RunCheck:
    """What was found. memory: the estimate in words; memory_fault: why it is too much, else ""."""

    prepared: PreparedRecords
    data: DataCheck
    memory: str
    memory_fault: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the run from starting, a sentence each."""
        return (*self.data.faults, *((self.memory_fault,) if self.memory_fault else ()))


def run_check(
    sets: Sequence[RecordSet],
    plan: SplitPlan,
    config: RunConfig | None,
    reader: RecordReader,
    **_signals: object,
) -> RunCheck:
    """Check records, and the memory where there is a configuration; DataSetError when none can be read."""
    found = prepared(sets, plan, reader)
    data = check_data(found.records)
    try:
        memory = "" if config is None else check_memory(config, psutil.virtual_memory().available)
    except RunError as error:
        return RunCheck(found, data, "", str(error))
    return RunCheck(found, data, memory)


def structure_words(data: DataCheck) -> str:
    """The structures to learn from with their regions, the most frequent first."""
    known = vocabulary()
    names = [
        f"{known[name].name if name in known else name} {number}" for name, number in data.structures.items()
    ]
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
