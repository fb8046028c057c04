"""Configuration of a data-set build: a TOML file read into frozen dataclasses; unknown keys are errors."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_medreason.core.medpos import Rule
from napari_medreason.core.plane import Axis
from napari_medreason.core.strict import from_plain
from napari_medreason.errors import DataSetError

Layout = Literal["pairs", "nnunet", "decathlon", "sa-med2d", "dicom-seg"]
WriterKind = Literal["template", "transformers", "endpoint"]


@dataclass(frozen=True)
class SourceConfig:
    """One folder of images and masks.

    root: relative to the configuration file, or absolute. images, masks: folders or patterns inside
    root (layout "pairs" only); images = "" where only label maps exist. mask_ending, image_ending: what
    follows the shared part of a file name, before the suffix. patient: regular expression whose first
    group is the patient key in a file's name; the whole shared part by default. labels: value (as a
    text) to name; labels_file: JSON or text table with the same, next to the masks or, with {case} in
    it, one per case; labels_key: which table of the JSON. modality: DICOM code. healthy: what to note
    about the labelled structures. licence: words for the data card. include: a regular expression that
    the file names must match. cohort: the same for sources in which one patient key is one person (CT
    and MR of one study); the source's own name by default.
    """

    name: str
    layout: Layout
    root: str
    images: str = ""
    masks: str = ""
    image_ending: str = ""
    mask_ending: str = ""
    patient: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    labels_file: str = ""
    labels_key: str = ""
    modality: str = ""
    healthy: bool | None = None
    licence: str = ""
    include: str = ""
    cohort: str = ""


@dataclass(frozen=True)
class RegionConfig:
    """Which labelled regions become records.

    axes: result planes to cut. minimum_pixels: smaller regions are dropped and counted.
    slices_per_structure, slices_per_case: evenly spread over those where it is seen; 0 keeps all.
    unnamed: whether labels without a name in the layout are kept under "label N".
    """

    axes: tuple[Axis, ...] = ("axial",)
    minimum_pixels: int = 10
    slices_per_structure: int = 5
    slices_per_case: int = 0
    unnamed: bool = False


@dataclass(frozen=True)
class SplitConfig:
    """Shares of the patients in the validation and test splits; the rest is training."""

    validation: float = 0.0
    test: float = 0.1


@dataclass(frozen=True)
class WriterConfig:
    """What writes the words.

    kind: "template" (offline), "transformers" (a model on this machine: `model` is its folder or id),
    "endpoint" (an OpenAI-compatible server at `address`, which ends with /v1). allow_endpoint: the
    consent without which nothing is sent; send_images: whether the asked plane's pixels are sent too.
    key_variable: environment variable that holds the access key. attempts: tries per text; back_off:
    first pause in seconds, doubled each time. give_up_after: texts in a row without any answer after
    which the build stops. prices: per million tokens, for the cost line only.
    """

    kind: WriterKind = "template"
    model: str = ""
    address: str = ""
    allow_endpoint: bool = False
    send_images: bool = False
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    maximum_tokens: int = 800
    timeout: float = 60.0
    attempts: int = 3
    back_off: float = 1.0
    give_up_after: int = 3
    price_input: float = 0.0
    price_output: float = 0.0
    currency: str = "USD"


@dataclass(frozen=True)
class BuildConfig:
    """How a data set is built.

    out: folder for records, card and work files, relative to the configuration file. seed: of every
    choice. rule, near_fraction: of the MedPos words. questions_per_region: MedPos pairs for each region.
    rounds: how often MLMR-SD descriptions are written, the later ones unlike the earlier.
    formats_per_category: how many U-MRG question formats are used for each kind. templates: folder of
    template files in place of those that ship. parquet: also write records.parquet (needs the `train` extra).
    """

    out: str
    sources: tuple[SourceConfig, ...]
    seed: int = 1
    rule: Rule = "paper"
    near_fraction: float = 0.2
    questions_per_region: int = 1
    rounds: int = 1
    formats_per_category: int = 20
    templates: str = ""
    parquet: bool = False
    regions: RegionConfig = RegionConfig()
    split: SplitConfig = SplitConfig()
    writer: WriterConfig = WriterConfig()


def read_build_config(path: Path) -> BuildConfig:
    """The configuration in a TOML file; DataSetError names an unknown, missing or badly typed key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataSetError(f"{path.name} can't be read: {error.strerror}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataSetError(f"{path.name} is not valid TOML: {error}; correct that place") from error
    config: BuildConfig = from_plain(BuildConfig, table, path.name)
    _check(config, path.name)
    return config


def _check(config: BuildConfig, name: str) -> None:
    names = [source.name for source in config.sources]
    shares = (config.split.validation, config.split.test)
    faults = [
        (not names, 'no source is named; add a [[sources]] table with "name", "layout" and "root"'),
        (len(set(names)) < len(names), "two sources have the same name; give each its own"),
        (
            min(shares) < 0 or sum(shares) >= 1,
            f"the split shares are {shares}; both from 0, together below 1",
        ),
        (config.questions_per_region < 1, "questions_per_region is below 1; use 1 or more"),
        (config.rounds < 1, "rounds is below 1; use 1 or more"),
        (config.formats_per_category < 1, "formats_per_category is below 1; use 1 or more"),
        (not config.regions.axes, "regions.axes is empty; name axial, coronal or sagittal"),
        (config.writer.attempts < 1, "writer.attempts is below 1; use 1 or more"),
        (not 0 < config.near_fraction < 1, "near_fraction is a share between 0 and 1"),
    ]
    for wrong, words in faults:
        if wrong:
            raise DataSetError(f"{name}: {words}")
    for source in config.sources:
        _check_source(source, name)


def _check_source(source: SourceConfig, name: str) -> None:
    for key in ("patient", "include"):
        try:
            pattern = re.compile(getattr(source, key))
        except re.error as error:
            raise DataSetError(
                f"{name}: {key} of {source.name!r} is no regular expression: {error}"
            ) from error
        if key == "patient" and source.patient and pattern.groups < 1:
            raise DataSetError(f"{name}: patient of {source.name!r} needs one group in brackets")
    for value in source.labels:
        if not value.isdecimal():
            raise DataSetError(f"{name}: labels of {source.name!r} has the key {value!r}; use whole numbers")
