"""Core objects survive the trip; nothing missing, unknown or wrong gets through."""

import dataclasses
import hashlib
import tracemalloc
from functools import reduce
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason import errors
from napari_medreason.core.grounding import Check, Grounding, Provenance, Seconds
from napari_medreason.core.plane import AXES, Plane, cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.engine import protocol, values
from napari_medreason.engine.fields import Fields
from napari_medreason.engine.frames import unpack_body
from napari_medreason.engine.protocol_weights import map_to_weights_list, weights_list_to_map
from napari_medreason.errors import CancelledError, EngineError, MedReasonError, WeightsError
from napari_medreason.models.base import ModelInfo
from napari_medreason.models.catalogue import catalogue
from napari_medreason.models.store import WeightsStatus

FINITE = st.floats(-1e6, 1e6, width=32)
POINTS = st.tuples(FINITE, FINITE)


@st.composite
def planes(draw):
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    signs = draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=3))
    columns = draw(st.permutations(range(3)))
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(signs) * [0.5, 2.0, 3.0])[:, columns]
    affine[:3, 3] = draw(st.lists(FINITE, min_size=3, max_size=3))
    voxels = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape).astype(np.float32)
    volume = Volume(
        voxels, affine, draw(st.sampled_from(["CT", "MR", ""])), orientation_known=draw(st.booleans())
    )
    window = Window(draw(st.floats(-1e3, 0)), draw(st.floats(1, 1e3)))
    axis = draw(st.sampled_from(AXES))
    plane = cut(volume, axis, 0, window)
    image = np.where(plane.image > 1, np.float32(draw(st.sampled_from([2.0, np.nan, np.inf]))), plane.image)
    return dataclasses.replace(plane, image=image, calibrated=draw(st.booleans()))


@st.composite
def groundings(draw):
    plane = draw(planes())
    found = draw(st.booleans())
    texts = st.text(max_size=20)
    provenance = Provenance(
        model=draw(texts),
        weights_sha256=draw(texts),
        seconds=Seconds(*draw(st.tuples(FINITE, FINITE, FINITE))),
        templated=draw(st.booleans()),
        evidence=draw(texts),
        segmenter=draw(texts),
        window=draw(st.none() | POINTS),
        notes=tuple(draw(st.lists(texts, max_size=3))),
    )
    return Grounding(
        status="found" if found else draw(st.sampled_from(["absent", "unknown", "outside"])),
        answer=draw(texts),
        grid=plane.grid,
        provenance=provenance,
        reasoning=draw(texts),
        mask=plane.image > 0 if found else None,
        box=draw(st.tuples(*[FINITE] * 4)) if found else None,
        points=draw(st.tuples(POINTS, POINTS)) if found else None,
        confidence=draw(st.none() | st.floats(0, 1)),
        structure=draw(texts),
        suggestions=tuple(draw(st.lists(texts, max_size=3))),
        checks=tuple(draw(st.lists(st.builds(Check, texts, st.booleans(), texts), max_size=2))),
    )


def travel(message):
    return unpack_body(msgpack.packb(message))


def assert_same(received, sent):
    for field in dataclasses.fields(sent):
        there, here = getattr(received, field.name), getattr(sent, field.name)
        if isinstance(here, np.ndarray):
            np.testing.assert_array_equal(there, here)
            assert there.dtype == here.dtype
        else:
            assert there == here
            assert type(there) is type(here)


@given(planes())
@settings(max_examples=40, deadline=None)
def test_planes_survive(plane):
    assert_same(values.map_to_plane(travel(values.plane_to_map(plane))), plane)


@given(groundings())
@settings(max_examples=40, deadline=None)
def test_answers_survive(grounding):
    assert_same(values.map_to_grounding(travel(values.grounding_to_map(grounding))), grounding)


@given(
    st.text(min_size=1).filter(str.strip), st.none() | st.tuples(*[FINITE] * 4), st.lists(POINTS, max_size=3)
)
def test_questions_survive(text, box, points):
    plane = values.map_to_plane(values.plane_to_map(_plane()))
    sent = Question(text, plane, box, tuple(points))
    with Fields(travel(protocol.question_to_map(sent)), "ask") as fields:
        assert_same(protocol.take_question(fields, plane), sent)


