"""A form as files: started as a run, saved as TOML, opened again. No Qt here; slow, so off the GUI thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import platformdirs

from napari_medreason import io, jobs
from napari_medreason._qt.tune_check import run_check
from napari_medreason._qt.tune_form import toml_text
from napari_medreason._qt.tune_records import (
    PreparedRecords,
    RecordReader,
    RecordSet,
    SplitPlan,
    prepared,
    relative_to,
)
from napari_medreason.core.run_config import RunConfig, read_run_config
from napari_medreason.errors import ExportError, MedReasonError, RunError
from napari_medreason.io.records import read_records, write_records
from napari_medreason.models.catalogue import catalogue

RECORDS = "records.jsonl"
_LOOKED_AT = 50


@dataclass(frozen=True, eq=False)
class RunWish:
    """All that a form says. missing: ids of the weights that the model to start from lacks."""

    config: RunConfig
    sets: tuple[RecordSet, ...]
    plan: SplitPlan
    missing: tuple[str, ...] = ()


def own_form() -> Path:
    """Where the form is kept between two uses."""
    return platformdirs.user_config_path("napari-medreason") / "fine-tuning.toml"


def start_run(wish: RunWish, reader: RecordReader, **_signals: object) -> Path:
    """Start a run in a new folder, which this gives; MedReasonError with the first thing that forbids it."""
    if wish.missing:
        names = ", ".join(catalogue()[one].title for one in wish.missing)
        raise RunError(f"{names} must be here first; open the dock “Models and weights” for the download")
    check = run_check(wish.sets, wish.plan, wish.config, reader)
    if check.faults:
        raise RunError(check.faults[0])
    folder = jobs.new_run_folder(wish.config.name or wish.config.recipe)
    base = check.prepared.files[0].parent if check.prepared.files else folder
    config = _with_records(wish.config, check.prepared, base, RECORDS)
    jobs.parse_config(toml_text(config), "the form")  # told before there is a folder
    if not check.prepared.files:
        _make(folder)
        write_records(folder / RECORDS, check.prepared.records)
    jobs.start(toml_text(config), folder, base=base)
    return folder


def save_form(wish: RunWish, file: Path, reader: RecordReader, **_signals: object) -> Path:
    """Write the form as a TOML file; beside it the records, where they have to be written anew.

    Gives the file. MedReasonError when records can't be read or the files can't be written.
    """
    found = prepared(wish.sets, wish.plan, reader)
    own = f"{file.stem}-{RECORDS}"
    config = _with_records(wish.config, found, file.parent, own)
    if not found.files:
        write_records(file.parent / own, found.records)
    _write(file, toml_text(config))
    return file


def keep_form(wish: RunWish, file: Path) -> None:
    """Remember the form as it is, without looking at records; ExportError when it can't be kept.

    Records in folders of different images are left out: a configuration has one folder of images.
    """
    sets = wish.sets if len({one.images for one in wish.sets}) == 1 else ()
    names = tuple(relative_to(one.file, file.parent) for one in sets) or ("",)
    images = relative_to(sets[0].images, file.parent) if sets else ""
    _make(file.parent)
    config = replace(wish.config, records=names, images=images)
    _write(file, toml_text(_with_relative_base(config, file.parent)))


def open_form(file: Path) -> tuple[RunConfig, list[RecordSet]]:
    """The configuration in a TOML file, and its records; MedReasonError names what is wrong with it."""
    config = read_run_config(file)
    base = file.absolute().parent
    images = (base / config.images).resolve()
    if config.base and (base / config.base).is_dir():
        config = replace(config, base=str((base / config.base).resolve()))
    return config, [RecordSet((base / name).resolve(), images) for name in config.records if name]


def guessed_images(file: Path, **_signals: object) -> Path | None:
    """The folder near a record file that its image paths start at, None when none holds the images.

    DataSetError when the file holds no records.
    """
    names = {record.image.path for record in islice(read_records(file), _LOOKED_AT)} - {""}
    for folder in _near(file.parent):
        if names and all((folder / name).exists() for name in names):
            return folder
    return None


def _near(folder: Path) -> Iterable[Path]:
    yield folder
    yield folder.parent
    for place in (folder, folder / "layers", folder.parent):
        yield from sorted(entry for entry in place.glob("*/") if entry.is_dir())


def _with_records(config: RunConfig, found: PreparedRecords, base: Path, own: str) -> RunConfig:
    """The configuration with its records; `own` names those that are written anew, in `base`."""
    names: Sequence[str] = [relative_to(file, base) for file in found.files] or [own]
    config = replace(config, records=tuple(names), images=relative_to(found.images, base))
    return _with_relative_base(config, base)


def _with_relative_base(config: RunConfig, start: Path) -> RunConfig:
    """The configuration with a base that is a folder named from `start`; ids stay as they are."""
    base = Path(config.base)
    return replace(config, base=relative_to(base, start)) if base.is_absolute() else config


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"the folder {folder.name} can't be made: {error.strerror}; check space and rights"
        ) from error


def _write(file: Path, text: str) -> None:
    with io.replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def remembered(file: Path) -> tuple[RunConfig, list[RecordSet]] | None:
    """The form that was kept, None when there is none that can be read."""
    try:
        return open_form(file) if file.is_file() else None
    except MedReasonError:  # of another version, or edited by hand: nothing to bother anyone with
        return None
