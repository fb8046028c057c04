"""Does a text name a structure? For implicit questions, which must not."""

from __future__ import annotations

from functools import lru_cache

from napari_medreason.core.anatomy import Structure, structures
from napari_medreason.core.question_words import ARTICLES, content_stems, split
from napari_medreason.core.template_facts import Facts


def names_in(text: str, facts: Facts) -> tuple[str, ...]:
    """Wordings of the structure that a text holds: the ones that give its name away."""
    phrases = facts.item.phrases if facts.item else ()
    own = facts.name or ("" if facts.item else facts.structure.replace("_", " "))
    return phrases_in(text, tuple(dict.fromkeys(filter(None, (own, *phrases)))))


def names_of_category(text: str, super_category: str) -> tuple[str, ...]:
    """Names (not synonyms) of any structure of a super-category that a text holds."""
    return phrases_in(text, _category_names(super_category))


def phrases_in(text: str, phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Phrases that a text holds, whatever the case, number, accent or spelling (tumour, tumor).

    A phrase of several words also counts when all of its words are there in another order: "lobe at
    the top of the lung" names the top lobe of the lung.
    """
    forms = _forms(text)
    joined = f" {' '.join(forms)} "
    roots = frozenset(content_stems(split(text)))
    return tuple(phrase for phrase in phrases if _holds(joined, roots, phrase))


def _holds(joined: str, roots: frozenset[str], phrase: str) -> bool:
    forms, content = _phrase(phrase)
    if forms and f" {' '.join(forms)} " in joined:
        return True
    return len(content) > 1 and content <= roots


@lru_cache(maxsize=8192)
def _phrase(phrase: str) -> tuple[tuple[str, ...], frozenset[str]]:
    return _forms(phrase), frozenset(content_stems(split(phrase)))


def _forms(text: str) -> tuple[str, ...]:
    return tuple(word.form for word in split(text) if word.form not in ARTICLES)


@lru_cache(maxsize=32)
def _category_names(super_category: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            name
            for item in structures().values()
            if item.super_category == super_category
            for name in _plain_names(item)
        )
    )


def _plain_names(item: Structure) -> tuple[str, ...]:
    return tuple(filter(None, (item.name, item.plural)))
