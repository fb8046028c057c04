"""A tuned MediSee on its base: the LoRA and word rows in LLaVA-Med, heads and mask decoder in their places.

Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from napari_medreason.errors import WeightsError
from napari_medreason.models.checkpoints import load_strictly
from napari_medreason.models.joint_adapter import JointAdapter, read_joint_adapter
from napari_medreason.models.medisee.heads import MediSeeHeads, heads_for
from napari_medreason.models.medisee.network import MediSeeNetwork
from napari_medreason.models.reasoners.adapters import PutBack

HEADS, MASK_DECODER, WORDS = "heads", "mask_decoder", "words"
ROWS = ("embed", "output")
"""Names of the tensors with the rows of words, in the order of `word_rows`."""


def word_rows(network: MediSeeNetwork) -> tuple[Tensor, Tensor]:
    """Embeddings and output layer, (words, hidden) each."""
    model = network.llava.model
    return model.get_input_embeddings().weight, model.get_output_embeddings().weight


def put_on_medisee(
    network: MediSeeNetwork, folder: Path, base_sha256: str
) -> tuple[Callable[[], PutBack], str]:
    """Put an adapter on, in place; gives what takes it off, and the hash of both together.

    What takes it off gives what puts it back, as long as the network is as it was without it. WeightsError
    when it does not fit, and nothing is changed then.
    """
    adapter = read_joint_adapter(folder, "medisee", base_sha256)
    tuned = _Exchange(
        _heads(network, adapter),
        _mask_decoder(network, adapter),
        _rows(network, adapter),
        adapter.setting("faithful", network.faithful),
        adapter.setting("decoder_box", network.decoder_box),
    )
    words_off = adapter.put_on_words(network.llava.model)
    own = _exchanged(network, tuned)

    def take_off() -> PutBack:
        words_back = words_off()
        _exchanged(network, own)

        def put_back() -> None:
            words_back()
            _exchanged(network, tuned)

        return put_back

    return take_off, adapter.sha256


class _Exchange(NamedTuple):
    """What an adapter exchanges beside the LoRA. rows: the last ones of embeddings and output layer.

    faithful, decoder_box: how it is asked, see MediSeeNetwork.
    """

    heads: MediSeeHeads
    mask_decoder: Any
    rows: list[Tensor]
    faithful: bool
    decoder_box: bool


def _exchanged(network: MediSeeNetwork, new: _Exchange) -> _Exchange:
    """Put the new parts in; gives those that were there."""
    places = [
        weight.detach()[len(weight) - len(rows) :]
        for weight, rows in zip(word_rows(network), new.rows, strict=True)
    ]
    kept = [place.clone() for place in places]
    old = _Exchange(network.heads, network.sam.mask_decoder, kept, network.faithful, network.decoder_box)
    network.heads, network.sam.mask_decoder = new.heads, new.mask_decoder
    network.faithful, network.decoder_box = new.faithful, new.decoder_box
    for place, rows in zip(places, new.rows, strict=True):
        place.copy_(rows)
    network.llava.forget_images()
    return old


def _heads(network: MediSeeNetwork, adapter: JointAdapter) -> MediSeeHeads:
    tensors = adapter.part(HEADS)
    what = f"the heads of {adapter.folder.name}"
    if "router_seg.gate.0.weight" not in tensors or "bbox_decoder.layers.0.weight" not in tensors:
        raise WeightsError(f"{what} are missing; get the adapter again, or export it again")
    heads = heads_for(tensors)
    load_strictly(heads, {name: value.float() for name, value in tensors.items()}, what=what)
    if heads.size != network.heads.size:
        raise WeightsError(f"{what} are for another base than this one; choose the model of the adapter")
    return heads.to(network.llava.device).eval()


def _mask_decoder(network: MediSeeNetwork, adapter: JointAdapter) -> Any:
    decoder = deepcopy(network.sam.mask_decoder)
    load_strictly(decoder, adapter.part(MASK_DECODER), what=f"the mask decoder of {adapter.folder.name}")
    return decoder.eval()


def _rows(network: MediSeeNetwork, adapter: JointAdapter) -> list[Tensor]:
    """All rows, or those of the last words; WeightsError for rows of another width or number."""
    tensors = adapter.part(WORDS)
    rows = [tensors.get(name) for name in ROWS]
    found = []
    for row, own in zip(rows, word_rows(network), strict=True):
        if row is None or row.ndim != 2 or row.shape[1] != own.shape[1] or len(row) > len(own):
            raise WeightsError(
                f"the words of {adapter.folder.name} don't fit this model; choose the model that it was "
                "trained for"
            )
        found.append(row)
    return found
