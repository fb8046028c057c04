"""Does a text name a structure? For implicit questions, which must not."""

from __future__ import annotations

import re
from functools import lru_cache

from napari_medreason.core.question_words import ARTICLES, content_stems, split
from napari_medreason.core.template_facts import Facts

_TOKEN = re.compile(r"[^\W_]+(?:'s\b)?")


def names_in(text: str, facts: Facts) -> tuple[str, ...]:
    """Wordings of the structure that a text holds: the ones that give its name away."""
    phrases = facts.item.phrases if facts.item else ()
    own = facts.name or ("" if facts.item else facts.structure.replace("_", " "))
    return phrases_in(text, tuple(dict.fromkeys(filter(None, (own, *phrases)))))


@lru_cache(maxsize=32768)
def phrases_in(text: str, phrases: tuple[str, ...]) -> tuple[str, ...]:
    """Phrases that a text holds, whatever the case, number, accent or spelling (tumour, tumor).

    A phrase of several words also counts when all of its words are there in another order: "lobe at
    the top of the lung" names the top lobe of the lung.
    """
    forms, roots = _analysed(text)
    joined = f" {' '.join(forms)} "
    return tuple(phrase for phrase in phrases if _holds(joined, roots, phrase))


def _holds(joined: str, roots: frozenset[str], phrase: str) -> bool:
    forms, content = _phrase(phrase)
    if forms and f" {' '.join(forms)} " in joined:
        return True
    return len(content) > 1 and content <= roots


@lru_cache(maxsize=8192)
def _phrase(phrase: str) -> tuple[tuple[str, ...], frozenset[str]]:
    return _analysed(phrase)


def _analysed(text: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Word forms in order without articles, and the roots of the words with a content."""
    tokens = [_token(token) for token in _TOKEN.findall(text.replace("\u2019", "'"))]
    forms = tuple(form for token_forms, _ in tokens for form in token_forms)
    return forms, frozenset(root for _, roots in tokens for root in roots)


@lru_cache(maxsize=32768)
def _token(token: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = split(token)
    return tuple(word.form for word in words if word.form not in ARTICLES), content_stems(words)
