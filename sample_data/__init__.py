"""Synthetic sample studies with their truth, and the script that makes them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal

Study = Literal["ct", "mr"]


def ct_folder() -> Path:
    """Folder of a synthetic CT of the trunk: a DICOM series, one file per slice."""
    return _here() / "ct"


def brain_file() -> Path:
    """A synthetic T1-weighted MR of the head, as compressed NIfTI."""
    return _here() / "mr" / "brain_t1.nii.gz"


def real_slice_file() -> Path:
    """One real CT slice of 128 x 128 pixels, from the test files inside the pydicom package."""
    from pydicom.data import get_testdata_file

    from napari_medreason.errors import MedReasonError

    found = get_testdata_file("CT_small.dcm", download=False)
    if found is None:
        raise MedReasonError("this pydicom came without its test files; install pydicom from PyPI")
    return Path(str(found))


def truth(study: Study) -> Path:
    """Label map (NIfTI, on the grid of the study) of a synthetic study."""
    return _here() / f"{study}_labels.nii.gz"


def label_names(study: Study) -> dict[int, tuple[str, str]]:
    """Label value -> (id in the anatomy vocabulary, side of the patient or "")."""
    table = json.loads((_here() / "labels.json").read_text(encoding="utf-8"))[study]
    return {int(value): (entry["structure"], entry["side"]) for value, entry in table.items()}


def _here() -> Path:
    return Path(str(files(__name__)))
