"""The embedded model as a Segmenter: one pass over the image, then masks from prompts in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its submodules load at first use; ndimage takes half a second
from numpy.typing import NDArray

from napari_medreason.core.grounding import mask_box
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import CancelledError, QuestionError
from napari_medreason.models.base import Cancelled, ScoredMasks
from napari_medreason.models.embedded.masks import SMALLEST_AREA, without_specks
from napari_medreason.models.embedded.perception import Perceiver, Perception
from napari_medreason.models.segmenters import SegmenterInfo

if TYPE_CHECKING:
    from torch import Tensor

BOX_MARGIN = 0.05
"""How much the box of a carried mask is widened on each side, as a share of its size."""
LEAST_QUALITY = 0.4
"""Propagation ends where the expected Dice falls below this."""
LEAST_CARRIED_DICE = 0.3
"""Propagation ends where a mask overlaps less with that of the slice before: it is another object."""
LEAST_NAMED, LEAST_STILL_NAMED = 0.5, 0.15
"""Share of the first mask in which a structure is seen for it to have that name; and of a carried mask."""
OUTSIDE_LOGIT = -10.0


class EmbeddedSegmenter:
    """Masks from boxes, points and rough masks; reads CT and MR, and pictures without names for parts."""

    id = "embedded"

    def __init__(self, perceiver: Perceiver | None = None) -> None:
        self.perceiver = perceiver or Perceiver()

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights of all experts."""
        return self.perceiver.weights_sha256

    def prepare(self, plane: Plane) -> None:
        """Load what this plane needs."""
        self.perceiver.prepare(plane)

    def embed(self, plane: Plane) -> Perception:
        """Work on the image once; remembered for recent planes."""
        return self.perceiver.perceive(plane)

    def segment(
        self,
        embedding: Any,
        *,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        labels: Sequence[bool] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> ScoredMasks:
        """One mask from prompts in plane pixels; QuestionError when there is no usable prompt.

        box: half-open (x0, y0, x1, y1). points: (x, y); labels: True for inside, all inside if None.
        mask: (rows, columns) bool, a rough mask to improve.
        """
        import torch

        seen: Perception = embedding
        inside = _checked(box, points, labels, mask)
        maps = _model_prompts(seen.frame, box, points or (), inside, mask)
        with torch.inference_mode():
            network = self.perceiver.network(seen.expert)
            logits, quality = network.prompted(seen.features, maps[None])
        native = seen.frame.map_to_plane(logits[0, 0].numpy(), fill=OUTSIDE_LOGIT)
        cleaned = _cleaned(native, seen.frame, points or (), inside)
        return ScoredMasks(cleaned[None], quality.sigmoid().numpy().astype(np.float32))

    def propagate(
        self, planes: Sequence[Plane], seed_index: int, seed_mask: NDArray[np.bool_], *, cancelled: Cancelled
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Carry a mask from `planes[seed_index]` to both sides, nearest slice first, until it fades.

        planes: neighbours in order, on one grid. A direction ends where the expected quality is low, where
        the mask jumps to another place, or where a structure that the model knows by name is no longer seen.
        CancelledError between slices.
        """
        name = self._name_of(planes[seed_index], seed_mask)
        ahead = {1: seed_mask, -1: seed_mask}
        for distance in range(1, len(planes)):
            for direction in list(ahead):
                index = seed_index + direction * distance
                if cancelled():
                    raise CancelledError
                inside = 0 <= index < len(planes)
                carried = self._carried(planes[index], ahead[direction], name) if inside else None
                if carried is None:
                    ahead.pop(direction)
                    continue
                ahead[direction] = carried
                yield index, carried

    def _name_of(self, plane: Plane, mask: NDArray[np.bool_]) -> str:
        """The structure that the model itself sees in most of a mask, "" for none."""
        shares = _shares(self.embed(plane), mask)
        best = max(shares, key=lambda name: shares[name], default="")
        return best if best and shares[best] >= LEAST_NAMED else ""

    def _carried(self, plane: Plane, mask: NDArray[np.bool_], name: str) -> NDArray[np.bool_] | None:
        box = mask_box(mask)
        if box is None:
            return None
        wide, high = BOX_MARGIN * (box[2] - box[0]), BOX_MARGIN * (box[3] - box[1])
        wider = (box[0] - wide, box[1] - high, box[2] + wide, box[3] + high)
        seen = self.embed(plane)
        masks = self.segment(seen, box=wider, mask=mask)
        carried = masks.best
        if masks.scores[0] < LEAST_QUALITY or not _goes_on(mask, carried):
            return None
        return carried if not name or _shares(seen, carried)[name] >= LEAST_STILL_NAMED else None

    def close(self) -> None:
        """Give memory back."""
        self.perceiver.close()


def _goes_on(before: NDArray[np.bool_], carried: NDArray[np.bool_]) -> bool:
    return bool(2 * (before & carried).sum() > LEAST_CARRIED_DICE * (before.sum() + carried.sum()))


def _shares(seen: Perception, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Share of a mask (rows, columns; plane pixels) in which each structure is seen."""
    inside = seen.frame.image_to_model(mask.astype(np.float32), 0.0) > 0.5
    best = np.where(seen.logits.max(axis=0) > 0, seen.logits.argmax(axis=0), len(seen.logits))[inside]
    counts = np.bincount(best, minlength=len(seen.logits) + 1)[:-1]
    return {
        name: float(count) / max(best.size, 1)
        for name, count in zip(seen.expert.structures, counts, strict=True)
    }


def _checked(
    box: Box | None,
    points: Sequence[Point] | None,
    labels: Sequence[bool] | None,
    mask: NDArray[np.bool_] | None,
) -> list[bool]:
    """Which points are inside; QuestionError for prompts that can't be used."""
    if box is None and not points and (mask is None or not mask.any()):
        raise QuestionError("there is no prompt; draw a box or a point inside the structure")
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise QuestionError(f"the box {box} has no area; draw it from one corner to the opposite one")
    count = len(points or ())
    inside = [True] * count if labels is None else [bool(label) for label in labels]
    if len(inside) != count:
        raise QuestionError(f"{count} points came with {len(inside)} labels; give one label per point")
    return inside


def _model_prompts(
    frame: ModelFrame,
    box: Box | None,
    points: Sequence[Point],
    inside: list[bool],
    mask: NDArray[np.bool_] | None,
) -> Tensor:
    import torch

    from napari_medreason.models.embedded.prompts import prompt_maps

    drawn = None
    if mask is not None:
        drawn = torch.from_numpy(frame.image_to_model(mask.astype(np.float32), 0.0))
    return prompt_maps(
        frame.model_shape,
        box=frame.box_to_model(box) if box is not None else None,
        points=[frame.point_to_model(point) for point in points],
        labels=inside,
        mask=drawn,
    )


def _cleaned(
    logits: NDArray[np.float32], frame: ModelFrame, points: Sequence[Point], inside: list[bool]
) -> NDArray[np.float32]:
    """Logits with specks taken away and small holes filled, but never under a point that the user set.

    An island that holds a point inside is no speck; a hole that holds a point outside stays open there.
    """
    mask = logits > 0
    smallest = SMALLEST_AREA / (4 * frame.scale[0] * frame.scale[1])
    clean = without_specks(mask, smallest)
    if mask.any() and not clean.any():
        clean = mask.copy()
    islands = scipy.ndimage.label(mask)[0] if any(inside) else mask
    for (x, y), wanted in zip(points, inside, strict=True):
        row, column = round(y), round(x)
        if not (0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]):
            continue
        if not wanted:
            clean[row, column] = mask[row, column]
        elif mask[row, column]:
            clean |= islands == islands[row, column]
    result = np.where(clean == mask, logits, np.where(clean, 0.1, -0.1))
    return np.asarray(result, dtype=np.float32)


SEGMENTERS = (
    SegmenterInfo(
        id="embedded",
        title="Embedded",
        summary="Small prompt decoder that comes with the plugin; CT of the trunk and MR of the head",
        create=EmbeddedSegmenter,
    ),
)
