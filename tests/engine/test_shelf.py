"""Models that share a small memory: closed for each other, never lost, told to the user."""

import gc

import numpy as np
import pytest

from napari_medreason.engine.fields import Fields
from napari_medreason.engine.methods import Methods, Request
from napari_medreason.engine.protocol import Prompt, plane_hash, prompt_to_map
from napari_medreason.engine.protocol_propagate import Seed, seed_to_map
from napari_medreason.engine.shelf import Registry, Shelf
from napari_medreason.errors import ModelUnavailableError, NotEnoughMemoryError, WeightsError
from napari_medreason.models import fit
from napari_medreason.models.adapter_card import AdapterCard
from napari_medreason.models.adapter_store import Adapter
from napari_medreason.models.base import ScoredMasks
from napari_medreason.models.fit import FreeMemory, PartSize

GB = fit.GIGABYTE
TOTAL = 24 * GB


class Gpu:
    """A GPU of 24 GB whose models really take what they were planned to need."""

    def __init__(self):
        self.taken = {}

    def load(self, name, weights, **options):
        """As the loaders do: plan, let others be closed where that gives a better plan, then take."""
        parts = [PartSize(name, weights, 0)]
        while True:
            free = TOTAL - sum(self.taken.values())
            held = fit.host().held()
            plan = fit.plan(parts, FreeMemory("cuda:0", free, 0, exclusive=True), quantised=True)
            best = fit.plan(parts, FreeMemory("cuda:0", free + held, 0, exclusive=True), quantised=True)
            if (best.fits, -best.choice) <= (plan.fits, -plan.choice) or not fit.host().make_room():
                break
        fit.host().planned(plan)
        if not plan.fits:
            raise NotEnoughMemoryError(plan.words)
        if options.get("damaged"):
            raise WeightsError("the weights are damaged; pull them again")
        self.taken[name] = plan.needed
        return Model(self, name, options)


class Model:
    def __init__(self, gpu, name, options):
        self.gpu, self.name, self.options = gpu, name, options

    def close(self):
        self.gpu.taken.pop(self.name, None)


@pytest.fixture
def gpu():
    return Gpu()


@pytest.fixture
def shelf(gpu):
    sizes = {
        "medreasoner": 8 * 10**9,
        "medisee": 7 * 10**9,
        "prs-med": 7 * 10**9,
        "huge": 60 * 10**9,
        "tiny": 0,
    }

    def create(name, **options):
        if name == "unplanned":
            return Model(gpu, name, options)
        return gpu.load(name, sizes[name], **options)

    def full(name):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    return Shelf(Registry(lambda: {**sizes, "unplanned": 0}, create, lambda: ["full"], full))


def test_two_systems_that_do_not_fit_together_are_swapped(shelf, gpu):
    heard = []
    first, _ = shelf.model("medreasoner", {"reasoner": "lingshu"})
    assert set(gpu.taken) == {"medreasoner"}
    shelf.model("medisee", told=heard.append)
    assert set(gpu.taken) == {"medisee"}
    assert heard == [
        "medreasoner was closed to make room; it loads again at its next question",
        "medisee in bf16: needs about 15 GB of 24 GB free",
    ]
    assert shelf.notes("medisee") == tuple(heard)
    again, _ = shelf.model("medreasoner")
    assert again is not first
    assert again.options == {"reasoner": "lingshu"}
    assert set(gpu.taken) == {"medreasoner"}


def test_what_fits_together_stays(shelf, gpu):
    shelf.model("tiny")
    shelf.model("medisee")
    assert set(gpu.taken) == {"tiny", "medisee"}


def test_nothing_is_closed_for_a_model_that_would_not_fit_anyway(shelf, gpu):
    held, _ = shelf.model("medreasoner")
    with pytest.raises(NotEnoughMemoryError, match="huge in 4-bit: needs about 32 GB of"):
        shelf.model("huge")
    assert shelf.model("medreasoner") == (held, 0.0)


@pytest.mark.parametrize("name", ["tiny", "medreasoner"])
def test_a_failed_load_leaves_the_previous_model_usable(shelf, name):
    shelf.model(name, {"reasoner": "lingshu"})
    with pytest.raises(WeightsError):
        shelf.model(name, {"damaged": True})
    with pytest.raises(WeightsError):
        shelf.model("medisee", {"damaged": True})
    previous, _ = shelf.model(name)
    assert previous.options == {"reasoner": "lingshu"}


def test_unloading_forgets_the_options(shelf):
    shelf.model("tiny", {"reasoner": "lingshu"})
    shelf.unload("tiny")
    assert shelf.model("tiny")[0].options == {}


def test_a_full_gpu_closes_others_and_then_says_so(shelf, gpu):
    shelf.model("unplanned")
    shelf.model("tiny")
    with pytest.raises(NotEnoughMemoryError, match="full needs more memory than is free"):
        shelf.segmenter("full")
    assert gpu.taken == {}


