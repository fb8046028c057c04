"""Misspelt words: which vocabulary word was meant, where that is safe to say."""

from __future__ import annotations

from napari_medreason.core.question_words import COMMAND_WORDS, word_list

_REAL_WORDS = word_list(
    """
    abnormally above abscissa after along angle append appended appending artist aside avoid basic
    beard begin being below better blade blend blending blendings blinding bowl brother brown
    bulleted cardinal chair chess chose clean clear close colin color colour colours could count
    course cover cross diver drive early edges entail entails every extra false father field final
    first front gland glands grain grand great green group guess heard hears heavy hidden hypothesis
    image images inner joint large later layer lesson letter lever liked lived lives lovers lower
    lunch major mammal matter member mental minor mission model mother mouse mouth nerve never night
    noise normal notes number often other outer pains paint paper pasta patch patient patients
    people person phase picture place plain plane plate plaza please point possible power present
    pretty price prime print quick quiet rapid reach ready really reason region right river round
    route scale scan scope score season second section selling serve session shade shape share sharp
    sheet shift shirt short should sight similar simple single skill slice small solid something
    sound space special spelling spellings spike spins spline splines split splitter splitters spoon
    sport stage stair stale start state steak steel stick still store storm story strike strikes
    strip strong structure style sugar system table taste teach test tests their there these thing
    think third those though threat threats through thumb tibial tight tired title toast tobias
    today together total touch tower trace track train treat trial trickier tricky truck trust truth
    turned under unity until upper urethral usual value visible vision voice waist waste watch water
    where which while white whole whose window without woman wonder world would wrong young
    """
)
"""Ordinary words within a slip of a vocabulary word; they are never taken for a misspelling."""


_VOWELS = frozenset("aeiouy")


def corrected(form: str, vocabulary: frozenset[str], preferred: frozenset[str]) -> str | None:
    """The one vocabulary word that `form` is a likely slip of, or None.

    Only words of five letters and more, with the same first letter, that are no ordinary word: one
    slip, or two from eight letters on. In a short word a changed consonant is not taken for a slip.
    Of several equally near, the only one with the same letters, `preferred`, or of the same length
    is taken.
    """
    if len(form) < 5 or form in vocabulary or form in COMMAND_WORDS or form in _REAL_WORDS:
        return None
    limit = 2 if len(form) >= 8 else 1
    near: dict[int, set[str]] = {}
    for word in vocabulary:
        if word[0] == form[0] and len(word) >= 5 and abs(len(word) - len(form)) <= limit:
            distance = edit_distance(form, word)
            if distance <= limit and not _changes_consonant(form, word):
                near.setdefault(distance, set()).add(word)
    closest = near.get(min(near, default=0), set())
    swapped = {word for word in closest if sorted(word) == sorted(form)}
    same_length = {word for word in closest if len(word) == len(form)}
    choices = (closest, swapped, closest & preferred, same_length)
    return next((next(iter(words)) for words in choices if len(words) == 1), None)


def _changes_consonant(form: str, word: str) -> bool:
    """Whether words of equal length differ in a consonant: at all in a short word, else among others."""
    if len(form) != len(word) or sorted(form) == sorted(word):
        return False
    different = [{a, b} for a, b in zip(form, word, strict=True) if a != b]
    if len(form) <= 6:
        return any(not letters <= _VOWELS for letters in different)
    return len(different) > 1 and any(not letters & _VOWELS for letters in different)


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions, changes and swaps of neighbours (Damerau 1964; optimal string alignment)."""
    before_previous: list[int] = []
    previous = list(range(len(second) + 1))
    for row, a in enumerate(first, start=1):
        current = [row]
        for column, b in enumerate(second, start=1):
            cost = min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (a != b))
            swapped = row > 1 and column > 1 and a == second[column - 2] and first[row - 2] == b
            current.append(min(cost, before_previous[column - 2] + 1) if swapped else cost)
        before_previous, previous = previous, current
    return previous[-1]
