import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.errors import WeightsError
from napari_medreason.models.embedded.experts import FOLDER
from napari_medreason.models.weights import combined_sha256, file_sha256, verify, weight_files, weights_sha256


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "b.safetensors").write_bytes(b"second shard")
    (folder / "a.safetensors").write_bytes(b"first shard")
    (folder / "config.json").write_text("{}")
    return folder


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_hash_of_a_set_is_the_hash_of_its_sorted_hashes(folder):
    files = weight_files(folder)
    assert [file.name for file in files] == ["a.safetensors", "b.safetensors"]
    expected = sha256("".join(sorted([sha256(b"first shard"), sha256(b"second shard")])).encode())
    assert weights_sha256(files) == weights_sha256(reversed(files)) == expected


@settings(deadline=None)
@given(st.lists(st.binary(), min_size=1, max_size=4), st.randoms())
def test_order_does_not_matter_and_content_does(contents, random):
    hashes = [sha256(content) for content in contents]
    shuffled = random.sample(hashes, len(hashes))
    assert combined_sha256(hashes) == combined_sha256(shuffled)
    assert combined_sha256(hashes) != combined_sha256([*hashes, sha256(b"one more")])


def test_unchanged_files_pass_in_either_letter_case(folder):
    verify(
        folder, {"a.safetensors": sha256(b"first shard"), "b.safetensors": sha256(b"second shard").upper()}
    )


def test_a_flipped_byte_is_found_and_the_file_named(folder):
    expected = {file.name: file_sha256(file) for file in weight_files(folder)}
    (folder / "b.safetensors").write_bytes(b"sEcond shard")
    with pytest.raises(WeightsError, match=r"b\.safetensors is damaged"):
        verify(folder, expected)


def test_a_missing_file_is_named_without_its_path(folder):
    with pytest.raises(WeightsError, match=r"c\.safetensors is missing from model") as fault:
        verify(folder, {"c.safetensors": sha256(b"")})
    assert str(folder.parent) not in str(fault.value)


def test_the_advice_is_to_install_what_the_weights_come_with(folder):
    with pytest.raises(WeightsError, match="please install the weights again"):
        verify(folder, {"a.safetensors": "0" * 64})
    shipped = next(FOLDER.glob("*.safetensors"))
    with pytest.raises(WeightsError, match=r"is damaged .* please install napari-medreason again"):
        verify(FOLDER, {shipped.name: "0" * 64})
    with pytest.raises(WeightsError, match="please install napari-medreason again"):
        file_sha256(FOLDER / "no_such.safetensors")


@pytest.mark.parametrize("name", ["model.bin", "model.pth", "model.ckpt"])
def test_other_formats_are_named_and_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=rf"only {name}; only \.safetensors"):
        weight_files(tmp_path)


def test_no_folder_and_no_weights_are_told_apart(tmp_path):
    with pytest.raises(WeightsError, match="nowhere is not a folder"):
        weight_files(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="no weight file"):
        weight_files(tmp_path)
    with pytest.raises(WeightsError, match=r"x\.safetensors can't be read"):
        file_sha256(tmp_path / "x.safetensors")
