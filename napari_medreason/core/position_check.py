"""Whether a mask lies where words say: each statement found in the words, with a verdict.

Of the image: top or bottom together with left or right ("top left", "lower right"), "left side of the
image", and its centre. Of the patient: every other left, right, upper, lower, front or back, so "left upper"
speaks of the patient and "upper left" of the image, as in MedPos. Sides in the name of a structure ("left
ventricle") are part of the name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from napari_medreason.core.anatomy import structures
from napari_medreason.core.label_names import LabelName
from napari_medreason.core.patient_position import PatientPosition
from napari_medreason.core.position_sizes import MaskSizes, size_statements
from napari_medreason.core.question_phrases import find_mentions
from napari_medreason.core.question_words import split

Verdict = Literal["agrees", "disagrees", "not known"]


@dataclass(frozen=True)
class Statement:
    """One thing that words say about a mask. words: as found. found: what the mask says."""

    words: str
    verdict: Verdict
    found: str


@dataclass(frozen=True)
class MaskFacts:
    """What is known about the mask that words are checked against.

    quadrant: MedPos words of the image, such as "top left". patient: None when `withheld` says why not.
    name: what the mask shows, None when it has no name.
    """

    quadrant: str
    near_center: bool
    patient: PatientPosition | None
    withheld: str
    sizes: MaskSizes
    slice_index: int
    name: LabelName | None = None


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], MaskFacts], tuple[Verdict, str]]]
_DENIAL = re.compile(r"\b(?:no|not|without|never|neither|nor)\b|n['’]t\b")
_CLAUSE_END = re.compile(r"[.;,:\n]|\bbut\b")
_IMAGE_WORDS = {"upper": "top", "lower": "bottom", "centre": "center", "middle": "center"}
_THIRDS = {
    **dict.fromkeys(("anterior", "anteriorly", "front", "ventral"), "anterior"),
    **dict.fromkeys(("posterior", "posteriorly", "back", "dorsal"), "posterior"),
    **dict.fromkeys(("superior", "superiorly", "upper", "cranial", "top"), "superior"),
    **dict.fromkeys(("inferior", "inferiorly", "lower", "caudal", "bottom"), "inferior"),
}


def check_words(text: str, facts: MaskFacts) -> tuple[Statement, ...]:
    """The statements about place, size and structure in a text, in its order; empty when it makes none."""
    rest, found = _structures(text.lower(), facts)
    rest, sizes = size_statements(rest, facts.sizes)
    found += [(start, Statement(words, verdict, seen)) for start, words, verdict, seen in sizes]
    for pattern, judge in _RULES:
        for match in pattern.finditer(rest):
            verdict, seen = judge(match, facts)
            found.append((match.start(), Statement(_tidy(match[0]), verdict, seen)))
        rest = pattern.sub(_blank, rest)
    ordered = sorted(found, key=lambda pair: pair[0])
    return tuple(_not_denied(statement, text.lower()[:start]) for start, statement in ordered)


def _not_denied(statement: Statement, before: str) -> Statement:
    """The statement, without a verdict where its clause denies it: "no lesion on the left"."""
    clause = _CLAUSE_END.split(before)[-1]
    if not _DENIAL.search(clause):
        return statement
    return replace(statement, verdict="not known", found="what words deny is not checked")


def _structures(text: str, facts: MaskFacts) -> tuple[str, list[tuple[int, Statement]]]:
    found = []
    for mention in find_mentions(split(text)):
        if mention.role != "target":
            continue
        words = " ".join(text[start:end] for start, end in mention.spans)
        found.append((mention.start, Statement(words, *_same_structure(mention.structure, facts))))
        for start, end in mention.spans:
            text = f"{text[:start]}{'.' * (end - start)}{text[end:]}"
    return text, found


def _same_structure(structure: str, facts: MaskFacts) -> tuple[Verdict, str]:
    if facts.name is None or not facts.name.structure:
        return "not known", "the label has no name from the vocabulary"
    same = facts.name.structure == structure
    findings = structures()[structure].is_finding or structures()[facts.name.structure].is_finding
    verdict: Verdict = "not known" if findings and not same else _verdict(same)
    return verdict, f"the label is named {f'{facts.name.side} {facts.name.name}'.strip()}"


def _quadrant(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    wanted = {_IMAGE_WORDS.get(word, word) for word in re.findall(r"[a-z]+", match[0])}
    wanted &= {"top", "bottom", "left", "right"}
    return _verdict(wanted <= set(facts.quadrant.split())), f"it is at the {facts.quadrant} of the image"


def _center(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    denied = bool(re.match(r"(?:not|away|far)\b", match[0]))
    where = "near" if facts.near_center else "not near"
    return _verdict(facts.near_center is not denied), f"it is {where} the center of the image"


def _midline(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    if facts.patient is None:
        return "not known", facts.withheld
    crossing = match[0].startswith("cross") or match[0] in ("bilateral", "both sides")
    agrees = facts.patient.crosses_midline if crossing else facts.patient.side == "midline"
    return _verdict(agrees), _side_words(facts.patient)


def _side(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    if facts.patient is None:
        return "not known", facts.withheld
    return _verdict(facts.patient.side == match["side"]), _side_words(facts.patient)


def _side_words(patient: PatientPosition) -> str:
    across = ", reaching across the midline" if patient.crosses_midline else ""
    if patient.side == "midline":
        return "it is in the midline"
    return f"it is on the patient's {patient.side}{across}"


def _third(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    if facts.patient is None:
        return "not known", facts.withheld
    wanted = _THIRDS[match["third"]]
    upright = wanted in ("superior", "inferior")
    third = facts.patient.superior_inferior if upright else facts.patient.anterior_posterior
    reference = f"{facts.patient.reference}'s {'height' if upright else 'depth'}"
    if third is None:
        return "not known", f"it fills the {reference}"
    return _verdict(third == wanted), f"it is in the {third} third of the {reference}"


def _slice(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    return _verdict(int(match["slice"]) == facts.slice_index), f"it is slice {facts.slice_index}"


def _relation(match: re.Match[str], facts: MaskFacts) -> tuple[Verdict, str]:
    return "not known", "places beside other structures are not checked"


def _verdict(agrees: bool) -> Verdict:
    return "agrees" if agrees else "disagrees"


def _blank(match: re.Match[str]) -> str:
    return "." * len(match[0])


def _tidy(words: str) -> str:
    return " ".join(words.split())


_OF_IMAGE = (
    r"(?:\s+(?:half|side|part|edge|corner|quadrant|third))*\s+(?:of|in)\s+the\s+(?:image|picture|slice)"
)
_CENTER_WORD = r"(?:the\s+)?(?:cent(?:er|re)|middle)\b(?:\s+of\s+the\s+(?:image|picture|slice))?"
_RULES: tuple[_Rule, ...] = (
    (re.compile(r"\bslice\s+(?P<slice>\d{1,6})\b"), _slice),
    (re.compile(r"\b(?:top|upper|bottom|lower)[\s-]+(?:left|right)\b(?:" + _OF_IMAGE + ")?"), _quadrant),
    (re.compile(r"\b(?:top|upper|bottom|lower|left|right)" + _OF_IMAGE), _quadrant),
    (
        re.compile(
            r"\b(?:(?:not|away|far)\s+(?:from\s+)?)?(?:(?:near|close\s+to|at|in|from)\s+)?" + _CENTER_WORD
        ),
        _center,
    ),
    (
        re.compile(
            r"\b(?:anterior|posterior|superior|inferior|lateral|medial|adjacent|next)\s+to\b"
            r"|\b(?:left|right)\s+of\b|\b(?:behind|above|below|beneath|between|in\s+front\s+of)\b"
        ),
        _relation,
    ),
    (re.compile(r"\b(?P<side>left|right)[\s-]+(?:upper|lower)[\s-]+quadrant\b"), _side),
    (
        re.compile(r"\b(?:cross(?:es|ing)?\s+(?:the\s+)?midline|bilateral|both\s+sides|midline|median)\b"),
        _midline,
    ),
    (
        re.compile(r"\b(?:patient's\s+)?(?P<side>left|right)(?:-sided|\s+side)?\b"),
        _side,
    ),
    (re.compile(r"\b(?P<third>" + "|".join(sorted(_THIRDS, key=len, reverse=True)) + r")\b"), _third),
)
