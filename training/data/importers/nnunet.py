"""nnU-Net raw data sets: dataset.json, imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz.

The format is described in nnU-Net's documentation/dataset_format.md; the older dataset.json with
label values as keys is read too. Of several channels the first is the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_medreason.errors import DataSetError

from ..cases import Case, MaskFile
from ..config import SourceConfig
from . import Importer
from .naming import is_image, patient_key, read_json, stem

IGNORED = "ignore"
"""The label of voxels that nnU-Net leaves out of training: nothing that could be asked for."""
FOLDERS = (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs"))


def scan(root: Path, source: SourceConfig) -> Iterator[Case]:
    """One case per label file; region labels (several values under one name) become masks of their own."""
    description = read_json(root / "dataset.json")
    if not isinstance(description, dict) or not isinstance(description.get("labels"), dict):
        raise DataSetError('dataset.json has no object "labels"; use the file that nnU-Net reads')
    names, unions = label_names(description["labels"])
    modality = source.modality or first_channel(description)
    for images, labels in FOLDERS:
        for path in sorted(entry for entry in (root / labels).glob("*") if is_image(entry)):
            case = stem(path.name)
            image = _image(root / images, case)
            relative = f"{labels}/{path.name}"
            parts = tuple(MaskFile(relative, name, values) for name, values in unions.items())
            yield Case(
                source=source.name,
                id=f"{labels}/{case}",
                patient=patient_key(source.patient, case),
                root=root,
                image=image.relative_to(root).as_posix() if image else "",
                masks=(MaskFile(relative), *parts) if names else parts,
                names=names,
                modality=modality,
            )


def _image(folder: Path, case: str) -> Path | None:
    found = sorted(entry for entry in folder.glob(f"{case}_0000.*") if is_image(entry))
    return found[0] if found else None


def label_names(labels: dict[str, Any]) -> tuple[dict[int, str], dict[str, tuple[int, ...]]]:
    """Single values to names, names of regions to their several values; without background and "ignore"."""
    names: dict[int, str] = {}
    unions: dict[str, tuple[int, ...]] = {}
    for key, value in labels.items():
        if key.isdecimal() and isinstance(value, str):
            names[int(key)] = value
        elif isinstance(value, int):
            names[value] = key
        elif isinstance(value, list) and all(type(entry) is int for entry in value) and value:
            unions[key] = tuple(value)
        else:
            raise DataSetError(f"label {key!r} of dataset.json has the value {value!r}; use numbers")
    names.pop(0, None)
    names = {value: name for value, name in names.items() if name.lower() != IGNORED}
    for name, values in list(unions.items()):
        if len(values) == 1:
            names[unions.pop(name)[0]] = name
    return names, unions


def first_channel(description: dict[str, Any]) -> str:
    """DICOM modality code of the first channel, "" when its name tells none."""
    channels = description.get("channel_names", description.get("modality", {}))
    first = str(channels.get("0", "")).upper() if isinstance(channels, dict) else ""
    if "CT" in first.split():
        return "CT"
    magnetic = ("MR", "T1", "T2", "FLAIR", "ADC", "DWI", "PD")
    return "MR" if any(word in first for word in magnetic) else ""


IMPORTER = Importer("nnunet", scan)
