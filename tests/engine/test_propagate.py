"""Carrying a mask through planes, over a real child process."""

import dataclasses
import time

import numpy as np
import pytest

from napari_medreason.engine.protocol_propagate import (
    Carried,
    Seed,
    carried_to_map,
    map_to_carried,
    seed_to_map,
)
from napari_medreason.engine.shelf import PLANES_KEPT
from napari_medreason.errors import CancelledError, EngineError, QuestionError, UnknownModelError

from .conftest import Listener, make_plane


@pytest.fixture
def planes():
    return [make_plane(seed) for seed in range(5)]


@pytest.fixture
def carry(viewer):
    def begin(planes, seed, segmenter="threshold"):
        listener = Listener()
        viewer.last_id = viewer.client.propagate(
            planes,
            seed,
            segmenter=segmenter,
            on_progress=listener.on_progress,
            on_result=listener.on_end,
            on_error=listener.on_end,
        )
        return listener

    return begin


def half(shape=(12, 9)):
    mask = np.zeros(shape, bool)
    mask[:6] = True
    return mask


def test_masks_come_for_the_planes_on_both_sides(carry, planes):
    heard = carry(planes, Seed(1, half()))
    carried = heard.wait()
    assert isinstance(carried, Carried)
    assert list(carried.masks) == [0, 2, 3, 4]
    for index, mask in carried.masks.items():
        np.testing.assert_array_equal(mask, half() & (planes[index].image > 0))
    assert (carried.segmenter, carried.weights_sha256) == ("threshold", "0" * 64)
    assert carried.seconds.segment > 0
    assert heard.stages[0] == "loading"
    assert heard.stages.count("carrying") == 5


def test_the_mask_is_that_of_the_moment_of_asking(carry, planes):
    mask = half()
    heard = carry(planes, Seed(0, mask))
    mask[:] = False
    assert heard.wait().masks[1].any()


def test_planes_that_the_engine_let_go_are_sent_again(carry, viewer, planes):
    carry(planes, Seed(0, half())).wait()
    for number in range(PLANES_KEPT):
        viewer.segment(make_plane(100 + number), box=(0, 0, 9, 12)).wait()
    assert list(carry(planes, Seed(4, half())).wait().masks) == [3, 2, 1, 0]


def test_a_cancel_is_heard_between_slices_and_the_engine_lives_on(carry, viewer, planes):
    slow = [dataclasses.replace(make_plane(seed), modality="slow") for seed in range(30)]
    carry(planes, Seed(0, half())).wait()
    pid = viewer.client.pid
    heard = carry(slow, Seed(0, half()))
    time.sleep(0.3)
    viewer.client.cancel(viewer.last_id)
    assert isinstance(heard.wait(), CancelledError)
    assert len(carry(planes, Seed(0, half())).wait().masks) == 4
    assert viewer.client.pid == pid


@pytest.mark.parametrize(
    ("count", "seed", "fault", "complaint"),
    [
        (1, Seed(0, half()), QuestionError, "2 to 32 slices at a time; 1 were given"),
        (33, Seed(0, half()), QuestionError, "2 to 32 slices at a time; 33 were given"),
        (3, Seed(3, half()), EngineError, "plane 3 of 3"),
        (3, Seed(0, half((4, 4))), EngineError, r"the mask is \(4, 4\), its plane is \(12, 9\)"),
    ],
)
def test_what_can_not_be_carried_is_one_line(carry, count, seed, fault, complaint):
    heard = carry([make_plane(number) for number in range(count)], seed).wait()
    assert isinstance(heard, fault)
    with pytest.raises(fault, match=complaint):
        raise heard


def test_the_segmenter_of_a_model_carries_too_and_an_unknown_one_is_named(carry, planes):
    assert len(carry(planes, Seed(0, half()), "fake").wait().masks) == 4
    assert isinstance(carry(planes, Seed(0, half()), "nothing").wait(), UnknownModelError)


def test_what_was_carried_comes_back_as_it_was():
    mask = half()
    value = carried_to_map(Carried({3: mask, 1: ~mask}, "s", map_seconds(), "a" * 64))
    again = map_to_carried(value)
    assert list(again.masks) == [3, 1]
    np.testing.assert_array_equal(again.masks[1], ~mask)
    assert seed_to_map(Seed(2, mask))["index"] == 2
    with pytest.raises(EngineError, match="masks"):
        map_to_carried({**value, "masks": [{"index": 1}]})


def map_seconds():
    from napari_medreason.core.grounding import Seconds

    return Seconds(load=0.5, segment=1.5)
