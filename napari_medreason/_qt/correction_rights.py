"""What a reader may do with a study of a work list now."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medreason.worklist import Item
from napari_medreason.worklist.steps import role_of, same_reader


@dataclass(frozen=True)
class Rights:
    """draw: on the labels. decide: accept, reject or skip. second: end the second reading."""

    draw: bool = False
    decide: bool = False
    reopen: bool = False
    take_over: bool = False
    begin_second: bool = False
    second: bool = False
    words: str = ""

    @property
    def work(self) -> bool:
        """Whether there is something to do for this reader."""
        return self.draw or self.begin_second


def rights_of(item: Item, reader: str) -> Rights:
    """The rights of a reader, and a sentence where the study can only be looked at."""
    if not reader:
        return Rights(words="Enter your name above to correct.")
    role, others_second = role_of(item, reader), item.open_second
    if role == "second":
        return Rights(draw=True, second=True, words="Your second reading: correct, comment, give a verdict.")
    if role == "first" or item.state in ("waiting", "pre-labelled"):
        words = f"Sent back: {item.reason}" if item.sent_back else ""
        return Rights(draw=True, decide=True, words=words)
    if item.state == "in progress":
        return Rights(take_over=True, words=f"In progress by {item.reader}; you can look, or take it over.")
    if others_second is not None:
        words = f"Being read a second time by {others_second.reader}."
        return Rights(take_over=not same_reader(item.reader, reader), words=words)
    first = item.state == "accepted" and item.second is None and not same_reader(item.reader, reader)
    why = f": {item.reason}" if item.reason else ""
    return Rights(reopen=True, begin_second=first, words=f"{item.state.capitalize()} by {item.reader}{why}.")
