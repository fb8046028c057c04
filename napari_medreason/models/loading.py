"""Model folders of the transformers library, loaded from disk alone, where and as small as they fit.

Imported only inside functions, since it needs torch and transformers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from napari_medreason.errors import ModelUnavailableError, NotEnoughMemoryError, WeightsError
from napari_medreason.models import fit
from napari_medreason.models.memory import give_memory_back, is_out_of_memory
from napari_medreason.models.placing import Placement, pick_device, placed, placement_for, plan_folders
from napari_medreason.models.weights import weight_files

__all__ = [
    "Placement",
    "enough_memory",
    "kept_modules",
    "load_model",
    "load_processor",
    "pick_device",
    "placed",
    "placement_for",
    "plan_folders",
    "quantisation_settings",
    "with_step_down",
]

Loaded = TypeVar("Loaded")

# It would warn at every layer and token that 8-bit layers compute in 16-bit floats of the other kind.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
# Progress bars would mix with the lines that the command line and the engine write to standard error.
transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def load_model(
    auto_class: Any,
    folder: Path,
    *,
    placement: Placement | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Any:
    """A model in evaluation mode, read from safetensors only.

    With a placement it is tried once more, one precision smaller, when memory runs out (`with_step_down`);
    with device and dtype, for callers that compute in just that dtype, it is not. WeightsError
    when a file is missing or damaged, or when a weight of the architecture is not there (transformers would
    go on with random numbers).
    """
    weight_files(folder)
    chosen = placement or Placement(device or torch.device("cpu"), dtype or torch.float32)
    return with_step_down(
        lambda place: _load(auto_class, folder, place), chosen, what=folder.name, fixed=placement is None
    )


def with_step_down(
    load: Callable[[Placement], Loaded], placement: Placement, *, what: str, fixed: bool = False
) -> Loaded:
    """`load(placement)`; when memory runs out, first others' models are closed, then one smaller precision.

    fixed: the precision stays. NotEnoughMemoryError when that is not enough either; what was half loaded is
    gone by then.
    """
    while (loaded := _try(load, placement)) is None and fit.host().make_room():
        pass
    smaller = None if fixed else fit.step_down(placement.precision, str(placement.device))
    if loaded is None and smaller is not None:
        words = (
            f"{what}: {fit.WORDS[placement.precision]} did not fit, so it is loaded in {fit.WORDS[smaller]}"
        )
        fit.host().told(words)
        loaded = _try(load, Placement.of(placement.device, smaller))
    if loaded is None:
        raise NotEnoughMemoryError(
            f"{what} needs more memory than is free on device '{placement.device}'; close other programs or "
            "models, choose a smaller model, or use device 'cpu'"
        )
    return loaded


def _try(load: Callable[[Placement], Loaded], placement: Placement) -> Loaded | None:
    """What `load` gives, or None when memory ran out; then all that it had taken is given back."""
    try:
        return load(placement)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    give_memory_back()  # after the block: the exception held the frames, and they held the weights
    return None


def _load(auto_class: Any, folder: Path, placement: Placement) -> Any:
    options: dict[str, Any] = {"dtype": placement.dtype}
    if placement.device.type != "cpu" or placement.quantisation:
        options["device_map"] = {"": placement.device}
    if placement.quantisation:
        options |= _quantised(auto_class, folder, placement)
    with _readable_faults(folder):
        model, report = auto_class.from_pretrained(
            folder,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    lacking = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
    if lacking:
        raise WeightsError(
            f"{folder.name} lacks {len(lacking)} weights of its architecture ({lacking[0]}, …) or has them "
            "in another shape; please install the weights again"
        )
    return model.eval()


def _quantised(auto_class: Any, folder: Path, placement: Placement) -> dict[str, Any]:
    """Settings of `from_pretrained` for smaller text layers; none for a network without text layers."""
    skipped = kept_modules(auto_class, folder)
    if skipped is None:
        return {}
    return {"quantization_config": quantisation_settings(placement, skipped)}


def quantisation_settings(placement: Placement, kept: list[str]) -> Any:
    """Settings for the 8-bit or 4-bit layers of a placement; the modules named in `kept` keep 16 bits."""
    from transformers import BitsAndBytesConfig

    make: Callable[..., Any] = BitsAndBytesConfig
    if placement.quantisation == "int8":
        return make(load_in_8bit=True, llm_int8_skip_modules=kept)
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=placement.dtype,
        bnb_4bit_use_double_quant=True,
        llm_int8_skip_modules=kept,
    )


def kept_modules(auto_class: Any, folder: Path) -> list[str] | None:
    """Full names of the modules beside the text layers, which stay in 16 bits; None without text layers.

    A name from the middle, such as "visual" for "model.visual", would be passed over silently.
    """
    from transformers import AutoConfig

    with _readable_faults(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = auto_class.from_config(config) if hasattr(auto_class, "from_config") else auto_class(config)
    decoder = model.get_decoder()
    path = next((name for name, module in model.named_modules() if module is decoder), "")
    if not hasattr(decoder, "layers"):
        return None
    return [name for name, _ in model.named_modules() if name and _beside(name, path)]


def _beside(name: str, path: str) -> bool:
    """Whether a module is a direct neighbour of the one at `path` or of one of its parents."""
    parent = name.rpartition(".")[0]
    on_the_way = path == name or path.startswith(f"{name}.")
    return (
        not on_the_way
        and (parent == "" or path == parent or path.startswith(f"{parent}."))
        and parent != path
    )


def load_processor(auto_class: Any, folder: Path) -> Any:
    """Tokenizer and image processor of a folder; WeightsError when they are missing or damaged."""
    with _readable_faults(folder):
        return auto_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Turns a GPU that is full into a NotEnoughMemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemoryError(
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
        if is_out_of_memory(error):
            raise
        reason = _first_line(error).replace(str(folder), folder.name)
        raise WeightsError(
            f"{folder.name} can't be loaded ({reason[:200]}); please install the weights again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
