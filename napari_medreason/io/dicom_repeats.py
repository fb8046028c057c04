"""What tells images at one position apart: echo, time, diffusion weighting, and further dimensions."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from napari_medreason.io.dicom_values import FrameAttributes, tag_of

PRIVATE_B_VALUES: Final = ((0x0019100C, "SIEMENS"), (0x20011003, "Philips"), (0x00431039, "GEMS"))
"""b-values of classic images, and how the creator of the private block (element 0010) begins."""
_GE_SHIFT = 1_000_000_000
"""GE adds this to some b-values (0043,1039)."""
_DIMENSIONS: Final = frozenset(
    tag_of(keyword)
    for keyword in (
        *("TemporalPositionIndex", "TemporalPositionTimeOffset", "EffectiveEchoTime", "DiffusionBValue"),
        *("DiffusionGradientOrientation", "DiffusionGradientDirectionSequence", "DiffusionDirectionality"),
        *("NominalCardiacTriggerDelayTime", "FlipAngle", "InversionTimes"),
    )
)
"""What a dimension of a multi-frame file may run along that is not a place in the patient."""


def repeat_dimensions(header: Dataset) -> tuple[int, ...]:
    """Which parts of Dimension Index Values (0020,9157) tell repeats apart, and not slices."""
    items = header.get("DimensionIndexSequence") or ()
    return tuple(n for n, item in enumerate(items) if item.get("DimensionIndexPointer") in _DIMENSIONS)


def repeat_of(groups: FrameAttributes, dimensions: tuple[int, ...]) -> tuple[float, ...]:
    """(echo time, temporal position, b-value, further dimensions): the same all over one frame in time."""
    temporal = groups.number("FrameContentSequence", "TemporalPositionIndex")
    if temporal is None:
        temporal = groups.number("", "TemporalPositionIdentifier")
    echo = groups.number("MREchoSequence", "EffectiveEchoTime") or groups.number("", "EchoTime") or 0.0
    return (echo, temporal or 0.0, b_value(groups), *_indices(groups, dimensions))


def _indices(groups: FrameAttributes, dimensions: tuple[int, ...]) -> list[float]:
    if not dimensions:
        return []
    found = groups.find("FrameContentSequence", "DimensionIndexValues")
    values = [found] if isinstance(found, int) else list(found or ())
    return [float(values[n]) if n < len(values) else 0.0 for n in dimensions]


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
