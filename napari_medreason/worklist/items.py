"""What a work list knows about its studies: plain values that go to JSON and back unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.core.plane import Axis

SETTINGS_SCHEMA = "medreason-worklist/1"
ITEM_SCHEMA = "medreason-worklist-item/1"

State = Literal["waiting", "pre-labelled", "in progress", "accepted", "rejected", "skipped"]
STATES: tuple[State, ...] = ("waiting", "pre-labelled", "in progress", "accepted", "rejected", "skipped")
Verdict = Literal["agreed", "changes wanted", "replaced"]
"""What a second reader says: fine as it is; back to the first reader; the second reader's labels count."""
VERDICTS: tuple[Verdict, ...] = ("agreed", "changes wanted", "replaced")


@dataclass(frozen=True)
class LabelDefinition:
    """One label that is to be drawn.

    value: in the label volumes, from 1. structure: id in the anatomy vocabulary, "" when it is not in
    it. question: what a model is asked for it; "" leaves it out of pre-labelling.
    """

    value: int
    name: str
    structure: str = ""
    question: str = ""


@dataclass(frozen=True)
class Settings:
    """What holds for a whole work list. studies: its folder, relative to the work list's; "" if unknown."""

    title: str
    labels: tuple[LabelDefinition, ...]
    studies: str = ""
    created: str = ""
    schema: str = SETTINGS_SCHEMA

    def name_of(self, value: int) -> str:
        """The name of a label value, "label 7" when it is not defined."""
        return next((label.name for label in self.labels if label.value == value), f"label {value}")


@dataclass(frozen=True)
class SliceConfidence:
    """How sure a model was on one slice; index as in core.plane."""

    axis: Axis
    index: int
    confidence: float


@dataclass(frozen=True)
class LabelConfidence:
    """How sure a model was of one label, 0 to 1, None when it gave no figure or did not find it.

    least_certain: the slices where it was least sure, least first. doubts: one sentence each.
    """

    label: int
    confidence: float | None
    least_certain: tuple[SliceConfidence, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreLabel:
    """What a model drew beforehand. date: ISO 8601, UTC."""

    model: str
    date: str
    weights_sha256: str = ""
    labels: tuple[LabelConfidence, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comment:
    """What a reader remarks, on the whole study, a label, or a slice (axis and index as in core.plane)."""

    author: str
    date: str
    text: str
    label: int | None = None
    axis: Axis | None = None
    index: int | None = None


@dataclass(frozen=True)
class Event:
    """One step in the life of an item: who did what, and the words that went with it."""

    date: str
    reader: str
    action: str
    words: str = ""


@dataclass(frozen=True)
class SecondReading:
    """A second reader's look at accepted labels.

    round: which acceptance of the item was looked at, from 1. saved: when the second reader's own labels
    were saved last, "" when none were. verdict: None while in progress. agreement: figures per label
    between both readers; empty when the second reader drew nothing.
    """

    reader: str
    begun: str
    round: int
    saved: str = ""
    finished: str = ""
    verdict: Verdict | None = None
    comment: str = ""
    agreement: tuple[LabelAgreement, ...] = ()


@dataclass(frozen=True)
class Item:
    """One study of the work list.

    id: the same whenever the folder is searched. path: of the study, relative to the folder of studies,
    with forward slashes. series: what `io.read` takes. patient, study: pseudonyms. reader: the first
    reader. saved: when the first reader's labels were saved last. reason: why it was rejected, skipped or
    sent back. round: how often it was accepted. second_readings, comments, history: oldest first.
    revision: grows by one with every change.
    """

    id: str
    path: str
    series: str
    patient: str
    study: str
    modality: str = ""
    shape_kji: tuple[int, int, int] | None = None
    state: State = "waiting"
    reader: str = ""
    saved: str = ""
    reason: str = ""
    round: int = 0
    prelabel: PreLabel | None = None
    second_readings: tuple[SecondReading, ...] = ()
    comments: tuple[Comment, ...] = ()
    history: tuple[Event, ...] = ()
    revision: int = 0
    schema: str = ITEM_SCHEMA

    @property
    def second(self) -> SecondReading | None:
        """The second reading of the labels as they were accepted last, None when there is none yet."""
        last = self.second_readings[-1] if self.second_readings else None
        return last if last is not None and last.round == self.round else None

    @property
    def open_second(self) -> SecondReading | None:
        """The second reading that is in progress."""
        second = self.second
        return second if second is not None and second.verdict is None else None

    @property
    def sent_back(self) -> bool:
        """Whether a second reader wants changes that the first has not made yet."""
        second = self.second
        return self.state == "in progress" and second is not None and second.verdict == "changes wanted"

    @property
    def replaced(self) -> bool:
        """Whether a second reader's labels stand in for the first reader's, who saved none since."""
        second = self.second
        return second is not None and second.verdict == "replaced" and second.finished >= self.saved

    @property
    def confidence(self) -> float | None:
        """The lowest confidence of the pre-labels, None when no figure is known."""
        values = [label.confidence for label in (self.prelabel.labels if self.prelabel else ())]
        return min((value for value in values if value is not None), default=None)

    @property
    def final(self) -> Literal["", "first", "second"]:
        """Whose labels count: "" until the item is accepted."""
        if self.state != "accepted":
            return ""
        second = self.second
        return "second" if second is not None and second.verdict == "replaced" else "first"
