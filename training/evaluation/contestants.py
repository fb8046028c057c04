"""The models of an evaluation: made when they are needed, and what is known of what they have learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medreason import models
from napari_medreason.core.evaluation_config import EvaluationConfig, ModelChoice
from napari_medreason.core.run_config import read_run_config
from napari_medreason.core.run_folder import CONFIG, paths_from
from napari_medreason.errors import MedReasonError, RunError
from napari_medreason.io.records import read_records
from napari_medreason.models.adapted import check_base, named_adapter
from napari_medreason.models.adapter_card import AdapterCard
from napari_medreason.models.adapter_store import from_folder
from napari_medreason.models.base import GroundingModel
from napari_medreason.models.published import check_weights

from .asked import AskedRecords


@dataclass(frozen=True)
class Contestant:
    """One model, or a file of predictions. about: what makes its answers its own; no path stands in it.

    familiar: records asked of patients that it has learnt from, None when that can't be told. learnt: how
    that is known, for the report.
    """

    choice: ModelChoice
    about: dict[str, Any]
    familiar: int | None
    learnt: str

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.choice.title


def contestants(config: EvaluationConfig, base: Path, asked: AskedRecords) -> tuple[Contestant, ...]:
    """All models of a configuration, looked up but not loaded; an unknown one is an error."""
    return tuple(_contestant(choice, base, asked) for choice in config.models)


def load(contestant: Contestant, base: Path) -> GroundingModel:
    """The model, with its adapter on."""
    choice = contestant.choice
    model = models.create(choice.id, **choice.options)
    if not choice.adapter:
        return model
    try:
        model.load_adapter(base / choice.adapter)
    except BaseException:
        model.close()
        raise
    return model


def _contestant(choice: ModelChoice, base: Path, asked: AskedRecords) -> Contestant:
    about: dict[str, Any] = {"title": choice.title}
    card, folder = None, None
    if choice.predictions:
        about |= {"predictions": Path(choice.predictions).name}
    else:
        info = models.info(choice.id)
        check_weights(choice.id, info.weights)
        about |= {"id": info.id, "licence": info.licence, "options": _plain(choice.options)}
        card, folder = _adapter(choice, base)
    if card is not None:
        about |= {"adapter": card.name, "adapter_data_sha256": card.data_sha256, "adapter_date": card.date}
    patients, how = _learnt(choice, card, folder, base=base, asked=asked)
    familiar = None if patients is None else sum(record.patient in patients for record in asked.records)
    return Contestant(choice, about, familiar, how)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options without the folders of paths among them."""
    return {
        name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for name, value in options.items()
    }


def _adapter(choice: ModelChoice, base: Path) -> tuple[AdapterCard | None, Path | None]:
    """Card and folder of the adapter that the choice names; WeightsError when it is for another base."""
    if choice.adapter:
        adapter = from_folder(base / choice.adapter)
        check_base(choice.id, adapter)
        return adapter.card, adapter.folder
    found = named_adapter(choice.id)
    return (found[1].card, found[1].folder) if found else (None, None)


def _learnt(
    choice: ModelChoice, card: AdapterCard | None, folder: Path | None, *, base: Path, asked: AskedRecords
) -> tuple[frozenset[str] | None, str]:
    """Patients that the model was trained on, and how that is known."""
    if choice.learnt_from:
        return _patients(choice.learnt_from, base), "the records that the configuration names as learnt from"
    if card is None:
        return None, "nothing is known here of the images that it was trained on"
    if card.data_sha256 and card.data_sha256 == asked.sha256:
        return asked.learning, "its adapter was trained on the other splits of these very records"
    if folder is not None and (folder.parent / CONFIG).is_file():
        known = _of_run(folder.parent)
        if known is not None:
            return known, "the records of its adapter's run"
    if not card.data_sha256:
        return None, "its adapter's card does not say what it was trained on"
    return None, (
        "its adapter was trained on other records, or on another version of these; name them with "
        "learnt_from to have their patients compared"
    )


def _patients(files: tuple[str, ...], base: Path) -> frozenset[str]:
    return frozenset(r.patient for name in files for r in read_records(base / name) if r.split != "test")


def _of_run(run: Path) -> frozenset[str] | None:
    """Patients of a run's own records; None when they are no longer there."""
    try:
        config = read_run_config(run / CONFIG)
        return _patients(config.records, paths_from(run, run / CONFIG))
    except MedReasonError:
        return None


def refuse_missing(choice: ModelChoice, base: Path) -> None:
    """RunError when a file of predictions is not there."""
    if choice.predictions and not (base / choice.predictions).is_file():
        raise RunError(
            f"the predictions {Path(choice.predictions).name!r} of {choice.title} are not there; correct "
            "the path, which starts at the configuration"
        )
