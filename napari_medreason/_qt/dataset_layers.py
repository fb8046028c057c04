"""Layers of the viewer as a source of a build: images and labels written beside the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason._qt.dataset_form import LAYERS, SourceForm
from napari_medreason._qt.template_facts import LabelSource, label_layers, label_source
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.layers import StudyRef, label_volume

PATIENT = "^(study-[0-9a-f]+)"


@dataclass(frozen=True, eq=False)
class LayerCase:
    """A Labels layer as it was when it was taken, with the image layer below it, if there is one."""

    name: str
    labels: Volume
    image: Image | None
    study: StudyRef
    names: dict[int, str]

    def voxels(self) -> NDArray[np.generic] | None:
        """The image (k, j, i), decoded if it was not yet."""
        return None if self.image is None else label_volume(self.image.data, self.study, None).voxels


def taken(viewer: Viewer) -> list[LayerCase]:
    """Copies of all Labels layers that hold a label; DataSetError or LabelMapError with the reason."""
    found = [case_of(label_source(viewer, layer)) for layer in label_layers(viewer)]
    cases = [case for case in found if case is not None]
    if not cases:
        raise DataSetError("there is no Labels layer with a label in the viewer; paint one, or add a folder")
    return cases


def case_of(source: LabelSource) -> LayerCase | None:
    """A copy of one Labels layer, None when it holds no label; DataSetError or LabelMapError as above."""
    if source.layer.ndim == 4:
        raise DataSetError(
            f"layer “{source.layer.name}” has frames; layers with two or three axes are accepted, "
            "please duplicate one frame into a layer of its own"
        )
    values = checked_labels(source.volume.voxels)
    present = [int(value) for value in np.unique(values) if value]
    if not present:
        return None
    size = np.uint8 if max(present) < 2**8 else np.uint16 if max(present) < 2**16 else np.int32
    names = {value: name for value in present if (name := _name(source, value))}
    if not names:
        raise DataSetError(
            f"no label of layer “{source.layer.name}” has a name; name them, for example in the MedPos dock"
        )
    labels = replace(source.volume, voxels=values.astype(size))  # a copy: painting goes on
    return LayerCase(source.layer.name, labels, source.image, source.study, names)


def _name(source: LabelSource, value: int) -> str:
    found = source.name(value)
    if not found.structure and value not in source.names:
        return ""
    return f"{found.side} {found.name}".strip()


def write_cases(cases: Sequence[LayerCase], out: Path) -> list[SourceForm]:
    """Write images, masks and names into folders of `out / "layers"`, one source for each kind of image.

    Files are named by their content: the same layers have the same names again, two masks on one image
    belong to one patient, and no name of a layer, which may be that of a patient, goes into records.
    ExportError when they can't be written.
    """
    kinds = groupby(sorted(cases, key=_kind), key=_kind)
    try:
        return [_write_kind(list(some), out, kind) for kind, some in kinds]
    except OSError as error:
        raise ExportError(
            f"the layers can't be written: {error.strerror}; check space and permission"
        ) from error


def _kind(case: LayerCase) -> str:
    image = "" if case.image is not None else "masks"
    return "-".join(filter(None, (case.study.modality.lower() or "other", image)))


def _write_kind(cases: Sequence[LayerCase], out: Path, kind: str) -> SourceForm:
    root = out / LAYERS / kind
    for case in cases:
        voxels = case.voxels()
        patient = f"study-{_digest(case.labels.voxels if voxels is None else voxels)}"
        name = f"{patient}-{_digest(case.labels.voxels)}"
        for folder in ("images", "masks", "names"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        if voxels is not None:
            io.write(root / "images" / f"{name}.nii.gz", replace(case.labels, voxels=voxels))
        io.write(root / "masks" / f"{name}.nii.gz", case.labels)
        with io.replace_file(root / "names" / f"{name}.json") as temporary:
            names = {str(value): words for value, words in case.names.items()}
            temporary.write_text(json.dumps(names, ensure_ascii=False), encoding="utf-8")
    return SourceForm(
        name=f"layers {kind}",
        layout="pairs",
        root=f"{LAYERS}/{kind}",
        images="images" if cases[0].image is not None else "",
        masks="masks",
        labels_file="names/{case}.json",
        modality=cases[0].study.modality,
        patient=PATIENT,
    )


def _digest(array: NDArray[np.generic]) -> str:
    return sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]
