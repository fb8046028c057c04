"""Segmenter of MedReasoner: SAM 2 and MedSAM2, from transformers' layout or from a released checkpoint.

The model is shown an undistorted square. Its masks are those of the `sam2` package's predictors, to 1e-4.
MedSAM2 was trained on squares of 512 pixels; MedReasoner's released evaluation runs it on 1024 with otherwise
the same settings, which `faithful` does.
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
from napari_medreason.errors import CancelledError, ModelUnavailableError, QuestionError
from napari_medreason.models.base import Cancelled, ScoredMasks
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters import SegmenterInfo
from napari_medreason.models.segmenters.prompts import ModelPrompts, best_first, mask_to_model, model_prompts
from napari_medreason.models.segmenters.released import (
    encoder_precision,
    model_type_of,
    name_of,
    place_sha256,
    released_file,
)

if TYPE_CHECKING:
    import torch

    from napari_medreason.models.segmenters.sam2_tracking import Tracker

LOST_SLICES = 3
"""A direction of propagation ends after this many slices in a row without a pixel."""
MEDSAM2_SIZE, SAM2_SIZE = 512, 1024


@dataclass(frozen=True, eq=False)
class Sam2Embedding:
    """Image features of one plane, from fine to coarse, and the square they were made in."""

    features: list[torch.Tensor]
    frame: ModelFrame


class Sam2Segmenter:
    """SAM 2 as Segmenter.

    folder: a folder in transformers' layout, or a released checkpoint (.pt) or the folder that holds it.
    image_size: pixels of the square that the model sees, for a released checkpoint; the default is what it
    was trained with. single_mask: one mask in place of the best of three. weights_id: the weights' id in the
    catalogue, which tells MedSAM2 from SAM 2; without one, names do. precision: see `encoder_precision`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        precision: str | None = None,
        image_size: int | None = None,
        single_mask: bool = False,
        faithful: bool = False,
        weights_id: str = "",
    ) -> None:
        place = Path(folder)
        self.weights_sha256 = place_sha256(place)
        self._file = released_file(place)
        self.id = name_of(place)
        from napari_medreason.models.loading import pick_device

        self._device = pick_device(device)
        self._precision = precision
        encoder_precision(precision, self._device)
        self._single_mask = single_mask
        self._place = self._file or place
        self._tracker: Tracker | None = None
        trained = _trained_size(weights_id or self.id, faithful=faithful)
        self._processor, self._model = self._loaded(image_size or trained)
        self._size = int(self._model.config.prompt_encoder_config.image_size)
        self.notes = (f"the segmenter sees squares of {self._size} pixels",)

    def embed(self, plane: Plane) -> Sam2Embedding:
        """Image features of a plane, seen through its window."""
        import torch

        from napari_medreason.models.loading import enough_memory

        pixels, frame = self._pixels(plane)
        with torch.inference_mode(), enough_memory(self.id), encoder_precision(self._precision, self._device):
            features = self._model.get_image_embeddings(pixels[None])
        return Sam2Embedding([level.float() for level in features], frame)

    def segment(
        self,
        embedding: Sam2Embedding,
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
            low, scores = self._decoded(embedding.features, prompts)
            square = self._enlarged(low[:, 0])
        return best_first(square[0].cpu().numpy(), scores[0, 0].cpu().numpy(), embedding.frame)

    def propagate(
        self, planes: Sequence[Plane], seed_index: int, seed_mask: NDArray[np.bool_], *, cancelled: Cancelled
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Carry a mask from `planes[seed_index]` to both sides, nearest slice first, until it is lost.

        planes: neighbours in order, on one grid; each is looked at once. Slices on which the model sees
        nothing of the object give no mask; after three in a row that direction ends. CancelledError between
        slices. ModelUnavailableError for weights that know single pictures only, QuestionError for an
        empty mask.
        """
        if not seed_mask.any():
            raise QuestionError("the mask to carry has no pixel on its slice; draw one")
        if self._tracker is None:
            self._tracker = self._loaded_tracker()
        return self._carried(self._tracker, planes, seed_index, seed_mask, cancelled=cancelled)

    def close(self) -> None:
        """Give memory back; the segmenter is not used again."""
        self._tracker = None
        del self._model
        give_memory_back()

    def _decoded(self, features: list[torch.Tensor], prompts: ModelPrompts) -> tuple[Any, Any]:
        """Low-resolution logits (1, 1, masks, size / 4, size / 4) and scores (1, 1, masks)."""
        import torch

        given = prompts.tensors(self._device)
        multiple = not self._single_mask
        mask = prompts.mask_tensor(self._size // 4, self._device)
        if given:
            output = self._model(
                image_embeddings=features, input_masks=mask, multimask_output=multiple, **given
            )
            return output.pred_masks, output.iou_scores
        # For a mask alone transformers would add two empty points, which the sam2 package doesn't.
        encoder = self._model.prompt_encoder
        low, scores, *_ = self._model.mask_decoder(
            image_embeddings=features[-1],
            image_positional_embeddings=self._model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=torch.zeros((1, 1, 0, encoder.hidden_size), device=self._device),
            dense_prompt_embeddings=encoder.mask_embed(mask),
            multimask_output=multiple,
            high_resolution_features=features[:-1],
        )
        return low, scores

    def _carried(
        self,
        tracker: Tracker,
        planes: Sequence[Plane],
        seed: int,
        mask: NDArray[np.bool_],
        *,
        cancelled: Cancelled,
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        import torch

        from napari_medreason.models.loading import enough_memory
        from napari_medreason.models.segmenters.sam2_tracking import both_ways

        def pixels(index: int) -> torch.Tensor:
            if cancelled():
                raise CancelledError
            return self._pixels(planes[index])[0]

        frame = self._frame(planes[seed])
        start = torch.from_numpy((mask_to_model(frame, mask) >= 0.5).astype(np.float32))
        empty = {1: 0, -1: 0}
        steps = both_ways(tracker, pixels, seed=seed, mask=start, slices=len(planes))
        while True:
            with torch.inference_mode(), enough_memory(self.id):
                with encoder_precision(self._precision, self._device):
                    found = next(steps, None)
                if found is None:
                    return
                index, logits, end = found
                square = self._enlarged(logits[None, None])[0, 0].cpu().numpy()
            step = 1 if index > seed else -1
            carried = self._frame(planes[index]).map_to_plane(square, fill=-1.0) > 0
            empty[step] = 0 if carried.any() else empty[step] + 1
            if empty[step] >= LOST_SLICES:
                end()
            if carried.any():
                yield index, carried

    def _frame(self, plane: Plane) -> ModelFrame:
        return ModelFrame.letterboxed(plane.grid.shape, plane.grid.spacing, self._size)

    def _pixels(self, plane: Plane) -> tuple[torch.Tensor, ModelFrame]:
        """The plane as normalised pixels (3, size, size), and their place in it."""
        picture, frame = letterboxed_picture(plane, self._size)
        inputs = self._processor(images=picture, do_resize=False, return_tensors="pt")
        return inputs["pixel_values"][0].to(self._device), frame

    def _enlarged(self, logits: torch.Tensor) -> torch.Tensor:
        import torch

        return torch.nn.functional.interpolate(
            logits.float(), (self._size, self._size), mode="bilinear", align_corners=False
        )

    def _loaded(self, size: int) -> tuple[Any, Any]:
        """Image processor and model; size: for a released checkpoint."""
        import torch
        from transformers import Sam2ImageProcessor, Sam2Model

        from napari_medreason.models.loading import load_model, load_processor

        if self._file is None:
            processor = load_processor(Sam2ImageProcessor, self._place)
            return processor, load_model(Sam2Model, self._place, device=self._device, dtype=torch.float32)
        from napari_medreason.models.segmenters.sam2_released import image_model

        return Sam2ImageProcessor(), image_model(self._file, size, device=self._device)

    def _loaded_tracker(self) -> Tracker:
        """The model for volumes; it shares the image encoder."""
        import torch

        from napari_medreason.models.loading import load_model
        from napari_medreason.models.segmenters.sam2_released import tracking_model
        from napari_medreason.models.segmenters.sam2_tracking import Tracker

        if self._file is not None:
            tracker = tracking_model(self._file, self._size, device=self._device)
        elif model_type_of(self._place) != "sam2_video":
            raise ModelUnavailableError(
                f"{self.id} segments single slices and can't carry a mask to neighbouring slices; "
                "segment them one by one, or choose a segmenter that can, such as the embedded one"
            )
        else:
            tracker = load_model(Tracker, self._place, device=self._device, dtype=torch.float32)
        tracker.vision_encoder = self._model.vision_encoder
        return tracker


def _trained_size(name: str, *, faithful: bool) -> int:
    """No tensor tells it: MedSAM2's checkpoints, known by their name, were trained with 512 pixels."""
    return MEDSAM2_SIZE if "medsam2" in name.lower() and not faithful else SAM2_SIZE


def load_sam2(folder: str | Path | None = None, **options: Any) -> Sam2Segmenter:
    """A Sam2Segmenter from a local model folder or file; ModelUnavailableError when none is given."""
    if folder is None:
        raise ModelUnavailableError(
            "segmenter sam2 needs local weights, a folder with config.json and .safetensors files or a "
            "released checkpoint such as MedSAM2_latest.pt; give it as option folder=FOLDER"
        )
    return Sam2Segmenter(folder, **options)


SEGMENTERS = (
    SegmenterInfo(
        id="sam2",
        title="SAM 2 (MedSAM2)",
        summary="Masks from box, points or mask, also carried through a volume; needs local weights",
        create=load_sam2,
        model_types=("sam2", "sam2_video"),
        needs_download=True,
    ),
)
