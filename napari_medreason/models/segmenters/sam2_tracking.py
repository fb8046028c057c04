"""SAM 2 through a volume: a mask is carried from slice to slice as the `sam2` package does in a video.

Imported only inside functions, since it needs torch and transformers. Both directions start from the given
mask alone and know nothing of each other, as in MedSAM2's own inference. Only what later slices still look at
is kept, so that memory does not grow with the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

_OBJECT = 1
Picture = Callable[[int], Tensor]
"""Gives the normalised pixels (3, size, size) of a slice by its index."""


class Tracker(Sam2VideoModel):  # type: ignore[no-untyped-call]
    """Sam2VideoModel with a mask to start from treated as the `sam2` package treats it.

    transformers differs in two points: it takes the object pointer from the best of three masks in place of
    the single one, and it remembers the mask in full size in place of the enlarged low-resolution one.
    """

    def _single_frame_forward(self, *, input_masks: Any = None, **given: Any) -> Any:  # type: ignore[override]
        if input_masks is not None:
            given.setdefault("multimask_output", False)
        return super()._single_frame_forward(input_masks=input_masks, **given)

    def _use_mask_as_output(self, *given: Any, **named: Any) -> Any:
        output: Any = super()._use_mask_as_output(*given, **named)
        square = (self.pixels, self.pixels)
        output.high_res_masks = functional.interpolate(
            output.pred_masks.float(), square, mode="bilinear", align_corners=False
        )
        return output

    @property
    def pixels(self) -> int:
        """Side of the square that the model sees."""
        return int(self.config.prompt_encoder_config.image_size)  # type: ignore[union-attr]


class _Session(Sam2VideoInferenceSession):
    """A session that holds one picture at a time, but knows how many the volume has."""

    slices = 0

    @property
    def num_frames(self) -> int:
        return self.slices


@dataclass(frozen=True, eq=False)
class Direction:
    """One way through the volume from the seed slice; step: 1 or -1."""

    tracker: Tracker
    session: _Session
    picture: Picture
    step: int

    @classmethod
    def begin(
        cls, tracker: Tracker, picture: Picture, *, seed: int, mask: Tensor, slices: int, step: int
    ) -> Direction:
        """Remember the mask (size, size; 0 and 1) on the slice `seed`, one of `slices`."""
        device = tracker.device
        session = _Session(
            video_height=tracker.pixels,
            video_width=tracker.pixels,
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        session.slices = slices
        number = session.obj_id_to_idx(_OBJECT)
        session.add_mask_inputs(number, seed, mask[None, None].to(device))
        session.obj_with_new_inputs = [_OBJECT]
        direction = cls(tracker, session, picture, step)
        direction.logits(seed)
        return direction

    def logits(self, index: int) -> Tensor:
        """Logits (size / 4, size / 4) on the slice `index`, the next one in this direction."""
        self.session.add_new_frame(self.picture(index), index)
        output = self.tracker(self.session, frame_idx=index, reverse=self.step < 0)
        self._forget(index)
        logits: Tensor = output.pred_masks[0, 0].float()
        return logits

    def _forget(self, index: int) -> None:
        """Let go of what no later slice looks at: pictures, full-size masks, memories that are far away."""
        self.session.processed_frames = {}
        self.session.cache.clear_all()  # type: ignore[no-untyped-call]
        outputs = self.session.output_dict_per_obj[0]
        for kept in outputs.values():
            if index in kept:
                kept[index].pop("high_res_masks", None)
        tracked = outputs["non_cond_frame_outputs"]
        reach = self.tracker.config.max_object_pointers_in_encoder
        for number in list(tracked):
            if abs(number - index) >= reach:
                del tracked[number]
            elif abs(number - index) >= self.tracker.num_maskmem:
                for large in ("maskmem_features", "maskmem_pos_enc", "pred_masks"):
                    tracked[number].pop(large, None)


def both_ways(
    tracker: Tracker, picture: Picture, *, seed: int, mask: Tensor, slices: int
) -> Iterator[tuple[int, Tensor, Callable[[], None]]]:
    """Index and logits of every other slice, nearest first, and a function that ends that direction."""
    ahead = {
        step: Direction.begin(tracker, picture, seed=seed, mask=mask, slices=slices, step=step)
        for step in (1, -1)
        if 0 <= seed + step < slices
    }
    for distance in range(1, slices):
        for step in list(ahead):
            index = seed + step * distance
            if not 0 <= index < slices:
                del ahead[step]
                continue
            yield index, ahead[step].logits(index), lambda step=step: ahead.pop(step, None)  # type: ignore[misc]
