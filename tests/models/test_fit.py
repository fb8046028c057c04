"""What is planned from sizes and free memory, before anything is loaded."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.errors import WeightsError
from napari_medreason.models import fit, fit_memory
from napari_medreason.models.fit import GIGABYTE, FreeMemory, PartSize
from napari_medreason.models.fit_sizes import part_size, tensor_shapes

LAYERS, TEXT, WORDS = 28, 3584, 152_064
LINGSHU = PartSize("Lingshu-7B", 6_525_288_448, 1_766_878_208, 469_762_048, 320_864_256)
MEDSAM2 = PartSize("MedSAM2", 0, 38_962_498, 0, 150_994_944, usual="fp32")


def gpu(free, *, computer=64, exclusive=False):
    return FreeMemory("cuda:0", int(free * GIGABYTE), int(computer * GIGABYTE), exclusive)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (24, "Lingshu-7B in bf16: needs about 18 GB of 24 GB free"),
        (12, "Lingshu-7B in 8-bit: needs about 11 GB of 12 GB free (in bf16 it would need 18 GB)"),
        (11, "Lingshu-7B in 4-bit: needs about 8.3 GB of 11 GB free (in bf16 it would need 18 GB)"),
        (6, "Lingshu-7B in 32-bit on the CPU: needs about 35 GB of 64 GB free (in bf16 it would need 18 GB)"),
    ],
)
def test_a_model_of_seven_billion_weights_is_made_to_fit(free, words):
    assert fit.plan([LINGSHU], gpu(free), quantised=True).words == words


def test_a_computer_without_room_for_32_bits_holds_16():
    plan = fit.plan([LINGSHU], gpu(6, computer=24), quantised=True)
    assert (plan.device, plan.precision("Lingshu-7B"), plan.fits) == ("cpu", "bf16", True)


def test_a_segmenter_beside_it_keeps_its_32_bits():
    plan = fit.plan([LINGSHU, MEDSAM2], gpu(10), quantised=True)
    assert plan.fits
    assert plan.precision("MedSAM2") == "fp32"
    assert plan.words.startswith("Lingshu-7B in 4-bit and MedSAM2 in 32-bit: needs about 8.")


def test_without_bitsandbytes_smaller_weights_are_not_offered_and_it_is_said():
    plan = fit.plan([LINGSHU], gpu(11), quantised=False)
    assert (plan.device, plan.fits) == ("cpu", True)
    assert "pip install 'napari-medreason[gpu]'" in plan.words
    roomy = fit.plan([LINGSHU], gpu(24), quantised=False)
    assert "bitsandbytes" not in roomy.words


def test_a_device_named_by_the_user_is_not_left():
    plan = fit.plan([LINGSHU], gpu(4, exclusive=True), quantised=True)
    assert (plan.device, plan.fits, plan.precision("Lingshu-7B")) == ("cuda:0", False, "4bit")
    assert plan.words == "Lingshu-7B in 4-bit: needs about 8.3 GB of 4.0 GB free"


def test_apple_gpus_are_not_offered_8_and_4_bits():
    memory = FreeMemory("mps", 12 * GIGABYTE, 12 * GIGABYTE)
    plan = fit.plan([LINGSHU], memory, quantised=True)
    assert not plan.fits
    assert plan.precision("Lingshu-7B") == "bf16"
    assert fit.step_down("bf16", "mps", quantised=True) is None


@pytest.mark.parametrize(
    ("device", "quantised", "ladder"),
    [
        ("cuda:1", True, ["fp32", "bf16", "int8", "4bit", None]),
        ("cuda:1", False, ["fp32", "bf16", None]),
        ("cpu", True, ["fp32", "bf16", None]),
    ],
)
def test_steps_down_end(device, quantised, ladder):
    steps = ["fp32"]
    while steps[-1] is not None:
        steps.append(fit.step_down(steps[-1], device, quantised=quantised))
    assert steps == ladder


parts = st.lists(
    st.builds(
        PartSize,
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 10**11),
        st.integers(0, 10**10),
        st.integers(0, 10**10),
        st.integers(0, 10**10),
        st.sampled_from(["bf16", "fp32"]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part.name,
)
memories = st.builds(
    FreeMemory,
    st.sampled_from(["cuda:0", "mps", "cpu"]),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.booleans(),
)


@given(parts, memories, st.none() | st.sampled_from(fit.PRECISIONS), st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_plan_never_claims_room_that_is_not_there(parts, memory, wanted, quantised):
    plan = fit.plan(parts, memory, wanted, quantised=quantised)
    free = memory.free if plan.device == memory.device else memory.computer
    assert plan.free == free
    assert plan.fits == (plan.needed <= free)
    assert plan.needed >= sum(part.needed for part in plan.parts) >= 0
    assert "\n" not in plan.words
    assert all(part.name in plan.words for part in parts)
    if memory.exclusive:
        assert plan.device == memory.device
    used = {plan.precision(part.name) for part in parts if part.quantisable}
    if wanted is not None:
        assert used <= {wanted}
    elif not quantised or memory.kind != "cuda":
        assert not used & set(fit.QUANTISED)


@given(parts, memories, st.integers(0, 10**12))
@settings(max_examples=200, deadline=None)
def test_more_memory_never_gives_a_worse_plan(parts, memory, more):
    less = fit.plan(parts, memory, quantised=True)
    grown = FreeMemory(memory.device, memory.free + more, memory.computer + more, memory.exclusive)
    plan = fit.plan(parts, grown, quantised=True)
    assert plan.fits >= less.fits
    if less.fits:
        assert plan.choice <= less.choice


@given(parts)
@settings(max_examples=100, deadline=None)
def test_smaller_precisions_need_less(parts):
    for part in parts:
        sizes = [part.bytes_in(precision) for precision in fit.PRECISIONS]
        assert sizes == sorted(sizes, reverse=True)


def header_only(file, shapes):
    """A safetensors file as far as its header goes."""
    header = {"__metadata__": {"format": "pt"}}
    for name, shape in shapes.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)


def test_a_model_of_seven_billion_weights_is_measured_by_its_headers(tmp_path):
    """The published shapes of Qwen2.5-VL-7B, in two shards, in 16 bits 16.6 GB."""
    pairs = 4 * 128
    layer = {
        "self_attn.q_proj.weight": [TEXT, TEXT],
        "self_attn.k_proj.weight": [pairs, TEXT],
        "self_attn.v_proj.weight": [pairs, TEXT],
        "self_attn.o_proj.weight": [TEXT, TEXT],
        "self_attn.q_proj.bias": [TEXT],
        "mlp.gate_proj.weight": [18_944, TEXT],
        "mlp.up_proj.weight": [18_944, TEXT],
        "mlp.down_proj.weight": [TEXT, 18_944],
        "input_layernorm.weight": [TEXT],
    }
    text = {
        f"model.layers.{number}.{name}": shape for number in range(LAYERS) for name, shape in layer.items()
    }
    vision = {f"visual.blocks.{number}.mlp.gate_proj.weight": [3420, 1280] for number in range(32)}
    words = {"model.embed_tokens.weight": [WORDS, TEXT], "lm_head.weight": [WORDS, TEXT]}
    header_only(tmp_path / "model-00001-of-00002.safetensors", text)
    header_only(tmp_path / "model-00002-of-00002.safetensors", vision | words)
    vision_config = {"hidden_size": 1280, "intermediate_size": 3420, "patch_size": 14}
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": TEXT, "vision_config": vision_config}))
    size = part_size(tmp_path, name="Lingshu-7B")
    assert size.quantisable == LINGSHU.quantisable
    assert size.cache == 8192 * 57_344, "57 KB for each token"
    assert 0.2 * GIGABYTE < size.activations < GIGABYTE
    assert 6.0 * GIGABYTE < size.bytes_in("4bit") < 9 * GIGABYTE


def test_a_damaged_header_is_named(tmp_path):
    file = tmp_path / "model.safetensors"
    for content in (b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x05\0\0\0\0\0\0\0{bad}"):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.safetensors has no readable safetensors header"):
            tensor_shapes(file)
    header_only(file, {"w": [2, 2]})
    assert tensor_shapes(file) == {"w": (2, 2)}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json"):
        part_size(tmp_path)


def test_old_files_are_measured_by_their_size_and_configuration(tmp_path):
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64}
    config = {**layers, "intermediate_size": 128, "vocab_size": 500, "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\0" * 400_000)
    size = part_size(tmp_path)
    assert size.quantisable == 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128)
    assert size.quantisable + size.kept == 200_000
    single = tmp_path / "medsam.pth"
    single.write_bytes(b"\0" * 4000)
    assert part_size(single) == PartSize("medsam", 0, 1000, 0, part_size(single).activations, usual="fp32")


@pytest.mark.parametrize(
    ("limit", "free"), [("max", 8000), ("5000", 3300), ("garbage", 8000), (None, 8000), ("900", 0)]
)
def test_the_limit_of_a_container_counts(tmp_path, monkeypatch, limit, free):
    monkeypatch.setattr(fit_memory, "_GROUP", tmp_path)
    monkeypatch.setattr(fit_memory.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8000}))
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("2000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    assert fit_memory.computer_memory() == free
