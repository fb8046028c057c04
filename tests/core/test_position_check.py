"""Words said about a mask, checked against it."""

import numpy as np
import pytest

from napari_medreason.core.label_names import named
from napari_medreason.core.patient_position import PatientPosition
from napari_medreason.core.position_check import MaskFacts, check_words
from napari_medreason.core.position_sizes import MaskSizes
from napari_medreason.core.region_columns import RegionSettings
from napari_medreason.core.region_steps import regions_in_steps, updated_in_steps
from napari_medreason.core.regions import slice_regions
from napari_medreason.core.volume import Volume
from napari_medreason.errors import CancelledError

PATIENT = PatientPosition("left", False, "posterior", "middle", 0.5, 30.0, 12.0, (0.0, 0.0, 0.0), "body")
SIZES = MaskSizes((30.0, 40.0, 55.0), (30.0, 41.0), 900.0, 33.0)
FACTS = MaskFacts("top right", False, PATIENT, "", SIZES, 12, named("kidney_left"))


@pytest.mark.parametrize(
    ("words", "verdicts"),
    [
        ("The left kidney is in the top right of the image.", ["agrees", "agrees", "agrees"]),
        ("right kidney", ["disagrees", "agrees"]),
        ("upper left", ["disagrees"]),
        ("left upper quadrant", ["agrees"]),
        ("on the right side of the image", ["agrees"]),
        ("on the patient's right side, anteriorly", ["disagrees", "disagrees"]),
        ("not near the centre of the image", ["agrees"]),
        ("close to the center", ["disagrees"]),
        ("the spleen", ["disagrees"]),
        ("a lesion", ["not known"]),
        ("posterior to the liver", ["not known"]),
        ("5.5 cm, 3 x 4 cm, 3x4x5.5 cm", ["agrees", "agrees", "agrees"]),
        ("12 mm; 900 mm²; 50 ml", ["disagrees", "agrees", "disagrees"]),
        ("slice 12, slice 13", ["agrees", "disagrees"]),
        ("crosses the midline", ["disagrees"]),
        ("there is nothing to say", []),
        ("no lesion on the left", ["not known", "not known"]),
        ("it isn't the spleen, on the right", ["not known", "disagrees"]),
        ("without contact on the right, but on the left", ["not known", "agrees"]),
    ],
)
def test_each_statement_gets_its_verdict(words, verdicts):
    found = [s.verdict for s in check_words(words, FACTS) if s.words not in ("liver",)]
    assert found == verdicts, check_words(words, FACTS)


def test_sides_are_not_judged_where_the_orientation_is_unknown():
    facts = MaskFacts("top right", False, None, "orientation unknown", MaskSizes(), 12)
    statements = check_words("top right, patient's left, 4 cm, left kidney", facts)
    assert [s.verdict for s in statements] == ["agrees", *["not known"] * 4]
    assert statements[1].found == "orientation unknown"


def test_a_table_in_steps_is_the_table_and_can_be_cancelled():
    labels = np.random.default_rng(0).integers(0, 4, (9, 40, 50)).astype(np.int16)
    volume = Volume(labels, np.diag([0.7, 0.7, 3.0, 1.0]))
    told, settings = [], RegionSettings(axis="coronal")
    table = regions_in_steps(volume, settings, progress=lambda *n: told.append(n), cancelled=lambda: False)
    truth = slice_regions(volume, axis="coronal")
    assert list(table.records()) == list(truth.records())
    assert told[-1] == (40, 40)
    labels[3:5, 7] = 2
    again = updated_in_steps(table, labels, progress=lambda *n: None, cancelled=lambda: False)
    assert list(again.records()) == list(slice_regions(volume, axis="coronal").records())
    with pytest.raises(CancelledError):
        regions_in_steps(volume, settings, progress=lambda *n: None, cancelled=lambda: True)