@given(
    st.none() | st.tuples(*[FINITE] * 4),
    st.lists(st.tuples(POINTS, st.booleans()), max_size=3),
    st.booleans(),
)
def test_prompts_survive(box, labelled, with_mask):
    sent = protocol.Prompt(
        box=box,
        points=((1.0, 2.0), *(point for point, _ in labelled)),
        labels=(True, *(label for _, label in labelled)),
        mask=np.eye(3, dtype=bool) if with_mask else None,
    )
    with Fields(travel(protocol.prompt_to_map(sent)), "segment") as fields:
        assert_same(protocol.take_prompt(fields), sent)


def _plane(**changes) -> Plane:
    volume = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]), "CT")
    return dataclasses.replace(cut(volume, "axial", 0, Window(0, 10)), **changes)


def _grounding() -> Grounding:
    plane = _plane()
    provenance = Provenance("m", "0" * 64, window=(0.0, 10.0), notes=("a",))
    return Grounding(
        "found",
        "liver",
        plane.grid,
        provenance,
        "why",
        mask=plane.image > 3,
        box=(0, 0, 2, 2),
        points=((0, 1), (1, 0)),
        confidence=0.5,
        checks=(Check("mirror", False, "b"),),
    )


def _segmented() -> protocol.Segmented:
    return protocol.Segmented(np.eye(3, dtype=bool), 0.5, "sam", Seconds(), "0" * 64)


def _model_list():
    info = ModelInfo(
        "a", "A", "", "", "", create=lambda: None, default=True, weights=("b",), modalities=("CT",)
    )
    return protocol.model_list_to_map([info], ["a"])


def _weights_list():
    entries = [dataclasses.replace(one, parameters=None) for one in list(catalogue().values())[:2]]
    return weights_list_to_map((entry, WeightsStatus(entry.id, "own")) for entry in entries)


MESSAGES = [
    (values.map_to_plane, values.plane_to_map(_plane())),
    (values.map_to_grounding, values.grounding_to_map(_grounding())),
    (protocol.map_to_segmented, protocol.segmented_to_map(_segmented())),
    (protocol.map_to_model_list, _model_list()),
    (map_to_weights_list, _weights_list()),
]


def _places(message, path=()):
    """Paths to every map inside a message, the message itself included."""
    items = (
        message.items()
        if isinstance(message, dict)
        else enumerate(message)
        if isinstance(message, list)
        else ()
    )
    found = [path] if isinstance(message, dict) else []
    return found + [place for key, value in items for place in _places(value, (*path, key))]


def _changed(message, path, change):
    message = travel({"copy": message})["copy"]
    change(_at(message, path))
    return message


def _at(message, path):
    return reduce(lambda inner, key: inner[key], path, message)


@pytest.mark.parametrize(("read", "message"), MESSAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_missing_field_is_named(read, message):
    for path in _places(message):
        for field in _at(message, path):
            broken = _changed(message, path, lambda part, field=field: part.pop(field))
            with pytest.raises(EngineError, match=rf"{field}|is not an array"):
                read(broken)


@pytest.mark.parametrize(("read", "message"), MESSAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_unknown_field_is_refused(read, message):
    for path in _places(message):
        broken = _changed(message, path, lambda part: part.update(surprise=1))
        with pytest.raises(EngineError, match=r"surprise|is not an array"):
            read(broken)


@pytest.mark.parametrize(("read", "message"), MESSAGES, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("wrong", [object, 1.5, float("nan"), "text", b"bytes", [[]], {"a": 1}, True, None])
def test_a_field_of_another_kind_is_refused_or_read_but_never_crashes(read, message, wrong):
    wrong = list(range(999)) if wrong is object else wrong
    for field in message:
        fault = _fault_of(read, _changed(message, (), lambda part, field=field: part.update({field: wrong})))
        assert fault is None or field in fault or "does not hold together" in fault


def _fault_of(read, message) -> str | None:
    try:
        read(message)
    except EngineError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("window",), [10.0, 0.0], "low before high"),
        (("window",), [0.0], "1 entries"),
        (("grid", "axis"), "oblique", "axial"),
        (("grid", "step_x_ijk"), [1, 1, 0], "step"),
        (("grid", "orientation"), ["L", "?"], "orientation"),
        (("grid", "shape"), [3, 5], "its grid is"),
        (("grid", "index"), True, "whole number"),
        (("grid", "spacing"), [1.0, float("inf")], "finite"),
    ],
)
def test_planes_that_do_not_hold_together_are_refused(path, value, words):
    def change(part):
        part[path[-1]] = value

    broken = _changed(values.plane_to_map(_plane()), path[:-1], change)
    with pytest.raises(EngineError, match=words):
        values.map_to_plane(broken)


