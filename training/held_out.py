"""Real scans that training never sees, with what is labelled on them and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.geometry import index_to_lps, lps_to_index
from napari_medreason.core.plane import Axis, Plane
from napari_medreason.core.volume import Volume
from napari_medreason.io import read

from .volumes import TOTAL, TRUNK

Members = Mapping[str, frozenset[int]]
"""Structure to the label values it is made of."""


@dataclass(frozen=True)
class HeldOut:
    """One scan with labels.

    name: patient, or "template". expert: who reads it. image, labels: below the data folder.
    members: what was labelled. axes: planes that are evaluated, every `step`-th slice.
    note: who made the labels.
    """

    name: str
    expert: str
    image: str
    labels: str
    members: Members
    axes: tuple[Axis, ...]
    step: int
    note: str


def members_of(labelling: Mapping[int, tuple[str, str]]) -> Members:
    """Structure to label values, whatever the side."""
    result: dict[str, set[int]] = {}
    for value, (name, _) in labelling.items():
        result.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in result.items()}


def held_out(data: Path, before: tuple[str, ...]) -> list[HeldOut]:
    """All held-out scans, and the training scans in `before`, which the weights have not seen yet."""
    abdomen = {name: values for name, values in members_of(TOTAL).items() if name not in ("oesophagus",)}
    scans = [
        HeldOut(
            "abdomen CT",
            "body_ct",
            "conformance/totalsegmentator/example_ct_dicom.zip",
            "labelled/totalsegmentator_ref/example_seg_dicom.nii.gz",
            {name: abdomen[name] for name in _IN_ABDOMEN_CT},
            ("axial",),
            1,
            "labels by TotalSegmentator",
        ),
        HeldOut(
            "head T2",
            "brain_mr",
            "labelled/torchio-data-fpg/fpg_t2.nii.gz",
            "labelled/torchio-data-fpg/fpg_t2_labels.nii.gz",
            _parcellation(data / "labelled/torchio-data-fpg/fpg_t2_labels.json"),
            ("axial",),
            1,
            "labels made on the T1 of the same person by GIF",
        ),
    ]
    if "trunk_ct" in before:
        scans.append(_TRUNK)
    return scans


TEMPLATE = "labelled/mni_icbm152/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
"""A T1 image averaged over many people, with maps of grey ("gm") and white ("wm") matter."""
TISSUES = {
    "grey matter": (
        "gm",
        *("cerebral_cortex", "cerebellar_cortex", "caudate_nucleus", "putamen", "thalamus"),
        *("hippocampus", "amygdala", "nucleus_accumbens"),
    ),
    "white matter": ("wm", "cerebral_white_matter", "cerebellar_white_matter", "brainstem"),
}
"""Tissue to its map and the structures that are made of it."""


_IN_ABDOMEN_CT = (
    *("liver", "spleen", "stomach", "pancreas", "adrenal_gland", "colon", "vertebra", "aorta"),
    *("inferior_vena_cava", "portal_vein", "spinal_canal", "erector_spinae", "ribs"),
    *("kidney", "gallbladder", "urinary_bladder", "small_bowel", "hip_bone", "femur", "sacrum"),
)
_TRUNK = HeldOut(
    "whole-trunk CT",
    "body_ct",
    "labelled/tcia_cervical_ct/cc_ct.nii.gz",
    "labelled/tcia_cervical_ct/cc_ct_mask.nii.gz",
    members_of(TRUNK),
    ("axial", "coronal", "sagittal"),
    5,
    "labels by TotalSegmentator",
)


def _parcellation(file: Path) -> Members:
    """Structures of the head T2 by the names in its label list."""
    result: dict[str, set[int]] = {}
    for entry in json.loads(file.read_text(encoding="utf-8")):
        name = _structure_of(entry["name"].removeprefix("Left-").removeprefix("Right-"), int(entry["id"]))
        if name:
            result.setdefault(name, set()).add(int(entry["id"]))
    return {name: frozenset(values) for name, values in result.items()}


_PARTS = {
    **{"3rd-Ventricle": "third_ventricle", "3rd-Ventricle-(Posterior-part)": "third_ventricle"},
    **{"4th-Ventricle": "fourth_ventricle", "Accumbens-Area": "nucleus_accumbens"},
    **{"Amygdala": "amygdala", "Pons": "brainstem", "Brain-Stem": "brainstem"},
    **{"Caudate": "caudate_nucleus", "Cerebellum-Exterior": "cerebellar_cortex"},
    **{"Cerebellum-White-Matter": "cerebellar_white_matter", "Hippocampus": "hippocampus"},
    **{"Inf-Lat-Vent": "inferior_lateral_ventricle", "Lateral-Ventricle": "lateral_ventricle"},
    **{"Pallidum": "globus_pallidus", "Putamen": "putamen", "Thalamus-Proper": "thalamus"},
    **{"Ventral-DC": "ventral_diencephalon", "Corpus-Callosum": "cerebral_white_matter"},
    "periventricular-white-matter": "cerebral_white_matter",
}
_FIRST_GYRUS = 101
"""Cortical regions have ids from here on."""


def _structure_of(name: str, value: int) -> str:
    if value >= _FIRST_GYRUS:
        return "cerebral_cortex"
    if name.startswith("Cerebellar-Vermal"):
        return "cerebellar_cortex"
    if name.endswith("-White-Matter") and not name.startswith("Cerebellum"):
        return "cerebral_white_matter"
    return _PARTS.get(name, "")


def load(data: Path, scan: HeldOut) -> tuple[Volume, Volume]:
    """Image and label volume."""
    return read(data / scan.image), read(data / scan.labels)


def labels_on(plane: Plane, labels: Volume) -> NDArray[np.int64]:
    """(rows, columns) label values at the plane's pixels, by patient position; 0 outside."""
    rows, columns = np.indices(plane.grid.shape)
    points = plane.grid.index_ijk(np.stack([columns, rows], -1).astype(np.float64))
    index = np.rint(lps_to_index(index_to_lps(points, plane.affine), labels.affine)).astype(np.intp)
    size = np.array(labels.shape_kji[::-1])
    inside = ((index >= 0) & (index < size)).all(-1)
    i, j, k = np.moveaxis(np.clip(index, 0, size - 1), -1, 0)
    return np.where(inside, labels.voxels[k, j, i], 0).astype(np.int64)
