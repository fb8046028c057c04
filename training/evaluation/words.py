"""METEOR of answers, and whether the place that an answer names is the true one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from napari_medreason.core.medpos import locate
from napari_medreason.core.patient_position import UNKNOWN_ORIENTATION, PatientPosition
from napari_medreason.core.position_check import MaskFacts, Statement, check_words
from napari_medreason.core.position_sizes import MaskSizes
from napari_medreason.core.record import Record
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError, MedReasonError

_SIDE = re.compile(r"(?:patient's\s+)?(left|right)(?:-sided|\s+side)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class _NoWordNet:
    """A dictionary in which no word has a synonym."""

    def synsets(self, _word: str) -> Sequence[Any]:
        return ()


def meteor(found: str, true: str) -> float:
    """METEOR (Lavie and Agarwal, 2007) of one answer against one reference text, 0 to 1.

    alpha 0.9, beta 3, gamma 0.5, as in NLTK and in the package `evaluate`, which the released code calls.
    `meteor_variant` says which words are taken for the same. MedReasonError when NLTK is not installed.
    """
    try:
        from nltk.translate.meteor_score import single_meteor_score
    except ImportError as error:
        raise MedReasonError(
            "METEOR needs the package nltk, which is not installed; pip install 'napari-medreason[train]'"
        ) from error
    return float(single_meteor_score(_tokens(true), _tokens(found), wordnet=_dictionary()))


def meteor_variant() -> str:
    """Which METEOR `meteor` is here: with the synonyms of WordNet when NLTK has it, else without."""
    import nltk

    synonyms = "no synonyms" if isinstance(_dictionary(), _NoWordNet) else "WordNet synonyms"
    return f"NLTK {nltk.__version__}, same words, stems (Porter), {synonyms}; Treebank tokens"


@cache
def _dictionary() -> Any:
    """WordNet when it is on this computer; nothing is downloaded."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return _NoWordNet()
    return wordnet


def _tokens(text: str) -> list[str]:
    """Words as NLTK's `word_tokenize` cuts them, but for its sentence model, which is a download."""
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    return [token for sentence in _SENTENCE_END.split(text.strip()) for token in tokenizer.tokenize(sentence)]


@dataclass(frozen=True)
class PlaceNamed:
    """What a text says about where something is. right: every statement that can be checked is true."""

    statements: tuple[Statement, ...]

    @property
    def named(self) -> bool:
        """Whether it names a place that could be checked."""
        return bool(self.statements)

    @property
    def right(self) -> bool:
        """Whether it names a place, and only true ones."""
        return self.named and all(one.verdict == "agrees" for one in self.statements)


def place_named(text: str, record: Record) -> PlaceNamed:
    """The places that a text names, judged by the record's true mask: in the image, and in the patient.

    To repeat what the question says ("the left kidney") earns nothing, and a slice's number is no place.
    """
    facts = _true_facts(record)
    if facts is None:
        return PlaceNamed(())
    asked = record.question.lower()
    kept = (one for one in check_words(text, facts) if one.verdict != "not known" and _is_new(one, asked))
    return PlaceNamed(tuple(kept))


def _is_new(statement: Statement, asked: str) -> bool:
    if statement.verdict == "disagrees":
        return True
    side = _SIDE.fullmatch(statement.words)
    words = side[1] if side else statement.words
    return not statement.words.startswith("slice") and not re.search(rf"\b{re.escape(words)}\b", asked)


def _true_facts(record: Record) -> MaskFacts | None:
    position = locate(record.mask, rule=record.position.rule)
    if position is None:
        return None
    return MaskFacts(
        quadrant=position.quadrant,
        near_center=position.near_center,
        patient=_in_patient(record),
        withheld=UNKNOWN_ORIENTATION,
        sizes=MaskSizes(),
        slice_index=record.image.index,
    )


def _in_patient(record: Record) -> PatientPosition | None:
    if record.patient_position is None:
        return None
    try:
        found: PatientPosition = from_plain(PatientPosition, record.patient_position, f"record {record.id}")
    except DataSetError:
        return None
    return found
