"""Prompts of the SAM family, from the plane to the pixels that a model sees.

Points are pixel centres at integers; boxes run from the centre of the first pixel to the centre of the last
one, as in the training of these models, not to the edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, Point
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import QuestionError
from napari_medreason.models.base import ScoredMasks

if TYPE_CHECKING:
    import torch

MASK_LOGIT = 10.0
"""Given masks become logits of plus and minus this, about what the models' own masks reach."""


@dataclass(frozen=True, eq=False)
class ModelPrompts:
    """Prompts in a model's own pixels.

    box: (x0, y0, x1, y1), first and last pixel. points: (x, y); labels: 1 inside, 0 outside, one each.
    mask: (rows, columns) float32 logits on the model's grid.
    """

    box: tuple[float, float, float, float] | None
    points: tuple[Point, ...]
    labels: tuple[int, ...]
    mask: NDArray[np.float32] | None

    def tensors(self, device: torch.device) -> dict[str, Any]:
        """As transformers' SAM classes take them: one picture, one mask to draw; without the mask."""
        import torch

        given: dict[str, Any] = {}
        if self.box is not None:
            given["input_boxes"] = torch.tensor([[self.box]], dtype=torch.float32, device=device)
        if self.points:
            given["input_points"] = torch.tensor([[self.points]], dtype=torch.float32, device=device)
            given["input_labels"] = torch.tensor([[self.labels]], dtype=torch.int64, device=device)
        return given

    def mask_tensor(self, size: int, device: torch.device) -> torch.Tensor | None:
        """The mask as (1, 1, size, size) logits, None when there is none."""
        import torch

        if self.mask is None:
            return None
        logits = torch.from_numpy(self.mask)[None, None]
        smaller = torch.nn.functional.interpolate(
            logits, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        return smaller.to(device)


def model_prompts(
    frame: ModelFrame,
    *,
    box: Box | None,
    points: Sequence[Point] | None,
    labels: Sequence[bool] | None,
    mask: NDArray[np.bool_] | None,
) -> ModelPrompts:
    """Prompts of a plane (see models.base.Segmenter.segment) in the model's pixels.

    QuestionError when there is no usable one, or one that is at no number.
    """
    if box is None and not points and (mask is None or not mask.any()):
        raise QuestionError("a mask needs a box, a point or a mask to start from; draw one")
    if not np.isfinite([*(box or ()), *(value for point in points or () for value in point)]).all():
        raise QuestionError("the box or a point is at no number (NaN or infinity); draw it again")
    inside = [True] * len(points or ()) if labels is None else list(labels)
    if len(inside) != len(points or ()):
        raise ValueError(f"{len(points or ())} points have {len(inside)} labels; one for each is needed")
    return ModelPrompts(
        box=None if box is None else _last_pixels(frame.box_to_model(box)),
        points=tuple(frame.point_to_model(point) for point in points or ()),
        labels=tuple(int(label) for label in inside),
        mask=None if mask is None else (2 * mask_to_model(frame, mask) - 1) * np.float32(MASK_LOGIT),
    )


def mask_to_model(frame: ModelFrame, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Share of each model pixel, 0 to 1, that a (rows, columns) mask of the plane covers."""
    return frame.image_to_model(mask.astype(np.float32), fill=0.0)


def best_first(
    logits_square: NDArray[np.float32], scores: NDArray[np.float32], frame: ModelFrame
) -> ScoredMasks:
    """(n, rows, columns) logits on the model's grid, and their scores, as masks of the plane."""
    order = np.argsort(-scores, kind="stable")
    logits = [frame.map_to_plane(logits_square[number], fill=-MASK_LOGIT) for number in order]
    return ScoredMasks(np.stack(logits), np.clip(scores[order], 0, 1).astype(np.float32))


def _last_pixels(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)
