"""The diffusion weighting of an image, which manufacturers kept in private tags for long."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from napari_medreason.io.dicom_values import FrameAttributes

PRIVATE_B_VALUES: Final = ((0x0019100C, "SIEMENS"), (0x20011003, "Philips"), (0x00431039, "GEMS"))
"""b-values of classic images, and how the creator of the private block (element 0010) begins."""
_GE_SHIFT = 1_000_000_000
"""GE adds this to some b-values (0043,1039)."""


def b_value(groups: FrameAttributes) -> float:
    """Diffusion weighting in s/mm2: the standard's (0018,9087), else that of the manufacturer, else 0."""
    stated = groups.number("MRDiffusionSequence", "DiffusionBValue")
    if stated is not None:
        return stated
    for tag, creator in PRIVATE_B_VALUES:
        element = groups.file.get(tag)
        if element is None or not _is_made_by(groups.file, tag, creator):
            continue
        try:
            value = element.value
            first = value if isinstance(value, str | int | float) else value[0]
            return float(first) % _GE_SHIFT
        except (TypeError, ValueError, LookupError, OverflowError):
            return 0.0
    return 0.0


def _is_made_by(header: Dataset, tag: int, creator: str) -> bool:
    found = header.get((tag >> 16 << 16) + 0x10)
    return found is not None and str(found.value).startswith(creator)
