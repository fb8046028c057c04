"""ROUGE of answers, as PRS-Med reports it: F-measure with stemming (Lin, 2004)."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medreason.errors import MedReasonError


@dataclass(frozen=True)
class TextScores:
    """F-measures, 0 to 1: of single words, and of the longest common sequence of words."""

    rouge_1: float
    rouge_l: float


def text_scores(found: str, true: str) -> TextScores:
    """ROUGE of one answer against one reference text; words are stemmed, punctuation is dropped.

    MedReasonError when the package rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MedReasonError(
            "text scores need the package rouge-score, which is not installed; "
            "pip install 'napari-medreason[train]'"
        ) from error
    scores = RougeScorer(["rouge1", "rougeL"], use_stemmer=True).score(true, found)
    return TextScores(scores["rouge1"].fmeasure, scores["rougeL"].fmeasure)
