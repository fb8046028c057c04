"""Facts from real regions of a label map."""

import numpy as np
import pytest

from napari_medreason.core.neighbours import Neighbour, Neighbourhood
from napari_medreason.core.region_facts import brightness_of, facts_of, neighbour_words
from napari_medreason.core.regions import slice_regions
from napari_medreason.core.templates import checked, fill

LPS = np.diag([1.0, 2.0, 3.0, 1.0])


def table(labels, affine=LPS):
    return slice_regions(labels, affine_lps=affine)


@pytest.fixture
def labels():
    volume = np.zeros((3, 40, 60), np.int64)
    volume[1, 4:14, 40:50] = 1
    volume[1, 20:24, 5:15] = 2
    volume[1, 20:24, 45:55] = 2
    return volume


def test_a_row_of_the_table_fills_a_template(labels):
    facts = facts_of(table(labels), 0, "kidney", modality="CT")
    assert facts.side == "left"  # x grows to the patient's left
    assert (facts.position, facts.quadrant, facts.patient_side) == ("top right", "top right", "left")
    assert (facts.image_shape, facts.box_plane, facts.area_px) == ((40, 60), (40, 4, 50, 14), 100)
    assert facts.size_mm == (10.0, 20.0)
    template = checked(
        id="a",
        system="medpos",
        kind="far",
        scope="any",
        question="Where on this {image} {is} {structure}, {extent}?",
        answer="{structure} {lies} {where}, {patient_side}, {patient_place}.",
    )
    filled = fill(template, facts)
    assert filled.question == "Where on this axial CT slice is the left kidney, 10 by 20 mm?"
    assert filled.answer == (
        "The left kidney lies in the top right of the image, on the patient's left, "
        "in the front third of the field of view."
    )


def test_two_parts_across_the_midline_are_both_sides(labels):
    facts = facts_of(table(labels), 1, "kidney")
    assert (facts.side, facts.component_count) == ("both", 2)
    assert facts_of(table(labels), 1, "liver").side == ""
    assert facts_of(table(labels), 1, "kidney", side="right").side == "right"


def test_storage_order_never_changes_the_words(labels):
    flipped = np.ascontiguousarray(labels[:, :, ::-1])
    affine = LPS @ np.array([[-1.0, 0, 0, 59], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for row, structure in enumerate(("kidney", "kidney")):
        assert facts_of(table(flipped, affine), row, structure) == facts_of(table(labels), row, structure)


def test_without_orientation_there_is_no_side_and_no_mm(labels):
    facts = facts_of(slice_regions(labels), 0, "kidney")
    assert (facts.side, facts.patient_side, facts.patient_place, facts.size_mm) == ("", "", "", None)
    assert (facts.position, facts.axis) == ("top right", "")


def test_brightness_is_against_the_ring_around():
    mask = np.zeros((30, 30), bool)
    mask[10:16, 10:16] = True
    noise = np.random.default_rng(0).normal(0, 1, mask.shape)
    assert brightness_of(noise + 10 * mask, mask) == "brighter"
    assert brightness_of(noise - 10 * mask, mask) == "darker"
    assert brightness_of(noise, mask) == "similar"
    assert brightness_of(noise, np.zeros_like(mask)) == ""
    assert brightness_of(noise, np.ones_like(mask)) == ""
    assert brightness_of(noise[:5], mask) == ""


def test_brightness_leaves_out_what_is_not_finite():
    mask = np.zeros((30, 30), bool)
    mask[10:16, 10:16] = True
    image = np.random.default_rng(0).normal(0, 1, mask.shape) + 10 * mask
    image[:12, ::2], image[20:] = np.nan, np.inf
    assert brightness_of(image, mask) == "brighter"
    assert brightness_of(np.where(mask, image, np.nan), mask) == ""
    assert brightness_of(np.where(mask, np.nan, image), mask) == ""


def test_neighbours_are_words_that_follow_a_verb():
    around = Neighbourhood(
        1,
        (
            Neighbour(2, 4.0, 0.0, "left of"),
            Neighbour(3, 4.0, 0.0, None),
            Neighbour(4, 0.0, 5.0, "superior to"),
            Neighbour(5, 0.0, 9.0, None),
            Neighbour(6, 0.0, 9.0, "inferior to"),
        ),
        (),
    )
    names = {2: "the liver", 3: "the spleen", 4: "the aorta", 5: "the stomach"}
    assert neighbour_words(around, names) == (
        "to the patient's left of the liver",
        "next to the spleen",
        "above the aorta",
    )
