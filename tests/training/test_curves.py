"""Curves of a run: what is in the events is in the picture, and the picture is well-formed."""

import json
from xml.etree import ElementTree

import pytest

from napari_medreason.errors import MedReasonError
from napari_medreason_training.curves import (
    Curve,
    curves,
    panel,
    read_events,
    write_curves,
    write_reliability,
)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [{"event": "step", "images": n * 100, "loss": 4.0 / n, "structure": 2.0 / n} for n in (1, 2, 4)]
    lines.append({"event": "validation", "images": 400, "dice": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "events.jsonl").write_text(text + '{"event": "ste')
    return folder


def test_a_line_that_a_hard_stop_cut_short_is_left_out(run):
    assert len(read_events(run)) == 4


def test_curves_hold_the_values_of_the_events(run):
    events = read_events(run)
    assert curves(events, "step", ("loss", "side")) == [Curve("loss", ((100, 4.0), (200, 2.0), (400, 1.0)))]


def test_the_picture_is_well_formed_and_falls_where_the_loss_falls(run, tmp_path):
    write_curves(run, tmp_path / "curves.svg")
    root = ElementTree.parse(tmp_path / "curves.svg").getroot()
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"loss", "structure", "dice", "400"} <= set(texts)
    paths = [node.get("d") for node in root.iter("{http://www.w3.org/2000/svg}path")]
    heights = [float(corner.split()[1]) for corner in paths[1].lstrip("M").split("L")]
    assert heights == sorted(heights)


def test_words_are_escaped():
    ElementTree.fromstring(f"<svg>{panel('a < b & c', [Curve('<i>', ((0, 1), (1, 0)))], 0)}</svg>")


def test_a_folder_without_events(tmp_path):
    with pytest.raises(MedReasonError, match=r"events\.jsonl"):
        write_curves(tmp_path, tmp_path / "curves.svg")


def test_a_reliability_diagram_has_one_panel_per_kind_of_image(tmp_path):
    groups = [
        {"images": name, "calibration_error": 0.1, "reliability": [[10, 0.1, 0.2], [10, 0.9, 0.8]]}
        for name in ("T1", "T2")
    ]
    write_reliability(groups, tmp_path / "reliability.svg")
    root = ElementTree.parse(tmp_path / "reliability.svg").getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}g")) == 2
