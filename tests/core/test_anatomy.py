"""The anatomy vocabulary: complete, without contradictions, and coded as DICOM codes it."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from pydicom.sr._concepts_dict import concepts

from napari_medreason.core.anatomy import (
    REGIONS,
    SUPER_CATEGORIES,
    is_known,
    leaves,
    structures,
)
from napari_medreason.core.question_phrases import phrase_key

# Ids that the embedded model is trained for.
EMBEDDED = """
    cerebral_white_matter cerebral_cortex lateral_ventricle inferior_lateral_ventricle cerebellar_white_matter
    cerebellar_cortex thalamus caudate_nucleus putamen globus_pallidus third_ventricle fourth_ventricle
    brainstem hippocampus amygdala nucleus_accumbens ventral_diencephalon cerebrospinal_fluid liver spleen
    kidney gallbladder stomach pancreas adrenal_gland lung oesophagus trachea heart aorta inferior_vena_cava
    portal_vein small_bowel colon urinary_bladder vertebra sacrum hip_bone femur spinal_canal ribs sternum
    iliopsoas gluteal_muscles erector_spinae
"""
SNOMED = {
    code: {
        meaning
        for keyword in concepts["SCT"].values()
        for same, (meaning, _) in keyword.items()
        if same == code
    }
    for code in {item.snomed for item in structures().values() if item.snomed}
}


def test_size_and_spread():
    assert len(structures()) >= 150
    regions = Counter(item.region for item in structures().values())
    assert min(regions[region] for region in REGIONS) >= 10, regions
    kinds = Counter(item.super_category for item in structures().values())
    assert set(kinds) == set(SUPER_CATEGORIES)
    assert sum(item.is_finding for item in structures().values()) >= 40
    assert sum("CT" in item.modalities for item in structures().values()) >= 100
    assert sum("MR" in item.modalities for item in structures().values()) >= 100


@pytest.mark.parametrize("structure", EMBEDDED.split())
def test_holds_what_the_embedded_model_learns(structure):
    assert structure in structures()


def test_no_wording_means_two_structures():
    owners: dict[tuple[str, ...], str] = {}
    for item in structures().values():
        for phrase in item.phrases:
            assert owners.setdefault(phrase_key(phrase), item.id) == item.id, phrase


def test_names_are_unique():
    names = Counter(name for item in structures().values() for name in {item.name, item.plural} - {""})
    assert max(names.values()) == 1


def test_line_is_complete():
    for item in structures().values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", item.id), item.id
        assert item.name, item.id
        assert item.synonyms, item.id
        assert not {item.name, item.plural} & set(item.synonyms), item.id
        assert len(set(item.synonyms)) == len(item.synonyms), item.id
        assert item.article in ("the", "a", ""), item.id
        assert item.super_category in SUPER_CATEGORIES, item.id
        assert item.region in REGIONS, item.id
        assert set(item.modalities) <= {"CT", "MR", "US", "DX", "MG", "ES", "OPT"}, item.id
        assert item.modalities, item.id
        for text in (item.function, item.description, item.place):
            assert len(text.split()) >= 1, item.id
            assert text == text.strip(), item.id
            assert not text.endswith("."), item.id
        assert len(item.function.split()) >= 2, item.id


def test_what_a_structure_does_agrees_with_its_name():
    for item in structures().values():
        verb = item.function.split()[0].rstrip(",:")
        if item.plural == item.name:
            assert not verb.endswith("s"), item.id
        else:
            assert verb.endswith("s") or verb == "may", item.id


def test_side_is_not_part_of_a_paired_name():
    for item in structures().values():
        if item.paired:
            assert not {"left", "right"} & set(item.name.split()), item.id


def test_code_and_meaning_are_those_of_dicom():
    for item in structures().values():
        assert bool(item.snomed) == bool(item.snomed_meaning), item.id
        if item.snomed:
            assert item.snomed_meaning in SNOMED[item.snomed], item.id


def test_every_code_stands_for_one_structure():
    codes = Counter(item.snomed for item in structures().values() if item.snomed)
    assert max(codes.values()) == 1, codes.most_common(3)
    assert len(codes) >= 200


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        ("liver", "10200004"),
        ("kidney", "64033007"),
        ("lung", "39607008"),
        ("brain", "12738006"),
        ("radius", "62413002"),
        ("thalamus", "42695009"),
    ],
)
def test_known_codes(structure, code):
    assert structures()[structure].snomed == code


def test_groups_hold_existing_parts_and_no_loops():
    for item in structures().values():
        assert item.id not in item.members, item.id
        assert all(member in structures() for member in item.members), item.id
        if item.members:
            assert item.id not in leaves(item.id), item.id
            assert len(leaves(item.id)) >= 2, item.id
        else:
            assert leaves(item.id) == (item.id,), item.id


def test_colours_can_be_told_apart():
    colours = [item.colour for item in structures().values()]
    assert len(set(colours)) == len(colours)
    learned = [structures()[id_].colour for id_ in EMBEDDED.split()]
    nearest = min(sum(abs(a - b) for a, b in zip(*pair, strict=True)) for pair in combinations(learned, 2))
    assert nearest >= 45


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("oesophagus", "esophagus"),
        ("caecum", "cecum"),
        ("coeliac trunk", "celiac trunk"),
        ("haematoma", "hematoma"),
        ("brain tumour", "brain tumor"),
        ("oedema", "edema"),
        ("grey matter", "gray matter"),
    ],
)
def test_british_and_american_spelling_mean_the_same(british, american):
    owner = {phrase: item.id for item in structures().values() for phrase in item.phrases}
    assert owner[british] == owner[american]


def test_known_directly_or_through_all_parts():
    parts = leaves("ventricles")
    assert set(parts) == {
        "lateral_ventricle",
        "inferior_lateral_ventricle",
        "third_ventricle",
        "fourth_ventricle",
    }
    assert is_known("ventricles", parts)
    assert is_known("ventricles", ["ventricles"])
    assert not is_known("ventricles", parts[1:])
    assert is_known("liver", {"liver"})
    assert not is_known("no_such_structure", {"no_such_structure"})


def test_vocabulary_can_not_be_changed_by_accident():
    with pytest.raises(TypeError):
        structures()["liver"] = structures()["spleen"]
    with pytest.raises(AttributeError):
        structures()["liver"].name = "lever"
    assert structures() is structures()


def test_unknown_group_is_an_error():
    with pytest.raises(KeyError):
        leaves("no_such_structure")
