"""One build: scan, split, write each case once, join, count, and describe what came out.

Each finished case is a file in OUT/work, so a killed build goes on with the next case; OUT/records.jsonl
and OUT/card.md appear when all is done. The same configuration, files and seed give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import tee
from pathlib import Path
from typing import Any

from napari_medreason import __version__, io
from napari_medreason.core.record import Record, Split, System, to_line
from napari_medreason.core.strict import to_plain
from napari_medreason.core.templates import Template, latest
from napari_medreason.errors import DataSetError, ExportError
from napari_medreason.io.pseudonyms import installation_key
from napari_medreason.io.records import CheckReport, check_file, read_records, write_records
from napari_medreason.io.templates import read_templates, shipped

from .card import data_card
from .cases import Case, CaseError, fingerprint, load
from .cluster import Each
from .config import BuildConfig
from .context import Builder, Context
from .dropped import Dropped
from .importers import scan
from .joining import joined
from .making import Origin, provenance
from .medpos import BUILDER as MEDPOS
from .mlmr_sd import BUILDER as MLMR_SD
from .patients import pseudonym, split_of
from .progress import Progress, Report
from .targets import planes_of
from .u_mrg import BUILDER as U_MRG
from .writers import make_writer
from .writers.cache import TextCache
from .writers.task import Writer

BUILDERS: dict[System, Builder] = {builder.system: builder for builder in (MEDPOS, MLMR_SD, U_MRG)}
RECORDS, CARD, LEFT_OUT, WORK = "records.jsonl", "card.md", "left_out.json", "work"


@dataclass(frozen=True)
class Result:
    """What a build made. dropped: counts by reason."""

    folder: Path
    report: CheckReport
    dropped: dict[str, int]


@dataclass(frozen=True, eq=False)
class _Run:
    """Everything that stays the same over the cases of a build."""

    builder: Builder
    config: BuildConfig
    work: Path
    patients: dict[tuple[str, str], str]
    splits: dict[str, Split]
    templates: tuple[Template, ...]
    writer: Writer
    settings: str

    def part(self, case: Case, digest: str) -> Path:
        """Where the records of one case are kept until the end."""
        split = self.splits[self.patients[case.source, case.patient]]
        about = (case.id, case.names, case.masks, case.modality, split, digest)
        text = "\0".join((self.settings, case.source, *map(repr, about)))
        return self.work / f"part-{sha256(text.encode('utf-8')).hexdigest()[:24]}.jsonl"

    def origin(self, case: Case) -> Origin:
        """What the records of a case share."""
        patient = self.patients[case.source, case.patient]
        healthy = next(source.healthy for source in self.config.sources if source.name == case.source)
        words = provenance(self.writer.name, self.writer.model, self.config.seed)
        return Origin(self.builder.system, case, patient, self.splits[patient], healthy, words)


@dataclass(frozen=True)
class _Step:
    """A case in the order of work. part: its file, None for a copy; done: by an earlier start."""

    case: Case
    part: Path | None
    done: bool


def build(system: System, config: BuildConfig, base: Path, report: Report, *, each: Each = map) -> Result:
    """Build a data set in `base / config.out`, or go on with one that was stopped.

    each: how a function is applied to the cases; `map`, or what `cluster` gives.
    Raises DataSetError for faults of the configuration, the sources or the writer, ExportError when
    the disk is full or the key for pseudonyms can't be kept; finished cases are kept in both cases.
    """
    templates = _templates(system, config, base)
    cases = [case for source in config.sources for case in scan(source, base)]
    out = base / config.out
    _make_folder(out / WORK)
    patients = _pseudonyms(cases, config)
    splits = split_of(patients.values(), config.split, config.seed)
    settings = _settings(system, config, templates)
    with TextCache(out / WORK / "texts.jsonl") as cache:
        writer = make_writer(config, templates, cache)
        run = _Run(BUILDERS[system], config, out / WORK, patients, splits, templates, writer, settings)
        parts, dropped = _work(run, cases, report, each)
    return _finish(run, out, parts, dropped)


def _work(run: _Run, cases: list[Case], report: Report, each: Each) -> tuple[list[Path], Dropped]:
    parts: list[Path] = []
    dropped = Dropped()
    records = resumed = 0
    steps, ahead = tee(_steps(run, cases, each))
    texts = each(partial(_text, run), (step.case for step in ahead if step.part and not step.done))
    for number, step in enumerate(steps, 1):
        if step.part is None:
            dropped.add("case: copy of another case")
            continue
        counts = _stored(step.part) if step.done else _store(step.part, next(texts))
        resumed += step.done
        parts.append(step.part)
        records += counts["records"]
        dropped.update(counts["dropped"])
        report(Progress(number, len(cases), resumed, records, dropped.total, replace(run.writer.usage)))
    return parts, dropped


def _steps(run: _Run, cases: list[Case], each: Each) -> Iterator[_Step]:
    seen: set[str] = set()
    for case, digest in zip(cases, each(_fingerprint, cases), strict=True):
        part = None if digest in seen else run.part(case, digest)
        seen.add(digest)
        yield _Step(case, part, part is not None and _counts_path(part).is_file())


def _fingerprint(case: Case) -> str:
    try:
        return fingerprint(case)
    except OSError as error:
        name = Path(error.filename or case.id).name
        raise DataSetError(f"{name} of source {case.source!r} can't be read: {error.strerror}") from error


def _text(run: _Run, case: Case) -> str:
    """The counts of a case as one line of JSON, then its records; depends on nothing but the arguments."""
    dropped = Dropped()
    lines = [to_line(record) for record in _records(run, case, dropped)]
    counts = {"records": len(lines), "dropped": dropped.as_dict()}
    return "\n".join([json.dumps(counts, ensure_ascii=False), *lines, ""])


def _store(part: Path, text: str) -> dict[str, Any]:
    """Write the records of a case; the counts are written last, because they mark the case as done."""
    counts, _, lines = text.partition("\n")
    _write_text(part, lines)
    _write_text(_counts_path(part), counts)
    return _stored(part)


def _stored(part: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads(_counts_path(part).read_text(encoding="utf-8"))
    return counts


def _records(run: _Run, case: Case, dropped: Dropped) -> Iterator[Record]:
    try:
        loaded = load(case)
    except CaseError as error:
        dropped.add(f"case: {error.reason}")
        return
    context = Context(run.config, run.writer, run.templates, dropped)
    origin = run.origin(case)
    beside = any("{neighbour}" in text for template in run.templates for text in template.texts)
    for plane in planes_of(loaded, run.config, dropped, neighbours=beside):
        yield from run.builder.build(plane, loaded, origin, context)


def _finish(run: _Run, out: Path, parts: list[Path], dropped: Dropped) -> Result:
    write_records(out / RECORDS, joined(parts, dropped))
    report = check_file(out / RECORDS)
    if not report.sound:
        line, words = report.faults[0]
        raise DataSetError(f"{RECORDS}, line {line} is not sound: {words}; please report this")
    digest = sha256((out / RECORDS).read_bytes()).hexdigest()
    counts = dropped.as_dict()
    text = data_card(
        run.builder,
        run.config,
        report=report,
        dropped=counts,
        writer=run.writer,
        templates=run.templates,
        sha256=digest,
    )
    _write_text(out / CARD, text)
    _write_text(out / LEFT_OUT, json.dumps(counts, ensure_ascii=False, indent=2) + "\n")
    if run.config.parquet:
        from .parquet import write_parquet

        write_parquet(out / "records.parquet", read_records(out / RECORDS))
    for part in parts:
        part.unlink(missing_ok=True)
        _counts_path(part).unlink(missing_ok=True)
    return Result(out, report, counts)


def _templates(system: System, config: BuildConfig, base: Path) -> tuple[Template, ...]:
    """The newest versions of a system's templates that nobody rejected."""
    found = shipped()
    if config.templates:
        folder = base / config.templates
        files = sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml", ".json", ".csv"))
        found = tuple(template for path in files for template in read_templates(path))
    usable = tuple(one for one in latest(found) if one.system == system and one.state != "rejected")
    if not usable:
        raise DataSetError(
            f"there is no {system} template to use; name a folder with some, or none to use ours"
        )
    return usable


def _pseudonyms(cases: list[Case], config: BuildConfig) -> dict[tuple[str, str], str]:
    key = installation_key() if any(case.identifying for case in cases) else b""
    cohorts = {source.name: source.cohort or source.name for source in config.sources}
    return {(case.source, case.patient): pseudonym(case, cohorts[case.source], key) for case in cases}


def _settings(system: System, config: BuildConfig, templates: tuple[Template, ...]) -> str:
    """Digest of everything but the sources' files that the records depend on."""
    sources = [replace(source, root="") for source in config.sources]
    writer = replace(config.writer, price_input=0.0, price_output=0.0, timeout=0.0, attempts=0, back_off=0.0)
    plain = [repr(part) for part in (__version__, system, replace(config, out="", sources=(), writer=writer))]
    text = "\0".join([*plain, repr(sources), *(json.dumps(to_plain(one)) for one in templates)])
    return sha256(text.encode("utf-8")).hexdigest()


def _counts_path(part: Path) -> Path:
    return part.with_suffix(".json")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"the folder {folder.parent.name} can't be made: {error.strerror}") from error


def _write_text(path: Path, text: str) -> None:
    with io.replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
