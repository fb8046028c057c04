"""What MediSee adds to LLaVA-Med: two routers, a box head and a text projection.

All functions are differentiable, for training. Imported only inside functions, since it needs torch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Router(nn.Module):
    """Weighs two candidate states against each other (MediSee, token fusion).

    The weights are sigmoids divided by their sum, as released, not a softmax. Names of the parameters are
    those of the released checkpoint.
    """

    def __init__(self, size: int, hidden: int = 1024) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(2 * size, hidden), nn.GELU(), nn.Linear(hidden, 2))

    def weights(self, bbox: Tensor, seg: Tensor) -> Tensor:
        """(n, 2) weights of the two states, which sum to 1; first that of the box's state."""
        # sigmoid(a) / (sigmoid(a) + sigmoid(b)) without dividing 0 by 0 where both are very negative
        return torch.softmax(nn.functional.logsigmoid(self.gate(torch.cat([bbox, seg], dim=-1))), dim=-1)

    def forward(self, bbox: Tensor, seg: Tensor) -> Tensor:
        """(n, size) fused states from the states of [BBOX] and [SEG], in this order in both routers."""
        weights = self.weights(bbox, seg)
        return weights[:, :1] * bbox + weights[:, 1:] * seg


class BoxHead(nn.Module):
    """Box (centre x, centre y, width, height) as shares of the picture, from a fused state."""

    def __init__(self, size: int, hidden: int = 512) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(size, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 4)]
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, fused: Tensor) -> Tensor:
        """(n, 4) from (n, size)."""
        for layer in self.layers[:-1]:
            fused = torch.relu(layer(fused))
        return torch.sigmoid(self.layers[-1](fused))


class Proposal(NamedTuple):
    """What the heads make of the candidate states.

    boxes: (n, 4) centre and size as shares of the picture. text: (n, 256) prompt for the mask decoder.
    fused_seg: (n, size) state behind the text prompt, for the similarity loss.
    """

    boxes: Tensor
    text: Tensor
    fused_seg: Tensor


class MediSeeHeads(nn.Module):
    """Routers, box head and text projection, by the names of the released checkpoint.

    size: width of LLaVA-Med's hidden states.
    """

    def __init__(
        self, size: int, prompt_size: int = 256, *, router_hidden: int = 1024, box_hidden: int = 512
    ):
        super().__init__()
        self.size = size
        self.router_seg = Router(size, router_hidden)
        self.router_box = Router(size, router_hidden)
        self.bbox_decoder = BoxHead(size, box_hidden)
        projection = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Linear(size, prompt_size), nn.Dropout(0.0)
        )
        self.text_hidden_fcs = nn.ModuleList([projection])

    def forward(self, seg: Tensor, bbox: Tensor) -> Proposal:
        """A proposal from the (n, size) states that predict [SEG] and [BBOX]."""
        fused_seg = self.router_seg(bbox, seg)
        boxes = self.bbox_decoder(self.router_box(bbox, seg))
        return Proposal(boxes, self.text_hidden_fcs[0](fused_seg), fused_seg)


def corners(boxes: Tensor) -> Tensor:
    """(n, 4) x0, y0, x1, y1 from centre and size."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def heads_for(tensors: dict[str, Tensor]) -> MediSeeHeads:
    """Heads of the sizes that a checkpoint's tensors have, without weights."""
    gate, box = tensors["router_seg.gate.0.weight"], tensors["bbox_decoder.layers.0.weight"]
    with torch.device("meta"):
        return MediSeeHeads(
            box.shape[1],
            tensors["text_hidden_fcs.0.2.weight"].shape[0],
            router_hidden=gate.shape[0],
            box_hidden=box.shape[0],
        )
