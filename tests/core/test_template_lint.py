"""The lint finds each kind of fault, and nothing in a template that has none."""

import pytest

from napari_medreason.core.template_grammar import diagnostic_words
from napari_medreason.core.template_lint import Finding, lint, lint_all, similarity
from napari_medreason.core.templates import Template

MEDPOS = Template("m", "medpos", "any", "any", "Where {is} {structure}?", "{structure} {lies} {where}.")
U_MRG = Template(
    "u",
    "u-mrg",
    "function",
    "abdomen anatomies",
    "Which {part} here {functions}?",
    "{this} {is} {structure}, {where}.",
    "The task belongs {place}. The area there is {shape}. {this} {is} {structure}.",
)
MLMR = Template(
    "l", "mlmr-sd", "location-short", "any", "What {is} found {place}?", "Found {where}: {structure}."
)


def changed(template, **fields):
    return Template(**{**vars(template), **fields})


@pytest.mark.parametrize("template", [MEDPOS, U_MRG, MLMR], ids=lambda template: template.system)
def test_a_good_template_has_no_findings(template):
    assert lint(template) == ()


@pytest.mark.parametrize(
    ("template", "field", "check", "words"),
    [
        (changed(MEDPOS, question="Where {is} {strcture}?"), "question", "slot", "unknown slot {strcture}"),
        (changed(MEDPOS, answer="{structure} {lies} {where"), "answer", "slot", "broken slot"),
        (changed(MEDPOS, question="Where {is} {structure}, {where}?"), "question", "leak", "{where} gives"),
        (changed(MEDPOS, question="Where {is} {structure}, {side}?"), "question", "leak", "{side} gives"),
        (
            changed(MEDPOS, question="Where on the left {is} {structure}?"),
            "question",
            "leak",
            "'left' gives the position away",
        ),
        (
            changed(U_MRG, question="Which {part} {where} {function}?"),
            "question",
            "leak",
            "{where} gives the position away",
        ),
        (
            changed(MLMR, question="Found {where}: {structure}."),
            "question",
            "leak",
            "the question holds the whole answer",
        ),
        (changed(U_MRG, question="What {is} {structure}?"), "question", "name", "{structure} names"),
        (
            changed(U_MRG, question="Which {part} beside the livers {function}?"),
            "question",
            "name",
            "'liver' is a structure of the scope",
        ),
        (
            changed(MLMR, question="What lies {place}, in the kidney?"),
            "question",
            "name",
            "'kidney' is a structure",
        ),
        (
            changed(MEDPOS, answer="{structure} {is} on the image."),
            "answer",
            "incomplete",
            "no slot of the answer gives the position",
        ),
        (changed(MLMR, answer="It is {where}."), "answer", "incomplete", "gives the name"),
        (changed(MEDPOS, question="Where is it?"), "question", "incomplete", "does not name the structure"),
        (changed(U_MRG, reasoning=""), "reasoning", "incomplete", "0 sentences"),
        (
            changed(U_MRG, reasoning="One. Two. Three. Four. Five. {structure}."),
            "reasoning",
            "incomplete",
            "6",
        ),
        (
            changed(U_MRG, reasoning="This is {structure}. It lies {where}."),
            "reasoning",
            "incomplete",
            "the last step does not name",
        ),
        (
            changed(MLMR, kind="attribute-short"),
            "question",
            "cue",
            "an attribute-oriented question holds a place",
        ),
        (
            changed(MLMR, question="Which {part} here {function}?"),
            "question",
            "cue",
            "a location-oriented question holds no place",
        ),
        (
            changed(MEDPOS, answer="The tumour of {structure} {lies} {where}."),
            "answer",
            "diagnostic",
            "'tumour' judges health",
        ),
        (
            changed(U_MRG, question="Which {part} {function} and looks abnormal?"),
            "question",
            "diagnostic",
            "'looks abnormal'",
        ),
        (changed(U_MRG, question="What {functions}?"), "question", "grammar", "{functions} without {part}"),
        (changed(MEDPOS, question="Where is {structure}?"), "question", "grammar", "'is' does not agree"),
        (changed(MEDPOS, question="Where are {structure}?"), "question", "grammar", "'are' does not agree"),
        (changed(MEDPOS, answer="{structure} lies {where}."), "answer", "grammar", "'lies' does not agree"),
        (
            changed(MEDPOS, answer="I found {structure}; it is {where}."),
            "answer",
            "grammar",
            "'it' after a plural structure",
        ),
        (changed(MEDPOS, question="Where {is} the {structure}?"), "question", "grammar", "two articles"),
        (changed(MEDPOS, question="Where {is} {structure}"), "question", "grammar", "no question mark"),
        (changed(MEDPOS, question="Where {is} {structure} ?"), "question", "grammar", "a space before"),
        (changed(MEDPOS, answer="Here here {lies} {structure}, {where}."), "answer", "grammar", "word twice"),
        (changed(MEDPOS, answer="{structure} {lies} {where}, in a image."), "answer", "grammar", "'a image'"),
        (changed(MEDPOS, answer="({structure} {lies} {where}."), "answer", "grammar", "without its partner"),
        (changed(MEDPOS, answer="{structure} {lies} {where},see."), "answer", "grammar", "no space after"),
    ],
)
def test_each_fault_is_found(template, field, check, words):
    found = [one for one in lint(template) if one.check == check]
    assert found, lint(template)
    assert {one.field for one in found} == {field}
    assert any(words in one.words for one in found)
    assert all("\n" not in one.words for one in found)


def test_right_grammar_is_left_alone():
    for question in (
        "Does the outline of {structure} stay away from the border?",
        "Where should {structure} lie?",
        "What is the place of {structure}?",
    ):
        assert lint(changed(MEDPOS, question=question)) == (), question
    assert lint(changed(MEDPOS, answer="The box around {structure} is drawn {where}.")) == ()


def test_duplicates_and_near_duplicates_are_found_once_for_each_pair():
    same = changed(MEDPOS, id="n", question="where {is} the {structure}!", answer="See {where}: {structure}.")
    near = changed(
        MEDPOS,
        id="o",
        question="Tell me: in which part of this fine image {is} {structure}?",
        answer="Search {where}, please.",
    )
    nearer = changed(
        near,
        id="p",
        question="Tell me: in which part of this image {is} {structure}?",
        answer="That would be {where}, I think.",
    )
    found = [one for one in lint_all([MEDPOS, same, near, nearer]) if one.check == "duplicate"]
    assert found == [
        Finding("n", "question", "duplicate", "the same wording as m"),
        Finding("p", "question", "duplicate", "90 % of the words of o"),
    ]


def test_other_systems_and_older_versions_are_no_duplicates():
    assert not lint(changed(MEDPOS, version=2), [MEDPOS])
    assert lint_all([changed(MEDPOS, version=2), MEDPOS]) == ()


def test_similarity_is_the_share_of_common_words():
    assert similarity("Where is the {structure}?", "where is a {structure}") == 1.0
    assert similarity("Where is {structure}?", "Where is {where}?") == pytest.approx(1 / 2)
    assert similarity("one two", "three") == 0.0


@pytest.mark.parametrize(
    "text",
    ["It is bright and round.", "The area lies where it normally lies.", "The outline is drawn in a curve."],
)
def test_plain_descriptions_are_not_diagnostic(text):
    assert diagnostic_words(text) == ()


@pytest.mark.parametrize(
    "text",
    ["suspicious for cancer", "This is benign.", "It looks normal", "follow-up advised", "pathological"],
)
def test_judgements_of_health_are_diagnostic(text):
    assert diagnostic_words(text)
