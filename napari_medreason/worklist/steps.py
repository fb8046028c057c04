"""Steps of an item from waiting to accepted, as pure functions: an item in, the changed item out.

    waiting > pre-labelled > in progress > accepted | rejected | skipped
    accepted > second reading > agreed | changes wanted (in progress again) | replaced

Every step takes who does it and when (ISO 8601, UTC). WorkListError says why a step is not possible.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.errors import WorkListError
from napari_medreason.worklist.items import (
    VERDICTS,
    Comment,
    Event,
    Item,
    PreLabel,
    SecondReading,
    State,
    Verdict,
)

_MAX_NAME = 100
_UNFINISHED: tuple[State, ...] = ("waiting", "pre-labelled", "in progress")


def checked_reader(name: str) -> str:
    """A reader's name without needless blanks; WorkListError when it is empty or too long."""
    clean = " ".join(name.split())
    if not 0 < len(clean) <= _MAX_NAME:
        raise WorkListError(
            f"the reader's name has {len(clean)} characters; 1 to {_MAX_NAME} are accepted: enter your name"
        )
    return clean


def same_reader(one: str, other: str) -> bool:
    """Whether two names are one reader's; capitals make no difference."""
    return checked_reader(one).casefold() == checked_reader(other).casefold() if one and other else False


def prelabelled(item: Item, prelabel: PreLabel) -> Item:
    """With a model's labels; only while no reader has begun."""
    _need(item, ("waiting", "pre-labelled"), "pre-labelled")
    return _step(
        item, prelabel.model, prelabel.date, action="pre-labelled", state="pre-labelled", prelabel=prelabel
    )


def begun(item: Item, *, reader: str, when: str, take_over: bool = False) -> Item:
    """In progress by a reader; unchanged when it is already.

    take_over: also when another reader is at it; that reader's labels stay and are continued.
    """
    reader = checked_reader(reader)
    _need(item, _UNFINISHED, "begun")
    if item.state == "in progress" and same_reader(item.reader, reader):
        return item
    if item.state == "in progress" and not take_over:
        raise WorkListError(
            f"{item.path} is in progress by {item.reader}; choose another study, or take it over"
        )
    action = "taken over" if item.state == "in progress" else "begun"
    words = f"from {item.reader}" if item.state == "in progress" else ""
    return _step(item, reader, when, action=action, words=words, state="in progress", reader=reader)


def saved(item: Item, *, reader: str, when: str) -> Item:
    """With the date of a save of the reader's labels, first or second; not a step of the history."""
    role = role_of(item, reader)
    if role == "first":
        return replace(item, saved=when, revision=item.revision + 1)
    second = item.open_second
    if role == "second" and second is not None:
        return replace(_with_second(item, replace(second, saved=when)), revision=item.revision + 1)
    at_it = item.open_second.reader if item.open_second else item.reader
    now = f"in progress by {at_it}" if item.state == "in progress" or item.open_second else item.state
    raise WorkListError(
        f"{item.path} is {now}; labels of {checked_reader(reader)} can't be saved there: begin or reopen it"
    )


def role_of(item: Item, reader: str) -> str:
    """Which reader this one is of the item now: "first", "second", or "" when not at it."""
    if item.state == "in progress":
        return "first" if same_reader(item.reader, reader) else ""
    second = item.open_second
    return "second" if second is not None and same_reader(second.reader, reader) else ""


def accepted(item: Item, *, reader: str, when: str) -> Item:
    """Accepted by its first reader, whose labels must have been saved."""
    _own(item, reader, "accepted")
    if not item.saved:
        raise WorkListError(f"{item.path} has no saved labels; save them, then accept it")
    if item.replaced:
        raise WorkListError(
            f"{item.path} was reopened and has no labels saved since; save what is drawn, then accept it"
        )
    return _step(
        item, item.reader, when, action="accepted", state="accepted", reason="", round=item.round + 1
    )


def rejected(item: Item, *, reader: str, reason: str, when: str) -> Item:
    """Rejected: not fit for use, for a reason that must be given."""
    return _put_aside(item, "rejected", reader=reader, reason=reason, when=when)


def skipped(item: Item, *, reader: str, reason: str, when: str) -> Item:
    """Skipped: for later or for somebody else, for a reason that must be given."""
    return _put_aside(item, "skipped", reader=reader, reason=reason, when=when)


