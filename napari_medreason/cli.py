"""The `medreason` command: thin commands over the library.

Exit code 0: done. 2: the input is at fault, one line on standard error says how. 1: anything else.
`--json` prints one JSON object on standard output and nothing else; progress goes to standard error.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_medreason.cli_adapters import adapters_app
from napari_medreason.cli_evaluation import evaluate
from napari_medreason.cli_models import models_app
from napari_medreason.cli_training import train
from napari_medreason.errors import MedReasonError

if TYPE_CHECKING:
    from napari_medreason.io.proof import Receipt

app = typer.Typer(
    help="Ask questions about CT and MRI. For research only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models_app, name="models")
app.add_typer(adapters_app, name="adapters")
app.command()(train)
app.command("eval")(evaluate)
dataset_app = typer.Typer(
    help="Data sets of questions and answers from images with masks.", no_args_is_help=True
)
app.add_typer(dataset_app, name="dataset")


CHECK_SIGNS = {"fine": "fine", "doubtful": "DOUBTFUL", "untold": "not told"}
"""How the check list of `info` says the state of a check."""


class RuleName(StrEnum):
    """How MedPos words are found; see core.medpos."""

    paper = "paper"
    released = "released"


class LabelFormat(StrEnum):
    """Forms in which `label` writes its regions."""

    jsonl = "jsonl"
    csv = "csv"
    medpos_csv = "medpos-csv"


class ExportName(StrEnum):
    """Forms in which `export` writes masks; see io.exports."""

    nifti = "nifti"
    nrrd = "nrrd"
    dicom_seg = "dicom-seg"
    rtstruct = "rtstruct"
    report = "report"
    overlay = "overlay"


class ComponentsName(StrEnum):
    """How a label of several parts on a slice is listed."""

    all = "all"
    largest = "largest"
    each = "each"


class PlaneName(StrEnum):
    """Result planes a question can be asked about."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


class SystemName(StrEnum):
    """Papers whose form of question and answer can be built."""

    medpos = "medpos"
    mlmr_sd = "mlmr-sd"
    u_mrg = "u-mrg"


