"""Accepted studies as a data set in the layout of nnU-Net, which the data-set builder and others read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from napari_medreason import io
from napari_medreason.errors import CancelledError, ExportError, WorkListError
from napari_medreason.worklist.folder import WorkList
from napari_medreason.worklist.items import Item, Settings
from napari_medreason.worklist.prelabels import Cancelled, Progress

IMAGES, LABELS, DESCRIPTION = "imagesTr", "labelsTr", "dataset.json"
PATIENT_PATTERN = r"^(p-[0-9a-f]+)_"
"""What finds the patient's pseudonym in the case names, for a split by patient."""


def export_accepted(
    work_list: WorkList,
    folder: str | Path,
    *,
    read_twice: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> tuple[str, ...]:
    """Write image and final labels of every accepted study to a new folder; the names of the cases.

    imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz and dataset.json, where CASE is the patient's
    pseudonym and the item's id. read_twice: only studies with a finished second reading. dataset.json is
    written last, so that a folder without it is incomplete. WorkListError when nothing is accepted or the
    folder is in use, ExportError when it can't be written, CancelledError.
    """
    folder = Path(folder)
    chosen = [item for item in work_list.items if _is_final(item, read_twice=read_twice)]
    if not chosen:
        raise WorkListError("no study is accepted yet (and read twice, if that was asked); nothing to export")
    _make_folders(folder)
    values: set[int] = set()
    modalities: set[str] = set()
    for done, item in enumerate(chosen):
        if cancelled is not None and cancelled():
            raise CancelledError("the export was cancelled")
        if progress is not None:
            progress(done, len(chosen))
        shown, modality = _write_case(work_list, item, folder)
        values |= shown
        modalities.add(modality)
    description = {
        "name": work_list.settings.title,
        "channel_names": {"0": modalities.pop() if len(modalities) == 1 else ""},
        "labels": _names(values, work_list.settings),
        "numTraining": len(chosen),
        "file_ending": ".nii.gz",
    }
    with io.replace_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return tuple(_case_name(item) for item in chosen)


def _is_final(item: Item, *, read_twice: bool) -> bool:
    if item.state != "accepted":
        return False
    return not read_twice or (item.second is not None and item.second.verdict is not None)


def _make_folders(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WorkListError(f"the folder {folder.name!r} is in use; choose a new or an empty one")
    try:
        for name in (IMAGES, LABELS):
            (folder / name).mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"the folder {folder.name!r} can't be made: {error.strerror}") from error


def _write_case(work_list: WorkList, item: Item, folder: Path) -> tuple[set[int], str]:
    """Write one case; the label values that it shows, and its modality."""
    study = work_list.read_study(item.id)
    frame = study.frame(0) if study.voxels.ndim == 4 else study
    labels = work_list.read_labels(item.id, item.final or "first", like=study)
    if labels is None:
        raise WorkListError(f"the labels of {item.path} are missing; bring them back, or reopen the study")
    name = _case_name(item)
    io.write(folder / IMAGES / f"{name}_0000.nii.gz", frame)
    io.write(folder / LABELS / f"{name}.nii.gz", labels, like=frame)
    return {int(value) for value in np.unique(labels)} - {0}, study.modality


def _case_name(item: Item) -> str:
    return f"{item.patient}_{item.id}"


def _names(values: set[int], settings: Settings) -> dict[str, int]:
    """Name to value of all labels that are defined or drawn; of two equal names one tells its value."""
    names = {"background": 0}
    for value in sorted(values | {label.value for label in settings.labels}):
        name = settings.name_of(value)
        names[name if name not in names else f"{name} ({value})"] = value
    return names
