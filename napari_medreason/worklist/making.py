"""What a new work list is made of: checked labels and one item per study."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from napari_medreason.errors import WorkListError
from napari_medreason.io.find_studies import FoundStudy
from napari_medreason.worklist import storage
from napari_medreason.worklist.items import Item, LabelDefinition


def id_of(study: FoundStudy) -> str:
    """From the series, wherever its folder is moved to, or from the path of a file."""
    by_series = "." in study.series
    key = study.series if by_series else f"{study.path}\0{study.series}"
    return f"{'s' if by_series else 'f'}-{sha256(key.encode()).hexdigest()[:16]}"


def write_new(folder: Path, study: FoundStudy) -> None:
    """The item file of a study; one that is there already stays."""
    item = Item(
        id_of(study), study.path, study.series, study.patient, study.study, study.modality, study.shape_kji
    )
    path = folder / storage.ITEMS / f"{item.id}.json"
    with storage.locked(folder, item.id):
        if not path.exists():
            storage.write_json(path, item)


def checked_definitions(labels: Iterable[LabelDefinition]) -> tuple[LabelDefinition, ...]:
    """Labels with names and different values; WorkListError says what is not clear about them."""
    definitions = tuple(labels)
    values = [definition.value for definition in definitions]
    if not definitions or min(values) < 1 or len(set(values)) < len(values):
        raise WorkListError(
            "a work list needs labels with different values from 1 on; give each label a value of its own"
        )
    if not all(definition.name.strip() for definition in definitions):
        raise WorkListError("a label has no name; name each label, such as “liver”")
    return definitions
