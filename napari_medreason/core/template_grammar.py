"""Faults of grammar and of wording in a text that a template gave."""

from __future__ import annotations

import re

from napari_medreason.core.template_words import article_for

_VERBS = {
    "is": "are", "was": "were", "has": "have", "does": "do", "lies": "lie", "sits": "sit",
    "appears": "appear", "occupies": "occupy", "covers": "cover", "takes": "take", "fills": "fill",
    "reaches": "reach", "shows": "show", "stands": "stand", "rests": "rest", "extends": "extend",
    "runs": "run", "belongs": "belong", "stays": "stay", "falls": "fall", "keeps": "keep",
    "comes": "come", "begins": "begin", "ends": "end", "fits": "fit", "stretches": "stretch",
}  # fmt: skip
_ONE, _MANY = "|".join(_VERBS), "|".join(_VERBS.values())
_ASKING = {True: "is|was|has|does", False: "are|were|have|do"}

_SIMPLE = (
    (re.compile(r"\b(?:the|a|an) (?:the|a|an|both|this|these)\b", re.I), "two articles in a row"),
    (re.compile(r"\b(\w+) \1\b", re.I), "a word twice in a row"),
    (re.compile(r"\s[,.;:?!]"), "a space before a punctuation mark"),
    (re.compile(r"[,;:]{2}|\.\.|\?\?|[,;:][.?]"), "two punctuation marks in a row"),
    (re.compile(r"[,.;:?!](?=[A-Za-z])"), "no space after a punctuation mark"),
    (re.compile(r"\bthere (?:is|was) (?:two|three|several|many|both)\b", re.I), "'there is' before a plural"),
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
    names = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True) if phrase)
    if not names:
        return ()
    wrong = _ONE if plural else _MANY
    after = re.search(rf"\b(?:{names}) (?:also |then |mostly )?({wrong})\b", text, re.I)
    before = re.search(rf"\b({_ASKING[plural]}) (?:{names})\b", text, re.I)
    faults = [
        f"'{match[1]}' does not agree with the structure's number" for match in (after, before) if match
    ]
    if plural and re.search(rf"\b(?:{names})\b.*\b(?:it|its)\b", text, re.I):
        faults.append("'it' after a plural structure; write {it}, {them} or {its}")
    return tuple(faults)


def diagnostic_words(text: str) -> tuple[str, ...]:
    """Words of a text that judge health or name a disease; templates describe what is seen only."""
    return tuple(dict.fromkeys(match.group().lower() for match in _DIAGNOSTIC.finditer(text)))
