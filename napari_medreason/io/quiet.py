"""Keeps other libraries' notes about a file away from the user; what matters is in Volume.warnings."""

from __future__ import annotations

import logging
import warnings

_MODULES = r"(pydicom|highdicom|nibabel|PIL)(\.|$)"


def quiet_libraries() -> None:
    """Ignore warnings that come from pydicom, highdicom, nibabel and Pillow, from now on and in every thread.

    A filter of its own and no `warnings.catch_warnings`: that one works on all threads together and
    would also swallow our warnings to the user while a study is read elsewhere.
    """
    if not any(getattr(module, "pattern", module) == _MODULES for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_MODULES)
        # told of the module that imports it
        warnings.filterwarnings("ignore", message="The DICOM readers are highly experimental")
    for name in ("nibabel.global", "pydicom"):
        # their log lines quote header values
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
