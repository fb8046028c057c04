"""The rules of `answer_slots` as a logits processor of transformers."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor

from napari_medreason.models.reasoners.answer_slots import AnswerSlots


class SlotLogits(LogitsProcessor):
    """Leaves only the tokens that the slots allow, for one text.

    changed: how often the model would have written another token where the answer's form allowed several,
    or only one.
    """

    def __init__(self, slots: AnswerSlots, prompt_length: int) -> None:
        self._slots, self._seen = slots, prompt_length
        self.changed = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (1, vocabulary) of the next token, minus infinity for what may not come."""
        for token in input_ids[0, self._seen :].tolist():
            self._slots.advance(token)
        self._seen = input_ids.shape[1]
        allowed = self._slots.allowed()
        if allowed is None:
            return scores.index_fill(1, torch.tensor(self._slots.barred, device=scores.device), -torch.inf)
        self.changed += int(scores[0].argmax()) not in allowed
        chosen = torch.tensor(allowed, device=scores.device)
        only = torch.full_like(scores, -torch.inf)
        only[:, chosen] = scores[:, chosen]
        return only
