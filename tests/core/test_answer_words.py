"""Answer sentences: grammar, careful wording, and what a reader must be told."""

from __future__ import annotations

from itertools import product

import pytest

from napari_medreason.core.anatomy import structures
from napari_medreason.core.answer_words import (
    absent_answer,
    found_answer,
    noun_phrase,
    outside_answer,
    unknown_answer,
)

DIAGNOSTIC = ("normal", "abnormal", "healthy", "disease", "pathological", "diagnos", "suspicious")


@pytest.mark.parametrize(
    ("structure", "side", "sentence"),
    [
        ("liver", "", "The liver is seen on this axial slice."),
        ("liver", "both", "The liver is seen on this axial slice."),
        ("kidney", "left", "The left kidney is seen on this axial slice."),
        ("kidney", "both", "Both kidneys are seen on this axial slice."),
        ("kidney", "", "A kidney is seen on this axial slice."),
        ("adrenal_gland", "", "An adrenal gland is seen on this axial slice."),
        ("lung", "both", "Both lungs are seen on this axial slice."),
        ("ribs", "", "The ribs are seen on this axial slice."),
        ("ribs", "left", "The left ribs are seen on this axial slice."),
        ("ribs", "both", "The ribs on both sides are seen on this axial slice."),
        ("vertebra", "", "A vertebra is seen on this axial slice."),
        ("cerebrospinal_fluid", "", "The cerebrospinal fluid is seen on this axial slice."),
        ("cerebral_cortex", "", "The cerebral cortex is seen on this axial slice."),
        ("cerebral_cortex", "both", "The cerebral cortex on both sides is seen on this axial slice."),
        ("ureter", "", "A ureter is seen on this axial slice."),
        ("uterine_fibroid", "", "A uterine fibroid is seen on this axial slice."),
        ("lung_upper_lobe", "", "An upper lobe of the lung is seen on this axial slice."),
        ("abscess", "", "An abscess is seen on this axial slice."),
        ("oedema", "", "Oedema is seen on this axial slice."),
        ("lung_nodule", "left", "A lung nodule on the left is seen on this axial slice."),
        ("lung_nodule", "both", "Lung nodules on both sides are seen on this axial slice."),
        ("left_atrium", "", "The left atrium is seen on this axial slice."),
    ],
)
def test_found(structure, side, sentence):
    assert found_answer(structure, axis="axial", side=side) == sentence


def test_found_names_plane_and_position():
    sentence = found_answer(
        "spleen", axis="coronal", position="in the upper right of the image", confidence=0.9
    )
    assert sentence == "The spleen is seen on this coronal slice, in the upper right of the image."


def test_low_confidence_is_said():
    sentence = found_answer("spleen", axis="axial", confidence=0.31)
    assert sentence.startswith("The spleen may be seen on this axial slice.")
    assert "not sure" in sentence
    assert "31 %" in sentence
    assert "may" not in found_answer("spleen", axis="axial", confidence=0.5)
    assert "may" not in found_answer("spleen", axis="axial", confidence=None)


@pytest.mark.parametrize(
    ("structure", "side", "sentence"),
    [
        ("gallbladder", "", "The gallbladder is not seen on this sagittal slice."),
        ("kidney", "", "The kidneys are not seen on this sagittal slice."),
        ("kidney", "both", "The kidneys are not seen on this sagittal slice."),
        ("kidney", "right", "The right kidney is not seen on this sagittal slice."),
        ("pleural_effusion", "", "A pleural effusion is not seen on this sagittal slice."),
        ("ascites", "", "Ascites is not seen on this sagittal slice."),
    ],
)
def test_absent(structure, side, sentence):
    assert absent_answer(structure, axis="sagittal", side=side) == sentence


def test_unknown_lists_what_is_known():
    assert unknown_answer("pineal gland", ["liver", "spleen"]) == (
        "I don't know this structure (pineal gland); I know: liver, spleen."
    )
    assert unknown_answer("", ["liver"]) == "I don't know this structure; I know: liver."
    assert unknown_answer("", []) == "I don't know this structure."


def test_unknown_shortens_a_long_list():
    names = [item.name for item in structures().values()]
    sentence = unknown_answer("", names)
    assert names[7] in sentence
    assert names[8] not in sentence
    assert sentence.endswith("…")


def test_outside_says_which_body_part_was_expected():
    assert outside_answer("hippocampus", side="left") == (
        "This image does not look like the head, so the left hippocampus was not looked for."
    )
    assert "the kidneys were not looked for" in outside_answer("kidney")


def test_other_words_are_used_as_they_are():
    assert noun_phrase("flux capacitor") == ("flux capacitor", False)
    assert found_answer("flux capacitor", axis="axial") == "Flux capacitor is seen on this axial slice."
    assert "the expected body part" in outside_answer("flux capacitor")


def test_every_sentence_is_short_well_formed_and_not_diagnostic():
    for item, side in product(structures().values(), ("", "left", "right", "both")):
        sentences = (
            found_answer(item.id, axis="axial", side=side),
            found_answer(item.id, axis="axial", side=side, confidence=0.1, position="near the centre"),
            absent_answer(item.id, axis="axial", side=side),
            outside_answer(item.id, side=side),
        )
        for sentence in sentences:
            assert sentence[0].isupper()
            assert sentence.endswith((".", ")."))
            assert "  " not in sentence
            assert sentence.count(". ") <= 1
            assert not any(word in sentence.lower() for word in DIAGNOSTIC)
            assert (" are " in sentence or " were " in sentence) <= bool(item.plural)


def test_a_structure_that_the_model_is_poor_at_is_worded_as_doubtful():
    found = found_answer("pancreas", axis="axial", position="at the top left of the image", experimental=True)
    assert found == (
        "Possibly the pancreas, on this axial slice, at the top left of the image. "
        "The model is experimental for this structure: please check."
    )
    absent = absent_answer("pancreas", axis="axial", experimental=True)
    assert absent.startswith("The pancreas is not seen on this axial slice.")
    assert "often missed" in absent
