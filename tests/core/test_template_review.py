"""Review, versions, split and balance of templates."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.template_balance import balance, pick
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_review import (
    approved,
    changed_words,
    difference,
    history,
    rejected,
    reopened,
    revised,
    usable,
)
from napari_medreason.core.template_split import shared_wording, with_split, wording
from napari_medreason.core.templates import Template, why_not
from napari_medreason.errors import TemplateError

DRAFT = Template("m", "medpos", "any", "any", "Where {is} {structure}?", "{structure} {lies} {where}.")
LIVER = Facts("liver", position="top left", quadrant="top left", near_center=False)


def test_a_review_has_a_name_and_a_day():
    good = approved(DRAFT, reviewer="Dr Ada", date="2026-03-31")
    assert (good.state, good.reviewer, good.date, good.reason) == ("approved", "Dr Ada", "2026-03-31", "")
    bad = rejected(good, reviewer="Dr Bo", reason="stilted", date="2026-04-01")
    assert (bad.state, bad.reviewer, bad.reason) == ("rejected", "Dr Bo", "stilted")
    assert reopened(bad) == DRAFT
    assert len(approved(DRAFT, reviewer="Dr Ada").date) == 10


def test_a_review_without_what_it_needs_is_refused():
    with pytest.raises(TemplateError, match="reviewer"):
        approved(DRAFT, reviewer=" ")
    with pytest.raises(TemplateError, match="reason"):
        rejected(DRAFT, reviewer="Dr Ada", reason="")
    with pytest.raises(TemplateError, match="2026-03-31"):
        approved(DRAFT, reviewer="Dr Ada", date="yesterday")


def test_a_revision_is_a_new_draft_and_only_wording_makes_one():
    good = approved(DRAFT, reviewer="Dr Ada", date="2026-03-31")
    new = revised(good, question="Whereabouts {is} {structure}?")
    assert (new.version, new.state, new.reviewer) == (2, "draft", "")
    assert revised(good, question=good.question) is good
    with pytest.raises(TemplateError, match="'id' is not part of a revision"):
        revised(good, id="n")
    with pytest.raises(TemplateError, match="unknown slot"):
        revised(good, answer="{somewhere}")
    assert history([new, DRAFT, replace(DRAFT, id="n")], "m") == (DRAFT, new)


def test_the_difference_of_versions_names_fields_and_words():
    new = revised(DRAFT, question="Where on the {image} {is} {structure}?")
    assert difference(DRAFT, new)[2:] == (
        "@@ -1 +1 @@",
        "-question: Where {is} {structure}?",
        "+question: Where on the {image} {is} {structure}?",
    )
    assert difference(DRAFT, new)[0] == "--- m version 1"
    assert difference(DRAFT, approved(DRAFT, reviewer="A", date="2026-03-31")) == ()
    assert changed_words(DRAFT.question, new.question) == (
        ("same", "Where"),
        ("added", "on the {image}"),
        ("same", "{is} {structure}?"),
    )
    assert changed_words("a b", "a c") == (("same", "a"), ("removed", "b"), ("added", "c"))


def test_rejected_templates_are_not_used_and_only_newest_versions_count():
    bad = rejected(replace(DRAFT, id="bad"), reviewer="A", reason="dull", date="2026-03-31")
    good = approved(replace(DRAFT, id="good"), reviewer="A", date="2026-03-31")
    newer = revised(good, question="Whereabouts {is} {structure}?")
    assert usable([DRAFT, bad, good]) == (DRAFT, good)
    assert usable([DRAFT, bad, good], states=["approved"]) == (good,)
    assert usable([DRAFT, good, newer], states=["approved"]) == ()


def test_shared_wording_is_seen_through_case_spelling_and_number():
    one = replace(DRAFT, question="What colour is the tumour of {structure}?")
    two = replace(
        one, id="n", split="test", question="what color is tumors of {structure}", answer="{where}."
    )
    found = shared_wording([one, two])
    assert [(one.train_id, one.test_id, one.field) for one in found] == [("m", "n", "question")]
    assert shared_wording([one, replace(two, question="Why {structure}?")]) == ()
    assert wording("{where}") != wording("where")


texts = st.lists(st.sampled_from(["where", "Which", "spot", "{structure}", "{is}", "part?"]), min_size=1).map(
    " ".join
)
sets = st.lists(st.tuples(texts, texts), min_size=1, max_size=25).map(
    lambda pairs: [
        replace(DRAFT, id=f"t{index}", question=question, answer=answer)
        for index, (question, answer) in enumerate(pairs)
    ]
)


@settings(deadline=None, max_examples=60)
@given(sets, st.floats(0, 1), st.integers(0, 5), st.randoms())
def test_a_split_never_shares_wording_and_does_not_depend_on_the_order(templates, share, seed, random):
    split = with_split(templates, test_share=share, seed=seed)
    assert [replace(one, split="train") for one in split] == templates
    assert shared_wording(split) == ()
    shuffled = random.sample(templates, len(templates))
    assert {one.id: one.split for one in with_split(shuffled, test_share=share, seed=seed)} == {
        one.id: one.split for one in split
    }


def test_a_split_takes_about_its_share_and_other_seeds_other_templates():
    many = [
        replace(DRAFT, id=f"t{n}", question=f"Q{n} {{structure}}?", answer=f"A{n} {{where}}.")
        for n in range(50)
    ]
    sides = [tuple(one.split for one in with_split(many, test_share=0.1, seed=seed)) for seed in (0, 0, 1)]
    assert [side.count("test") for side in sides] == [5, 5, 5]
    assert sides[0] == sides[1] != sides[2]
    one_group = [replace(one, answer="The same {where}.") for one in many]
    assert {one.split for one in with_split(one_group, test_share=0.1, seed=0)} == {"train"}
    with pytest.raises(ValueError, match="from 0 to 1"):
        with_split(many, test_share=5, seed=0)


def test_balance_counts_yield_reasons_and_what_is_left_without():
    near = replace(DRAFT, id="near", kind="near")
    brain = replace(DRAFT, id="brain", scope="brain anatomies")
    facts = [LIVER, replace(LIVER, position="top right"), Facts("spleen")]
    counts = balance([DRAFT, near, brain], facts)
    assert (counts.facts, counts.pairs) == (3, 2)
    assert counts.yields == {"m": 2, "near": 0, "brain": 0}
    assert counts.idle == ("near", "brain")
    assert counts.reasons == {"another position": 3, "another scope": 3, "no words for where": 1}
    assert counts.structures == {"liver": 2}
    assert counts.super_categories == {"abdomen anatomies": 2}
    assert counts.positions == {"top left": 1, "top right": 1}
    assert counts.kinds == {"medpos any": 2}
    assert counts.uncovered == {"spleen": 1}
    assert sum(counts.yields.values()) + sum(counts.reasons.values()) == 9


def test_a_template_is_picked_by_seed_and_key_alone():
    many = [replace(DRAFT, id=f"t{n}") for n in range(20)] + [replace(DRAFT, id="near", kind="near")]
    picks = {key: pick(many, LIVER, seed=3, key=key) for key in "abcdefgh"}
    assert picks == {key: pick(many, LIVER, seed=3, key=key) for key in "abcdefgh"}
    assert len({one.id for one in picks.values()}) > 3
    assert not any(why_not(one, LIVER) for one in picks.values())
    assert pick(many, Facts("spleen"), seed=3, key="a") is None
