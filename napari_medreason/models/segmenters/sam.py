"""Segmenters of MedReasoner's comparison: SAM, MedSAM and SAM-Med2D.

All are shown an undistorted square, which the original programs stretch or fill up at one side. What else
differs between them is one `Reading` each:

- SAM and SAM-Med2D read pixels less their mean in natural pictures, and give the best of three masks.
- MedSAM was trained on pixels from 0 to 1 between the darkest and the brightest one, and on one mask. The
  released evaluation of MedReasoner runs it as SAM, which `faithful` does; the masks get worse by that.
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
from napari_medreason.errors import ModelUnavailableError
from napari_medreason.models.base import Cancelled, ScoredMasks
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters import SegmenterInfo
from napari_medreason.models.segmenters.prompts import best_first, model_prompts
from napari_medreason.models.segmenters.released import (
    encoder_precision,
    model_type_of,
    name_of,
    place_sha256,
    released_file,
)

if TYPE_CHECKING:
    import torch

PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of natural pictures, red, green and blue, 0 to 255; SAM's own."""


@dataclass(frozen=True)
class Reading:
    """How a network wants its pixels, and how many masks it draws well.

    own_range: from 0 to 1 between darkest and brightest pixel, in place of SAM's mean and deviation.
    """

    own_range: bool
    single_mask: bool

    def pixels(self, picture: NDArray[np.uint8], frame: ModelFrame) -> NDArray[np.float32]:
        """(3, size, size) float32 from a letterboxed picture (size, size, 3)."""
        values: NDArray[Any] = picture.astype(np.float32)
        if self.own_range:
            low, high = values.min(), values.max()
            values = (values - low) / np.float32(max(high - low, 1e-8))
        else:
            values = (values - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
            values[~_covered(frame)] = 0.0  # SAM fills up with zeros after this step
        return np.ascontiguousarray(values.transpose(2, 0, 1))


AS_SAM, AS_MEDSAM = Reading(own_range=False, single_mask=False), Reading(own_range=True, single_mask=True)


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """Image features (1, channels, rows, columns) of one plane, and the square they were made in."""

    features: torch.Tensor
    frame: ModelFrame


class SamSegmenter:
    """A network of the first SAM family as Segmenter.

    folder: a folder in transformers' layout, or a released checkpoint (.pth) or the folder that holds it.
    single_mask: one mask in place of the best of three; None for what the network was trained for.
    weights_id: the weights' id in the catalogue, which tells MedSAM from SAM; without one, names do.
    precision: see `encoder_precision`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: str | None = None,
        single_mask: bool | None = None,
        faithful: bool = False,
        weights_id: str = "",
    ) -> None:
        place = Path(folder)
        self.weights_sha256 = place_sha256(place)
        file = released_file(place)
        self.id = name_of(place)
        from napari_medreason.models.loading import pick_device

        self._device = pick_device(device)
        self._precision = precision
        encoder_precision(precision, self._device)
        named = "medsam" in (weights_id or f"{place.name} {self.id}").lower()
        medsam = named and not faithful and model_type_of(place) == "sam"
        self._reading = AS_MEDSAM if medsam else AS_SAM
        self.notes = (f"the segmenter's pixels are prepared as for {'MedSAM' if medsam else 'SAM'}",)
        self._single_mask = self._reading.single_mask if single_mask is None else single_mask
        self._model = self._loaded(file, place)
        self._size = int(self._model.config.prompt_encoder_config.image_size)

    def embed(self, plane: Plane) -> SamEmbedding:
        """Image features of a plane, seen through its window."""
        import torch

        from napari_medreason.models.loading import enough_memory

        picture, frame = letterboxed_picture(plane, self._size)
        pixels = torch.from_numpy(self._reading.pixels(picture, frame))[None].to(self._device)
        with torch.inference_mode(), enough_memory(self.id), encoder_precision(self._precision, self._device):
            features = self._model.get_image_embeddings(pixels)
        return SamEmbedding(features.float(), frame)

    def segment(
        self,
        embedding: SamEmbedding,
        *,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        labels: Sequence[bool] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> ScoredMasks:
        """Masks, best first by the model's own estimate; QuestionError without any usable prompt.

        box: half-open, points: (x, y), mask: (rows, columns), all in the plane. labels: True for
        points inside (the default).
        """
        import torch

        from napari_medreason.models.loading import enough_memory

        prompts = model_prompts(embedding.frame, box=box, points=points, labels=labels, mask=mask)
        with torch.inference_mode(), enough_memory(self.id):
            output = self._model(
                image_embeddings=embedding.features,
                input_masks=prompts.mask_tensor(self._size // 4, self._device),
                multimask_output=not self._single_mask,
                **prompts.tensors(self._device),
            )
            square = torch.nn.functional.interpolate(
                output.pred_masks[:, 0].float(), (self._size,) * 2, mode="bilinear", align_corners=False
            )
        scores = output.iou_scores[0, 0].float().cpu().numpy()
        return best_first(square[0].cpu().numpy(), scores, embedding.frame)

    def propagate(
        self, planes: Sequence[Plane], seed_index: int, seed_mask: NDArray[np.bool_], *, cancelled: Cancelled
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Not offered for single images; raises ModelUnavailableError."""
        raise ModelUnavailableError(
            f"{self.id} segments single slices and can't carry a mask to neighbouring slices; "
            "segment them one by one, or choose a segmenter that can, such as MedSAM2 or the embedded one"
        )

    def close(self) -> None:
        """Give memory back; the segmenter is not used again."""
        del self._model
        give_memory_back()

    def _loaded(self, file: Path | None, place: Path) -> Any:
        import torch
        from transformers import SamModel

        from napari_medreason.models.loading import load_model
        from napari_medreason.models.segmenters.sam_released import network, with_own_norms

        if file is not None:
            return network(file, device=self._device)
        return with_own_norms(load_model(SamModel, place, device=self._device, dtype=torch.float32))


def _covered(frame: ModelFrame) -> NDArray[np.bool_]:
    """Pixels (rows, columns) of the square whose centre the plane covers."""
    rows, columns = frame.plane_shape
    x0, y0, x1, y1 = frame.box_to_model((0, 0, columns, rows))
    y, x = np.indices(frame.model_shape) + 0.5
    return np.asarray((x >= x0) & (x < x1) & (y >= y0) & (y < y1))


def load_sam(folder: str | Path | None = None, **options: Any) -> SamSegmenter:
    """A SamSegmenter from a local model folder or file; ModelUnavailableError when none is given."""
    if folder is None:
        raise ModelUnavailableError(
            "this segmenter needs local weights, a folder with config.json and .safetensors files or a "
            "released checkpoint such as medsam_vit_b.pth; give it as option folder=FOLDER"
        )
    return SamSegmenter(folder, **options)


SEGMENTERS = (
    SegmenterInfo(
        id="sam",
        title="MedSAM, SAM",
        summary="Masks from box, points or mask on one slice; needs local weights",
        create=load_sam,
        model_types=("sam",),
        needs_download=True,
    ),
    SegmenterInfo(
        id="sam-med2d",
        title="SAM-Med2D",
        summary="Masks from box, points or mask on one slice, on small pictures; needs local weights",
        create=load_sam,
        model_types=("sam_med2d",),
        needs_download=True,
    ),
)
