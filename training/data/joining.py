"""Records of all cases as one set: no sample twice, no test wording that is in training as well."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from napari_medreason.core.record import Record
from napari_medreason.io.records import read_records

from .dropped import Dropped


def joined(parts: Sequence[Path], dropped: Dropped) -> Iterator[Record]:
    """The records of the parts in their order; duplicates are left out and counted.

    Two records are the same when slice, mask, label and question are, whatever the file's name. Implicit
    questions of the test split that training has word for word are left out too.
    """
    training = {_wording(record) for record in _all(parts) if record.split != "test"}
    seen: set[bytes] = set()
    for record in _all(parts):
        key = _key(record)
        if key in seen:
            dropped.add("record: duplicate")
        elif record.split == "test" and record.system != "medpos" and _wording(record) in training:
            dropped.add("record: test question that training has too")
        else:
            seen.add(key)
            yield record


def _all(parts: Sequence[Path]) -> Iterator[Record]:
    for part in parts:
        yield from read_records(part)


def _wording(record: Record) -> bytes:
    words = re.findall(r"\w+", record.question.lower())
    return sha256(" ".join(words).encode("utf-8")).digest()[:12]


def _key(record: Record) -> bytes:
    image = record.image
    place = (image.shape, image.axis, image.index, image.frame)
    text = repr((place, record.mask_runs, record.label, record.side, record.question))
    return sha256(text.encode("utf-8")).digest()[:16]
