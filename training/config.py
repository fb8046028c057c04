"""Training configuration: a TOML file read into a frozen dataclass; unknown keys are errors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from napari_medreason.errors import MedReasonError

EXPERTS = ("brain_mr", "body_ct")


@dataclass(frozen=True)
class EmbeddedConfig:
    """How one expert of the embedded model is trained.

    expert: "brain_mr" or "body_ct". images: how many images the schedule is made for.
    minutes: the run stops after this much time, 0 for no limit; the same command goes on later.
    size, pixel_mm: side of the square training slice in pixels, and the pixel's size.
    strongest: strength of the changes to images that the schedule reaches at half time, 0 to 1.
    real: names of labelled scans used (body_ct). phantom_seeds: first and last seed of the
    phantoms; seeds from 10000 on belong to samples and tests. phantom_share, other_share: share of
    images from phantoms, and (brain_mr) from MR scans of other body parts.
    bf16: the network computes in bfloat16 (needs a GPU or processor made for it; slower elsewhere).
    plain: train a U-Net without queries instead, for comparison (see plain_unet.py).
    start_from: folder of an earlier run whose weights are the starting point.
    """

    expert: str
    seed: int = 1
    images: int = 30_000
    minutes: float = 0.0
    batch: int = 4
    size: int = 160
    pixel_mm: float = 1.2
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    average_decay: float = 0.998
    strongest: float = 1.0
    real: tuple[str, ...] = ()
    phantom_seeds: tuple[int, int] = (1, 24)
    phantom_share: float = 0.15
    other_share: float = 0.05
    checkpoint_seconds: float = 60.0
    validation_images: int = 2_000
    bf16: bool = False
    plain: bool = False
    start_from: str = ""

    def __post_init__(self) -> None:
        if self.expert not in EXPERTS:
            raise MedReasonError(f"expert {self.expert!r} is not known; use one of {', '.join(EXPERTS)}")
        if self.size % 32:
            raise MedReasonError(f"size {self.size} is no multiple of 32; use 160 or 192")
        if self.phantom_seeds[1] >= 10_000:
            raise MedReasonError("phantom seeds from 10000 on belong to samples and tests; use lower ones")


def read_config(path: Path) -> EmbeddedConfig:
    """The configuration in a TOML file; MedReasonError names an unknown or badly typed key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise MedReasonError(f"{path.name} can't be read as TOML: {error}") from error
    return config_from(table, path.name)


def config_from(table: dict[str, Any], name: str) -> EmbeddedConfig:
    """A table of keys to a configuration; `name` is where it came from, for messages."""
    defaults = {field.name: field for field in fields(EmbeddedConfig)}
    unknown = sorted(set(table) - set(defaults))
    if unknown:
        raise MedReasonError(
            f"{name} has the unknown key {unknown[0]!r}; accepted are {', '.join(sorted(defaults))}"
        )
    if "expert" not in table:
        raise MedReasonError(f'{name} names no expert; add expert = "brain_mr" or "body_ct"')
    values = {key: _typed(key, value, name) for key, value in table.items()}
    return EmbeddedConfig(**values)


def _typed(key: str, value: Any, name: str) -> Any:
    sample = EmbeddedConfig("brain_mr").__dict__[key]
    if isinstance(sample, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(sample, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(sample):
        raise MedReasonError(
            f"{name}: {key} is {value!r}; a value like {sample!r} is accepted, please correct the file"
        )
    return value
