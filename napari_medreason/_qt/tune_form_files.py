"""A form as files: started as a run, saved as TOML, opened again. No Qt here; slow, so off the GUI thread."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
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
from napari_medreason._qt.tune_records_made import RECORDS
from napari_medreason.core.run_config import RunConfig, read_run_config
from napari_medreason.core.strict import from_plain, parse_json
from napari_medreason.errors import CancelledError, ExportError, MedReasonError, RunError
from napari_medreason.io.records import read_records, write_records
from napari_medreason.models.catalogue import catalogue

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


@dataclass(frozen=True)
class KeptRecords:
    """Records of a form between two uses. sets: of each its file, its images and its patient."""

    sets: tuple[tuple[str, str, str], ...]
    plan: SplitPlan


def start_run(
    wish: RunWish, reader: RecordReader, *, cancelled: Callable[[], bool] = lambda: False, **_signals: object
) -> Path:
    """Start a run in a new folder, which this gives; MedReasonError with the first thing that forbids it.

    Nothing is left when it can't be started, or was cancelled before (CancelledError).
    """
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
    with ExitStack() as undo:
        _go_on(cancelled)
        if not check.prepared.files:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            _make(folder)
            write_records(folder / RECORDS, check.prepared.records)
        _go_on(cancelled)
        jobs.start(toml_text(config), folder, base=base)
        undo.pop_all()
    return folder


def _go_on(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("the start of the run was cancelled")


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

    Records stand in a file beside it, since a configuration has one folder of images, and no split.
    """
    _make(file.parent)
    config = replace(wish.config, records=("",), images="")
    _write(file, toml_text(_with_relative_base(config, file.parent)))
    sets = tuple((str(one.file), str(one.images), one.patient) for one in wish.sets)
    _write(_beside(file), json.dumps(asdict(KeptRecords(sets, wish.plan)), ensure_ascii=False) + "\n")


def _beside(file: Path) -> Path:
    return file.with_suffix(".records.json")


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

    The nearest counts; None also when two equally near ones hold files of these names, as only the user knows
    which are meant. DataSetError when the file holds no records.
    """
    names = {record.image.path for record in islice(read_records(file), _LOOKED_AT)} - {""}
    for places in _near(file.parent):
        found = [place for place in places if names and all((place / name).exists() for name in names)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _near(folder: Path) -> Iterable[Sequence[Path]]:
    """Folders near another one: itself, then those in it, then those around it."""
    yield [folder]
    yield [*_folders(folder), *_folders(folder / "layers")]
    yield [folder.parent, *(place for place in _folders(folder.parent) if place != folder)]


def _folders(place: Path) -> list[Path]:
    return sorted(entry for entry in place.glob("*/") if entry.is_dir())


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


def remembered(file: Path) -> tuple[RunConfig, list[RecordSet], SplitPlan] | None:
    """The form that was kept, None when there is none that can be read."""
    if not file.is_file():
        return None
    try:
        config, sets = open_form(file)
        kept = _beside(file)
        if not kept.is_file():
            return config, sets, SplitPlan()
        records = from_plain(KeptRecords, parse_json(kept.read_text(encoding="utf-8"), kept.name), kept.name)
    except (MedReasonError, OSError, UnicodeDecodeError):
        return None  # of another version, or edited by hand: nothing to bother anyone with
    sets = [RecordSet(Path(one), Path(images), patient) for one, images, patient in records.sets]
    return config, sets, records.plan
