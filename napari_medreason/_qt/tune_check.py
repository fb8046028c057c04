"""What is known before a run starts: its records as it would use them, and its memory. No Qt here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_medreason._qt.tune_check_memory import base_size, free_bytes
from napari_medreason._qt.tune_records import PreparedRecords, RecordReader, RecordSet, SplitPlan, prepared
from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.core.record import Record
from napari_medreason.core.run_check import DataCheck, check_data, usable
from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_memory import check_memory
from napari_medreason.errors import RunError

MOST_NAMES, FEW_NAMES = 8, 2
READ = ("CT", "MR")
"""Kinds of image that the embedded model reads."""


@dataclass(frozen=True, eq=False)
class RunCheck:
    """What was found. memory: the estimate in words; memory_fault: why it is too much, else "".

    contents: what each file of records holds, in words.
    """

    prepared: PreparedRecords
    data: DataCheck
    memory: str = ""
    memory_fault: str = ""
    recipe_faults: tuple[str, ...] = ()
    contents: Mapping[Path, str] = field(default_factory=dict)

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the run from starting, a sentence each."""
        memory = (self.memory_fault,) if self.memory_fault else ()
        return (*self.data.faults, *self.recipe_faults, *memory)


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
    contents = {one.file: contents_words(reader.read(one.file)) for one in sets}
    if config is None:
        return RunCheck(found, data, contents=contents)
    faults = tuple(_embedded_faults(found.records, data)) if config.recipe == "embedded" else ()
    check = RunCheck(found, data, recipe_faults=faults, contents=contents)
    try:
        memory = check_memory(config, free_bytes(config), base_size(config))
    except RunError as error:
        return replace(check, memory_fault=str(error))
    return replace(check, memory=memory)


def _embedded_faults(records: Sequence[Record], data: DataCheck) -> Iterator[str]:
    """What the embedded model can't learn; its run would say so too, but later."""
    known = vocabulary()
    learnt = [record for record in usable(records) if record.split == "train"]
    unknown = sorted({record.label for record in learnt if record.structure not in known})
    groups = sorted({record.structure for record in learnt if record.structure in known} & _groups())
    if unknown:
        yield (
            f"the label {_listed(unknown)} is not in the anatomy vocabulary, so nobody could ask the "
            "embedded model for it; give it a name of the vocabulary"
        )
    for name in groups:
        parts = ", ".join(known[name].members[:3])
        yield f"{known[name].name} is a group of structures; label its parts, such as {parts}"
    if len(data.modalities) > 1:
        yield f"the records are of {' and '.join(data.modalities)}; make one run for each"
    if len(data.modalities) == 1 and data.modalities[0] not in READ:
        found = data.modalities[0] or "of unknown kind"
        yield f"the images are {found}, and the embedded model reads {' and '.join(READ)}; choose others"


def _groups() -> set[str]:
    return {name for name, entry in vocabulary().items() if entry.members}


def _listed(names: Sequence[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"“{names[0]:.40}”{more}"


def structure_words(data: DataCheck) -> str:
    """The structures to learn from with their regions, the most frequent first."""
    return _shortened([f"{name} {number}" for name, number in _named(data.structures)], MOST_NAMES)


def contents_words(records: Sequence[Record]) -> str:
    """What a set of records holds, such as "liver, spleen, 34 records"."""
    counts = Counter(record.structure or record.label for record in records)
    names = _shortened([name for name, _ in _named(dict(counts.most_common()))], FEW_NAMES)
    return f"{names}, {len(records):,} record" + ("" if len(records) == 1 else "s")


def _named(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    known = vocabulary()
    return [(known[name].name if name in known else name, number) for name, number in counts.items()]


def _shortened(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
