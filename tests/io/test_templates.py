"""Files of templates: what comes with the program, round trips, and faults named by file and line."""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medreason.core.anatomy import SUPER_CATEGORIES, structures
from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_lint import lint_all
from napari_medreason.core.template_names import names_in
from napari_medreason.core.template_samples import sample_facts, scope_structures
from napari_medreason.core.template_slots import SLOTS
from napari_medreason.core.template_split import shared_wording
from napari_medreason.core.templates import KINDS, Template, applicable, checked, fill, why_not
from napari_medreason.errors import ExportError, TemplateError
from napari_medreason.io.templates import dump, parse, read_templates, shipped, write_templates

SUFFIXES = (".yaml", ".json", ".csv")


# What comes with the program.


def test_medpos_has_fifty_wordings_for_training_and_five_for_tests():
    medpos = [template for template in shipped() if template.system == "medpos"]
    assert Counter(template.split for template in medpos) == {"train": 50, "test": 5}


def test_every_super_category_has_twenty_formats_with_both_splits():
    u_mrg = [template for template in shipped() if template.system == "u-mrg"]
    assert Counter(template.scope for template in u_mrg) == dict.fromkeys(SUPER_CATEGORIES, 20)
    assert {(one.scope, one.split) for one in u_mrg} == {
        (c, s) for c in SUPER_CATEGORIES for s in ("train", "test")
    }
    assert all(template.reasoning for template in u_mrg)


def test_mlmr_sd_has_short_and_long_wordings_of_both_orientations():
    mlmr = [template for template in shipped() if template.system == "mlmr-sd"]
    counts = Counter((template.kind, template.split) for template in mlmr)
    assert {kind for kind, _ in counts} == set(KINDS["mlmr-sd"])
    assert min(counts.values()) >= 3
    assert all(counts[kind, "train"] >= 14 for kind in KINDS["mlmr-sd"])
    words = {
        length: [len(one.question.split()) for one in mlmr if one.kind.endswith(length)]
        for length in ("short", "long")
    }
    assert max(words["short"]) < 15
    assert sum(words["long"]) > 2 * sum(words["short"])


@pytest.mark.slow
def test_shipped_templates_pass_the_lint():
    assert lint_all(shipped()) == ()


def test_shipped_training_and_test_wordings_never_meet():
    assert shared_wording(shipped()) == ()


def test_shipped_templates_claim_no_review_that_did_not_happen():
    assert {template.state for template in shipped()} == {"draft"}


@pytest.mark.slow
def test_every_structure_of_the_vocabulary_gets_templates_of_each_system():
    for item in structures().values():
        facts = replace(sample_facts("any")[0], structure=item.id, side="left" if item.paired else "")
        counts = Counter(template.system for template in applicable(shipped(), facts))
        assert counts["medpos"] >= 40, item.id
        assert counts["u-mrg"] >= 7, item.id
        assert counts["mlmr-sd"] >= 30, item.id


def test_shipped_templates_fill_without_a_rest_and_hide_the_name():
    for template in shipped():
        for item in scope_structures(template.scope)[:4]:
            facts = replace(sample_facts("any", template.kind)[0], structure=item.id, side="")
            if why_not(template, facts):
                continue
            filled = fill(template, facts)
            text = f"{filled.question} {filled.answer} {filled.reasoning}"
            assert not re.search(r"[{}]|None|  \b|\.\.| [.,?]", text), text
            if template.implicit:
                assert not names_in(filled.question, facts)
                assert names_in(filled.answer, facts)
            else:
                assert names_in(filled.question, facts)


def test_few_facts_are_enough_for_some_templates():
    facts = Facts("liver", position="top left")
    assert {template.system for template in applicable(shipped(), facts)} >= {"medpos", "mlmr-sd"}


# Round trips.

slots = st.sampled_from([f"{{{name}}}" for name in SLOTS])
words = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="{}"), min_size=1, max_size=8
)
texts = st.lists(st.one_of(words, slots), min_size=1, max_size=8).map(" ".join)
reviews = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"state": st.just("approved"), "reviewer": words, "date": st.dates().map(str)}),
    st.fixed_dictionaries(
        {"state": st.just("rejected"), "reviewer": words, "date": st.dates().map(str), "reason": texts}
    ),
)


