"""Which images an expert is trained on and validated with, by configuration."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .batches import LabelMapSource, MixedSource, Source, VolumeSource
from .config import EmbeddedConfig
from .phantoms import Phantom, body_ct
from .sources import (
    OTHER_MR,
    OTHER_MR_FOR_CALIBRATION,
    TRAINING_MAPS,
    VALIDATION_MAPS,
    brain_label_maps,
    other_mr,
    phantom_volume,
    real_body_cts,
)
from .volumes import LabelledVolume

VALIDATION_PHANTOMS = range(9_000, 9_004)


def training_source(config: EmbeddedConfig, data: Path, cache: Path) -> Source:
    """The stream of training images; `cache` keeps phantoms between starts."""
    first, last = config.phantom_seeds
    phantoms = phantom_volumes(config.expert, range(first, last + 1), cache)
    if config.expert == "body_ct":
        return _body_source(config, data, phantoms)
    maps = LabelMapSource(brain_label_maps(data, TRAINING_MAPS), config.size, config.pixel_mm)
    sources: list[Source] = [maps]
    shares = [1 - config.phantom_share - config.other_share]
    for volumes, share in ((phantoms, config.phantom_share), (other_mr(data, OTHER_MR), config.other_share)):
        if volumes and share > 0:
            sources.append(VolumeSource(volumes, "MR", config.size, config.pixel_mm))
            shares.append(share)
    return MixedSource(sources, shares)


def _body_source(config: EmbeddedConfig, data: Path, phantoms: list[LabelledVolume]) -> Source:
    real = real_body_cts(data, config.real)
    sources: list[Source] = []
    shares: list[float] = []
    for volumes, share in ((real, 1 - config.phantom_share), (phantoms, config.phantom_share)):
        if volumes and share > 0:
            sources.append(VolumeSource(volumes, "CT", config.size, config.pixel_mm))
            shares.append(share)
    return MixedSource(sources, shares)


def validation_source(config: EmbeddedConfig, data: Path, cache: Path) -> Source:
    """Images of label maps or phantoms that training never sees."""
    if config.expert == "brain_mr":
        return LabelMapSource(brain_label_maps(data, VALIDATION_MAPS), config.size, config.pixel_mm)
    phantoms = phantom_volumes(config.expert, VALIDATION_PHANTOMS, cache)
    return VolumeSource(phantoms, "CT", config.size, config.pixel_mm)


def calibration_sources(config: EmbeddedConfig, data: Path, cache: Path) -> list[Source]:
    """Where calibration images come from, in turn.

    Brain: three parts of validation maps, one part of MR scans of other body parts that are not
    trained on. Body: validation phantoms, and new images of the training scans, since there is no
    other labelled scan.
    """
    unseen = validation_source(config, data, cache)
    if config.expert == "body_ct":
        return [unseen, training_source(config, data, cache)]
    others = other_mr(data, OTHER_MR_FOR_CALIBRATION)
    return [unseen, unseen, unseen, VolumeSource(others, "MR", config.size, config.pixel_mm)]


def phantom_volumes(expert: str, seeds: Iterable[int], cache: Path) -> list[LabelledVolume]:
    """Phantoms of these seeds as training volumes."""
    structures = BODY_CT if expert == "body_ct" else BRAIN_MR
    volumes = []
    for seed in seeds:
        phantom = _cached_phantom(expert, seed, cache)
        known = [name for name in structures if name in phantom.structures]
        volumes.append(phantom_volume(phantom, structures, known=known, weight=1.0))
    return volumes


def _cached_phantom(expert: str, seed: int, cache: Path) -> Phantom:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{expert}_{seed}.npz"
    if not path.exists():
        phantom = _new_phantom(expert, seed)
        temporary = path.with_suffix(".part.npz")
        np.savez(
            temporary,
            labels=phantom.labels,
            voxels=phantom.voxels.astype(np.float32),
            structures=np.array(phantom.structures),
            sides=np.array(phantom.sides),
            affine=phantom.affine,
        )
        temporary.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return Phantom(
            kept["labels"],
            tuple(str(name) for name in kept["structures"]),
            tuple(str(side) for side in kept["sides"]),
            kept["voxels"],
            kept["affine"],
        )


def _new_phantom(expert: str, seed: int) -> Phantom:
    if expert == "body_ct":
        return body_ct(seed)
    from .phantoms import head_mr

    return head_mr(seed, contrast="random")
