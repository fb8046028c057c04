"""Letters on the canvas against the affine, in a real window."""

from itertools import product

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_medreason import layers
from napari_medreason._qt import canvas_letters, canvas_settings
from napari_medreason.core.volume import Volume

pytestmark = pytest.mark.window

AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def affine_of(letters, spacing=(1.0, 1.5, 2.0)):
    """An upright affine whose i, j and k grow towards the three letters."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for voxel, letter in enumerate(letters):
        patient = next(n for n, pair in enumerate(("RL", "AP", "IS")) if letter in pair)
        affine[patient, voxel] = spacing[voxel] * (1 if letter in "LPS" else -1)
    affine[:3, 3] = (-20, 30, 7)
    return affine


def marked(letters, *, marker="L"):
    """A volume with one bright voxel at the end of the patient's left (or another side)."""
    affine = affine_of(letters)
    voxels = np.zeros((6, 8, 10), np.int16)
    patient = next(n for n, pair in enumerate(("RL", "AP", "IS")) if marker in pair)
    voxel = int(np.flatnonzero(affine[patient, :3])[0])
    index = [size // 2 for size in voxels.shape[::-1]]
    forward = affine[patient, voxel] > 0
    index[voxel] = voxels.shape[2 - voxel] - 1 if forward == (marker in "LPS") else 0
    voxels[tuple(index[::-1])] = 1000
    return Volume(voxels, affine, modality="CT", name="marker")


@pytest.fixture
def letters_of():
    """The viewer of a window without the window, so that many can be made."""
    made = []

    def open_viewer(volume, viewer=None):
        viewer = viewer or ViewerModel()
        viewer.add_layer(Layer.create(*layers.image_layer(volume)))
        letters = canvas_letters.attach(viewer, viewer)
        made.append(viewer)
        return viewer, letters

    yield open_viewer
    for viewer in made:
        canvas_letters.release(viewer, viewer)


def shown(viewer):
    texts = {part: viewer.canvas.overlays[f"medreason_{part}"].text for part in canvas_letters.PLACES}
    return texts["left"], texts["right"], texts["top"], texts["bottom"]


def screen_side(viewer, marker_world):
    """Where a point lies on the canvas, from napari's own axis order and camera alone."""
    order, camera = viewer.dims.order, viewer.scene.camera
    middle = viewer.layers.extent.world.mean(axis=0)
    down = (marker_world[order[-2]] - middle[order[-2]]) * (1 if camera.orientation2d[0] == "down" else -1)
    right = (marker_world[order[-1]] - middle[order[-1]]) * (1 if camera.orientation2d[1] == "right" else -1)
    return right, down


@pytest.mark.parametrize("letters", ["LPS", "RAS", "SLA"])
def test_planes_in_a_window_read_the_radiological_way(letters_of, make_napari_viewer, letters):
    viewer, _ = letters_of(marked(letters), make_napari_viewer())
    wanted = {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "S", "I"),
        "sagittal": ("A", "P", "S", "I"),
    }
    for plane, order in AXES.items():
        viewer.dims.order = order
        assert shown(viewer) == wanted[plane]
    viewer.dims.transpose()
    assert shown(viewer) == ("S", "I", "A", "P")


def test_letters_are_drawn_at_the_edges(letters_of, make_napari_viewer):
    viewer, _ = letters_of(marked("LPS"), make_napari_viewer(show=True))
    viewer.layers[0].visible = False  # nothing is shown whose sides could be told
    bare = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    viewer.layers[0].visible = True
    viewer.layers[0].opacity = 0
    lettered = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    places = np.argwhere(np.abs(lettered - bare).sum(axis=2) > 60) / bare.shape[:2]
    for low, high in (
        ((0.3, 0), (0.7, 0.1)),
        ((0.3, 0.9), (0.7, 1)),
        ((0, 0.4), (0.1, 0.6)),
        ((0.9, 0.4), (1, 0.6)),
    ):
        assert ((places >= low) & (places <= high)).all(axis=1).any()


