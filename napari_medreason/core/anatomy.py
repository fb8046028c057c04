"""The anatomy vocabulary: what can be asked for, what it is called, coded, coloured and known for.

The words live in `anatomy.tsv` beside this module, one structure or finding per line;
docs/vocabulary.md says how to add one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

SUPER_CATEGORIES = (
    "abdomen anatomies",
    "brain anatomies",
    "eye anatomies",
    "lung",
    "heart anatomies",
    "neck anatomies",
    "skeletal anatomies",
    "vessel",
    "oral anatomies",
    "neoplasm",
    "non-neoplasm",
    "infection",
    "fluid abnormality",
    "surgical instrument",
    "histology structure",
)
"""The fifteen kinds of the U-MRG data set (MedReasoner paper, section on data)."""

REGIONS = ("head", "neck", "chest", "abdomen", "pelvis", "spine", "limb", "body")
"""Body parts; "body" is for what occurs in more than one of them."""

FINDING_CATEGORIES = frozenset(
    {"neoplasm", "non-neoplasm", "infection", "fluid abnormality", "surgical instrument"}
)


@dataclass(frozen=True)
class Structure:
    """One line of the vocabulary.

    name: singular, without a side. plural: "" for a mass noun, the same as `name` for a word that
        has no singular. article: "the" where a body has one (or one per side), "a" where it has
        several or none, "" for a mass noun without article.
    snomed, snomed_meaning: SNOMED CT code and its meaning in the DICOM code dictionary, "" when that
        dictionary has none. super_category: one of SUPER_CATEGORIES. region: one of REGIONS.
    function, description, place: short lay phrases; for a finding, `function` says what it does.
    paired: whether there is one on the patient's left and one on the right.
    modalities: DICOM modality codes on which it is commonly seen. colour: red, green, blue, 0 to 255.
    members: ids of the parts, for a group such as the basal ganglia.
    """

    id: str
    name: str
    plural: str
    article: str
    synonyms: tuple[str, ...]
    snomed: str
    snomed_meaning: str
    super_category: str
    function: str
    description: str
    place: str
    paired: bool
    region: str
    modalities: tuple[str, ...]
    colour: tuple[int, int, int]
    members: tuple[str, ...] = ()

    @property
    def is_finding(self) -> bool:
        """Whether it is something found in or on an organ (a cyst, a stent) and not anatomy."""
        return self.super_category in FINDING_CATEGORIES

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every wording that means this structure: name, plural and synonyms, without repeats."""
        return tuple(dict.fromkeys(filter(None, (self.name, self.plural, *self.synonyms))))


@cache
def structures() -> Mapping[str, Structure]:
    """The whole vocabulary by id, in the order of the table; read once."""
    table = files("napari_medreason.core").joinpath("anatomy.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
    return MappingProxyType({row["id"]: _structure(row) for row in rows})


def leaves(structure_id: str) -> tuple[str, ...]:
    """Ids of the parts of a group, down to those without parts; the id itself when it is no group.

    Raises KeyError for an id that is not in the vocabulary.
    """
    members = structures()[structure_id].members
    if not members:
        return (structure_id,)
    return tuple(dict.fromkeys(leaf for member in members for leaf in leaves(member)))


def is_known(structure_id: str, known: Iterable[str]) -> bool:
    """Whether a structure is among the known ids, itself or through all parts of a group."""
    known_ids = frozenset(known)
    if structure_id not in structures():
        return False
    return structure_id in known_ids or known_ids.issuperset(leaves(structure_id))


def _structure(row: dict[str, str]) -> Structure:
    red, green, blue = bytes.fromhex(row["colour"].removeprefix("#"))
    return Structure(
        id=row["id"],
        name=row["name"],
        plural=row["plural"],
        article=row["article"],
        synonyms=_listed(row["synonyms"]),
        snomed=row["snomed"],
        snomed_meaning=row["snomed_meaning"],
        super_category=row["super_category"],
        function=row["function"],
        description=row["description"],
        place=row["place"],
        paired=row["paired"] == "yes",
        region=row["region"],
        modalities=_listed(row["modalities"], separator=","),
        colour=(red, green, blue),
        members=_listed(row["members"], separator=","),
    )


def _listed(cell: str, separator: str = ";") -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(separator) if part.strip())
