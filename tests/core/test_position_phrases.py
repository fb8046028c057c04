from dataclasses import replace

import numpy as np
import pytest

from napari_medreason.core.label_extents import label_extents
from napari_medreason.core.neighbours import contacts, neighbourhoods
from napari_medreason.core.patient_position import PatientPosition
from napari_medreason.core.position_phrases import listed, neighbour_phrase, place_phrase, size_phrase
from napari_medreason.core.regions import slice_regions

SPLEEN = PatientPosition("left", False, "posterior", "superior", 0.8, 96.4, 41.6, (96.0, 20.0, 5.0), "body")


def test_a_place_in_the_body():
    assert place_phrase("the spleen", SPLEEN) == (
        "The spleen lies on the patient's left, in the posterior third of the body and in the superior "
        "third of its visible height. Its centre is 96 mm from the midline and 42 mm below the skin."
    )


def test_a_place_in_the_field_of_view_does_not_speak_of_the_body():
    seen = replace(SPLEEN, reference="field of view", surface_mm=None)
    phrase = place_phrase("the lungs", seen, plural=True)
    assert phrase == (
        "The lungs lie on the patient's left, in the posterior third of the field of view and in the "
        "superior third of its height. Their centre is 96 mm from the middle of the field of view."
    )
    assert "body" not in phrase
    assert "skin" not in phrase


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": "midline", "crosses_midline": True}, "lies in the midline, in the"),
        ({"crosses_midline": True}, "lies on the patient's left, reaching across the midline, in the"),
        ({"superior_inferior": None}, "third of the body and over its whole visible height."),
        (
            {"anterior_posterior": None},
            "on the patient's left, in the superior third of the body's visible height.",
        ),
        (
            {"anterior_posterior": None, "superior_inferior": None},
            "on the patient's left, over the body's whole visible height.",
        ),
        ({"midline_mm": 4.26}, "is 4.3 mm from"),
    ],
)
def test_what_changes_the_words(changes, words):
    assert words in place_phrase("the spleen", replace(SPLEEN, **changes))


def test_size_and_neighbours():
    labels = np.zeros((4, 6, 30), np.uint8)
    labels[:, 1:5, 2:8], labels[:, 1:5, 8:14], labels[:, 1:5, 14:20] = 1, 2, 3
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    extents = label_extents(slice_regions(labels, affine_lps=affine))
    found = neighbourhoods(extents, contacts(labels, affine))
    assert size_phrase(extents[1]) == (
        "It measures 12 x 12 x 20 mm (left to right, front to back, top to bottom), 2.9 ml."
    )
    names = {1: "the liver", 2: "the stomach", 3: "the spleen"}
    assert neighbour_phrase(found[2], names) == (
        "It touches the liver and the spleen. It lies between the liver and the spleen."
    )
    assert neighbour_phrase(found[3], names) == "It touches the stomach. It lies to the left of the stomach."
    assert neighbour_phrase(found[2], {2: "the stomach"}) == ""
    assert size_phrase(label_extents(slice_regions(labels))[0]) == ""


def test_lists_read_as_english():
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
