"""What LLaVA-Med keeps of an image, so that a second question about it is cheap.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch

from napari_medreason.models.reasoners.prefix_cache import Prefix


@dataclass(frozen=True, eq=False)
class ImagePrefix:
    """The sequence up to the image's end, with which every question about the image begins.

    embeds, states: (1, length, hidden) input embeddings and last hidden states. kept: keys and values.
    """

    embeds: torch.Tensor
    states: torch.Tensor
    kept: Prefix


def prefix_key(ids: Sequence[int], pixels: torch.Tensor) -> bytes:
    """The same for the same ids and the same pixels (1, 3, rows, columns)."""
    digest = blake2b(pixels.detach().float().cpu().contiguous().numpy().data, digest_size=16)
    digest.update(repr((tuple(pixels.shape), list(ids))).encode())
    return digest.digest()
