"""Studies that this process has opened, and where from; in memory only, no path leaves it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_medreason.layers.study import StudyRef

_MAX_STUDIES = 500


@dataclass(frozen=True, eq=False)
class OpenedStudy:
    """place: the file or folder that was read; slice_positions: see core.volume."""

    study: StudyRef
    place: Path | None
    slice_positions: NDArray[np.float64] | None


_opened: OrderedDict[str, OpenedStudy] = OrderedDict()


def remember(opened: OpenedStudy) -> None:
    """Keep what is needed to export masks of a study, also after its image layer is gone."""
    _opened[opened.study.id] = opened
    while len(_opened) > _MAX_STUDIES:
        _opened.popitem(last=False)


def opened_studies() -> tuple[OpenedStudy, ...]:
    """Every study that is remembered, the last first."""
    return tuple(reversed(_opened.values()))
