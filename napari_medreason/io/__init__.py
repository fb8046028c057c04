"""Files to volumes and back; the only place where other conventions become LPS and (k, j, i)."""

from napari_medreason.io.atomic import replace_file
from napari_medreason.io.base import Format, SeriesInfo
from napari_medreason.io.decode_ahead import decode_ahead
from napari_medreason.io.modality import guess_modality
from napari_medreason.io.registry import formats, list_series, read, read_lazily, write
from napari_medreason.io.summary import describe

__all__ = [
    "Format",
    "SeriesInfo",
    "decode_ahead",
    "describe",
    "formats",
    "guess_modality",
    "list_series",
    "read",
    "read_lazily",
    "replace_file",
    "write",
]
