"""What is known of one DICOM image before its pixels are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SeriesHeader:
    """What a user chooses a series by."""

    uid: str
    modality: str
    number: int | None
    description: str


@dataclass(frozen=True)
class StoredPixels:
    """How values are stored: (0028,0100), (0028,0101), (0028,0103), and what turns them into real ones.

    inverted: Photometric Interpretation (0028,0004) is MONOCHROME1. look_up_table: the real values
    come from a Modality LUT (0028,3000), not from slope and intercept. rescaled: the header gives slope
    or intercept. transfer_syntax: (0002,0010), "" where the file has no meta information. shape: (rows,
    columns) as stored, also for a mosaic. frame_count: images in the file. offset: where in the file the
    element of the pixel data begins.
    """

    bits_stored: int
    signed: bool
    inverted: bool
    slope: float
    intercept: float
    look_up_table: bool = False
    rescaled: bool = True
    transfer_syntax: str = ""
    bits_allocated: int = 16
    shape: tuple[int, int] = (0, 0)
    frame_count: int = 1
    offset: int = 0


@dataclass(frozen=True)
class FrameHeader:
    """One image of a series, or one tile of a mosaic.

    shape: (rows, columns). position_lps: centre of the first pixel, (0020,0032). orientation: row
    direction then column direction, (0020,0037). pixel_spacing: (between rows, between columns) in mm,
    (0028,0030). slice_distance: (0018,0088) or else (0018,0050). kind: words of the Image Type that
    tell pictures of one series apart, and the Stack ID (0020,9056). repeat: what stays the same all
    over one frame of a 4D study. order: sorts the repeats at one position. number: Instance Number
    (0020,0013). patient: a digest of Patient ID (0010,0020), or of the name where there is no ID, to tell
    patients apart and nothing else. tile: (row, column) of its first pixel in a mosaic.
    """

    path: Path
    frame_index: int
    instance_uid: str
    series: SeriesHeader
    shape: tuple[int, int]
    pixels: StoredPixels
    position_lps: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    at_detector: bool
    slice_distance: float | None
    kind: tuple[str, ...]
    repeat: tuple[float, ...]
    order: tuple[float, ...]
    number: float = 0.0
    patient: bytes = b""
    tile: tuple[int, int] | None = None