def test_a_model_that_runs_out_of_memory_while_it_works_gets_the_room_of_the_others(shelf, gpu):
    shelf.model("medisee")
    shelf.model("tiny")
    attempts = []

    def work():
        attempts.append(set(gpu.taken))
        if "medisee" in gpu.taken:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return "done"

    assert shelf.with_room("tiny", work, repeatable=lambda: True) == "done"
    assert attempts == [{"medisee", "tiny"}, {"tiny"}]
    shelf.model("medisee")
    with pytest.raises(NotEnoughMemoryError, match="tiny needs more memory"):
        shelf.with_room("tiny", work, repeatable=lambda: False)
    assert "medisee" in gpu.taken, "words were heard already, so it was not asked again"


class Drawing:
    """A segmenter that finds no memory for one of its steps while another model is there."""

    id, weights_sha256 = "drawing", "0" * 64

    def __init__(self, gpu, step):
        self.gpu, self.step = gpu, step

    def _need(self, step):
        if step == self.step and "medisee" in self.gpu.taken:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    def embed(self, plane):
        self._need("embed")
        return plane.image

    def segment(self, embedding, *, box, points, labels, mask):
        self._need("segment")
        return ScoredMasks(embedding[None], np.array([0.5], np.float32))

    def propagate(self, planes, seed_index, seed_mask, *, cancelled):
        yield 0, seed_mask
        self._need("propagate")
        yield 2, seed_mask


@pytest.mark.parametrize("step", ["embed", "segment", "propagate"])
def test_a_segmenter_that_runs_out_of_memory_gets_the_room_of_the_others(gpu, step, plane_maker):
    def create(name):
        return gpu.load(name, 7 * 10**9)

    shelf = Shelf(Registry(lambda: {"medisee": 0}, create, lambda: ["drawing"], lambda _: Drawing(gpu, step)))
    planes = [plane_maker(seed) for seed in range(3)]
    for plane in planes:
        shelf.keep_plane(plane_hash(plane), plane)
    keys = [plane_hash(plane) for plane in planes]
    methods = Methods(shelf).table()
    shelf.model("medisee")
    request = Request(1, "", {}, lambda kind, value: None)
    if step == "propagate":
        asked = {"planes": keys, **seed_to_map(Seed(1, planes[1].image > 0))}
        with Fields({"segmenter": "drawing", **asked}, "arguments") as fields:
            assert len(methods["propagate"](request, fields)["masks"]) == 2
    else:
        asked = {"plane": keys[0], **prompt_to_map(Prompt(box=(1.0, 1.0, 5.0, 5.0)))}
        with Fields({"segmenter": "drawing", **asked}, "arguments") as fields:
            assert methods["segment"](request, fields)["score"] == 0.5
    assert gpu.taken == {}


def test_room_is_made_for_a_pair_named_by_its_parts_before_it_is_loaded(gpu):
    there = []

    def create(name):
        there.append(set(gpu.taken))
        return gpu.load(name, 0)

    shelf = Shelf(Registry(lambda: {"one": 0, "two": 0}, create, list, create))
    for name in ("one", "two", "lingshu-7b+medsam"):
        shelf.model(name)
    assert there[-1] == {"two"}, "two are kept, so the first one went before the third was made"


def test_what_was_half_loaded_is_not_held_by_the_error(gpu):
    class Network:
        pass

    def create(name):
        half_loaded = Network()
        raise ModelUnavailableError(f"{name} lacks {type(half_loaded).__name__}")

    shelf = Shelf(Registry(lambda: {"a": 0}, create, list, create))
    with pytest.raises(ModelUnavailableError) as fault:
        shelf.model("a")
    gc.collect()
    assert not any(type(thing) is Network for thing in gc.get_objects()), str(fault.value)


def test_a_model_asked_with_other_options_is_closed_before_it_is_loaded_again(gpu):
    there = []

    def create(name, **options):
        there.append(set(gpu.taken))
        return gpu.load(name, 0)

    shelf = Shelf(Registry(lambda: {"one": 0}, create, list, create))
    shelf.model("one", {"precision": "bf16"})
    shelf.model("one", {"precision": "4bit"})
    assert there == [set(), set()]
    assert shelf.holds_model("one", {"precision": "4bit"})


class TakesOn:
    """A plugin's model that can put an adapter on, but not take it off."""

    def __init__(self):
        self.on = None

    def load_adapter(self, folder):
        self.on = folder.name

    def close(self):
        self.on = "closed"


def test_a_base_that_can_not_take_an_adapter_off_is_loaded_anew(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    adapter = Adapter("mine", tmp_path, AdapterCard("mine", "peft", "plugin"))

    def adapted(model_id):
        return ("plugin", adapter) if model_id == "plugin@mine" else None

    shelf = Shelf(Registry(lambda: {"plugin": 0}, lambda _: TakesOn(), list, lambda _: TakesOn(), adapted))
    base, _ = shelf.model("plugin")
    assert shelf.model("plugin@mine")[0].model is base
    assert base.on == tmp_path.name
    again, _ = shelf.model("plugin")
    assert (again.on, base.on) == (None, "closed")
