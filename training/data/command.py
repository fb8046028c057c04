"""The commands `dataset build` and `dataset convert` of `python -m napari_medreason_training`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from napari_medreason.core.record import SYSTEMS


def add_commands(commands: Any) -> None:
    """Add `dataset` to the sub-commands of a parser."""
    dataset = commands.add_parser(
        "dataset", help="build data sets, or convert them to and from released forms"
    )
    actions = dataset.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="build records from images with masks; goes on where it stopped")
    build.add_argument("system", choices=SYSTEMS, help="which paper's form of question and answer")
    build.add_argument("config", type=Path, help="TOML file, see docs/data-sets.md")
    build.add_argument(
        "--json", action="store_true", help="progress and result as JSON lines on standard output"
    )
    build.add_argument(
        "--cluster", action="store_true", help="spread the cases over a Ray cluster; the files stay the same"
    )
    convert = actions.add_parser("convert", help="records to a released form, or a released form to records")
    convert.add_argument("source", type=Path, help="records.jsonl, or the file or folder of a released set")
    convert.add_argument("target", type=Path, help="file or folder to write")
    direction = convert.add_mutually_exclusive_group(required=True)
    direction.add_argument("--to", choices=SYSTEMS, help="released form to write")
    direction.add_argument("--from", dest="origin", choices=SYSTEMS, help="released form to read")
    convert.add_argument(
        "--root", type=Path, help="folder of images and masks; that of the source by default"
    )


def run(options: argparse.Namespace) -> None:
    """Run the command that was chosen."""
    if options.action == "build":
        _build(options)
    else:
        _convert(options)


def _build(options: argparse.Namespace) -> None:
    from .build import build
    from .cluster import cluster
    from .config import read_build_config
    from .progress import to_stream

    config = read_build_config(options.config)
    if config.writer.kind == "endpoint" and config.writer.allow_endpoint:
        images = "with image pixels" if config.writer.send_images else "without image pixels"
        sys.stderr.write(f"texts are written by {config.writer.model} at {config.writer.address}, {images}\n")
    report = to_stream(config.writer, as_json=options.json)
    with cluster(config.writer) if options.cluster else nullcontext(map) as each:
        result = build(options.system, config, options.config.parent, report, each=each)
    if options.json:
        summary = {"event": "done", "records": result.report.count, "counts": result.report.counts}
        print(json.dumps({**summary, "left_out": result.dropped, "folder": config.out}), flush=True)  # noqa: T201
        return
    sys.stderr.write(f"{result.report.count:,} records and their card are in {config.out}\n")
    for reason, count in result.dropped.items():
        sys.stderr.write(f"  left out {count:,}: {reason}\n")


def _convert(options: argparse.Namespace) -> None:
    from .released import from_released, to_released

    root = options.root or (options.source if options.source.is_dir() else options.source.parent)
    if options.to:
        count, left_out = to_released(options.to, options.source, options.target, root=root)
    else:
        count, left_out = from_released(options.origin, options.source, options.target, root=root)
    sys.stderr.write(f"converted {count:,} records\n")
    for reason, number in left_out.items():
        sys.stderr.write(f"  left out {number:,}: {reason}\n")
