"""A network that knows more structures than the one it comes from, and keeps what that one saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from napari_medreason.core.anatomy import structures as vocabulary
from napari_medreason.errors import RunError
from napari_medreason.models.embedded.network import GroundingNetwork

ROWS = ("query", "weights", "bias")
"""Parameters with one row for each structure."""
UNSEEN = -4.0
"""Bias of a new structure: nowhere is it seen before it is learnt."""


def new_structures(wanted: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """Structures of records that the network does not know yet; RunError for one that it can't learn."""
    new = []
    for name in dict.fromkeys(wanted):
        if name in known:
            continue
        if name not in vocabulary():
            raise RunError(
                "a record's label is not in the anatomy vocabulary, so nobody could ask for it; give the "
                "label a name of the vocabulary"
            )
        if vocabulary()[name].members:
            parts = ", ".join(vocabulary()[name].members[:3])
            raise RunError(
                f"{vocabulary()[name].name} is a group of structures; label its parts, such as {parts}"
            )
        new.append(name)
    return tuple(new)


def grown(network: GroundingNetwork, new: Sequence[str]) -> GroundingNetwork:
    """A copy with rows for further structures, in training mode; what it says of the others is the same."""
    config = replace(network.config, structures=(*network.config.structures, *new))
    result = GroundingNetwork(config)
    state = dict(network.state_dict())
    own = result.state_dict()
    count = len(network.config.structures)
    for name in ROWS:
        state[name] = torch.cat([state[name], own[name][count:]])
    state["weights"][count:] *= 0.1
    state["bias"][count:] = UNSEEN
    result.load_state_dict(state)
    return result.train().to(memory_format=torch.channels_last)


def only_old_rows(network: GroundingNetwork, old: int) -> None:
    """Let no gradient reach the rows after the first `old`; the weight decay of decay_groups neither does."""
    for name in ROWS:
        getattr(network, name).register_hook(lambda gradient: _without_new(gradient, old))


def decay_groups(network: GroundingNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained, as an optimiser takes it: rows of structures do not decay, the rest does."""
    trained = [item for item in network.named_parameters() if item[1].requires_grad]
    return [
        {"params": [value for name, value in trained if name not in ROWS], "weight_decay": weight_decay},
        {"params": [value for name, value in trained if name in ROWS], "weight_decay": 0.0},
    ]


def _without_new(gradient: Tensor, old: int) -> Tensor:
    kept = gradient.clone()
    kept[old:] = 0
    return kept


def keep_loss(logits: Tensor, teacher: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """How far the tuned network has moved from its base where no correction tells it to.

    logits: (B, K, h, w) of the tuned network against a background of 0; teacher: (B, K0, h, w) of the
    base, K0 <= K. labels: (B, h, w), where above 0 nothing is asked. known: (B, 1 + K) bool; of a
    structure that was looked for, the base's opinion outside the mask is background. The cross-entropy
    of Li and Hoiem (Learning without Forgetting, section 3, equation 2) at temperature 1, less the
    teacher's entropy, so that it begins at 0 for an unchanged network.
    """
    old = teacher.shape[1]
    logs = functional.log_softmax(torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), 1)
    background = torch.logsumexp(torch.cat([logs[:, :1], logs[:, 1 + old :]], 1), 1)
    logs = torch.cat([background[:, None], logs[:, 1 : 1 + old]], 1)
    wanted = functional.softmax(torch.cat([torch.zeros_like(teacher[:, :1]), teacher], 1), 1)
    told = known[:, 1 : 1 + old, None, None]
    denied = (wanted[:, 1:] * told).sum(1)
    wanted = torch.cat([(wanted[:, 0] + denied)[:, None], wanted[:, 1:] * ~told], 1)
    distance = (wanted * (wanted.clamp(min=1e-7).log() - logs)).sum(1)
    free = labels == 0
    return (distance * free).sum() / free.sum().clamp(min=1)
