"""PEFT adapters on a vision-language model: put on, checked, taken off.

Imported only inside functions, since it needs torch and peft.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_medreason.errors import ModelUnavailableError, WeightsError
from napari_medreason.models.checkpoints import read_tensors, renamed
from napari_medreason.models.weights import weight_files, weights_sha256

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
LARGEST_RANK = 2048
"""No adapter needs more; its layers are made before the shapes of its file are compared with them."""
_BIASES = ("none", "all", "lora_only")
"""What PEFT can do with the base's biases; all but the first overwrite them in place."""
_KEPT = (
    "r",
    "lora_alpha",
    "target_modules",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layers_pattern",
    "exclude_modules",
    "bias",
    "fan_in_fan_out",
)
"""Settings that say what the adapter is; the others are for training or name files."""
_NOT_UNDERSTOOD = (ValueError, TypeError, AttributeError, OverflowError, re.error)
"""What PEFT raises on settings that name no layer of the network, or are of a wrong kind."""

_OLD_NAMES = (
    (r"^base_model\.model\.model\.layers\.", "base_model.model.model.language_model.layers."),
    (r"^base_model\.model\.language_model\.model\.", "base_model.model.model.language_model."),
    (r"^base_model\.model\.(visual|vision_tower|multi_modal_projector)\.", r"base_model.model.model.\1."),
)
"""Where transformers below 4.52 had the parts of its vision-language models."""


PutBack = Callable[[], None]


def put_on(network: Any, folder: Path) -> tuple[Callable[[], PutBack], str]:
    """Put a LoRA adapter on a network, in place; gives what takes it off, and its hash.

    What takes it off gives what puts it back, as long as the network is as it was without it.

    WeightsError when the folder holds no adapter, one for another network, or one in another shape;
    ModelUnavailableError when it is of another kind than LoRA, or changes what could not be put back. The
    network is then as it was.
    """
    settings = _settings(folder)
    if settings["bias"] != _BIASES[0]:
        raise ModelUnavailableError(
            f"{folder.name} also changes the base's biases (bias = {settings['bias']!r}), which could not be "
            "put back; write a whole model with `medreason adapters merge`, or train it with bias 'none'"
        )
    adapted, sha256 = _adapted(network, folder, settings)
    network.eval()
    return lambda: _take_off(adapted), sha256


def merged(network: Any, folder: Path) -> Any:
    """The network with a LoRA adapter merged into its own weights, in place; WeightsError as for `put_on`."""
    adapted, _ = _adapted(network, folder, _settings(folder))
    try:
        return adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise WeightsError(
            f"adapter {folder.name} holds values that are not numbers (NaN); its training failed, train it "
            "again"
        ) from error


def _adapted(network: Any, folder: Path, settings: dict[str, Any]) -> tuple[Any, str]:
    """The network within PEFT, and the hash of the adapter's weights."""
    tensors = read_tensors(folder / WEIGHTS)
    sha256 = weights_sha256([file for file in weight_files(folder) if file.name == WEIGHTS])
    try:
        adapted = _wrapped(network, settings)
    except _NOT_UNDERSTOOD as error:
        raise WeightsError(
            f"adapter {folder.name} doesn't fit this model ({_first_line(error)[:120]}); choose the model "
            "that it was trained on"
        ) from error
    try:
        _fill(adapted, tensors, folder.name)
    except BaseException:
        adapted.unload()
        raise
    return adapted, sha256


def _wrapped(network: Any, settings: dict[str, Any]) -> Any:
    """The network within PEFT; errors as PEFT raises them, and the network is then as it was."""
    from peft import LoraConfig, PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", ".*is_gradient_checkpointing", FutureWarning
            )  # peft asks for it
            return PeftModel(network, LoraConfig(**settings))
    except BaseException:
        # PEFT refuses a layer when it comes to it, and leaves those before it changed
        for name, layer in list(network.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                network.set_submodule(name, layer.get_base_layer())
        raise


def _fill(adapted: Any, tensors: dict[str, Any], name: str) -> None:
    """Every tensor of the adapter must find its place, and every place its tensor."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    wanted = set(get_peft_model_state_dict(adapted))
    if wanted != set(tensors):
        tensors = renamed(tensors, _OLD_NAMES)
    unknown, lacking = sorted(set(tensors) - wanted), sorted(wanted - set(tensors))
    if unknown or lacking:
        kind, keys = ("has no place for", unknown) if unknown else ("wants", lacking)
        raise WeightsError(
            f"adapter {name} doesn't fit this model, which {kind} {keys[0]} and {len(keys) - 1} more; "
            "choose the model that it was trained on"
        )
    try:
        set_peft_model_state_dict(adapted, tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"adapter {name} has weights in another shape than this model; choose the model that it was "
            "trained on"
        ) from error


def _take_off(adapted: Any) -> PutBack:
    from peft.tuners.tuners_utils import BaseTunerLayer

    network = adapted.get_base_model()
    layers = [(name, one) for name, one in network.named_modules() if isinstance(one, BaseTunerLayer)]
    adapted.unload()

    def put_back() -> None:
        for name, layer in layers:
            network.set_submodule(name, layer)

    return put_back


def _settings(folder: Path) -> dict[str, Any]:
    """The adapter's settings for LoRA, without what is for training or names files."""
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder.name} holds no readable {SETTINGS}; give the folder of an adapter that PEFT has saved"
        ) from error
    kind = found.get("peft_type") if isinstance(found, dict) else None
    if kind != "LORA":
        raise ModelUnavailableError(
            f"{folder.name} holds an adapter of type {kind!r}; LORA is accepted, please train or export one"
        )
    if not (folder / WEIGHTS).is_file():
        raise WeightsError(
            f"{folder.name} holds no {WEIGHTS}; save the adapter again with safe_serialization=True"
        )
    _check_settings(found, folder.name)
    return {"inference_mode": True, "bias": "none", **{key: found[key] for key in _KEPT if key in found}}


def _check_settings(found: dict[str, Any], name: str) -> None:
    pattern = found.get("rank_pattern") or {}
    ranks = [found.get("r", 8), *(pattern.values() if isinstance(pattern, dict) else [None])]
    if any(type(rank) is not int or not 0 < rank <= LARGEST_RANK for rank in ranks):
        raise WeightsError(
            f"{SETTINGS} of {name} has a rank that is no number from 1 to {LARGEST_RANK}; get the "
            "adapter again"
        )
    if found.get("bias", "none") not in _BIASES:
        raise WeightsError(
            f"{SETTINGS} of {name} has a bias that is none of {', '.join(_BIASES)}; get the adapter again"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
