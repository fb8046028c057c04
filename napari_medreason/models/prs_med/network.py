"""PRS-Med's networks put together, for answering and for training.

Imported only inside functions, since it needs torch, transformers and timm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from napari_medreason.errors import WeightsError
from napari_medreason.models.fit import Precision
from napari_medreason.models.llava_layout import read_llava
from napari_medreason.models.llava_med import LlavaMed
from napari_medreason.models.loading import enough_memory, placement_for
from napari_medreason.models.prs_med.decoder import MaskDecoder, load_decoder
from napari_medreason.models.prs_med.encoder import TinySamEncoder, load_encoder
from napari_medreason.models.prs_med.folder import PrsMedFolder, with_adapter
from napari_medreason.models.weights import weights_sha256

PICTURE_BYTES = 300_000_000
"""What TinySAM's encoder holds at once while it looks at 1024² pixels in 32 bits; measured on a CPU."""


@dataclass(frozen=True, eq=False)
class PrsMedNetwork:
    """LLaVA-Med with the adapter merged, TinySAM's encoder and the mask decoder, on one device.

    weights_sha256: of all files that they were read from.
    """

    language: LlavaMed
    encoder: TinySamEncoder
    decoder: MaskDecoder
    weights_sha256: str

    def features(self, square: Tensor) -> Tensor:
        """Image features (B, 256, size / 16, size / 16) of normalised squares; gradients flow."""
        return self.encoder(square.to(self.language.device))  # type: ignore[no-any-return]

    def logits(self, features: Tensor, states: Tensor, padding: Tensor | None = None) -> Tensor:
        """Mask logits (B, 1, size, size); states: (B, T, hidden); gradients flow."""
        return self.decoder(features, states, padding)  # type: ignore[no-any-return]

    def states(self, ids: Sequence[int], pixels: Tensor) -> Tensor:
        """Hidden states (1, T, hidden) of a text with an image; gradients flow.

        `language.hidden_states` gives the same without gradients, and works on an image only once.
        """
        return self.language.states(*self.language.embed(ids, pixels))

    def close(self) -> None:
        """Give memory back; the networks are not used again."""
        self.encoder.to("meta")
        self.decoder.to("meta")
        self.language.close()


def load_network(
    folder: PrsMedFolder,
    *,
    base: Path,
    vision_tower: Path,
    device: str | None = None,
    precision: Precision | None = None,
) -> PrsMedNetwork:
    """From a released folder, LLaVA-Med in its original layout and a CLIP folder.

    Encoder and decoder are in 32 bits, as released; `precision` is that of LLaVA-Med, None: what fits.
    WeightsError when something is missing, damaged or of another model; nothing stays loaded then.
    """
    small = folder.image_encoder.stat().st_size + folder.mask_decoder.stat().st_size
    # Before gigabytes are read and merged.
    placement = placement_for(base, device=device, precision=precision, beside=small + PICTURE_BYTES)
    encoder, decoder = load_encoder(folder.image_encoder), load_decoder(folder.mask_decoder)
    weights = read_llava(base, vision_tower=vision_tower)
    weights = replace(weights, name=folder.name, tensors=with_adapter(weights.tensors, folder))
    hidden = int(weights.settings.get("hidden_size", 0))
    if hidden != decoder.hidden_size:
        raise WeightsError(
            f"the mask decoder of {folder.name} reads hidden states of {decoder.hidden_size} numbers, "
            f"{base.name} has {hidden}; give the LLaVA-Med that it was trained with"
        )
    language = LlavaMed.of(weights, folder.tokenizer or base, placement)
    files = (*weights.files, *folder.files)
    with enough_memory(folder.name):
        encoder, decoder = encoder.to(language.device), decoder.to(language.device)
    return PrsMedNetwork(language, encoder, decoder, weights_sha256(files))
