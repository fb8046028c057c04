"""A tuned PRS-Med on its base: the LoRA in LLaVA-Med, encoder and mask decoder in place of the base's.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import Tensors, load_strictly
from napari_medreason.models.joint_adapter import JointAdapter, read_joint_adapter
from napari_medreason.models.prs_med.decoder import MaskDecoder, version_of
from napari_medreason.models.prs_med.encoder import TinySamEncoder
from napari_medreason.models.prs_med.network import PrsMedNetwork
from napari_medreason.models.reasoners.adapters import PutBack

ENCODER, DECODER = "encoder", "decoder"
LARGEST = 4096
"""Side in pixels; memory grows with its square, and a card may come from anywhere."""


@dataclass(frozen=True, eq=False)
class TunedPrsMed:
    """A base with an adapter on, and what takes it off again; the base's own parts are not touched.

    size: side of the square that its encoder must see.
    """

    network: PrsMedNetwork
    size: int
    take_off: Callable[[], PutBack]


def put_on_prs_med(base: PrsMedNetwork, folder: Path, size: int) -> TunedPrsMed:
    """The base with an adapter on; size: where its card tells none.

    WeightsError when it does not fit, and nothing is changed then.
    """
    adapter = read_joint_adapter(folder, "prs-med", base.weights_sha256)
    size = adapter.setting("size", size, lambda found: 1 <= found <= LARGEST)
    encoder, decoder = _encoder(base, adapter), _decoder(base, adapter)
    take_off = adapter.put_on_words(base.language.model)
    base.language.forget_images()
    network = replace(base, encoder=encoder, decoder=decoder, weights_sha256=adapter.sha256)
    return TunedPrsMed(network, size, take_off)


def _encoder(base: PrsMedNetwork, adapter: JointAdapter) -> TinySamEncoder:
    tensors = adapter.part(ENCODER)
    if not tensors:
        return base.encoder
    encoder = TinySamEncoder()
    load_strictly(encoder, tensors, what=f"the encoder of {adapter.folder.name}")
    return encoder.to(base.language.device).eval()


def _decoder(base: PrsMedNetwork, adapter: JointAdapter) -> MaskDecoder:
    tensors = adapter.part(DECODER)
    size = _hidden_size(tensors)
    if size != base.decoder.hidden_size:
        raise WeightsError(
            f"the mask decoder of {adapter.folder.name} reads hidden states of {size} numbers, the base has "
            f"{base.decoder.hidden_size}; choose the model that it was trained for"
        )
    with torch.random.fork_rng(devices=[]):  # what is drawn for a new decoder is overwritten
        decoder = MaskDecoder(version_of(tensors), hidden_size=size)
    load_strictly(decoder, tensors, what=f"the mask decoder of {adapter.folder.name}")
    return decoder.to(base.language.device).eval()


def _hidden_size(tensors: Tensors) -> int:
    first = tensors.get("prompt_projection.0.weight")
    return int(first.shape[1]) if first is not None and first.ndim == 2 else 0
