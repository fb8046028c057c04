"""SA-Med2D-20M: images/MODALITY_SUB--SET--CASE--AXIS_SLICE.png, masks/...--CLASS_INSTANCE.png.

SAMed2D_v1_class_mapping_id.json gives, per set, class names to ids. When SAMed2D_v1.json (image to
its masks) is there it says which belong together, else the names do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_medreason.errors import DataSetError

from ..cases import Case, MaskFile, relative_path
from ..config import SourceConfig
from . import Importer
from .naming import patient_key, read_json, stem

INDEX, CLASSES = "SAMed2D_v1.json", "SAMed2D_v1_class_mapping_id.json"
MODALITIES = {
    **{"ct": "CT", "mr": "MR", "us": "US", "ultrasound": "US", "pet": "PT", "x": "DX", "xray": "DX"},
    **{"dermoscopy": "XC", "endoscopy": "ES", "fundus": "OP", "microscopy": "SM", "histopathology": "SM"},
}
"""First word of a file name to the DICOM modality code."""


def scan(root: Path, source: SourceConfig) -> Iterator[Case]:
    """One case per image; the patient is set and case, so all slices of a scan stay together."""
    classes = read_json(root / CLASSES)
    for image, masks in sorted(_index(root).items()):
        parts = stem(Path(image).name).split("--")
        if len(parts) < 4:
            raise DataSetError(f"{Path(image).name} is not named MODALITY_SUB--SET--CASE--AXIS_SLICE.png")
        modality = MODALITIES.get(parts[0].split("_")[0].lower(), "")
        yield Case(
            source=source.name,
            id=stem(Path(image).name),
            patient=patient_key(source.patient, "--".join(parts[1:3])),
            root=root,
            image=image,
            masks=tuple(MaskFile(mask, _class_name(mask, classes, parts[1])) for mask in sorted(masks)),
            modality=source.modality or modality,
        )


def _index(root: Path) -> dict[str, list[str]]:
    if (root / INDEX).is_file():
        table = read_json(root / INDEX)
        return {
            relative_path(image, INDEX): [relative_path(mask, INDEX) for mask in masks]
            for image, masks in table.items()
        }
    found: dict[str, list[str]] = defaultdict(list)
    for path in (root / "masks").glob("*.png"):
        found[f"images/{stem(path.name).rsplit('--', 1)[0]}.png"].append(f"masks/{path.name}")
    return found


def _class_name(mask: str, classes: dict[str, Any], data_set: str) -> str:
    """Name of the class number at the end of a mask's name; DataSetError when the table lacks it."""
    number = stem(Path(mask).name).rsplit("--", 1)[-1].split("_")[0]
    table = classes.get(data_set, classes)
    for name, value in table.items():
        if number.isdecimal() and str(value).isdecimal() and int(value) == int(number):
            return str(name)
    raise DataSetError(f"{CLASSES} has no class {number} for {data_set}; use the file of the same release")


IMPORTER = Importer("sa-med2d", scan)