@pytest.mark.parametrize(("marker", "letters"), list(product("LPS", ["LPS", "RAI", "PIL", "SRA"])))
def test_a_marker_lies_on_the_side_that_its_letter_says(letters_of, marker, letters):
    viewer, _ = letters_of(marked(letters, marker=marker))
    data = viewer.layers[0].data
    marker_world = viewer.layers[0].data_to_world(np.argwhere(data > 0)[0])
    views = product(
        [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)], ["down", "up"], ["right", "left"]
    )
    seen = 0
    for order, vertical, horizontal in views:
        viewer.dims.order = order
        viewer.scene.camera.orientation2d = (vertical, horizontal)
        right, down = screen_side(viewer, marker_world)
        left_letter, right_letter, top, bottom = shown(viewer)
        for offset, negative, positive in ((right, left_letter, right_letter), (down, top, bottom)):
            if marker in (negative, positive):
                seen += 1
                assert (positive if offset > 0 else negative) == marker
    assert seen >= 12


def test_letters_follow_a_layer_that_was_turned_over(letters_of):
    viewer, _ = letters_of(marked("LPS"))
    layer = viewer.layers[0]
    layer.scale = (*layer.scale[:2], -layer.scale[2])
    assert shown(viewer)[:2] == ("L", "R")


def test_without_orientation_the_letters_are_withheld_and_it_is_said(letters_of):
    volume = Volume(np.ones((4, 5, 6), np.int16), np.eye(4), modality="MR", orientation_known=False)
    viewer, letters = letters_of(volume)
    assert shown(viewer) == ("", "", "", "")
    assert "left and right can't be told" in letters.sides.caption


def test_oblique_planes_have_two_letters_and_say_so(letters_of):
    angle = np.deg2rad(40)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    viewer, letters = letters_of(Volume(np.ones((4, 5, 6), np.int16), affine, modality="CT"))
    assert shown(viewer) == ("RA", "LP", "AL", "PR")
    assert "oblique" in letters.sides.caption


def test_caption_tells_plane_slice_and_place(letters_of):
    viewer, letters = letters_of(marked("LPS"))
    viewer.dims.set_current_step(0, 0)
    # the topmost slice: k = 5 lies at 7 + 5 * 2 mm
    assert letters.sides.caption == "Axial\nslice 5 of 0–5\nS 17.0 mm"


def test_neurological_turns_axial_and_coronal_planes_only(letters_of, monkeypatch):
    monkeypatch.setattr(canvas_settings, "convention", lambda: canvas_settings.NEUROLOGICAL)
    viewer, letters = letters_of(marked("LPS"))
    letters.settings_changed()
    assert shown(viewer)[:2] == ("L", "R")
    viewer.dims.order = AXES["sagittal"]
    assert shown(viewer) == ("A", "P", "S", "I")
    assert viewer.scene.camera.orientation2d[1] == "right"
    viewer.dims.order = AXES["coronal"]
    assert shown(viewer) == ("L", "R", "S", "I")


def test_a_study_that_comes_later_is_shown_by_the_convention_too(letters_of, monkeypatch):
    monkeypatch.setattr(canvas_settings, "convention", lambda: canvas_settings.NEUROLOGICAL)
    unknown = Volume(np.ones((4, 5, 6), np.int16), np.eye(4), modality="MR", orientation_known=False)
    viewer, _ = letters_of(unknown)
    study = Layer.create(*layers.image_layer(marked("LPS")))
    viewer.add_layer(study)
    viewer.dims.point = study.extent.world.mean(axis=0)
    assert shown(viewer)[:2] == ("L", "R")


def test_letters_go_with_their_last_owner_and_leave_nothing(make_napari_viewer):
    viewer = make_napari_viewer()
    before = set(viewer.canvas.overlays)
    counts = {name: len(emitter.callbacks) for name, emitter in viewer.dims.events.emitters.items()}
    one, other = object(), object()
    canvas_letters.attach(viewer, one)
    canvas_letters.attach(viewer, other)
    canvas_letters.release(viewer, one)
    assert set(viewer.canvas.overlays) > before
    canvas_letters.release(viewer, other)
    assert set(viewer.canvas.overlays) == before
    assert {name: len(emitter.callbacks) for name, emitter in viewer.dims.events.emitters.items()} == counts
