"""Which of the structures in a question are asked for, and which are described without a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_meaning import best_description
from napari_medreason.core.question_phrases import Mention
from napari_medreason.core.question_side import NOT_THIS_SIDE
from napari_medreason.core.question_words import PLACE_ROOTS, QUIET_ROOTS, Word, content_stems

KIND_OF_THING = (
    r"(?:organ|structure|part|area|region|tube|pipe|gland|bone|muscle|vessel|artery|vein|nerve|chamber|space|"
    r"thing|cavity|joint|bag|sac|lobe|fluid|tissue|cord|membrane|box|valve|duct|nucleus|stalk)s?"
)
"""Pattern of nouns that stand for a structure without naming it."""
_SHOWS = (
    r"(?:is|are|was|were|has|have|contains?|shows?|belongs?|represents?|matche?s?|corresponds?|makes?\ up"
    r"|looks?|lies|holds?\ the|depicts?|displays?)"
)
_DESCRIBED = re.compile(
    rf"""\b(?:which|what)\ (?:\w+\ )?{KIND_OF_THING}\b | \bwhat(?:ever)?\ (?:here\ )?(?:\w+s|\w+\ up)\b
    | \bwhich\ (?:one|of\ (?:these|those|them))\ (?!{_SHOWS}\b|would\b|could\b|might\b|do\b)\w+\b
    | \b\w{{3,}}\ (?:that|which)\ (?!{_SHOWS}\b)\w+s\b | \bsomething\ (?:\w+\ ){{0,2}}\w+s\b
    | \b(?:bit|one|ones|those)\ (?:that|which)\ (?!{_SHOWS}\b)\w+\b
    | \b{KIND_OF_THING}\ (?:that|which|who|where|with|between|we|responsible|\w+ing)\b
    | \b{KIND_OF_THING}\ for\ (?!me\b|us\b)""",
    re.VERBOSE,
)
_NAMED = re.compile(
    rf"\b(?:which|what) (?:\w+ )?{KIND_OF_THING} (?:is|are|contains?|shows?|has)\b"
    rf"|\b\w+ (?:that|which|where) (?:is|are|belongs?|corresponds?|matche?s?|represents?|shows?|contains?) "
)
_PRESENCE = re.compile(
    r"""\b(?:(?:is|are|was|were|isn't|aren't)\ there
    | (?:can|do|could)\ (?:you|we|i)\ (?:see|spot|detect|make\ out|notice)
    | any | visible | present | absent | missing | in\ view | appears?\ (?:in|on)
    | does\ (?:it|this|the|he|she)\b.*\b(?:show|contain|have|include)
    | is\ (?:it|this)\ an?)\b
    | ^(?:is|are|was|were|has|have|no|without)\b""",
    re.VERBOSE,
)
_CLAUSE = re.compile(r"[^.,;:?!]+")


def asks_for_presence(text: str) -> bool:
    """Whether the words ask if something is there at all."""
    return _PRESENCE.search(text) is not None


def targets_of(plain: str, words: Sequence[Word], mentions: Sequence[Mention]) -> list[Mention]:
    """What is asked for: names, or else the structure described, or else an organ that only says where."""
    named = [mention for mention in mentions if mention.role == "target"]
    kinds = [mention for mention in named if _is_kind_of_tissue(mention.structure)]
    has_clause = _DESCRIBED.search(plain) is not None
    if len(kinds) < len(named) and not has_clause:
        return named
    naming = [word for word in words if any(a <= word.start < b for m in mentions for a, b in m.spans)]
    described = best_description(words, {mention.structure for mention in mentions}, naming)
    if described is not None and (has_clause or len(described.words) > 1):
        spans = tuple((word.start, word.end) for word in described.words)
        item = structures()[described.structure]
        return [Mention(item.id, spans, "target", described.how, plural=item.name == item.plural)]
    unexplained = _has_unexplained(plain, words, mentions, naming)
    if unexplained and has_clause and not _NAMED.search(plain):
        named = []
    elif unexplained or len(kinds) < len(named):
        named = [mention for mention in named if mention not in kinds]
    return named or _only_places(plain, mentions, unexplained)


def _is_kind_of_tissue(structure: str) -> bool:
    """Whether it is a word for many things, such as "bone" or "vessel"."""
    item = structures()[structure]
    return item.region == "body" and not item.is_finding


def _has_unexplained(
    plain: str, words: Sequence[Word], mentions: Sequence[Mention], naming: Sequence[Word]
) -> bool:
    """Whether an unknown word stands where it may name what is asked for."""
    near = [word for word in words if any(a <= word.start < b for a, b in _clauses(plain, words, mentions))]
    return bool(set(content_stems(near)) - PLACE_ROOTS - QUIET_ROOTS - set(content_stems(naming)))


def _clauses(plain: str, words: Sequence[Word], mentions: Sequence[Mention]) -> Iterator[tuple[int, int]]:
    """Parts of the text in which something unknown may be meant: the clause of a named structure.

    It is the whole text where the clause begins with the place: "a fistula, in the liver".
    """
    for clause in _CLAUSE.finditer(plain):
        start, end = clause.span()
        held = [mention for mention in mentions if start <= mention.start < end]
        if not held:
            continue
        before = content_stems(word for word in words if start <= word.start < held[0].start)
        whole = held[0].role == "inside" and not before and not _has_verb(plain[start : held[0].start])
        yield (0, len(plain)) if whole else (start, end)


def _has_verb(words: str) -> bool:
    """Whether more stands before a named structure than a preposition and an article."""
    return len(words.split()) > 2


def _only_places(plain: str, mentions: Sequence[Mention], unexplained: bool) -> list[Mention]:
    """What a question names only as a place, where nothing else in it can be what is asked for."""
    inside = [mention for mention in mentions if mention.role == "inside"]
    if inside and not unexplained:
        return inside[:1]
    excluded = [mention for mention in mentions if mention.role == "not"]
    return excluded[:1] if asks_for_presence(plain) or NOT_THIS_SIDE.search(plain) else []
