"""Record files: JSON lines, read strictly and written whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from napari_medreason.core.record import Record, from_line, to_line
from napari_medreason.core.record_check import problems
from napari_medreason.errors import DataSetError
from napari_medreason.io.atomic import replace_file

MAX_LINE = 64 * 2**20
"""Characters of one line beyond which a file is no record file."""


def read_records(path: str | Path) -> Iterator[Record]:
    """The records of a JSON-lines file, one at a time; DataSetError names file and line.

    Empty lines are errors too; the last line may or may not have its line end.
    """
    for number, line in read_lines(Path(path)):
        yield from_line(line, f"{Path(path).name}, line {number}")


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines and return their number; the file appears whole or not at all.

    Raises ExportError when the disk is full or the folder can't be written; an older file stays.
    """
    count = 0
    with replace_file(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for record in records:
            file.write(to_line(record) + "\n")
            count += 1
    return count


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, line) of a UTF-8 text file; DataSetError when it is missing or no UTF-8."""
    number = 0
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise DataSetError(f"{path.name}, line {number} is too long for a record; check the file")
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path.name} is not UTF-8 after line {number}; save it as UTF-8") from error
    except OSError as error:
        raise DataSetError(f"{path.name} can't be read: {error.strerror}; check the path") from error


@dataclass(frozen=True)
class CheckReport:
    """What a check of a record file found; `faults` holds (line, sentence) and is cut at a limit."""

    count: int
    fault_count: int
    faults: tuple[tuple[int, str], ...]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong."""
        return self.fault_count == 0


class _Checker:
    """Counts and faults over the lines of one file, with what spans records (ids, splits)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: set[str] = set()
        self._split_of: dict[str, str] = {}
        self._counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("system", "split", "state", "source", "super_category", "modality")
        }
        self.count = 0
        self.fault_count = 0
        self.faults: list[tuple[int, str]] = []

    def fault(self, line: int, words: str) -> None:
        self.fault_count += 1
        if len(self.faults) < self._limit:
            self.faults.append((line, words))

    def add(self, line: int, record: Record) -> None:
        self.count += 1
        for words in problems(record):
            self.fault(line, words)
        if record.id in self._ids:
            self.fault(line, f"id {record.id!r} occurs twice")
        self._ids.add(record.id)
        split = self._split_of.setdefault(record.patient, record.split)
        if split != record.split:
            self.fault(line, f"patient {record.patient!r} is in {split} and in {record.split}")
        self._tally(record)

    def _tally(self, record: Record) -> None:
        values = {
            "system": record.system,
            "split": record.split,
            "state": record.review.state,
            "source": record.source,
            "super_category": record.super_category or "(none)",
            "modality": record.image.modality or "(unknown)",
        }
        for name, value in values.items():
            self._counts[name][value] += 1

    def report(self) -> CheckReport:
        counts = {name: dict(sorted(counter.items())) for name, counter in self._counts.items()}
        counts["patients"] = dict(sorted(Counter(self._split_of.values()).items()))
        return CheckReport(self.count, self.fault_count, tuple(self.faults), counts)


def check_file(path: str | Path, *, limit: int = 20) -> CheckReport:
    """Check every record of a file, each for itself and all together (ids, patients in one split).

    At most `limit` faults are kept, all are counted. DataSetError when the file can't be read.
    """
    checker = _Checker(limit)
    name = Path(path).name
    for number, line in read_lines(Path(path)):
        try:
            checker.add(number, from_line(line, f"{name}, line {number}"))
        except DataSetError as error:
            checker.fault(number, str(error))
    return checker.report()
