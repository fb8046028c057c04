"""Templates: what a filled one reads like, when one does not apply, and what is refused."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.anatomy import SUPER_CATEGORIES, structures
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_names import names_in
from napari_medreason.core.template_samples import sample_facts
from napari_medreason.core.template_slots import SLOTS, empty_slots, render, slot_fault
from napari_medreason.core.template_words import article_for, lies_words, shape_words
from napari_medreason.core.templates import applicable, checked, fill, latest, why_not
from napari_medreason.errors import DataSetError, TemplateError

KIDNEY = Facts(
    "kidney",
    side="left",
    modality="CT",
    axis="axial",
    position="top right",
    quadrant="top right",
    near_center=False,
    image_shape=(200, 100),
    box_plane=(60, 20, 80, 50),
    spacing=(2.0, 1.0),
    area_px=480,
    component_count=1,
)


def medpos(**fields):
    values = {
        "id": "a",
        "system": "medpos",
        "kind": "any",
        "scope": "any",
        "question": "Where {is} {structure}?",
        "answer": "{structure} {lies} {where}.",
    }
    return checked(**{**values, **fields})


@pytest.mark.parametrize(
    ("facts", "question", "answer"),
    [
        (KIDNEY, "Where is the left kidney?", "The left kidney lies in the top right of the image."),
        (
            replace(KIDNEY, side="both"),
            "Where are both kidneys?",
            "Both kidneys lie in the top right of the image.",
        ),
        (
            replace(KIDNEY, structure="ribs", position="near the center", near_center=True),
            "Where are the left ribs?",
            "The left ribs lie near the center of the image.",
        ),
        (
            Facts("liver_tumour", position="center", near_center=True),
            "Where is the liver tumour?",
            "The liver tumour lies at the center of the image.",
        ),
        (
            Facts("breast_lesion", side="right", position="bottom left", near_center=True),
            "Where is the breast lesion on the right?",
            "The breast lesion on the right lies in the bottom left of the image, not far from its center.",
        ),
        (
            Facts("left_foo_bar", position="bottom left"),
            "Where is the left foo bar?",
            "The left foo bar lies in the bottom left of the image.",
        ),
        (
            Facts("vertebra", name="vertebra L1", position="bottom left"),
            "Where is the vertebra L1?",
            "The vertebra L1 lies in the bottom left of the image.",
        ),
    ],
)
def test_articles_numbers_and_places_are_right(facts, question, answer):
    filled = fill(medpos(), facts)
    assert (filled.question, filled.answer) == (question, answer)
    assert (filled.template_id, filled.template_version) == ("a", 1)


def test_an_article_before_a_slot_follows_the_sound():
    assert (
        render("This is a {image}, a {modality} image.", KIDNEY) == "This is an axial CT slice, a CT image."
    )
    mr = replace(KIDNEY, modality="MR", axis="")
    assert render("A {image}.", mr) == "An MR image."
    sounds = {"X-ray": "an", "OCT image": "an", "CT": "a", "unilateral": "a", "uterus": "a", "egg": "an"}
    assert {word: article_for(word) for word in sounds} == sounds


def test_sizes_are_in_mm_and_shares_of_the_image():
    assert render("{extent}, {share}, {size}, {pieces}", KIDNEY) == (
        "20 by 60 mm, about 2 % of the image, medium-sized, one piece"
    )
    assert shape_words(KIDNEY) == "longer from top to bottom than from side to side"
    assert (
        shape_words(replace(KIDNEY, spacing=(1.0, 1.0), box_plane=(60, 20, 80, 50))) == "compact and rounded"
    )


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("back of the abdomen, beside the spine", "at the back of the abdomen, beside the spine"),
        ("inside the skull", "inside the skull"),
        ("either side of the chest", "on either side of the chest"),
        ("right of the midline", "to the right of the midline"),
        ("right side of the heart", "on the right side of the heart"),
        ("upper right abdomen", "in the upper right abdomen"),
        ("any bone", "in any bone"),
        ("anywhere in the body", ""),
    ],
)
def test_places_get_their_preposition(place, words):
    assert lies_words(place) == words


def test_a_verb_of_one_organ_is_not_put_after_two():
    template = medpos(question="Where {is} {structure}, which {function}?")
    assert fill(template, KIDNEY).question.endswith("which filters the blood, clears waste and makes urine?")
    assert why_not(template, replace(KIDNEY, side="both")) == "no words for function"
    ribs = replace(KIDNEY, structure="ribs")
    assert why_not(template, ribs) == "no words for function"
    assert render("Which {part} {functions}?", ribs).startswith("Which structures shield the lungs")
    assert render("Which {part} {functions}?", KIDNEY).startswith("Which structure filters the blood")


@pytest.mark.parametrize(
    ("fields", "facts", "reason"),
    [
        ({"scope": "finding"}, KIDNEY, "another scope"),
        ({"scope": "brain anatomies"}, KIDNEY, "another scope"),
        ({"scope": "liver"}, KIDNEY, "another scope"),
        ({"scope": "kidney"}, KIDNEY, ""),
        ({"scope": "anatomy"}, KIDNEY, ""),
        ({"scope": "anatomy"}, replace(KIDNEY, structure="no such thing"), "another scope"),
        ({"kind": "near"}, KIDNEY, "another position"),
        ({"kind": "far"}, KIDNEY, ""),
        ({"kind": "far"}, replace(KIDNEY, near_center=True), "another position"),
        ({}, replace(KIDNEY, position=""), "no words for where"),
        ({"answer": "{where} {brightness}"}, KIDNEY, "no words for brightness"),
    ],
)
def test_a_template_says_why_it_does_not_apply(fields, facts, reason):
    template = medpos(**fields)
    assert why_not(template, facts) == reason
    assert applicable([template], facts) == (() if reason else (template,))
    if reason:
        with pytest.raises(TemplateError, match=reason):
            fill(template, facts)


def test_an_implicit_question_that_would_name_the_structure_is_not_filled():
    template = checked(
        id="m",
        system="mlmr-sd",
        kind="attribute-short",
        scope="any",
        question="What is the {description}?",
        answer="It is {structure}.",
    )
    assert not why_not(template, KIDNEY)
    assert why_not(template, Facts("lung_upper_lobe")) == "the question would name the structure"
    described = replace(KIDNEY, description="one of two Kidneys")
    assert why_not(template, described) == "the question would name the structure"


@pytest.mark.parametrize(
    ("text", "structure", "named"),
    [
        ("both Kidneys here", "kidney", True),
        ("the renal parenchyma", "kidney", True),
        ("a kidney-shaped thing", "kidney", True),
        ("the organ that makes urine", "kidney", False),
        ("top lobe of the lung", "lung_upper_lobe", True),
        ("the wall of the lung", "lung_upper_lobe", False),
        ("a tumor of the liver", "liver_tumour", True),
        ("grows in the liver", "liver_tumour", False),
        ("what delivers blood", "liver", False),
        ("the bean", "something_else", False),
        ("something else again", "something_else", True),
    ],
)
def test_names_are_found_whatever_their_form(text, structure, named):
    assert bool(names_in(text, Facts(structure))) == named


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"question": ""}, "'question' is missing"),
        ({"question": "Where {is {structure}?"}, "question: broken slot near"),
        ({"question": "Where {}?"}, "question: broken slot"),
        ({"answer": "{strcture}"}, r"answer: unknown slot {strcture}; did you mean {structure}\?"),
        ({"kind": "attribute-short"}, "'kind' is 'attribute-short'; accepted are any, near, far"),
        ({"system": "vqa"}, "'system' is 'vqa'; accepted are medpos, u-mrg, mlmr-sd"),
        ({"scope": "belly"}, "'scope' is 'belly'; accepted are any, anatomy"),
        ({"split": "val"}, "'split' is 'val'"),
        ({"version": 0}, "'version' is 0"),
        ({"version": "1.5"}, "'version' is '1.5'"),
        ({"version": True}, "'version' is True"),
        ({"version": "²"}, "'version'"),
        ({"state": "approved"}, "needs 'reviewer' and 'date'"),
        ({"state": "approved", "reviewer": "A", "date": "31.3.2026"}, "a day such as 2026-03-31"),
        ({"state": "rejected", "reviewer": "A", "date": "2026-03-31"}, "needs a 'reason'"),
        ({"reviewer": "A"}, "a draft has no reviewer"),
        ({"question": "a\x00b"}, "can't be printed"),
        ({"question": 3}, "accepted is a text"),
        ({"colour": "red"}, "unknown key 'colour'; accepted are id, system"),
    ],
)
def test_what_is_not_accepted_is_said(fields, words):
    with pytest.raises(TemplateError, match=words) as caught:
        medpos(**fields)
    assert "\n" not in str(caught.value)


def test_white_space_is_tidied_and_the_newest_version_is_found():
    one = medpos(question="Where \n\t {is}   {structure}?")
    two = medpos(version=2)
    assert one.question == "Where {is} {structure}?"
    assert latest([two, medpos(id="b"), one]) == (two, medpos(id="b"))


def test_facts_go_through_json_and_refuse_unknown_keys():
    assert Facts.from_dict(KIDNEY.to_dict()) == KIDNEY
    with pytest.raises(DataSetError, match="unknown key 'colour'"):
        Facts.from_dict({"structure": "kidney", "colour": "red"})


@pytest.mark.parametrize("scope", ["any", "anatomy", "finding", *SUPER_CATEGORIES])
def test_every_slot_has_words_for_complete_facts_of_one_structure(scope):
    facts = sample_facts(scope)
    assert len(facts) >= 3
    assert {one.side for one in facts} <= {"", "left", "both"}
    whole = [one for one in facts if not empty_slots("".join(f"{{{name}}}" for name in SLOTS), one)]
    assert whole or not any(one.item.paired for one in facts), scope


known = st.sampled_from(sorted(structures()))
some_facts = st.builds(
    Facts,
    structure=known,
    side=st.sampled_from(["", "left", "right", "both"]),
    modality=st.sampled_from(["", "CT", "MR", "US"]),
    axis=st.sampled_from(["", "axial", "coronal"]),
    position=st.sampled_from(["", "top left", "near the center", "center"]),
)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*(f"{{{name}}}" for name in SLOTS), "the", "and."]), min_size=1),
    some_facts,
)
def test_filling_leaves_no_brace_and_no_text_behind(words, facts):
    text = " ".join(words)
    assert not slot_fault(text)
    filled = render(text, facts)
    assert not re.search(r"[{}]|None", filled)
    assert filled[:1] == filled[:1].upper()
