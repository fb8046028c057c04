"""Texts from a language model on this machine, through transformers; nothing is downloaded or sent."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from napari_medreason.errors import DataSetError

from ..config import WriterConfig
from .checked import Message
from .task import Task, Usage


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A causal language model and its tokenizer, already loaded."""

    config: WriterConfig
    network: Any
    tokenizer: Any
    name: str = "transformers"

    @property
    def model(self) -> str:
        """Folder name or id of the model; never a path."""
        return Path(self.config.model).name

    def describe(self) -> str:
        """Model and settings in one line."""
        return f"{self.model} temperature {self.config.temperature}"

    def answer(self, messages: list[Message], attempt: int, task: Task, usage: Usage) -> str:
        """The model's continuation; the same text for the same task and attempt."""
        import torch

        seed = sha256(f"{task.key}\0{attempt}".encode()).digest()
        torch.manual_seed(int.from_bytes(seed[:6], "big"))
        inputs = self.tokenizer(self._text(messages), return_tensors="pt").to(self.network.device)
        sampled = self.config.temperature > 0
        chosen = (
            {"do_sample": True, "temperature": self.config.temperature} if sampled else {"do_sample": False}
        )
        with torch.inference_mode():
            output = self.network.generate(
                **inputs, **chosen, max_new_tokens=self.config.maximum_tokens, pad_token_id=self._padding()
            )
        written = output[0, inputs["input_ids"].shape[1] :]
        usage.input_tokens += int(inputs["input_ids"].shape[1])
        usage.output_tokens += int(written.shape[0])
        return str(self.tokenizer.decode(written, skip_special_tokens=True))

    def _text(self, messages: list[Message]) -> str:
        plain = [{"role": one["role"], "content": _words(one["content"])} for one in messages]
        if self.tokenizer.chat_template:
            return str(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True))
        return "\n\n".join(one["content"] for one in plain) + "\n\nAnswer: "

    def _padding(self) -> int:
        known = self.tokenizer.pad_token_id
        return int(known if known is not None else self.tokenizer.eos_token_id or 0)


def _words(content: Any) -> str:
    """The text of a message; a text model sees no picture."""
    return content if isinstance(content, str) else str(content[0]["text"])


def local_model(config: WriterConfig) -> LocalModel:
    """Load the model that a configuration names from this machine; DataSetError when it is not there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not config.model:
        raise DataSetError(
            'writer: kind "transformers" needs a model: a folder, or an id that is on this machine'
        )
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, **safe)
        network: Any = AutoModelForCausalLM.from_pretrained(config.model, use_safetensors=True, **safe)
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"writer: {Path(config.model).name!r} is no language model with safetensors on this machine; "
            "name its folder"
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LocalModel(config, network.to(device).eval(), tokenizer)
