"""Medical Segmentation Decathlon tasks, as MONAI reads them: one JSON file lists images and labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_medreason.errors import DataSetError

from ..cases import Case, MaskFile, relative_path
from ..config import SourceConfig
from . import Importer
from .naming import patient_key, read_json, stem
from .nnunet import first_channel, label_names

LISTS = ("training", "validation", "test")


def scan(root: Path, source: SourceConfig) -> Iterator[Case]:
    """One case per entry that has a label file; `images` may name the JSON file (dataset.json by default)."""
    name = source.images or "dataset.json"
    description = read_json(root / name)
    if not isinstance(description, dict) or not any(key in description for key in LISTS):
        raise DataSetError(f"{name} has none of the lists {', '.join(LISTS)}; use a decathlon data list")
    names, unions = label_names(description.get("labels") or source.labels)
    if unions:
        raise DataSetError(f"{name} gives several values to one label; a decathlon list has one each")
    modality = source.modality or first_channel(description)
    for key in LISTS:
        for number, entry in enumerate(description.get(key, ())):
            if not isinstance(entry, dict) or not entry.get("label"):
                continue
            where = f"{name}, {key} {number}"
            image = relative_path(_first(entry.get("image")), where)
            shared = stem(Path(image).name)
            yield Case(
                source=source.name,
                id=f"{key}/{stem(image)}",
                patient=patient_key(source.patient, shared),
                root=root,
                image=image,
                masks=(MaskFile(relative_path(_first(entry["label"]), where)),),
                names=names,
                modality=modality,
            )


def _first(value: object) -> str:
    """MONAI lists may give several channel files; the first is the image."""
    if isinstance(value, list) and value:
        return str(value[0])
    return str(value or "")


IMPORTER = Importer("decathlon", scan)