def test_an_affine_that_cannot_be_inverted_is_refused():
    message = values.plane_to_map(_plane())
    message["affine"]["bytes"] = bytes(128)
    with pytest.raises(EngineError, match="inverted"):
        values.map_to_plane(message)


def test_an_answer_whose_mask_does_not_fit_its_status_is_refused():
    message = values.grounding_to_map(_grounding()) | {"status": "absent"}
    with pytest.raises(EngineError, match="does not fit mask"):
        values.map_to_grounding(message)


def test_equal_planes_have_one_hash_whatever_their_memory_layout():
    plane = _plane()
    other = dataclasses.replace(
        plane, image=np.asfortranarray(plane.image.copy()), affine=plane.affine.copy()
    )
    assert protocol.plane_hash(plane) == protocol.plane_hash(other)


def test_the_hash_copies_no_pixels():
    plane = _plane()
    grid = dataclasses.replace(plane.grid, shape=(1024, 1024))
    large = dataclasses.replace(plane, image=np.zeros((1024, 1024), np.float32), grid=grid)
    tracemalloc.start()
    try:
        protocol.plane_hash(large)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < large.image.nbytes / 4


def test_the_hash_is_made_as_the_protocol_page_says():
    plane = _plane()
    fields = {
        "image": [3, 4],
        "grid": {
            "axis": "axial",
            "index": 0,
            "origin_ijk": [0, 0, 0],
            "step_x_ijk": [1, 0, 0],
            "step_y_ijk": [0, 1, 0],
            "shape": [3, 4],
            "spacing": [2.0, 1.0],
            "orientation": ["L", "P"],
            "slice_count": 2,
            "slice_spacing": 3.0,
        },
        "affine": {"dtype": "<f8", "shape": [4, 4], "bytes": np.diag([1.0, 2.0, 3.0, 1.0]).tobytes()},
        "window": [0.0, 10.0],
        "modality": "CT",
        "calibrated": True,
    }
    image = np.arange(12, dtype="<f4").tobytes()
    assert protocol.plane_hash(plane) == hashlib.sha256(msgpack.packb(fields) + image).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"image": np.zeros((3, 4), np.float32)},
        {"window": Window(0, 11)},
        {"modality": "MR"},
        {"calibrated": False},
        {"affine": np.diag([1.0, 2.0, 4.0, 1.0])},
        {"grid": dataclasses.replace(_plane().grid, index=1)},
        {"grid": dataclasses.replace(_plane().grid, orientation=None)},
        {"grid": dataclasses.replace(_plane().grid, spacing=(2.0, 1.5))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_part_of_a_plane_changes_its_hash(changes):
    assert protocol.plane_hash(_plane(**changes)) != protocol.plane_hash(_plane())


FAULTS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, (MedReasonError, CancelledError))
]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_come_back_as_the_same_class_and_message(fault):
    received = protocol.map_to_error(travel(protocol.error_to_map(fault("what to do"))))
    assert type(received) is fault
    assert str(received) == "what to do"


def test_a_fault_of_a_third_party_comes_back_as_its_closest_known_class():
    class ShardError(WeightsError):
        pass

    assert type(protocol.map_to_error(protocol.error_to_map(ShardError("x")))) is WeightsError


def test_any_other_fault_is_internal_and_short():
    sent = protocol.error_to_map(RuntimeError("first line\nsecond line" + "x" * 999))
    assert sent["kind"] == "internal"
    assert "RuntimeError: first line)" in sent["message"]
    assert isinstance(protocol.map_to_error(sent), EngineError)


def test_the_protocol_page_names_the_version():
    page = Path(__file__).parents[2] / "docs" / "engine.md"
    assert f"`protocol` ({protocol.PROTOCOL_VERSION})" in page.read_text(encoding="utf-8")


def test_the_fields_of_planes_and_groundings_are_those_of_this_version():
    messages = [values.plane_to_map(_plane()), values.grounding_to_map(_grounding())]
    fields = [f"{place}.{key}" for place in _places(messages) for key in _at(messages, place)]
    digest = hashlib.sha256(" ".join(fields).encode()).hexdigest()[:12]
    assert (protocol.PROTOCOL_VERSION, digest) == (4, "61aa140d3f94"), (
        "a field came, went or moved: raise PROTOCOL_VERSION, and write the new pair here"
    )