@st.composite
def templates(draw):
    system = draw(st.sampled_from(sorted(KINDS)))
    return checked(
        id=draw(words),
        system=system,
        kind=draw(st.sampled_from(KINDS[system])),
        scope=draw(st.sampled_from(["any", "finding", "vessel", "liver"])),
        question=draw(texts),
        answer=draw(texts),
        reasoning=draw(st.one_of(st.just(""), texts)),
        version=draw(st.integers(1, 99999)),
        split=draw(st.sampled_from(["train", "test"])),
        **draw(reviews),
    )


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(templates(), max_size=4, unique_by=lambda one: (one.id, one.version)), st.sampled_from(SUFFIXES)
)
def test_what_is_written_is_read_back(many, suffix):
    assert parse(dump(many, f"a{suffix}").encode(), f"a{suffix}") == tuple(many)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_hold_the_shipped_templates_and_all_versions(tmp_path, suffix):
    first = shipped()[0]
    many = (*shipped()[:40], replace(first, version=2, question="Whereabouts {is} {structure}?"))
    path = tmp_path / f"set{suffix}"
    write_templates(path, many)
    assert read_templates(path) == many
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_from_a_spreadsheet_is_read(tmp_path):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["question", "answer", "id", "system", "kind", "scope", "reasoning"])
    writer.writerow(
        [
            'Where, "exactly", {is}\n{structure}?',
            "{structure} {lies} {where}.",
            "é",
            "medpos",
            "any",
            "any",
            "",
        ]
    )
    path = tmp_path / "set.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    (template,) = read_templates(path)
    assert template.question == 'Where, "exactly", {is} {structure}?'
    assert (template.id, template.version, template.split) == ("é", 1, "train")


def test_defaults_hold_for_every_template_that_does_not_say_otherwise():
    yaml = (
        "format: 1\ndefaults: {system: medpos, kind: any, scope: any}\ntemplates:\n"
        "- id: a\n  question: Where {is} {structure}?\n  answer: '{where}'\n"
        "- id: b\n  kind: near\n  question: How near {is} {structure}?\n  answer: '{where}'\n  reviewer:\n"
    )
    one, two = parse(yaml.encode(), "a.yaml")
    assert (one.system, one.kind, two.kind, two.reviewer) == ("medpos", "any", "near", "")


# Faults.

GOOD = {
    "id": "a",
    "system": "medpos",
    "kind": "any",
    "scope": "any",
    "question": "Q {structure}?",
    "answer": "{where}",
}


