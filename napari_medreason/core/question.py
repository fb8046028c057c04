"""The user's words with the plane they are asked about."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.errors import QuestionError

MAX_QUESTION_LENGTH = 1000


@dataclass(frozen=True, eq=False)
class Question:
    """A question about one plane, with optional hints drawn by the user.

    text: 1 to 1000 characters after stripping. box, points: in the plane, see core.plane.
    """

    text: str
    plane: Plane
    box: Box | None = None
    points: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", checked_text(self.text))


def checked_text(text: str) -> str:
    """The stripped question; QuestionError when it is empty or too long."""
    stripped = " ".join(text.split())
    if not stripped:
        raise QuestionError("the question is empty; type one such as “Where is the liver?”")
    if len(stripped) > MAX_QUESTION_LENGTH:
        raise QuestionError(
            f"the question has {len(stripped)} characters; at most {MAX_QUESTION_LENGTH} are accepted, "
            "please shorten it"
        )
    return stripped
