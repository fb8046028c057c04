"""The table of published weights: strict in its form, honest in what it leaves out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.errors import UnknownModelError, WeightsError
from napari_medreason.models.catalogue import catalogue, is_safe_name, read_catalogue, weights
from napari_medreason.models.fit import PartSize

ENTRY = 'id = "a"\ntitle = "A"\nkind = "base"\nloader = "sam"\n'


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "catalogue.toml"
        file.write_text(text, encoding="utf-8")
        return read_catalogue(file)

    return read


def test_every_entry_says_what_its_licence_means_and_where_it_comes_from():
    for entry in catalogue().values():
        assert entry.consequence, entry.id
        assert entry.downloadable or entry.page, entry.id


def test_the_weights_of_the_three_papers_are_there():
    assert {
        "medreasoner-7b",
        "lingshu-7b",
        "medsam2",
        "medisee",
        "prs-med",
        "llava-med-7b",
        "tinysam",
    } <= set(catalogue())


def test_memory_is_computed_from_parameters_and_what_is_not_quantised():
    memory = weights("lingshu-7b").memory
    assert memory["bf16"] == pytest.approx(16.6e9, rel=0.01)
    assert memory["4bit"] == pytest.approx(6.9e9, rel=0.03)
    assert memory["fp32"] == 2 * memory["bf16"]
    assert memory["int8"] < memory["bf16"]
    assert weights("medsam2").memory["4bit"] == weights("medsam2").memory["bf16"]
    assert weights("internvl3-8b").memory == {}


def test_a_card_counts_four_bits_as_the_plan_does():
    entry = weights("lingshu-7b")
    part = PartSize("Lingshu", entry.parameters - entry.unquantised, entry.unquantised)
    assert entry.memory["4bit"] == pytest.approx(part.bytes_in("4bit"), abs=2)


def test_weights_without_a_revision_or_hashes_are_unpinned(read):
    other = ENTRY.replace('id = "a"', 'id = "b"')
    entries = read(
        f'[[weights]]\n{ENTRY}repository = "x/y"\nrevision = "{"a" * 40}"\n'
        f'[[weights]]\n{other}repository = "x/y"\n'
    )
    assert [entry.pinned for entry in entries.values()] == [True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[[weights]]\n{ENTRY}licens = 'MIT'", "'licens'"),
        ("[[weights]]\nid = 'a'\ntitle = 'A'\nkind = 'base'", "lacks the key 'loader'"),
        (f"[[weights]]\n{ENTRY}gated = 'yes'", "gated is 'yes'; bool is needed"),
        (f"[[weights]]\n{ENTRY}parameters = 1.5", "parameters is 1.5"),
        (f"[[weights]]\n{ENTRY}parameters = true", "parameters is True"),
        (f"[[weights]]\n{ENTRY}modalities = ['CT', 3]", "modalities is"),
        (f"[[weights]]\n{ENTRY}[[weights]]\n{ENTRY}", "two entries with the id 'a'"),
        (f"[[weights]]\n{ENTRY}revision = 'main'", "revision is no full commit id"),
        (f"[[weights]]\n{ENTRY}files = [{{ name = 'x', sha256 = 'abc' }}]", "a sha256 is no SHA-256"),
        (f"[[weights]]\n{ENTRY}files = [{{ name = '../x' }}]", "leads out of its folder"),
        (f"[[weights]]\n{ENTRY}files = [{{ name = 'x', url = 'http://x' }}]", "a url is not https"),
        (f"[[weights]]\n{ENTRY}files = ['x']", "files is no table"),
        (f"[[weights]]\n{ENTRY.replace('sam', 'magic')}", "loader 'magic' is not known"),
        (f"[[weights]]\n{ENTRY.replace('base', 'thing')}", "kind 'thing' is not one of"),
        ("[[weights]]\n" + ENTRY.replace('id = "a"', 'id = "A b"'), "the id may hold"),
        ("weights = 3", "something else than"),
        (f"[[weights]]\n{ENTRY}\n[more]\nx = 1", "something else than"),
        ("[[weights]\n", "can't be read"),
    ],
)
def test_a_wrong_entry_is_refused_and_named(read, text, words):
    with pytest.raises(WeightsError, match=words):
        read(text)


def test_unknown_ids_list_the_known_ones():
    with pytest.raises(UnknownModelError, match="known: medreasoner-7b, lingshu-7b"):
        weights("gpt")


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab./\\:~\0", max_size=12))
def test_safe_names_stay_in_their_folder(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    if is_safe_name(name):
        assert (folder / name).resolve().is_relative_to(folder.resolve())
    for bad in ("../" + name, "/" + name, name + "/../.."):
        assert not is_safe_name(bad)
