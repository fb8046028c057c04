"""Faults of grammar and of wording in a text that a template gave."""

from __future__ import annotations

import re
from functools import lru_cache

from napari_medreason.core.question_words import word_list
from napari_medreason.core.template_words import article_for

_VERBS = {
    "is": "are", "was": "were", "has": "have", "does": "do", "lies": "lie", "sits": "sit",
    "appears": "appear", "occupies": "occupy", "covers": "cover", "takes": "take", "fills": "fill",
    "reaches": "reach", "shows": "show", "stands": "stand", "rests": "rest", "extends": "extend",
    "runs": "run", "belongs": "belong", "stays": "stay", "falls": "fall", "keeps": "keep",
    "comes": "come", "begins": "begin", "ends": "end", "fits": "fit", "stretches": "stretch",
}  # fmt: skip
_ONE, _MANY = "|".join(_VERBS), "|".join(_VERBS.values())
_HELPERS = word_list(
    "do does did can could will would shall should may might must let see make makes have that"
)
_PREPOSITIONS = word_list("of around for to as with in on at by from near beside about called named")
_ASKING_WORDS = "where|whereabouts|how|why|when|which|and|this|these"
_INVERTING = "Outlined|Marked|Found|Drawn|Measured|Seen|Shown|Placed|Built|Under|On|Behind|At|In|Here|There"
_ASKING = {True: "is|was|has|does", False: "are|were|have|do"}

_SIMPLE = (
    (re.compile(r"\b(?:the|a|an) (?:the|a|an|both|this|these)\b", re.I), "two articles in a row"),
    (re.compile(r"\b(\w+) \1\b", re.I), "a word twice in a row"),
    (re.compile(r"\s[,.;:?!]"), "a space before a punctuation mark"),
    (re.compile(r"[,;:]{2}|\.\.|\?\?|[,;:][.?]"), "two punctuation marks in a row"),
    (re.compile(r"[,.;:?!](?=[A-Za-z])"), "no space after a punctuation mark"),
    (re.compile(r"(?:^|[.?!,;] )there (?:is|was) (?:two|many|both)\b", re.I), "there is, then a plural"),
    (re.compile(r"\b(?:this|that) (?:structures|findings|regions|areas)\b", re.I), "'this' with a plural"),
    (re.compile(r"\bthese (?:structure|finding|region|area|part)\b", re.I), "'these' with a singular"),
)  # fmt: skip
_ARTICLE = re.compile(r"\b([Aa]n?) (\w[\w-]*)")

_DIAGNOSTIC = re.compile(
    r"""\b(?:diagnos\w*|prognos\w*|malignan\w*|benign|cancer\w*|carcinom\w*|metasta\w*|tumou?r\w*|suspicio\w*|
    suspect\w*|suggestive|concerning\ for|worrisome|patholog\w*|disease\w*|disorder\w*|syndrome\w*|
    (?:consistent|compatible)\ with|(?:is|are|looks?|appears?|seems?)\ (?:ab)?normal|abnormal\w*|unremarkable|
    healthy|unhealthy|sick\w*|ill|illness\w*|symptom\w*|treat\w*|therap\w*|biops\w*|prescri\w*|surgeon|
    operate\w*|follow-?up|recommend\w*|urgent\w*|emergenc\w*|danger\w*|life-threatening|harmless|serious|
    risk\w*|rule[ds]?\ out|(?:caused|explained)\ by|due\ to|infect\w*|inflam\w*|staging|tumou?ral|severe|
    progress\w*|worsen\w*|heal(?:s|ed|ing)?)\b""",
    re.I | re.X,
)


def text_faults(text: str, *, question: bool) -> tuple[str, ...]:
    """Faults of a filled text: articles, doubled words, punctuation, capitals, end marks, pairs of quotes."""
    faults = [words for pattern, words in _SIMPLE if pattern.search(text)]
    for article, word in _ARTICLE.findall(text):
        if article.lower() != article_for(word):
            faults.append(f"'{article} {word}' has the wrong article")
    if text[:1] != text[:1].upper():
        faults.append("no capital at the start")
    if not text.endswith(("?", ".") if question else (".",)):
        faults.append("no question mark or full stop at the end" if question else "no full stop at the end")
    if text.count("(") != text.count(")") or text.count('"') % 2 or text.count("“") != text.count("”"):
        faults.append("a bracket or quotation mark without its partner")
    return tuple(faults)


def number_faults(text: str, phrases: tuple[str, ...], *, plural: bool) -> tuple[str, ...]:
    """Verbs and pronouns of a filled text that don't agree with the structure's number.

    phrases: wordings of the structure as the slots gave them. plural: whether they take a plural verb.
    """
    phrases = tuple(sorted(filter(None, phrases), key=len, reverse=True))
    if not phrases:
        return ()
    after, asking, inverted, then_it = _number_patterns(phrases, plural)
    # "Where does the liver lie", "you have the liver" and "the edge of the lungs is" are right as they are.
    right = _PREPOSITIONS if plural else _PREPOSITIONS | _HELPERS
    found = [match[2] for match in after.finditer(text) if (match[1] or "").lower() not in right]
    found += [*asking.findall(text), *(inverted.findall(text) if plural else ())]
    faults = [f"'{verb}' does not agree with the structure's number" for verb in found]
    if plural and then_it.search(text):
        faults.append("'it' after a plural structure; write {it}, {them} or {its}")
    return tuple(faults)


@lru_cache(maxsize=512)
def _number_patterns(phrases: tuple[str, ...], plural: bool) -> tuple[re.Pattern[str], ...]:
    names = "|".join(map(re.escape, phrases))
    wrong = _ONE if plural else _MANY
    return (
        re.compile(rf"(?:\b(\w+) )?\b(?:{names}) (?:also |then |mostly )?({wrong})\b", re.I),
        re.compile(rf"(?:^|[.?!:] |\b(?:{_ASKING_WORDS}) )({_ASKING[plural]}) (?:{names})\b", re.I),
        re.compile(
            rf"(?:^|[.?!:] )(?:{_INVERTING})\b[^.?!,;:]*(?<! it)(?<! this)(?<! that) (is|was) (?:{names})\b"
        ),
        re.compile(rf"\b(?:{names})\b.*\b(?:it|its)\b", re.I),
    )


def diagnostic_words(text: str) -> tuple[str, ...]:
    """Words of a text that judge health or name a disease; templates describe what is seen only."""
    return tuple(dict.fromkeys(match.group().lower() for match in _DIAGNOSTIC.finditer(text)))
