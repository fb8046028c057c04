"""A mask as a JSON report, and as a picture of the slice that shows most of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_medreason.core.geometry import axis_directions, index_to_lps
from napari_medreason.core.plane import Plane, cut, plane_grid, plane_stack
from napari_medreason.core.volume import Volume, default_window
from napari_medreason.io.atomic import replace_file
from napari_medreason.io.label_codes import LabelCode, label_codes
from napari_medreason.io.overlay import overlay_image, write_overlay

Json = dict[str, Any]


def mask_report(
    labels: NDArray[Any], image: Volume, names: Mapping[int, str], about: Mapping[str, Any]
) -> Json:
    """Size and place of every label of a (k, j, i) mask, the grid of its image, and what is known about it.

    about: question, answer and so on of an answer's mask; nothing for other masks. Points are voxel centres
    in LPS mm, and left out where the orientation is unknown.
    """
    known = image.orientation_known
    return {
        "image": {
            "shape": list(image.shape_kji),
            "spacing": [round(size, 6) for size in image.spacing_kji],
            "orientation": "".join(axis_directions(image.affine)) if known else None,
            "affine_lps": np.round(image.affine, 6).tolist() if known else None,
            "modality": image.modality or None,
        },
        "labels": [_label(labels == one.value, image, one) for one in label_codes(labels, names)],
        **({"answer": dict(about)} if about else {}),
    }


def write_report(path: Path, report: Json) -> tuple[str, ...]:
    """Write a report and read it back; what differs."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    same = json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    return () if same else ("other values",)


def write_picture(path: Path, labels: NDArray[Any], image: Volume) -> tuple[int, tuple[str, ...]]:
    """Write the axial slice with most of a (k, j, i) mask, and read it back; its index, and what differs.

    image: one frame, with its voxels.
    """
    counts = np.count_nonzero(plane_stack(labels, image, "axial"), axis=(1, 2))
    index = int(counts.argmax())
    plane: Plane = cut(image, "axial", index, default_window(image))
    mask = np.asarray(plane_grid(image, "axial", index).take(labels)) > 0
    write_overlay(path, plane, mask)
    with Image.open(path) as found:
        same = np.array_equal(np.asarray(found.convert("RGB")), np.asarray(overlay_image(plane, mask)))
    return index, () if same else ("other pixels",)


def _label(mask: NDArray[np.bool_], image: Volume, one: LabelCode) -> Json:
    at = [np.flatnonzero(mask.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    low, high = [int(one[0]) for one in at], [int(one[-1]) for one in at]
    count = int(np.count_nonzero(mask))
    millilitres = count * abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    report: Json = {
        "label": one.value,
        "name": one.name,
        "snomed": one.kind.value if one.coded else None,
        "voxels": count,
        "volume_ml": round(millilitres, 4) if image.calibrated else None,
        "first_kji": low,
        "last_kji": high,
    }
    if image.orientation_known:
        centre = np.array([index.mean() for index in np.nonzero(mask)])[::-1]
        report["center_lps"] = [round(float(value), 3) for value in index_to_lps(centre, image.affine)]
    return report
