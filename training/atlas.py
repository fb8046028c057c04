"""The SPL abdominal atlas, a label map without image, dressed up as a CT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from .volumes import LabelledVolume, Labelling, body_volume, load_lps

ENLARGED = 1.45
"""The header's spacing is too small by about this: its organs have half to a third of the usual volume."""
UNUSABLE_SLICES = 10
"""At the top, where lungs and heart are not labelled."""
_WITHOUT_SIDE = {
    **{"liver": "liver", "spleen": "spleen", "pancreas": "pancreas", "aorta": "aorta"},
    **{"inferior_vena_cava": "inferior_vena_cava", "gallbladder": "gallbladder", "Sacrum": "sacrum"},
    **{"portal_vein_and_superior_mesenteric_vein": "portal_vein", "splenic_vein": "portal_vein"},
    **{"right_hepatic_vein": "liver", "left_hepatic_vein": "liver"},
    **{"stomach_and_duodenum": "stomach"},
}
_WITH_SIDE = {
    **{"kidney": "kidney", "renal_pelvis": "kidney", "adrenal_gland": "adrenal_gland"},
    **{"psoas_muscle": "iliopsoas", "iliacus_muscle": "iliopsoas"},
    **{f"gluteus_{part}_muscle": "gluteal_muscles" for part in ("minimus", "medius", "maximus")},
    "erector_spinae_muscle": "erector_spinae",
}
_HU = {"colon_and_ileum": 20.0, "Pelvis": 280.0}
_MUSCLE_HU, _FAT_HU, _AIR_HU = 55.0, -100.0, -1000.0


def abdomen_atlas(folder: Path, typical_hu: dict[str, float]) -> LabelledVolume:
    """HU by label, fat between and around the organs, air outside."""
    labels, spacing = load_lps(folder / "abdomen_ct_labels.nii.gz")
    names = json.loads((folder / "abdomen_ct_labels.json").read_text(encoding="utf-8"))
    labels = np.where(labels == 699, 0, labels)[..., :-UNUSABLE_SLICES]
    labelling = _labelling({int(entry["id"]): entry["name"] for entry in names})
    table = np.full(int(labels.max()) + 1, _MUSCLE_HU, np.float32)
    for entry in names:
        structure = labelling.get(int(entry["id"]), ("", ""))[0]
        if int(entry["id"]) < len(table):
            table[int(entry["id"])] = typical_hu.get(structure, _HU.get(entry["name"], _MUSCLE_HU))
    body = np.stack([_outline(labels[..., k] > 0) for k in range(labels.shape[2])], -1)
    hu = np.where(labels > 0, table[labels], np.where(body, _FAT_HU, _AIR_HU)).astype(np.float32)
    x, y, z = (size * ENLARGED for size in spacing)
    # Stomach and duodenum are one label here, colon and ileum another: neither is told apart.
    known = {name for name, _ in labelling.values()} - {"stomach"}
    known |= {"urinary_bladder", "femur", "heart"}
    volume = body_volume(
        "abdomen_atlas",
        hu,
        labels,
        spacing=(x, y, z),
        labelling={value: pair for value, pair in labelling.items() if pair[0] in known},
        known=known,
        weight=0.2,
    )
    return replace(volume, planes=(0.85, 0.1, 0.05))


def _outline(organs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The body around the labels of one slice: their hull and a finger's breadth of fat."""
    if not organs.any():
        return organs
    hull = convex_hull_image(organs)  # type: ignore[no-untyped-call]
    return np.asarray(ndimage.binary_dilation(hull, iterations=9))


def _labelling(names: dict[int, str]) -> Labelling:
    result: dict[int, tuple[str, str]] = {}
    for value, name in names.items():
        side, _, rest = name.partition("_")
        if name in _WITHOUT_SIDE:
            result[value] = (_WITHOUT_SIDE[name], "")
        elif rest in _WITH_SIDE and side in ("left", "right"):
            result[value] = (_WITH_SIDE[rest], side)
        elif name.startswith(("Thoracic", "Lumbar")) or name.endswith("IntervertebralDisc"):
            result[value] = ("vertebra", "")
    return result
