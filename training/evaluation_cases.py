"""The scans, templates and synthesised images that weights are measured on; none is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_medreason.core.plane import AXES, Axis, Plane, cut, slice_count
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR

from .embedded_sources import VALIDATION_PHANTOMS
from .held_out import Members, held_out, labels_on, load
from .intensities import KNOWN_CONTRASTS, Contrast, known_contrast
from .phantoms import body_ct
from .sources import VALIDATION_MAPS, brain_label_maps
from .volumes import LabelMaps

Origin = Literal["real", "synthesised"]
SLICES_PER_AXIS = 5
LPS_1_MM = np.eye(4)


@dataclass(frozen=True, eq=False)
class Case:
    """One image with labels.

    name: title of its tables. patient: whose scan or label map it is. kind: "CT", "T1" and so on.
    members: structure to the label values it is made of. slices: how many per axis, 0 for all.
    load: image and label volume, read or made when called.
    """

    name: str
    patient: str
    origin: Origin
    expert: str
    kind: str
    members: Members
    axes: tuple[Axis, ...]
    slices: int
    labels_by: str
    load: Callable[[], tuple[Volume, Volume]]

    def planes(self) -> Iterator[tuple[Plane, NDArray[np.int64]]]:
        """Planes with their label values (rows, columns), evenly spread over each axis."""
        volume, labels = self.load()
        window = default_window(volume)
        for axis in self.axes:
            count = slice_count(volume, axis)
            step = max(1, count // self.slices) if self.slices else 1
            for index in range(step // 2, count, step):
                plane = cut(volume, axis, index, window)
                yield plane, labels_on(plane, labels)


def real_cases(data: Path, before: tuple[str, ...]) -> list[Case]:
    """Scans of patients that were kept out of training, and those in `before`."""
    return [
        Case(
            name=scan.name,
            patient=scan.name,
            origin="real",
            expert=scan.expert,
            kind="CT" if scan.expert == "body_ct" else scan.name.split()[-1],
            members=scan.members,
            axes=scan.axes,
            slices=0 if scan.step == 1 else 24,
            labels_by=scan.note,
            load=lambda scan=scan: load(data, scan),  # type: ignore[misc]
        )
        for scan in held_out(data, before)
    ]


def synthesised_cases(data: Path) -> list[Case]:
    """Images made from label maps and phantoms with other numbers than those trained on."""
    return [*_brains(data), *_trunks()]


def _brains(data: Path) -> Iterator[Case]:
    members = {name: frozenset({1 + index}) for index, name in enumerate(BRAIN_MR)}
    for number in VALIDATION_MAPS:
        for contrast, stripped in ((c, s) for c in KNOWN_CONTRASTS for s in (False, True)):
            yield Case(
                name=f"{contrast} of {'skull-stripped brains' if stripped else 'whole heads'}",
                patient=f"label map {number}",
                origin="synthesised",
                expert="brain_mr",
                kind=contrast,
                members=members,
                axes=AXES,
                slices=SLICES_PER_AXIS,
                labels_by="the label map that the image was made from",
                load=lambda n=number, c=contrast, s=stripped: _brain(data, n, c, s),  # type: ignore[misc]
            )


def _brain(data: Path, number: int, contrast: Contrast, stripped: bool) -> tuple[Volume, Volume]:
    maps = brain_label_maps(data, [number])
    image = brain_image(maps, contrast, stripped=stripped, seed=number)
    labels = maps.structure[maps.codes[0].long()].numpy().astype(np.int16)
    box = tuple(slice(0, size) for size in labels.shape)
    if stripped:
        box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    return (
        Volume(image[box].transpose(2, 1, 0), LPS_1_MM, modality="MR"),
        Volume(labels[box].transpose(2, 1, 0), LPS_1_MM),
    )


def brain_image(maps: LabelMaps, contrast: Contrast, *, stripped: bool, seed: int) -> NDArray[np.float32]:
    """(x, y, z) MR of the first label map: usual contrast, partial volume, bias field and noise."""
    generator = torch.Generator().manual_seed(seed)
    level = known_contrast(maps.label.tolist(), contrast, generator).numpy()
    if stripped:
        level = np.where((maps.structure == 0).numpy(), 0.0, level)
    codes = maps.codes[0].numpy()
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(level[codes].astype(np.float32), 0.6)
    bias = ndimage.zoom(rng.normal(0, 0.12, (4, 4, 4)), np.array(codes.shape) / 4, order=2)
    image *= np.exp(bias[tuple(slice(size) for size in codes.shape)]).astype(np.float32)
    noise = np.hypot(image + rng.normal(0, 0.02, codes.shape), rng.normal(0, 0.02, codes.shape))
    return np.asarray(np.where(codes == 0, 0, noise) if stripped else noise, dtype=np.float32)


def _trunks() -> Iterator[Case]:
    for seed in VALIDATION_PHANTOMS:
        yield Case(
            name="phantoms of trunks",
            patient=f"phantom {seed}",
            origin="synthesised",
            expert="body_ct",
            kind="CT",
            members=trunk_members(),
            axes=AXES,
            slices=SLICES_PER_AXIS,
            labels_by="the phantom's own geometry",
            load=lambda seed=seed: _trunk(seed),  # type: ignore[misc]
        )


def trunk_members() -> Members:
    """Structures of the phantoms by label value."""
    return {name: frozenset({1 + index}) for index, name in enumerate(BODY_CT)}


def _trunk(seed: int) -> tuple[Volume, Volume]:
    phantom = body_ct(seed)
    table = np.array([1 + BODY_CT.index(n) if n in BODY_CT else 0 for n in phantom.structures], np.int16)
    return (
        Volume(phantom.voxels, phantom.affine, modality="CT"),
        Volume(table[phantom.labels], phantom.affine),
    )