ImageArgument = Annotated[Path, typer.Argument(help="DICOM folder, file or zip, NIfTI, PNG or JPEG.")]
SeriesOption = Annotated[str | None, typer.Option(help="SeriesInstanceUID; the largest series by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def ask(
    image: ImageArgument,
    question: Annotated[str, typer.Argument(help="In plain words, such as “Where is the liver?”")],
    model: Annotated[str | None, typer.Option(help="Model id; see `medreason models list`.")] = None,
    plane: Annotated[PlaneName, typer.Option(help="Which cut to ask about.")] = PlaneName.axial,
    slice_index: Annotated[
        int | None, typer.Option("--slice", help="0-based slice; the middle by default.")
    ] = None,
    series: SeriesOption = None,
    frame: Annotated[int | None, typer.Option(help="0-based frame of a 4D study.")] = None,
    window: Annotated[str | None, typer.Option(help="Preset name, or LOW,HIGH.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for mask, overlay and answer.json.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question about one plane and get mask, box, points and words."""
    from napari_medreason import asking, io, models
    from napari_medreason.core.question import checked_text
    from napari_medreason.core.report import grounding_json

    model_id = model or models.default()
    models.info(model_id)
    checked_text(question)
    if out is not None:
        asking.check_answer_folder(out)
    place = asking.Place(plane.value, slice_index, frame, window)
    volume = io.read(image, series=series, progress=_progress_to_stderr("reading"))
    grounding, cut = asking.ask_volume(volume, question, place, model=model_id, on_text=_ignore)
    if out is not None:
        report = asking.write_answer(out, volume, cut, grounding)
    else:
        report = grounding_json(grounding, volume.affine)
    _print_json(report) if as_json else _print_answer(report)
    _warn(volume.warnings)


@app.command()
def info(image: ImageArgument, series: SeriesOption = None, as_json: JsonOption = False) -> None:
    """Show the geometry card of a study: shape, spacing, orientation, modality, series, warnings."""
    from napari_medreason import io

    volume = io.read(image, series=series, progress=_progress_to_stderr("reading"))
    card = io.describe(volume, io.list_series(image))
    if as_json:
        _print_json(card)
        return
    for key, value in card.items():
        if key not in ("warnings", "checks", "series", "affine") and value not in ("", None):
            print(f"{key:>12}: {value}")
    for row in card["affine"]:
        print(f"{'affine (LPS)':>12}: {'  '.join(f'{value:10.4f}' for value in row)}")
    for entry in card["checks"]:
        print(f"{CHECK_SIGNS[entry['state']]:>12}: {entry['title']}: {entry['words']}")
    for entry in card["series"]:
        print(f"{'series':>12}: {'  '.join(str(value) for value in entry.values() if value)}")
    _warn(volume.warnings)


@app.command()
def convert(
    image: ImageArgument,
    out: Annotated[Path, typer.Argument(help="File to write: .nii.gz, .nii or .nrrd.")],
    series: SeriesOption = None,
    regrid: Annotated[
        bool, typer.Option("--regrid", help="Resample a tilted or uneven study to a regular grid.")
    ] = False,
) -> None:
    """Convert any readable study to NIfTI or NRRD, read the file back and compare."""
    from napari_medreason import io
    from napari_medreason.core.regrid import regridded
    from napari_medreason.io.exports import export_image

    volume = io.read(image, series=series, progress=_progress_to_stderr("reading"))
    written = regridded(volume) if regrid else volume
    receipt = export_image(out, written)
    _print_receipt(receipt)
    _warn(written.warnings)
    if not receipt.identical:
        raise typer.Exit(1)


@app.command()
def export(
    mask: Annotated[Path, typer.Argument(help="Label map, DICOM segmentation or structure set.")],
    out: Annotated[Path, typer.Argument(help="File to write.")],
    to: Annotated[ExportName, typer.Option(help="What to write.")],
    image: Annotated[Path, typer.Option(help="The study that the mask was drawn on.")],
    series: SeriesOption = None,
    frame: Annotated[int | None, typer.Option(help="0-based frame of a 4D DICOM study.")] = None,
    names: Annotated[
        str | None, typer.Option(help="Names of the labels, such as “1 liver, 2 left kidney”.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a mask in the geometry of its study, read it back and compare."""
    from napari_medreason import io, layers
    from napari_medreason.io.exports import export_file

    study = io.read(image, series=series, progress=_progress_to_stderr("reading"))
    chosen = layers.parsed_names(names or "")
    receipt = export_file(mask, out, to.value, study=study, place=image, frame=frame, names=chosen)
    if as_json:
        _print_json(receipt.as_json())
    else:
        _print_receipt(receipt)
    if not receipt.identical:
        raise typer.Exit(1)


@app.command()
def label(
    mask: Annotated[Path, typer.Argument(help="Label map: NIfTI, PNG or another readable format.")],
    image: Annotated[
        Path | None, typer.Option(help="The study it belongs to, for positions relative to the body.")
    ] = None,
    rule: Annotated[
        RuleName, typer.Option(help="MedPos words of the paper or as released.")
    ] = RuleName.paper,
    form: Annotated[LabelFormat, typer.Option("--format", help="Form of the output.")] = LabelFormat.jsonl,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output by default.")] = None,
    plane: Annotated[PlaneName, typer.Option(help="Which cuts to list.")] = PlaneName.axial,
    components: Annotated[
        ComponentsName, typer.Option(help="A label on a slice as a whole, its largest part, or each part.")
    ] = ComponentsName.all,
    frame: Annotated[int | None, typer.Option(help="0-based frame of a 4D label map.")] = None,
) -> None:
    """List where each label lies on each slice: box, words, sizes, key points, place in the patient."""
    from napari_medreason import io
    from napari_medreason.core.region_columns import RegionSettings
    from napari_medreason.io.base import counted
    from napari_medreason.io.labelling import label_table
    from napari_medreason.io.region_files import LINES

    settings = RegionSettings(axis=plane.value, rule=rule.value, components=components.value)
    table, warnings = label_table(mask, image, settings, frame=frame)
    lines = LINES[form.value](table, mask)
    if out is None:
        sys.stdout.writelines(lines)
    else:
        with io.replace_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        print(f"wrote {out}: {counted(len(table), 'region', 'regions')}", file=sys.stderr)
    _warn(warnings)


@app.command()
def demo(
    headless: Annotated[
        Path | None, typer.Option(help="Write mask, overlay and answer.json here, without a window.")
    ] = None,
    question: Annotated[str, typer.Option(help="What to ask.")] = "Where is the liver?",
) -> None:
    """Open napari on a synthetic CT and answer a question there."""
    if headless is None:
        _check_display()
        from napari_medreason._qt.demo import run_demo

        run_demo(question)
        return
    from napari_medreason import asking, io, models
    from napari_medreason.napari_hooks import DEMO_SLICE
    from napari_medreason_sample_data import ct_folder

    volume = io.read(ct_folder())
    place = asking.Place("axial", DEMO_SLICE)
    grounding, plane = asking.ask_volume(volume, question, place, model=models.default(), on_text=_ignore)
    _print_answer(asking.write_answer(headless, volume, plane, grounding))


@app.command()
def batch(
    source: Annotated[
        Path, typer.Argument(help="Table of questions (.csv, .tsv, .jsonl), or a folder of studies.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for results; one that was stopped is gone on with.")],
    question: Annotated[
        list[str] | None, typer.Option(help="For a folder: what to ask about each study; may be repeated.")
    ] = None,
    plane: Annotated[PlaneName, typer.Option(help="For a folder: which cuts.")] = PlaneName.axial,
    slices: Annotated[
        str, typer.Option(help="For a folder: middle, all, every 5, 12, 10-20 or 3,7,10-12.")
    ] = "middle",
    model: Annotated[str | None, typer.Option(help="Model id; see `medreason models list`.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Of the model, as NAME=VALUE, such as precision=4bit.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Write mask and overlay of each answer.")
    ] = True,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away answers that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask many questions about many studies; stop with Ctrl-C, start again to go on.

    Exit code 0: every question has an answer. 2: some have none; results.csv says why. 1: it was stopped.
    """
    from napari_medreason import models
    from napari_medreason.batch import run, start
    from napari_medreason.batch.results import open_results

    model_id = model or models.default()
    name = models.info(model_id).id
    options = start.options_from(option or [])
    rows = start.rows_from(source, question or [], axis=plane.value, slices=slices, left_out=out)
    settings = options | start.adapter_of(model_id)
    results = open_results(out, model=name, options=settings, restart=restart)
    if results.complete(rows):
        _say("all questions have answers already; --restart asks them again")
        return
    loaded = start.make_model(model_id, options, told=_say)
    try:
        with start.stoppable() as stop:
            asking = run.Asking(loaded.model, loaded.notes, files)
            done = run.run_batch(rows, results, asking, report=_batch_report(), cancelled=stop.is_set)
    finally:
        loaded.model.close()
    _say(f"{start.in_words(done)}; {out / 'results.csv'}")
    if as_json:
        _print_json(dataclasses.asdict(done))
    if done.stopped:
        _say("stopped; the same command goes on from here")
    if done.stopped or done.faults:
        raise typer.Exit(1 if done.stopped else 2)


@app.command()
def engine() -> None:
    """Run the child process that holds the models: frames on standard input and output."""
    from napari_medreason.engine.server import main as serve

    serve()


@dataset_app.command("build")
def dataset_build(
    system: Annotated[SystemName, typer.Argument(help="Whose form of question and answer.")],
    config: Annotated[Path, typer.Argument(help="TOML file; docs/data-sets.md explains it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Progress and result as JSON lines.")] = False,
    cluster: Annotated[bool, typer.Option("--cluster", help="Spread the cases over a Ray cluster.")] = False,
) -> None:
    """Build records from images with masks; goes on where an earlier start was stopped."""
    options = [*(["--json"] if as_json else []), *(["--cluster"] if cluster else [])]
    _run_training("dataset", "build", system.value, str(config), *options)


@dataset_app.command("convert")
def dataset_convert(
    source: Annotated[Path, typer.Argument(help="records.jsonl, or a set in a released form.")],
    target: Annotated[Path, typer.Argument(help="File or folder to write.")],
    to: Annotated[SystemName | None, typer.Option(help="Released form to write.")] = None,
    origin: Annotated[SystemName | None, typer.Option("--from", help="Released form to read.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of images and masks.")] = None,
) -> None:
    """Convert records to the form that a paper released, or back."""
    if (to is None) == (origin is None):
        raise MedReasonError("name either --to or --from; one of medpos, mlmr-sd, u-mrg")
    way = ["--to", to.value] if to else ["--from", origin.value if origin else ""]
    _run_training(
        "dataset", "convert", str(source), str(target), *way, *(["--root", str(root)] if root else [])
    )


@dataset_app.command("check")
def dataset_check(
    file: Annotated[Path, typer.Argument(help="A records.jsonl file.")], as_json: JsonOption = False
) -> None:
    """Check every record of a file and count them; exit code 2 when one is not sound."""
    from napari_medreason.io.base import counted
    from napari_medreason.io.records import check_file

    report = check_file(file)
    if as_json:
        faults = [{"line": line, "fault": words} for line, words in report.faults]
        counts = {"records": report.count, "fault_count": report.fault_count, "faults": faults}
        _print_json({**counts, "counts": report.counts})
    else:
        print(
            f"{counted(report.count, 'record', 'records')}, {counted(report.fault_count, 'fault', 'faults')}"
        )
        for name, table in report.counts.items() if report.count else ():
            print(f"{name:>15}: " + ", ".join(f"{key} {value}" for key, value in table.items()))
        for line, words in report.faults:
            print(f"line {line}: {words}", file=sys.stderr)
    if not report.sound:
        raise typer.Exit(2)


def _run_training(*arguments: str) -> None:
    """Run a command of the training package in a process of its own, and end with its exit code."""
    import subprocess

    command = [sys.executable, "-m", "napari_medreason_training", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise typer.Exit(code if code in (1, 2) else 1)


def _check_display() -> None:
    """Qt ends the whole process when it finds no display, so look first."""
    shown = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in shown):
        raise MedReasonError(
            "no display was found for a window; run this on a desktop, under xvfb-run, or use "
            "--headless FOLDER to write mask, overlay and answer.json"
        )


def _ignore(_text: str) -> None:
    """The command line prints the finished answer, not its stream."""


def _print_json(report: dict[str, Any]) -> None:
    print(json.dumps(report, ensure_ascii=False))


def _print_answer(report: dict[str, Any]) -> None:
    print(report["answer"])
    for check in report["checks"]:
        if not check["passed"]:
            print(check["words"])
    if report["box"]:
        print(
            f"box {report['box']}  points {report['points']}  plane {report['plane']['axis']} "
            f"{report['plane']['index']}"
        )
    if report["evidence"]:
        print(report["evidence"])
    for key in ("mask", "overlay"):
        if report[key]:
            print(f"{key}: {report[key]}")
    print("Research use only; not for diagnosis.")


def _print_receipt(receipt: Receipt) -> None:
    print(receipt.words, file=sys.stdout if receipt.identical else sys.stderr)


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


def _batch_report() -> Any:
    """A callback that keeps one line up to date on a terminal, and elsewhere writes one every half minute."""
    import time

    from napari_medreason.batch.start import in_words

    live, last = sys.stderr.isatty(), [time.monotonic()]

    def report(progress: Any) -> None:
        if live:
            print(f"\r{in_words(progress)}\x1b[K", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            _say(in_words(progress))

    return report


def _progress_to_stderr(what: str) -> Any:
    """A progress callback that speaks on a terminal only, and only about long work."""
    if not sys.stderr.isatty():
        return None

    def report(done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\r{what} {done}/{total}", end=end, file=sys.stderr, flush=True)

    return report


def main() -> None:
    """Run the command line; a fault of the user's input becomes one line and exit code 2."""
    try:
        app()
    except MedReasonError as error:
        print(f"medreason: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
