"""Train and test wordings that never meet: the same words in two templates keep them on one side."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from napari_medreason.core.question_words import split as words_of
from napari_medreason.core.templates import TEXTS, Template, latest

_SLOT = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class SharedWording:
    """One text that stands in a training and in a test template."""

    train_id: str
    test_id: str
    field: str
    text: str


@lru_cache(maxsize=16384)
def wording(text: str) -> str:
    """A text without case, accents, punctuation, articles, plural endings and spelling habits.

    Slots stay words.
    """
    forms = (word.form for word in words_of(_SLOT.sub(_slot_word, text)))
    return " ".join(form for form in forms if form not in ("a", "an", "the"))


def _slot_word(match: re.Match[str]) -> str:
    return f" slot{match[1].replace('_', '')} "


def shared_wording(templates: Iterable[Template]) -> tuple[SharedWording, ...]:
    """Texts, newest versions only, that are the same on both sides of the split once normalised."""
    train: dict[tuple[str, str], str] = {}
    test: list[tuple[str, str, Template]] = []
    for template in latest(templates):
        for field, key in _keys(template):
            if template.split == "train":
                train.setdefault((field, key), template.id)
            else:
                test.append((field, key, template))
    return tuple(
        SharedWording(train[field, key], template.id, field, getattr(template, field))
        for field, key, template in test
        if (field, key) in train
    )


def with_split(templates: Sequence[Template], *, test_share: float, seed: int) -> tuple[Template, ...]:
    """The templates with a new split: about `test_share` (0 to 1) of them for tests, wordings kept together.

    Templates that share a question, an answer or a reasoning, directly or through others, and all
    versions of one id, go to the same side. Groups are drawn by a hash of seed and wording, so that
    the same seed gives the same split in whatever order the templates come; a group that would put
    more than half of itself beyond the share stays in training, so the test side may be empty.
    """
    if not 0 <= test_share <= 1:
        raise ValueError(f"test_share is a share from 0 to 1, got {test_share}")
    wanted = test_share * len(templates)
    test_ids: set[str] = set()
    taken = 0
    for group in sorted(_groups(templates), key=lambda group: _draw(seed, group)):
        if taken + len(group) / 2 <= wanted and taken < wanted:
            test_ids |= {template.id for template in group}
            taken += len(group)
    return tuple(
        replace(template, split="test" if template.id in test_ids else "train") for template in templates
    )


def _groups(templates: Sequence[Template]) -> list[list[Template]]:
    """Templates joined through any shared text or id (union-find with path halving)."""
    parent = list(range(len(templates)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[tuple[str, str], int] = {}
    for index, template in enumerate(templates):
        for key in (("id", template.id), *_keys(template)):
            parent[root(index)] = root(seen.setdefault(key, index))
    groups: dict[int, list[Template]] = defaultdict(list)
    for index, template in enumerate(templates):
        groups[root(index)].append(template)
    return list(groups.values())


def _keys(template: Template) -> tuple[tuple[str, str], ...]:
    return tuple((field, wording(text)) for field, text in zip(TEXTS, template.texts, strict=True) if text)


def _draw(seed: int, group: Sequence[Template]) -> str:
    name = min(f"{template.id} {wording(template.question)}" for template in group)
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
