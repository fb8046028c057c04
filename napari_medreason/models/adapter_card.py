"""The card of an adapter: from which base it was made, on what, how, and what it does better; no torch here.

`adapter.json` lies in every adapter folder. It holds no patient, and no path: a text that is an absolute
path loses its folders when the card is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, cast

from napari_medreason.core.strict import from_plain, parse_json
from napari_medreason.errors import DataSetError, WeightsError
from napari_medreason.models.files import write_text

CARD = "adapter.json"
FORMAT = 1
LARGEST_CARD = 4_000_000
"""Bytes; a real one has some kilobytes."""
LONGEST_NAME = 80
LONGEST_BASE = 300
"""Characters; the name of a folder of the user's own stands in it, and is compared."""
ENOUGH_PATIENTS = 3
"""Held-out patients; with fewer, their spread is no interval for the next one."""
_LARGEST = 1e6
"""Figures beyond it are none; a card may come from anywhere."""

Kind = Literal["embedded-expert", "peft", "prs-med", "medisee"]
"""Tuned weights of one expert of the embedded model; a PEFT folder for a reasoner; trained parts of PRS-Med
or of MediSee."""

MEASURES: Mapping[str, str] = {"mask": "Dice", "named": "Dice", "box": "box IoU", "prompted": "Dice"}
"""The groups of `before_after` that can stand for the whole, the first that is there does; what they are."""


@dataclass(frozen=True)
class AdapterCard:
    """What is known of an adapter.

    name: for people. base: model id, weights id of the catalogue, or "folder:NAME". base_weights_sha256: hash
    of the base's weights (models.weights.weights_sha256 of its weight files), "" if unknown. recipe, config:
    how it was trained. data_sha256: hash of the records. records, patients: their numbers by split.
    structures: regions by name. date: ISO 8601.
    before_after: groups ("named", "prompted", "mask", "box", …) with "before", "after", "gain", "interval",
    "regions" and "patients", on records that neither base nor adapter has learnt from. files: SHA-256 by
    name, as they were when the adapter came into the store. extra: whatever else the trainer says; on the
    disk it stands beside the other keys.
    """

    name: str
    kind: Kind
    base: str
    base_weights_sha256: str = ""
    recipe: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    data_sha256: str = ""
    records: dict[str, int] = field(default_factory=dict)
    patients: dict[str, int] = field(default_factory=dict)
    structures: dict[str, int] = field(default_factory=dict)
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    before_after: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def held_out_patients(self) -> int:
        """Patients that the figures before and after are of; 0 when nothing was measured."""
        return max((group["patients"] for group in self._groups.values()), default=0)

    @property
    def figures(self) -> str:
        """The gain in one line for people; says so when nothing was measured."""
        for name, measure in MEASURES.items():
            if name in self._groups:
                return _figures_words(measure, self._groups[name], prompted=name == "prompted")
        return "not measured on held-out patients"

    @property
    def _groups(self) -> dict[str, dict[str, Any]]:
        return {name: group for name, group in self.before_after.items() if _is_group(group)}


_KEYS = {one.name for one in fields(AdapterCard)} - {"extra"}


def read_adapter_card(folder: Path) -> AdapterCard:
    """The card of an adapter folder; WeightsError when there is none, or when it can't be understood."""
    file = Path(folder) / CARD
    try:
        if file.stat().st_size > LARGEST_CARD:
            raise WeightsError(f"{CARD} in {folder.name} is too large to be an adapter's card; get it again")
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise WeightsError(
            f"{folder.name} holds no {CARD}; give the folder of an adapter that a run has made, or import a "
            "PEFT folder with `medreason adapters import FOLDER --base MODEL`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise WeightsError(f"{CARD} in {folder.name} can't be read ({why}); get it again") from error
    return card_from_text(text, folder.name)


def card_from_text(text: str, where: str) -> AdapterCard:
    """A card from its JSON text; WeightsError says what is wrong. where: what messages call its folder."""
    try:
        table = parse_json(text, CARD)
        if not isinstance(table, dict):
            raise DataSetError(f"{CARD}: a JSON object is needed")
        known = {key: value for key, value in table.items() if key in _KEYS}
        extra = {key: value for key, value in table.items() if key not in _KEYS}
        card: AdapterCard = from_plain(AdapterCard, known | {"extra": extra}, CARD)
    except DataSetError as error:
        raise WeightsError(f"the card of {where} can't be used: {error}; get it again") from error
    if card.format != FORMAT:
        raise WeightsError(
            f"{where} has a card of format {card.format}; {FORMAT} is read here, install the version of "
            "napari-medreason that wrote it"
        )
    card = replace(
        card,
        name=plain_name(card.name),
        base=plain_name(card.base, longest=LONGEST_BASE),
        date=plain_name(card.date),
    )
    if not card.name or not card.base:
        raise WeightsError(f"{where} has a card that names no adapter or no base; get or train it again")
    return card


def write_adapter_card(folder: Path, card: AdapterCard) -> None:
    """Write the card into an adapter folder, whole or not at all; WeightsError when that fails."""
    try:
        write_text(Path(folder) / CARD, card_text(card))
    except OSError as error:
        raise WeightsError(
            f"{CARD} in {folder.name} can't be written ({error.strerror}); check space and permission"
        ) from error


def card_text(card: AdapterCard) -> str:
    """The card as JSON, without paths."""
    table = {one.name: getattr(card, one.name) for one in fields(card) if one.name in _KEYS}
    table |= {key: value for key, value in card.extra.items() if key not in table}
    return json.dumps(_without_paths(table), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def check_base_weights(card: AdapterCard, sha256: str, *, base: str) -> None:
    """WeightsError when the adapter was trained on other weights; `base` is what these are called."""
    if card.base_weights_sha256 and card.base_weights_sha256 != sha256:
        raise WeightsError(
            f"adapter {card.name} was trained on other weights of {card.base} than those of {base}; get the "
            "weights that it was made with, or train it again on these"
        )


def plain_name(text: str, *, longest: int = LONGEST_NAME) -> str:
    """A name as it may stand in lists and tool tips: printable, without markup, not too long."""
    printable = "".join(one for one in text if one.isprintable() and one not in "<>")
    return printable.strip()[:longest].strip()


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    if isinstance(value, str):
        windows = PureWindowsPath(value)
        if windows.drive and windows.root:
            return windows.name
        return PurePosixPath(value).name if value.startswith(("/", "~/")) else value
    return value


def _is_group(group: object) -> bool:
    if not isinstance(group, Mapping):
        return False
    patients = group.get("patients")
    if type(patients) is not int or not 1 <= patients < _LARGEST:
        return False
    return all(_is_number(group.get(name)) for name in ("before", "after"))


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(cast(float, value)) < _LARGEST


def _figures_words(measure: str, group: Mapping[str, Any], *, prompted: bool) -> str:
    patients = group["patients"]
    interval = group.get("interval") if patients >= ENOUGH_PATIENTS else None
    words = f"{measure} {group['before']:.2f} before, {group['after']:.2f} after"
    if isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval)):
        words += f" (95 % interval of the gain {interval[0]:+.2f} to {interval[1]:+.2f})"
    how = " from box and points" if prompted else ""
    if patients == 1:
        return f"{words}{how} on 1 held-out patient, which says little of others"
    few = ", too few to tell" if patients < ENOUGH_PATIENTS else ""
    return f"{words}{how} on {patients} held-out patients{few}"
