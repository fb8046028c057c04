"""A picture as PRS-Med's encoder sees it, stretched to a square, and the way back to the plane.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from napari_medreason.core.resample import ModelFrame

SIZE = 1024
"""Side of the square in which the encoder was trained."""
OUTSIDE = -10.0
"""Logit of what the picture does not show."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def encoder_input(picture: NDArray[np.uint8], size: int = SIZE) -> Tensor:
    """A (rows, columns, 3) uint8 RGB picture as (1, 3, size, size) float32.

    Stretched to a square, as the released data set does it, with ImageNet's mean and deviation.
    """
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    values = np.asarray(square, np.float32) / 255
    normalised = (values - np.array(_IMAGENET_MEAN, np.float32)) / np.array(_IMAGENET_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]


def map_to_plane(logits: Tensor, picture_shape: tuple[int, int], frame: ModelFrame) -> NDArray[np.float32]:
    """The square's logits (1, 1, size, size) in the plane's own pixels, (rows, columns), linear.

    picture_shape: of the undistorted picture that was stretched; frame: from it to the plane.
    """
    unstretched = torch.nn.functional.interpolate(
        logits.float(), picture_shape, mode="bilinear", align_corners=False
    )
    return frame.map_to_plane(unstretched[0, 0].cpu().numpy(), fill=OUTSIDE)