def yaml_of(**changes):
    entry = {**GOOD, **changes}
    lines = [f"{key}: {json.dumps(value)}" for key, value in entry.items()]
    return ("format: 1\ntemplates:\n- " + "\n  ".join(lines) + "\n").encode()


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (
            yaml_of(question="Where {is {structure}?"),
            "a.yaml",
            r"a.yaml, line 7 \(a\): question: broken slot near '{is",
        ),
        (
            yaml_of(answer="{place_of}"),
            "a.yaml",
            r"line 8 \(a\): answer: unknown slot {place_of}; .*accepted are",
        ),
        (yaml_of(kind="some"), "a.yaml", r"line 5 \(a\): 'kind' is 'some'; accepted are any, near, far"),
        (yaml_of(colour="red"), "a.yaml", "line 9: unknown key 'colour'; accepted are id, system"),
        (b"format: 1\ntemplates:\n- id: a\n  id: b\n", "a.yaml", "line 4: the key 'id' is there twice"),
        (b"format: 1\ntemplates:\n- id: a\n  question: {is} x\n", "a.yaml", "line 4: not valid YAML"),
        (
            b"format: 1\ntemplates:\n- id: a\n  question: {is}\n",
            "a.yaml",
            "line 4: found a mapping .* quotes",
        ),
        (
            b"format: 1\ntemplates:\n- &x {id: a}\n- *x\n",
            "a.yaml",
            "line 4: references such as .* not accepted",
        ),
        (
            b"format: 1\ntemplates: !!python/object/apply:os.system [ls]\n",
            "a.yaml",
            "line 2: found a text; accepted are lines",
        ),
        (b"format: 2\ntemplates: []\n", "a.yaml", "line 1: format '2' is not known; accepted is 1"),
        (b"format: 1\n", "a.yaml", "the key 'templates' is missing"),
        (b"format: 1\nextra: 1\ntemplates: []\n", "a.yaml", "line 2: unknown key 'extra'"),
        (b"format: 1\ntemplates: []\n---\na: b\n", "a.yaml", "line 3: a second document"),
        (b"", "a.yaml", "the file is empty"),
        (b"[" * 50_000, "a.yaml", "nested too deeply"),
        (b"format: 1\n# caf\xe9\n", "a.yaml", "line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("format: 1".encode("utf-16"), "a.yaml", "line 1: byte 0xff is not UTF-8"),
        (b"format: 1\ntemplates: \x00\n", "a.yaml", "line 2: not valid YAML"),
        (
            b'{"format": 1,\n"templates": [\n{"id": "a", "kindd": "b"}]}',
            "a.json",
            "line 3: unknown key 'kindd'",
        ),
        (b'{"format": 1,\n"templates": [\n{"id": "a",}]}', "a.json", "line 3: not valid JSON"),
        (
            b'{"format": 1,\n"templates": [\n{"id": 1, "id": 2}]}',
            "a.json",
            "line 3: the key 'id' is there twice",
        ),
        (b'{"format": 1, "templates": [NaN]}', "a.json", "NaN is no JSON number"),
        (b'{"format": 1, "templates": [3]}', "a.json", "'templates' holds 3; accepted are objects"),
        (b"[1]", "a.json", "no object"),
        (b"[" * 50_000, "a.json", "nested too deeply"),
        (b"id;system\na;b\n", "a.csv", "line 1: column 'id;system' is unknown; accepted are id"),
        (b"id,system\na,medpos,any\n", "a.csv", "line 2: 3 cells for 2 columns; quote texts with commas"),
        (b'id,question\n"a\nb",c\nd\n', "a.csv", "line 4: 1 cells for 2 columns"),
        (b'id,question\n"a,b\n', "a.csv", "line 2: not valid CSV"),
        (b"id,question\na,\x00\n", "a.csv", "line 2: a NUL character"),
        (b"", "a.csv", "the file is empty"),
        (b"id,question\na,Where?\n", "a.csv", r"line 2 \(a\): 'system' is missing"),
        (b"x", "a.txt", "a.txt is no file of templates; accepted are .yaml, .yml, .json, .csv"),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_line(data, name, words):
    with pytest.raises(TemplateError, match=words) as caught:
        parse(data, name)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_an_id_and_version_twice_is_refused_in_both_directions():
    twice = [Template(**GOOD), Template(**GOOD)]
    with pytest.raises(TemplateError, match="twice"):
        dump(twice, "a.json")
    text = json.dumps({"format": 1, "templates": [GOOD, GOOD]}, indent=1)
    with pytest.raises(TemplateError, match=r"line 12: 'a' version 1 is there already \(line 4\)"):
        parse(text.encode(), "a.json")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "set.yaml"
    write_templates(path, [Template(**GOOD)])
    before = path.read_bytes()
    with pytest.raises(TemplateError, match="broken slot"):
        write_templates(path, [Template(**{**GOOD, "answer": "{where"})])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_medreason.io.atomic._flush", full)
    with pytest.raises(ExportError, match=r"set\.yaml can't be written: No space left"):
        write_templates(path, [Template(**{**GOOD, "id": "b"})])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_missing_file_and_a_folder_are_said_without_their_path(tmp_path):
    with pytest.raises(TemplateError, match=r"^none\.yaml can't be read: No such file"):
        read_templates(tmp_path / "none.yaml")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TemplateError, match=r"^folder\.csv can't be read"):
        read_templates(tmp_path / "folder.csv")


def test_empty_fields_are_not_written():
    text = dump([Template(**GOOD)], "a.json")
    assert json.loads(text) == {"format": 1, "templates": [GOOD]}
    rows = list(csv.DictReader(io.StringIO(dump([Template(**GOOD)], "a.csv"))))
    assert rows[0] == {key: str(value) for key, value in asdict(Template(**GOOD)).items()}


def test_the_page_about_templates_lists_every_slot_and_field():
    page = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
    for slot in SLOTS.values():
        assert f"| `{{{slot.name}}}` | {slot.meaning} | {slot.source} | {slot.example} |" in page
    for kinds in KINDS.values():
        assert all(f"`{kind}`" in page for kind in kinds)
    examples = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert [len(parse(example.encode(), "page.yaml")) for example in examples] == [2]


@settings(deadline=None, max_examples=80)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text("ab:-{}[]\"',&*!|>#%@ \n\t\r1~", max_size=60).map(str.encode),
        st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)).map(
            lambda cut: yaml_of()[: cut[0]] + cut[1] + yaml_of()[cut[0] :]
        ),
    ),
    st.sampled_from(SUFFIXES),
)
def test_any_bytes_give_templates_or_one_line(data, suffix):
    said = ""
    try:
        parse(data, f"a{suffix}")
    except TemplateError as error:
        said = str(error)
    assert not said or re.fullmatch(rf"a\{suffix}, line \d+.*", said), said
