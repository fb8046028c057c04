"""Segmenter of MedReasoner: SAM 2 (and MedSAM2 in the same form) through transformers.

The model is shown an undistorted square. Its prompts are pixel centres at integers; its boxes run from
the centre of the first pixel to the centre of the last one, as in its training, not to the edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.resample import ModelFrame
from napari_medreason.errors import ModelUnavailableError, QuestionError
from napari_medreason.models.base import Cancelled, ScoredMasks
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters import SegmenterInfo
from napari_medreason.models.weights import weight_files, weights_sha256

if TYPE_CHECKING:
    import torch

MASK_LOGIT = 10.0
"""Given masks become logits of plus and minus this, about what the model's own masks reach."""


@dataclass(frozen=True, eq=False)
class Sam2Embedding:
    """Image features of one plane, from fine to coarse, and the square they were made in."""

    features: list[torch.Tensor]
    frame: ModelFrame


class Sam2Segmenter:
    """A Sam2Model in a local folder as Segmenter."""

    def __init__(self, folder: str | Path, *, device: str | None = None) -> None:
        folder = Path(folder)
        self.id = folder.name
        self.weights_sha256 = weights_sha256(weight_files(folder))
        import torch
        from transformers import Sam2Model, Sam2Processor

        from napari_medreason.models.loading import load_model, load_processor, pick_device

        self._device = pick_device(device)
        self._processor = load_processor(Sam2Processor, folder)
        self._model = load_model(Sam2Model, folder, device=self._device, dtype=torch.float32)
        self._size = int(self._model.config.prompt_encoder_config.image_size)

    def embed(self, plane: Plane) -> Sam2Embedding:
        """Image features of a plane, seen through its window."""
        import torch

        from napari_medreason.models.loading import enough_memory

        picture, frame = letterboxed_picture(plane, self._size)
        inputs = self._processor(images=picture, do_resize=False, return_tensors="pt")
        with torch.inference_mode(), enough_memory(self.id):
            features = self._model.get_image_embeddings(inputs["pixel_values"].to(self._device))
        return Sam2Embedding(features, frame)

    def segment(
        self,
        embedding: Sam2Embedding,
        *,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        labels: Sequence[bool] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> ScoredMasks:
        """Three masks, best first by the model's own estimate; QuestionError without any usable prompt.

        box: half-open, points: (x, y), mask: (rows, columns), all in the plane. labels: True for
        points inside (the default).
        """
        import torch

        if box is None and not points and (mask is None or not mask.any()):
            raise QuestionError("a mask needs a box, a point or a mask to start from; draw one")
        prompts = {
            **self._box_prompt(embedding.frame, box),
            **self._point_prompt(embedding.frame, points or (), labels),
            **self._mask_prompt(embedding.frame, mask),
        }
        with torch.inference_mode():
            output = self._model(image_embeddings=embedding.features, multimask_output=True, **prompts)
            square = torch.nn.functional.interpolate(
                output.pred_masks[:, 0].float(),
                (self._size, self._size),
                mode="bilinear",
                align_corners=False,
            )
        scores = output.iou_scores[0, 0].float().cpu().numpy()
        return _best_first(square[0].cpu().numpy(), scores, embedding.frame)

    def propagate(
        self, planes: Sequence[Plane], seed_index: int, seed_mask: NDArray[np.bool_], *, cancelled: Cancelled
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Not offered for single images; raises ModelUnavailableError."""
        raise ModelUnavailableError(
            f"{self.id} segments single slices and can't carry a mask to neighbouring slices; "
            "segment them one by one, or choose a segmenter that can, such as the embedded one"
        )

    def close(self) -> None:
        """Give memory back; the segmenter is not used again."""
        del self._model
        give_memory_back()

    def _box_prompt(self, frame: ModelFrame, box: Box | None) -> dict[str, Any]:
        import torch

        if box is None:
            return {}
        x0, y0, x1, y1 = frame.box_to_model(box)
        corners = [x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)]
        return {"input_boxes": torch.tensor([[corners]], dtype=torch.float32, device=self._device)}

    def _point_prompt(
        self, frame: ModelFrame, points: Sequence[Point], labels: Sequence[bool] | None
    ) -> dict[str, Any]:
        import torch

        if not points:
            return {}
        inside = [True] * len(points) if labels is None else list(labels)
        if len(inside) != len(points):
            raise ValueError(f"{len(points)} points have {len(inside)} labels; one for each is needed")
        places = [frame.point_to_model(point) for point in points]
        return {
            "input_points": torch.tensor([[places]], dtype=torch.float32, device=self._device),
            "input_labels": torch.tensor([[inside]], dtype=torch.int64, device=self._device),
        }

    def _mask_prompt(self, frame: ModelFrame, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
        import torch

        if mask is None:
            return {}
        share = frame.image_to_model(mask.astype(np.float32), fill=0.0)
        logits = torch.from_numpy((2 * share - 1) * MASK_LOGIT).to(self._device)
        return {"input_masks": logits[None, None]}


def _best_first(
    logits_square: NDArray[np.float32], scores: NDArray[np.float32], frame: ModelFrame
) -> ScoredMasks:
    order = np.argsort(-scores, kind="stable")
    logits = [frame.map_to_plane(logits_square[number], fill=-MASK_LOGIT) for number in order]
    return ScoredMasks(np.stack(logits), np.clip(scores[order], 0, 1).astype(np.float32))


def load_sam2(folder: str | Path | None = None, *, device: str | None = None) -> Sam2Segmenter:
    """A Sam2Segmenter from a local model folder; ModelUnavailableError when none is given."""
    if folder is None:
        raise ModelUnavailableError(
            "segmenter sam2 needs a local model folder with config.json and .safetensors files; give it as "
            "option folder=FOLDER"
        )
    return Sam2Segmenter(folder, device=device)


SEGMENTERS = (
    SegmenterInfo(
        id="sam2",
        title="SAM 2 (MedSAM2)",
        summary="Masks from box, points or mask on one slice; needs a local model folder",
        create=load_sam2,
        model_types=("sam2", "sam2_video"),
        needs_download=True,
    ),
)