def reopened(item: Item, *, reader: str, when: str, reason: str = "") -> Item:
    """In progress again after it was accepted, rejected or skipped; labels and history stay."""
    _need(item, ("accepted", "rejected", "skipped"), "reopened")
    if item.open_second is not None:
        raise WorkListError(
            f"{item.path} is being read by {item.open_second.reader}; wait for the second reading to end"
        )
    reader, reason = checked_reader(reader), reason.strip()
    return _step(
        item, reader, when, action="reopened", words=reason, state="in progress", reader=reader, reason=reason
    )


def second_begun(item: Item, *, reader: str, when: str, take_over: bool = False) -> Item:
    """With a second reading in progress, by somebody who is not the first reader."""
    reader = checked_reader(reader)
    _need(item, ("accepted",), "read a second time")
    if same_reader(item.reader, reader):
        raise WorkListError(
            f"{item.path} was read by {item.reader} first; the second reader is somebody else"
        )
    second = item.second
    if second is None:
        readings = (*item.second_readings, SecondReading(reader, when, item.round))
        return _step(item, reader, when, action="second reading begun", second_readings=readings)
    if second.verdict is not None:
        raise WorkListError(f"{item.path} has a second reading by {second.reader} ({second.verdict})")
    if same_reader(second.reader, reader):
        return item
    if not take_over:
        raise WorkListError(f"{item.path} is being read by {second.reader}; choose another, or take it over")
    changed = _with_second(item, replace(second, reader=reader))
    return _step(changed, reader, when, action="second reading taken over", words=f"from {second.reader}")


def second_finished(
    item: Item,
    *,
    reader: str,
    verdict: Verdict,
    when: str,
    comment: str = "",
    agreement: Iterable[LabelAgreement] = (),
) -> Item:
    """With the second reader's verdict; "changes wanted" needs a comment, "replaced" saved labels."""
    second = item.open_second
    if second is None or not same_reader(second.reader, reader):
        raise WorkListError(f"{item.path} is not being read a second time by {checked_reader(reader)}")
    if verdict not in VERDICTS:
        raise WorkListError(f"{verdict!r} is no verdict; accepted are {', '.join(VERDICTS)}")
    comment = comment.strip()
    if verdict == "changes wanted" and not comment:
        raise WorkListError("say in a comment which changes are wanted")
    if verdict == "replaced" and not second.saved:
        raise WorkListError(f"{item.path} has no labels of {second.reader} that could replace the first ones")
    done = replace(second, verdict=verdict, finished=when, comment=comment, agreement=tuple(agreement))
    changes: dict[str, Any] = (
        {"state": "in progress", "reason": comment} if verdict == "changes wanted" else {}
    )
    return _step(_with_second(item, done), second.reader, when, action=verdict, words=comment, **changes)


def commented(item: Item, comment: Comment) -> Item:
    """With one more comment, in any state; WorkListError when it is empty."""
    text = comment.text.strip()
    if not text:
        raise WorkListError("the comment is empty; write a sentence")
    clean = replace(comment, author=checked_reader(comment.author), text=text)
    return replace(item, comments=(*item.comments, clean), revision=item.revision + 1)


def _put_aside(item: Item, state: State, *, reader: str, reason: str, when: str) -> Item:
    reader, reason = checked_reader(reader), reason.strip()
    if not reason:
        raise WorkListError(f"say why {item.path} is {state}; a reason is needed")
    if item.state == "in progress":
        _own(item, reader, state)
    _need(item, _UNFINISHED, state)
    return _step(item, reader, when, action=state, words=reason, state=state, reader=reader, reason=reason)


def _own(item: Item, reader: str, what: str) -> None:
    _need(item, ("in progress",), what)
    if not same_reader(item.reader, reader):
        raise WorkListError(f"{item.path} is in progress by {item.reader}; take it over before it is {what}")


def _need(item: Item, states: tuple[State, ...], what: str) -> None:
    if item.state not in states:
        raise WorkListError(f"{item.path} is {item.state}; only what is {' or '.join(states)} can be {what}")


def _with_second(item: Item, second: SecondReading) -> Item:
    return replace(item, second_readings=(*item.second_readings[:-1], second))


def _step(item: Item, who: str, when: str, *, action: str, words: str = "", **changes: Any) -> Item:
    """The changed item with one more event."""
    event = Event(when, who, action, words)
    return replace(item, history=(*item.history, event), revision=item.revision + 1, **changes)
