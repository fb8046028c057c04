"""What the note in the layer of an answer's mask says for exports: who drew it, and of which answer it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.io.dicom_seg_write import DrawnBy
from napari_medreason.layers.answers import DRAWN_KEY, DrawnMask
from napari_medreason.layers.recognise import LayerLike
from napari_medreason.layers.study import METADATA_KEY


def drawn_by(mask: LayerLike, labels: NDArray[np.integer[Any]]) -> DrawnBy | None:
    """The model that drew an answer's mask, and whether the user has changed it since.

    labels: the layer data as they are exported.
    """
    drawn = _mask_note(mask, labels)
    if not drawn.get("segmenter"):
        return None
    return DrawnBy("SEMIAUTOMATIC" if drawn["corrected"] else "AUTOMATIC", str(drawn["segmenter"]))


def about(mask: LayerLike, labels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """What the note of an answer's layer says, as plain JSON values; nothing for other layers."""
    note = _note(mask)
    if "answer" not in note:
        return {}
    kept = {key: note[key] for key in ("question", "answer", "reasoning", "provenance") if key in note}
    if drawn := _mask_note(mask, labels):
        kept["mask"] = drawn
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain


def _mask_note(mask: LayerLike, labels: NDArray[np.integer[Any]]) -> dict[str, Any]:
    """The note on the mask; it is renewed by redrawing, so strokes of the brush show in the labels only."""
    note = _note(mask)
    kept, drawn = note.get("mask"), note.get(DRAWN_KEY)
    if not isinstance(kept, Mapping):
        return {}
    as_drawn = isinstance(drawn, DrawnMask) and drawn.is_still(labels)
    return {**kept, "corrected": bool(kept.get("corrected")) or not as_drawn}


def _note(mask: LayerLike) -> Mapping[str, Any]:
    note = mask.metadata.get(METADATA_KEY)
    return note if isinstance(note, Mapping) else {}
