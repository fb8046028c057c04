import subprocess
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from napari_medreason import models
from napari_medreason.errors import MedReasonError, UnknownModelError
from napari_medreason.models import discovery
from napari_medreason.models.base import ModelInfo
from napari_medreason.models.segmenters import SegmenterInfo


def info(name, create=lambda **options: options):
    return ModelInfo(name, name.title(), "test", "made up", "BSD-3-Clause", create)


@pytest.fixture
def installed(monkeypatch):
    """Install modules as third-party plugins: name to the constants they declare."""

    def install(**modules):
        points = []
        for name, constants in modules.items():
            module = ModuleType(name)
            vars(module).update(constants)
            monkeypatch.setitem(sys.modules, name, module)
            points.append(EntryPoint(name, name, discovery.ENTRY_POINT_GROUP))
        monkeypatch.setattr(discovery, "installed_points", lambda: tuple(points))
        return points

    return install


def test_the_list_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from napari_medreason import models; models.available(); models.segmenters();"
        "print([name for name in ('torch', 'transformers', 'torchvision') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_built_in_models_and_segmenters_are_found():
    available = models.available()
    assert available["medreasoner"].needs_download
    assert all(name == entry.id for name, entry in available.items())
    assert "sam2" in models.segmenters()
    assert sum(entry.default for entry in available.values()) <= 1


def test_a_plugin_adds_models_and_segmenters_through_the_same_constants(installed):
    segmenter = SegmenterInfo("scissors", "Scissors", "cuts", lambda **options: options)
    installed(their_models={"MODELS": (info("theirs"),), "SEGMENTERS": (segmenter,)})
    assert models.create("theirs", size=3) == {"size": 3}
    assert models.create_segmenter("scissors") == {}
    assert "medreasoner" in models.available()


def test_a_plugin_does_not_change_the_default_model(installed):
    theirs = ModelInfo("a", "A", "test", "made up", "MIT", lambda: None, default=True)
    installed(their_models={"MODELS": (theirs,)})
    assert not models.available()["a"].default
    assert models.default() == "embedded"


def test_an_unknown_name_lists_the_known_ones(installed):
    installed(their_models={"MODELS": (info("theirs"),)})
    with pytest.raises(UnknownModelError, match=r"'thiers' is not known.*medreasoner.*theirs"):
        models.create("thiers")
    with pytest.raises(UnknownModelError, match=r"segmenter 'x'.*sam2"):
        models.create_segmenter("x")


def test_the_same_id_twice_names_both_places(installed):
    installed(first={"MODELS": (info("same"),)}, second={"MODELS": (info("same"),)})
    with pytest.raises(MedReasonError, match=r"'same', in first .* and in second"):
        models.available()


def test_a_plugin_may_not_replace_a_built_in_model(installed):
    installed(their_models={"MODELS": (info("medreasoner"),)})
    with pytest.raises(MedReasonError, match=r"napari_medreason\.models\.medreasoner and in their_models"):
        models.available()


def test_a_plugin_that_can_not_be_imported_does_not_hide_the_others(installed, monkeypatch, caplog):
    points = installed(their_models={"MODELS": (info("theirs"),)})
    broken = EntryPoint("broken", "module_that_is_not_there", discovery.ENTRY_POINT_GROUP)
    monkeypatch.setattr(discovery, "installed_points", lambda: (broken, *points))
    assert "theirs" in models.available()
    assert "module_that_is_not_there" in caplog.text


def test_a_pair_redraws_its_own_masks_and_a_model_without_a_segmenter_does_not():
    found = models.redrawing()
    assert {"embedded", "sam2", "lingshu-7b", "grounding-dino-medsam"} <= found
    assert not {"medisee", "prs-med"} & found
