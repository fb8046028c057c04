"""Misspelt words: which vocabulary word was meant, where that is safe to say."""

from __future__ import annotations

from napari_medreason.core.question_words import COMMAND_WORDS, word_list

_REAL_WORDS = word_list(
    """
    above after along angle artist aside avoid basic beard begin being below blade bowl brown chair
    chess chose clean clear close color colour colours could count course cover cross diver drive
    early edges every extra false field final first front gland glands grain grand great green group
    guess heard hears heavy hidden image images inner joint large later layer lever lived lives
    liked lower lunch major minor model mouse mouth nerve never night normal notes often other outer
    pains paint paper pasta patch phase place plain plane plate plaza point power price prime print
    quick quiet rapid reach ready right river round route scale scan scope score serve shade shape
    share sharp sheet shift shirt short sight skill slice small solid sound space spike spins split
    spoon sport stage stair start state steak steel stick still store storm story strip style sugar
    table taste teach their there these thing think third those thumb tight tired title toast today
    total touch tower trace track train treat trial truck trust truth under unity until upper usual
    value voice waist waste watch water where which while white whole whose woman world would wrong
    young lovers letter better matter mother father brother number member people person picture
    please pretty really second should similar simple single something special strong structure
    system though through together turned visible vision window without wonder section session
    mission region lesson season reason patient patients possible present
    """
)
"""Ordinary words within a slip of a vocabulary word; they are never taken for a misspelling."""


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
    """Whether two short words of equal length differ by one consonant for another."""
    if len(form) != len(word) or len(form) > 6:
        return False
    different = [(a, b) for a, b in zip(form, word, strict=True) if a != b]
    return len(different) == 1 and not set(different[0]) <= set("aeiouy")


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
