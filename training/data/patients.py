"""Pseudonyms of patients, and which split each of them belongs to."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import platformdirs

from napari_medreason import io
from napari_medreason.core.record import Split
from napari_medreason.errors import DataSetError

from .cases import Case
from .config import SplitConfig

KEY_VARIABLE = "MEDREASON_PSEUDONYM_KEY_FILE"
"""Environment variable with the file of the installation's key, where it is not in the usual place."""
_LENGTH = 16


def pseudonym(case: Case, cohort: str, key: bytes) -> str:
    """A patient's name in records: a digest of cohort and patient key, the same in every build.

    Keys that come from DICOM headers are digested with the installation's secret, so that nobody can
    find a patient number by trying all of them; keys from file names are in the image path anyway.
    """
    return pseudonym_of(cohort, case.patient, key if case.identifying else b"medreason")


def pseudonym_of(cohort: str, patient: str, secret: bytes = b"medreason") -> str:
    """A pseudonym from a patient key that is no secret, such as a part of a public file name."""
    return "p-" + hmac.new(secret, f"{cohort}\0{patient}".encode(), sha256).hexdigest()[:_LENGTH]


def installation_key() -> bytes:
    """The secret of the installation, made at the first use; DataSetError when it can't be kept."""
    folder = platformdirs.user_data_path("napari-medreason")
    path = Path(os.environ.get(KEY_VARIABLE, folder / "pseudonym.key"))
    try:
        if path.is_file():
            return bytes.fromhex(path.read_text(encoding="ascii").strip())
        path.parent.mkdir(parents=True, exist_ok=True)
        with io.replace_file(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(32), encoding="ascii")
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"the key for pseudonyms can't be read or kept; name a file in {KEY_VARIABLE}"
        ) from error


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
