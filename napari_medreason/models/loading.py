"""Model folders of the transformers library, loaded from disk alone.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.weights import weight_files

# Progress bars would mix with the lines that the command line and the engine write to standard error.
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def pick_device(name: str | None) -> torch.device:
    """The named device, else the first CUDA GPU, else the CPU; ModelUnavailableError when it isn't there."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ModelUnavailableError(
            f"device {name!r} is not known to PyTorch; use 'cpu', 'cuda' or 'cuda:1'"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailableError(f"device {name!r} was asked, but PyTorch sees no CUDA GPU; use 'cpu'")
    return device


def load_model(auto_class: Any, folder: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A model in evaluation mode, read from safetensors only.

    WeightsError when a file is missing or damaged, or when a weight of the architecture is not there
    (transformers would go on with random numbers).
    """
    weight_files(folder)
    with _readable_faults(folder):
        model, report = auto_class.from_pretrained(
            folder,
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    lacking = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
    if lacking:
        raise WeightsError(
            f"{folder.name} lacks {len(lacking)} weights of its architecture ({lacking[0]}, …) or has them "
            "in another shape; please install the weights again"
        )
    with enough_memory(folder.name):
        return model.to(device).eval()


def load_processor(auto_class: Any, folder: Path) -> Any:
    """Tokenizer and image processor of a folder; WeightsError when they are missing or damaged."""
    with _readable_faults(folder):
        return auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turns a GPU that is full into a ModelUnavailableError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelUnavailableError(
            f"{what} needs more GPU memory than is free; close other programs or models, or use device 'cpu'"
        ) from error


@contextmanager
def _readable_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ModelUnavailableError(
            f"{folder.name} needs a Python package that is not installed ({_first_line(error)}); install it"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        reason = _first_line(error).replace(str(folder), folder.name)
        raise WeightsError(
            f"{folder.name} can't be loaded ({reason[:200]}); please install the weights again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
