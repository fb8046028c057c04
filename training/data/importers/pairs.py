"""Image and mask files whose names share a part, in one folder or two, or label maps alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..cases import Case, MaskFile
from ..config import SourceConfig
from . import Importer
from .naming import is_image, label_table, patient_key, stem


def scan(root: Path, source: SourceConfig) -> Iterator[Case]:
    """One case per mask; its image has the same shared part and `image_ending` in place of `mask_ending`."""
    masks = root / source.masks
    shared_names = _named_table(root, source)
    images = _images(root, source)
    for path in sorted(entry for entry in masks.rglob("*") if is_image(entry)):
        name = stem(path.name)
        inside = path.relative_to(masks).parent.as_posix()
        if not name.endswith(source.mask_ending) or not re.search(source.include, path.name):
            continue
        shared = name[: len(name) - len(source.mask_ending)]
        image = images.get((inside, shared), "")
        if (not image and source.images) or image == path.relative_to(root).as_posix():
            continue
        case_id = shared if inside == "." else f"{inside}/{shared}"
        yield Case(
            source=source.name,
            id=case_id,
            patient=patient_key(source.patient, case_id),
            root=root,
            image=image,
            masks=(MaskFile(path.relative_to(root).as_posix()),),
            names=shared_names or _case_table(root, source, shared),
            modality=source.modality,
        )


def _images(root: Path, source: SourceConfig) -> dict[tuple[str, str], str]:
    """(folder inside the image folder, shared part) to path; empty without images."""
    if not source.images:
        return {}
    folder = root / source.images
    found = {}
    for path in sorted(entry for entry in folder.rglob("*") if is_image(entry)):
        name = stem(path.name)
        if name.endswith(source.image_ending):
            shared = name[: len(name) - len(source.image_ending)]
            found[(path.relative_to(folder).parent.as_posix(), shared)] = path.relative_to(root).as_posix()
    return found


def _named_table(root: Path, source: SourceConfig) -> dict[int, str]:
    named = {int(value): name for value, name in source.labels.items()}
    if source.labels_file and "{case}" not in source.labels_file:
        return label_table(root / source.labels_file, source.labels_key) | named
    return named


def _case_table(root: Path, source: SourceConfig, shared: str) -> dict[int, str]:
    if "{case}" not in source.labels_file:
        return {}
    return label_table(root / source.labels_file.replace("{case}", shared), source.labels_key)


IMPORTER = Importer("pairs", scan)
