"""The data card: what a built set holds, where it comes from and what was left out, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from napari_medreason.core.record import SCHEMA
from napari_medreason.core.templates import Template
from napari_medreason.io.records import CheckReport

from .config import BuildConfig
from .context import Builder
from .writers.task import Writer

_NAMES = {
    "system": "System",
    "split": "Records per split",
    "patients": "Patients per split",
    "state": "Review state",
    "source": "Records per source",
    "super_category": "Records per super-category",
    "modality": "Records per modality",
}


def data_card(
    builder: Builder,
    config: BuildConfig,
    *,
    report: CheckReport,
    dropped: Mapping[str, int],
    writer: Writer,
    templates: Sequence[Template],
    sha256: str,
) -> str:
    """The card's text; the same for the same records."""
    return "\n".join(
        [
            f"# {builder.title}",
            "",
            f"{report.count:,} records in `records.jsonl` (schema `{SCHEMA}`, SHA-256 `{sha256}`).",
            "For research only, not for diagnosis. Every record waits for review until a person accepts it.",
            "",
            *_sources(config),
            *_counts(report),
            "## Left out",
            "",
            *_table("Reason", dropped),
            *_words(config, writer, templates),
            *_conventions(config),
        ]
    )


def _sources(config: BuildConfig) -> list[str]:
    rows = ["## Sources", "", "| source | layout | modality | licence |", "|---|---|---|---|"]
    for source in config.sources:
        modality, licence = source.modality or "from the files", source.licence or "not stated"
        rows.append(f"| {source.name} | {source.layout} | {modality} | {licence} |")
    return [*rows, ""]


def _counts(report: CheckReport) -> list[str]:
    rows = ["## Counts", ""]
    for key, name in _NAMES.items():
        rows += _table(name, report.counts[key])
    return rows


def _table(name: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return [f"{name}: nothing", ""]
    rows = [f"| {key} | {value:,} |" for key, value in counts.items()]
    return [f"| {name} | count |", "|---|---:|", *rows, ""]


def _words(config: BuildConfig, writer: Writer, templates: Sequence[Template]) -> list[str]:
    by = (
        f"templates ({len(templates)})"
        if writer.name == "template"
        else f"{writer.name}, model {writer.model}"
    )
    drafts = sum(one.state == "draft" for one in templates)
    return [
        "## Words",
        "",
        f"Written by {by}; seed {config.seed}. {drafts} of the templates are drafts, approved by nobody.",
        "Wordings of the test split are not used in training.",
        "",
    ]


def _conventions(config: BuildConfig) -> list[str]:
    return [
        "## Conventions",
        "",
        "- Boxes are half-open [x0, y0, x1, y1] and points (x, y) in pixels of the result plane: a native "
        "slice in radiological orientation (as stored when the orientation is unknown).",
        f"- MedPos words follow the rule `{config.rule}` with the share {config.near_fraction}.",
        "- Masks are row-major run lengths; the first run counts zeros.",
        "- Patients are pseudonyms, each in one split; paths are relative to the source's folder.",
        "- Regions are spread over the slices: at most "
        f"{config.regions.slices_per_structure or 'all'} per structure and case, from "
        f"{config.regions.minimum_pixels} pixels on.",
        "",
    ]
