"""What a form of a run says and writes: words for every field, TOML that comes back, splits by patient."""

import dataclasses
import json
from typing import get_origin

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from napari_medreason import jobs
from napari_medreason._qt.tune_check_memory import base_size, free_bytes
from napari_medreason._qt.tune_form import (
    RECIPES,
    FieldInfo,
    fields_of,
    parsed,
    shown,
    toml_text,
    with_preset,
)
from napari_medreason._qt.tune_form_bases import base_choices
from napari_medreason._qt.tune_form_files import RunWish, open_form, save_form
from napari_medreason._qt.tune_records import (
    RecordReader,
    RecordSet,
    SplitPlan,
    prepared,
    relative_to,
    split_by_patient,
)
from napari_medreason.core.record_check import problems
from napari_medreason.core.run_config import PRESETS, Budget, EvaluationPlan, RunConfig, table_of
from napari_medreason.core.run_memory import BaseSize
from napari_medreason.errors import DataSetError, RunError

from ..training.tuning_records import data_set

CONFIG = RunConfig("embedded", ("records.jsonl",), "images")
KINDS = [type(getattr(CONFIG, table_of(recipe))) for recipe in RECIPES]


@pytest.mark.parametrize("kind", [*KINDS, Budget, EvaluationPlan], ids=lambda kind: kind.__name__)
def test_every_field_is_explained_and_typed_values_come_back(kind):
    for info in fields_of(kind):
        assert info.help, f"{kind.__name__}.{info.name} has no words"
        if info.kind is not bool and get_origin(info.kind) is None:
            assert parsed(info, shown(info.default)) == info.default


@given(rate=st.floats(1e-12, 1e3), name=st.text(max_size=20), minutes=st.floats(0, 1e4))
@settings(max_examples=10, deadline=None)
def test_toml_of_any_form_says_the_same_when_it_is_read(rate, name, minutes):
    for recipe in RECIPES:
        table = table_of(recipe)
        for preset in PRESETS.get(table, {"": {}}):
            own = getattr(CONFIG, table)
            own = with_preset(own, preset, recipe) if preset else own
            config = dataclasses.replace(
                CONFIG,
                recipe=recipe,
                name=name,
                budget=Budget(minutes=minutes),
                **{table: dataclasses.replace(own, learning_rate=rate)},
            )
            assert jobs.parse_config(toml_text(config), "form") == config


def test_a_preset_is_named_rather_than_spelt_out():
    recipe = with_preset(CONFIG.grpo, "cpu-small", "grpo")
    text = toml_text(dataclasses.replace(CONFIG, recipe="grpo", grpo=recipe))
    assert text.split("[grpo]\n")[1].strip() == 'preset = "cpu-small"'
    assert recipe != CONFIG.grpo


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (float, "abc", "accepted is a finite number"),
        (float, "", "accepted is a finite number"),
        (float, "nan", "accepted is a finite number"),
        (float, "-1", "accepted is 0 or more"),
        (float, "3", "accepted is 2 or less"),
        (int, "1.5", "accepted is a whole number"),
    ],
)
def test_a_wrong_value_says_what_is_accepted(kind, text, words):
    info = FieldInfo("share", kind, 1, "", 0, 2)
    with pytest.raises(DataSetError, match=words):
        parsed(info, text)


def test_numbers_and_lists_are_understood_as_people_type_them():
    assert parsed(FieldInfo("rate", float, 0.0, "", 0, None), " 1e-6 ") == 1e-6
    assert parsed(FieldInfo("rate", float, 0.0, "", 0, None), ".5") == 0.5
    assert parsed(FieldInfo("parts", tuple[str, ...], (), "", 0, None), "a_proj,b_proj ,") == (
        "a_proj",
        "b_proj",
    )


def test_bases_say_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDREASON_WEIGHTS", str(tmp_path))
    (embedded,) = base_choices("embedded")
    assert embedded.missing == ()
    assert {one.id for one in base_choices("grpo")} >= {"qwen2.5-vl-3b", "medreasoner-7b", "lingshu-7b"}
    assert "vlm-r1-3b" not in {one.id for one in base_choices("grpo")}
    (system,) = base_choices("prs-med")
    assert "LLaVA-Med" in system.lack
    assert "Models and weights" in system.lack


@given(st.sets(st.text(max_size=4)), st.floats(0, 0.8), st.floats(0, 0.8))
@settings(max_examples=60)
def test_each_patient_is_in_one_split_and_somebody_is_learnt_from(patients, validation, test):
    plan = SplitPlan("drawn", validation, test)
    splits = split_by_patient(sorted(patients), plan)
    assert set(splits) == patients
    assert splits == split_by_patient(sorted(patients, reverse=True), plan)
    assert not patients or "train" in splits.values()
    if len(patients) >= 5 and min(validation, test) > 0 and max(validation, test) <= 0.4:
        assert set(splits.values()) == {"train", "validation", "test"}


