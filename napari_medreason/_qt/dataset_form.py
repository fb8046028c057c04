"""What the data-set dock asks for, and the configuration file of a build that follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

from napari_medreason.core.record import System
from napari_medreason.errors import DataSetError
from napari_medreason.io.atomic import replace_file

CONFIG, TEMPLATES, LAYERS = "build.toml", "templates", "layers"
"""Names in the output folder: the configuration, the templates used, and images that came from layers."""
LAYOUTS = {
    "pairs": "Image and mask files",
    "nnunet": "nnU-Net",
    "decathlon": "Medical Segmentation Decathlon (MONAI)",
    "sa-med2d": "SA-Med2D-20M",
    "dicom-seg": "DICOM with SEG objects",
}
WRITERS = {
    "template": "Templates (on this computer)",
    "transformers": "A language model in a local folder",
    "endpoint": "A language model at an address",
}
_NAMES_LOOKED_AT = 2000
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagesTr", "scans")
_MASK_FOLDERS = ("masks", "mask", "labels", "label", "labelsTr", "segmentations", "seg")
_LABEL_FILES = ("labels.json", "labels.txt", "labels.csv", "dataset.json")


@dataclass(frozen=True)
class SourceForm:
    """One folder of images and masks, with the keys of a `[[sources]]` table."""

    name: str
    layout: str
    root: str
    images: str = ""
    masks: str = ""
    image_ending: str = ""
    mask_ending: str = ""
    modality: str = ""
    labels_file: str = ""
    patient: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WriterForm:
    """Who writes the words. consent: given for exactly this address, model and choice of images."""

    kind: str = "template"
    model: str = ""
    address: str = ""
    send_images: bool = False
    consent: bool = False


@dataclass(frozen=True)
class BuildForm:
    """Everything that a build needs. templates: "" for those that ship, else a folder in the output folder.

    test, validation: shares from 0 to 1. slices: at most per structure and case, 0 for all.
    """

    system: System
    sources: tuple[SourceForm, ...]
    out: Path
    writer: WriterForm = WriterForm()
    templates: str = ""
    axes: tuple[str, ...] = ("axial",)
    minimum_pixels: int = 10
    slices: int = 5
    questions: int = 1
    formats: int = 20
    test: float = 0.1
    validation: float = 0.0
    seed: int = 1


def consent_words(writer: WriterForm) -> str:
    """What is agreed to: the address, and what is sent there; "" while the address is none."""
    host = urlsplit(writer.address).hostname if "://" in writer.address else None
    if not host:
        return ""
    what = (
        "label names, kind of image, place, size, shape and brightness of the masks, "
        "and the texts written so far"
    )
    images = ", and the pixels of each asked slice" if writer.send_images else "; no pixels"
    return f"I agree that {what}{images} are sent to {writer.address}."


def check(form: BuildForm, *, layers: bool = False) -> None:
    """DataSetError, one line with what to do, when a build can't be started with this form.

    layers: whether layers of the viewer come as sources too.
    """
    writer = form.writer
    faults = [
        (
            not form.sources and not layers,
            "there is no image yet; add a folder or the current layers under “Sources”",
        ),
        (
            not form.out.is_absolute(),
            "no output folder is chosen; choose an empty one, or that of a build to go on with",
        ),
        (not form.axes, "no plane is chosen; tick axial, coronal or sagittal under “Amounts”"),
        (form.test + form.validation >= 1, "test and validation leave nothing for training; lower them"),
        (
            writer.kind == "transformers" and not writer.model,
            "no folder of a language model is named; name it under “Words”",
        ),
        (
            writer.kind == "endpoint" and not (consent_words(writer) and writer.model),
            "the address or the model is missing; write an address such as http://127.0.0.1:8000/v1",
        ),
        (
            writer.kind == "endpoint" and not writer.consent,
            f"nothing may be sent to {writer.address} yet; tick the agreement under “Words” or use templates",
        ),
    ]
    for wrong, words in faults:
        if wrong:
            raise DataSetError(words)


def guessed_source(root: Path) -> SourceForm:
    """What a folder looks like, from its names alone; DataSetError when it can't be read."""
    try:
        names = {entry.name for entry in root.iterdir()}
    except OSError as error:
        raise DataSetError(f"the folder {root.name} can't be read: {error.strerror}") from error
    name = root.name or "images"
    if {"imagesTr", "labelsTr", "dataset.json"} <= names:
        layout = "nnunet" if any((root / "imagesTr").glob("*_0000.*")) else "decathlon"
        return SourceForm(name, layout, str(root))
    if "SAMed2D_v1.json" in names or any((root / "masks").glob("*--*--*--*")):
        return SourceForm(name, "sa-med2d", str(root))
    images = next((one for one in _IMAGE_FOLDERS if one in names), "")
    masks = next((one for one in _MASK_FOLDERS if one in names), "")
    if not masks and any(path.suffix == ".dcm" for path in islice(root.rglob("*"), _NAMES_LOOKED_AT)):
        return SourceForm(name, "dicom-seg", str(root))
    labels_file = next((one for one in _LABEL_FILES if one in names), "")
    return SourceForm(name, "pairs", str(root), images, masks, labels_file=labels_file)


def toml_text(form: BuildForm) -> str:
    """The configuration of a build whose records go into the folder of the file."""
    top = {
        "out": ".",
        "seed": form.seed,
        "questions_per_region": form.questions,
        "formats_per_category": form.formats,
        **({"templates": form.templates} if form.templates else {}),
    }
    regions = {
        "axes": list(form.axes),
        "minimum_pixels": form.minimum_pixels,
        "slices_per_structure": form.slices,
    }
    writer: dict[str, Any] = {"kind": form.writer.kind}
    if form.writer.kind != "template":
        writer["model"] = form.writer.model
    if form.writer.kind == "endpoint":
        writer |= {
            "address": form.writer.address,
            "send_images": form.writer.send_images,
            "allow_endpoint": form.writer.consent,
        }
    tables = [
        _lines(top),
        *(["[[sources]]", *_lines(_source(one))] for one in form.sources),
        ["[regions]", *_lines(regions)],
        ["[split]", *_lines({"validation": form.validation, "test": form.test})],
        ["[writer]", *_lines(writer)],
    ]
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def write_config(form: BuildForm) -> Path:
    """Check a form and write its configuration into the output folder; DataSetError or ExportError."""
    check(form)
    path = form.out / CONFIG
    with replace_file(path) as temporary:
        temporary.write_text(toml_text(form), encoding="utf-8", newline="\n")
    return path


def _source(source: SourceForm) -> dict[str, Any]:
    texts = ("name", "layout", "root", "images", "masks", "image_ending", "mask_ending", "modality")
    kept = {key: getattr(source, key) for key in (*texts, "labels_file", "patient") if getattr(source, key)}
    labels = {str(value): name for value, name in sorted(source.labels.items())}
    return {**kept, **({"labels": labels} if labels else {})}


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    """A TOML value; its basic strings are JSON strings but for the delete character."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def known_systems() -> tuple[str, ...]:
    """The systems whose form of question and answer can be built."""
    return get_args(System)
