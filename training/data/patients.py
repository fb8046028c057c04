"""Pseudonyms of patients, and which split each of them belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from napari_medreason.core.record import Split
from napari_medreason.io import pseudonyms

from .cases import Case
from .config import SplitConfig


def pseudonym(case: Case, cohort: str, key: bytes) -> str:
    """A patient's name in records: a digest of cohort and patient key, the same in every build.

    Keys that come from DICOM headers are digested with the installation's secret, so that nobody can
    find a patient number by trying all of them; keys from file names are in the image path anyway.
    """
    return pseudonym_of(cohort, case.patient, key if case.identifying else b"medreason")


def pseudonym_of(cohort: str, patient: str, secret: bytes = b"medreason") -> str:
    """A pseudonym from a patient key that is no secret, such as a part of a public file name."""
    return pseudonyms.pseudonym("p", f"{cohort}\0{patient}", secret)


def split_of(patients: Iterable[str], shares: SplitConfig, seed: int) -> dict[str, Split]:
    """Which split each patient (pseudonym) belongs to, in an order that only the seed decides.

    The sizes are the shares of the number of patients, rounded; a share above 0 gives at least one
    patient as long as one is left for training.
    """
    order = sorted(set(patients), key=lambda patient: sha256(f"{seed}\0{patient}".encode()).digest())
    free = max(0, len(order) - 1)
    test = min(free, _size(shares.test, len(order)))
    validation = min(free - test, _size(shares.validation, len(order)))
    return {patient: _split_at(place, test, validation) for place, patient in enumerate(order)}


def _split_at(place: int, test: int, validation: int) -> Split:
    if place < test:
        return "test"
    return "validation" if place < test + validation else "train"


def _size(share: float, count: int) -> int:
    return max(1, round(share * count)) if share > 0 else 0