def test_sets_with_different_images_become_one(tmp_path):
    sets = []
    for name, patients in (("one", ("a", "b", "c")), ("two", ("d", "e"))):
        (tmp_path / name).mkdir()
        data_set(tmp_path / name, [(patient, "train") for patient in patients])
        sets.append(RecordSet(tmp_path / name / "records.jsonl", tmp_path / name))
    found = prepared([*sets, sets[0]], SplitPlan(), RecordReader())
    assert found.drawn
    assert not found.files
    assert len(found.records) == 20  # the set that is named twice counts once
    assert {record.split for record in found.records} == {"train", "validation", "test"}
    for record in found.records:
        assert (found.images / record.image.path).is_file()
        assert not [words for words in problems(record) if words.startswith(("id", "image"))]
    kept = prepared(sets[:1], SplitPlan("kept"), RecordReader())
    assert kept.files == (sets[0].file,)
    assert {record.split for record in kept.records} == {"train"}


def test_given_splits_stay_unless_they_are_to_be_drawn(tmp_path):
    data_set(tmp_path)
    sets = [RecordSet(tmp_path / "records.jsonl", tmp_path)]
    found = prepared(sets, SplitPlan(), RecordReader())
    assert not found.drawn
    assert {record.patient: record.split for record in found.records} == {
        "a": "train",
        "b": "train",
        "c": "test",
    }


def test_missing_records_and_images_name_the_remedy(tmp_path):
    data_set(tmp_path)
    reader = RecordReader()
    with pytest.raises(DataSetError, match="no records are chosen; add"):
        prepared([], SplitPlan(), reader)
    with pytest.raises(DataSetError, match="is missing; choose it anew"):
        prepared([RecordSet(tmp_path / "records.jsonl", tmp_path / "gone")], SplitPlan(), reader)
    with pytest.raises(DataSetError, match="choose another file"):
        prepared([RecordSet(tmp_path / "gone.jsonl", tmp_path)], SplitPlan(), reader)


def test_changed_files_are_read_anew(tmp_path):
    data_set(tmp_path)
    reader = RecordReader()
    first = reader.read(tmp_path / "records.jsonl")
    assert reader.read(tmp_path / "records.jsonl") is first
    data_set(tmp_path, [("z", "train")])
    assert {record.patient for record in reader.read(tmp_path / "records.jsonl")} == {"z"}


def test_paths_in_a_configuration_are_relative(tmp_path):
    assert relative_to(tmp_path / "a" / "images", tmp_path / "runs" / "one") == "../../a/images"


def test_no_records_in_a_file_is_told_before_a_run_is_started():
    with pytest.raises(RunError, match="no records are named"):
        jobs.parse_config(toml_text(dataclasses.replace(CONFIG, records=())), "form")


def test_the_size_of_a_base_is_read_from_its_folder(tmp_path):
    text = {"hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 50}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    layer = {"self_attn.q_proj": (16, 16), "self_attn.k_proj": (8, 16), "self_attn.v_proj": (8, 16)}
    layer |= {"self_attn.o_proj": (16, 16), "mlp.gate_proj": (40, 16), "mlp.up_proj": (40, 16)}
    layer |= {"mlp.down_proj": (16, 40)}
    shapes = {f"model.layers.{n}.{name}.weight": shape for n in range(2) for name, shape in layer.items()}
    shapes |= {
        "model.embed_tokens.weight": (50, 16),
        "lm_head.weight": (50, 16),
        "visual.blocks.0.weight": (7, 9),
    }
    save_file(
        {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, tmp_path / "a.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl", "text_config": text}))
    config = dataclasses.replace(CONFIG, recipe="grpo", base=str(tmp_path))
    size = base_size(config)
    text_weights = 2 * sum(rows * columns for rows, columns in layer.values())
    assert size == BaseSize(
        text_weights, words=1600, vision=63, layers=2, hidden=16, inner=40, pair=8, vocabulary=50
    )
    (tmp_path / "config.json").write_text("{")
    assert base_size(config) is None
    assert base_size(CONFIG) is None


def test_memory_is_asked_where_the_run_will_work(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81000\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    grpo = dataclasses.replace(CONFIG, recipe="grpo")
    assert free_bytes(grpo) == 81000 * 2**20
    assert free_bytes(dataclasses.replace(grpo, device="cpu")) != 81000 * 2**20
    assert free_bytes(CONFIG) != 81000 * 2**20
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert free_bytes(grpo) != 81000 * 2**20


def test_a_base_folder_is_named_from_the_configuration_and_found_again(tmp_path):
    for name in ("weights", "set"):
        (tmp_path / name).mkdir()
    data_set(tmp_path / "set")
    sets = (RecordSet(tmp_path / "set" / "records.jsonl", tmp_path / "set"),)
    config = dataclasses.replace(CONFIG, recipe="grpo", base=str(tmp_path / "weights"))
    file = save_form(RunWish(config, sets, SplitPlan()), tmp_path / "set" / "tune.toml", RecordReader())
    assert 'base = "../weights"' in file.read_text("utf-8")
    opened, found = open_form(file)
    assert opened.base == config.base
    assert tuple(found) == sets
