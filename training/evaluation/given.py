"""All answers of one model or program to the records asked, read one by one when they are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medreason.core.record import Record
from napari_medreason.errors import RunError

from .asked import AskedRecords
from .predictions import Answer, Prediction, answer_of, check_prediction, read_predictions


@dataclass(frozen=True, eq=False)
class GivenAnswers:
    """predictions: by record. folder: that of their file. missing: records asked that have none."""

    predictions: Mapping[str, Prediction]
    folder: Path
    missing: int

    @property
    def words(self) -> bool:
        """Whether any answer has words."""
        return any(one.text or one.reasoning or one.written for one in self.predictions.values())

    @property
    def origin(self) -> dict[str, Any]:
        """What all answers say about what gave them: hash of the weights, whether words are templated."""
        weights = {one.weights_sha256 for one in self.predictions.values()} - {""}
        templated = any(one.templated for one in self.predictions.values())
        return {"weights_sha256": sorted(weights), "templated": templated}

    def answer(self, record: Record) -> Answer:
        """The answer to a record, with its pictures read; a missing one is a refusal."""
        given = self.predictions.get(record.id)
        refused = Prediction(record.id, status="refused", reason="no answer given")
        return answer_of(given or refused, record, self.folder)

    def check(self, records: Iterable[Record]) -> None:
        """DataSetError when a mask or picture given to a record is not there, or of another size."""
        for record in records:
            if record.id in self.predictions:
                check_prediction(self.predictions[record.id], record, self.folder)


def given_answers(title: str, asked: AskedRecords, file: Path) -> GivenAnswers:
    """The answers in a file; RunError when none is to a record asked, DataSetError for a faulty line."""
    wanted = {record.id for record in asked.records}
    known = {one.record: one for one in read_predictions(file) if one.record in wanted}
    if not known:
        raise RunError(
            f"{file.name} of {title} has no answer to any of the records asked; its lines name records by "
            "their `id`"
        )
    return GivenAnswers(known, file.parent, len(wanted) - len(known))
