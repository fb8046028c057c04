"""One answer as files: mask in the study's geometry, overlay picture and JSON, as `medreason ask --out`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.errors import ExportError
from napari_medreason.session import Answer

CORRECTED = "the mask was corrected by the user; box and points are those of the corrected mask"


def as_shown(answer: Answer, painted: NDArray[np.bool_] | None) -> Grounding:
    """The answer with the mask as it is painted now; ExportError when nothing is left of it.

    painted: (rows, columns) bool in the answer's plane, None when its layer is gone.
    """
    grounding = answer.grounding
    if grounding.mask is None or (painted is not None and np.array_equal(painted, grounding.mask)):
        return grounding
    if painted is None or not painted.any():
        raise ExportError("the mask of this answer was deleted or emptied; ask again, or undo that first")
    notes = (*grounding.provenance.notes, CORRECTED)
    return replace(
        grounding,
        mask=painted,
        box=mask_box(painted),
        points=key_points(painted),
        provenance=replace(grounding.provenance, notes=notes),
    )


def folder_name(answer: Answer) -> str:
    """A short name for the folder of an answer, without words of the question."""
    return f"answer-{answer.number}-{answer.grounding.structure or answer.grounding.status}"


def write(folder: Path, answer: Answer, grounding: Grounding, **_progress: object) -> Path:
    """Write the files into a new folder inside `folder`; ExportError when it is there already."""
    from napari_medreason.asking import write_answer
    from napari_medreason.layers.study import grid_volume

    target = folder / folder_name(answer)
    if target.exists():
        raise ExportError(f"{target.name} is there already in {folder.name}; choose another folder")
    write_answer(target, grid_volume(answer.place.study, None), answer.plane, grounding)
    return target
