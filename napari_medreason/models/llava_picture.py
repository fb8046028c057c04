"""A picture as CLIP's input, as LLaVA and LLaVA-Med prepare it.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
LONGEST = 16
"""Times the shorter side that is kept of a picture before its middle square is cut out."""
Fitting = Literal["pad", "centre_crop"]


def clip_pixels(picture: NDArray[np.uint8], size: int, mode: Fitting) -> torch.Tensor:
    """The picture as (1, 3, size, size) float32, normalised with CLIP's mean and deviation.

    picture: (rows, columns, 3) uint8 RGB. mode: "pad" shows all of it, in a square of CLIP's mean colour
    (LLaVA-Med's own inference); "centre_crop" cuts the longer side (CLIP's own, used by MediSee).
    """
    image = Image.fromarray(picture)
    square = _padded(image) if mode == "pad" else _middle(image)
    width, height = square.size
    shorter = min(width, height)
    # The longer side is cut to whole pixels, not rounded, as in CLIP's image processor.
    resized = square.resize((size * width // shorter, size * height // shorter), Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    values = np.asarray(resized.crop((left, top, left + size, top + size)), np.float32) / 255
    normalised = (values - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]


def _middle(image: Image.Image) -> Image.Image:
    """The image without its far ends where it is very long; to resize them would take much memory in vain."""
    width, height = image.size
    longest = LONGEST * min(width, height)
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top))


def _padded(image: Image.Image) -> Image.Image:
    """A square with the image in its middle; half a pixel goes to the bottom and right.

    LLaVA-Med draws at random where that half pixel goes, which makes answers differ from run to run.
    """
    width, height = image.size
    side = max(width, height)
    red, green, blue = (int(value * 255) for value in CLIP_MEAN)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
