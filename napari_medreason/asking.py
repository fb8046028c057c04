"""From an image file and a question to an answer, its JSON and its files, without a viewer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason import io, models
from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Axis, Plane, cut, slice_count
from napari_medreason.core.question import Question, checked_text
from napari_medreason.core.report import grounding_json
from napari_medreason.core.volume import Volume, default_window, parse_window
from napari_medreason.engine.loaded import make_loaded, with_notes
from napari_medreason.errors import ExportError
from napari_medreason.io.overlay import write_overlay

MASK_FILE, OVERLAY_FILE, ANSWER_FILE = "mask.nii.gz", "overlay.png", "answer.json"


@dataclass(frozen=True)
class Place:
    """Which plane of a study a question is about; None means the default of each."""

    axis: Axis = "axial"
    index: int | None = None
    frame: int | None = None
    window: str | None = None


def plane_at(volume: Volume, place: Place) -> Plane:
    """The result plane to ask about: the middle slice and the shared default window unless told."""
    frame = volume.frame(place.frame)
    index = slice_count(frame, place.axis) // 2 if place.index is None else place.index
    window = parse_window(place.window) if place.window else default_window(volume)
    return cut(frame, place.axis, index, window)


def ask_volume(
    volume: Volume, text: str, place: Place, *, model: str, on_text: Callable[[str], None]
) -> tuple[Grounding, Plane]:
    """Ask one question about one plane of a study, in this process."""
    checked = checked_text(text)
    plane = plane_at(volume, place)
    loaded = make_loaded(model, {}, lambda: models.create(model), told=lambda words: None)
    try:
        question = Question(checked, plane)
        grounding = loaded.model.ask(question, on_text=on_text, cancelled=lambda: False)
        return with_notes(grounding, loaded.notes), plane
    finally:
        loaded.model.close()


def answer_folder(folder: Path) -> Path:
    """The folder for an answer, made if need be; ExportError when it can't be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(folder, error.strerror or type(error).__name__) from error
    return folder


def check_answer_folder(folder: Path) -> None:
    """ExportError when a file has the folder's name: said before the work, and without making anything."""
    if folder.exists() and not folder.is_dir():
        raise _no_folder(folder, "a file has this name")


def _no_folder(folder: Path, reason: str) -> ExportError:
    if folder.is_file():
        reason = "a file has this name"
    return ExportError(
        f"{folder.name} can't be used as the folder for the answer: {reason}; name another folder"
    )


def _prove(file: Path, voxels: NDArray[np.uint8], like: Volume) -> None:
    """Read the mask back; ExportError, and the file stays, when it is not what was meant."""
    from napari_medreason.io.proof import volume_differences

    meant = Volume(voxels, like.affine, orientation_known=like.orientation_known)
    if differences := volume_differences(file, meant):
        raise ExportError(
            f"{file.name} was written, but read back it differs ({'; '.join(differences)}); don't use it"
        )


def write_answer(folder: Path, volume: Volume, plane: Plane, grounding: Grounding) -> dict[str, Any]:
    """Write mask (in the geometry of the study), overlay and JSON; return the JSON with their paths.

    The mask file is all zeros but the answered slice. When nothing was found there is none; that of an
    earlier answer in the folder is removed, so that it is not taken for this one's. ExportError when the
    folder can't be used, or when the mask that was written is another one when it is read back.
    """
    answer_folder(folder)
    report = grounding_json(grounding, volume.affine)
    if grounding.mask is not None:
        voxels = np.zeros(volume.shape_kji, np.uint8)
        plane.grid.put(grounding.mask, voxels)
        io.write(folder / MASK_FILE, voxels, like=volume)
        _prove(folder / MASK_FILE, voxels, volume)
        report["mask"] = str(folder / MASK_FILE)
    else:
        (folder / MASK_FILE).unlink(missing_ok=True)
    write_overlay(folder / OVERLAY_FILE, plane, grounding.mask, grounding.box, grounding.points)
    report["overlay"] = str(folder / OVERLAY_FILE)
    with io.replace_file(folder / ANSWER_FILE) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report
