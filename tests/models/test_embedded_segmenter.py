"""The embedded segmenter on its shipped weights: prompts in plane pixels, masks back in them."""

import numpy as np
import pytest
import scipy

from napari_medreason.core.plane import cut
from napari_medreason.core.resample import ModelFrame
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.errors import CancelledError, QuestionError
from napari_medreason.io import read
from napari_medreason.models import create_segmenter
from napari_medreason.models.base import ScoredMasks, Segmenter
from napari_medreason.models.embedded import perception
from napari_medreason.models.embedded.masks import without_specks
from napari_medreason.models.embedded.segmenter import _cleaned
from napari_medreason_sample_data import ct_folder, label_names, truth


@pytest.fixture(scope="module")
def segmenter():
    return create_segmenter("embedded")


@pytest.fixture(scope="module")
def study():
    volume, labels = read(ct_folder()), read(truth("ct"))
    value = next(v for v, (name, _) in label_names("ct").items() if name == "liver")
    index = int((labels.voxels == value).sum((1, 2)).argmax())
    window = default_window(volume)
    planes = [cut(volume, "axial", index + step, window) for step in (-2, -1, 0, 1, 2)]
    livers = [cut(labels, "axial", index + step, Window(0, 1)).image == value for step in (-2, -1, 0, 1, 2)]
    return planes, livers


def _box(mask):
    rows, columns = np.nonzero(mask)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def _dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_a_box_gives_the_organ_in_it(segmenter, study):
    planes, livers = study
    masks = segmenter.segment(segmenter.embed(planes[2]), box=_box(livers[2]))
    assert masks.logits.shape == (1, *planes[2].grid.shape)
    assert masks.logits.dtype == np.float32
    assert 0 <= masks.scores[0] <= 1
    assert _dice(masks.best, livers[2]) > 0.75


def test_moving_the_box_moves_the_mask(segmenter, study):
    planes, livers = study
    embedding = segmenter.embed(planes[2])
    x0, y0, x1, y1 = _box(livers[2])
    whole = segmenter.segment(embedding, box=(x0, y0, x1, y1)).best
    part = segmenter.segment(embedding, box=(x0, y0, (x0 + x1) / 2, y1)).best
    assert part.any()
    centres = [np.nonzero(mask)[1].mean() for mask in (whole, part)]
    assert centres[1] < centres[0]


def test_points_inside_and_outside(segmenter, study):
    planes, livers = study
    embedding = segmenter.embed(planes[2])
    rows, columns = np.nonzero(livers[2])
    inside = (float(np.median(columns)), float(np.median(rows)))
    masks = segmenter.segment(embedding, points=[inside])
    assert masks.best[round(inside[1]), round(inside[0])]
    far = (float(columns.max()) + 6, float(np.median(rows)))
    both = segmenter.segment(embedding, points=[inside, far], labels=[True, False])
    assert not np.array_equal(both.logits, masks.logits)


def test_an_island_that_was_clicked_as_inside_stays():
    """Two islands, one far smaller than the other: a speck, unless the user clicked in it."""
    logits = np.full((60, 60), -3, np.float32)
    logits[5:45, 5:45] = 3
    logits[50:53, 50:53] = 3
    frame = ModelFrame((60, 60), (60, 60), (1.0, 1.0))
    without = _cleaned(logits, frame, [(20.0, 20.0)], [True]) > 0
    assert without[20, 20]
    assert not without[50:53, 50:53].any()
    clicked = _cleaned(logits, frame, [(20.0, 20.0), (51.0, 51.0)], [True, True]) > 0
    assert clicked[50:53, 50:53].all()
    assert clicked.sum() == without.sum() + 9


def test_specks_go_and_small_holes_close_wherever_the_mask_lies():
    mask = np.zeros((80, 90), bool)
    mask[0:40, 50:90] = True
    mask[10, 60] = False
    mask[20:35, 70:85] = False
    mask[70:73, 2:5] = True
    clean = without_specks(mask, 8)
    assert clean[10, 60]
    assert not clean[20:35, 70:85].any()
    assert not clean[70:73, 2:5].any()
    assert clean.sum() == mask.sum() - 9 + 1
    assert not without_specks(np.zeros((5, 5), bool), 8).any()


def test_edges_of_a_mask_follow_the_planes_own_pixels():
    """A disc in model pixels of 3 mm, on a plane of 0.75 mm: a round edge, no steps of model pixels."""
    frame = ModelFrame.with_pixel_size((256, 256), (0.75, 0.75), 3.0, 32)
    y, x = np.indices(frame.model_shape)
    middle = frame.point_to_model((127.5, 127.5))
    logits = (15 - np.hypot(y - middle[1], x - middle[0])).astype(np.float32)
    mask = frame.map_to_plane(logits, fill=-10.0) > 0
    edge = mask ^ scipy.ndimage.binary_erosion(mask)
    rows, columns = np.nonzero(edge)
    radius = np.hypot(rows - 127.5, columns - 127.5)
    assert radius.max() - radius.min() < 2
    assert abs(radius.mean() - 60) < 1


def test_loading_in_advance(study, monkeypatch):
    segmenter = create_segmenter("embedded")
    segmenter.prepare(study[0][0])
    monkeypatch.setattr(perception, "load_network", lambda *_: pytest.fail("loaded again"))
    assert segmenter.embed(study[0][0]).logits.size


def test_a_rough_mask_is_a_prompt(segmenter, study):
    planes, livers = study
    rough = np.roll(livers[2], 3, axis=1)
    assert _dice(segmenter.segment(segmenter.embed(planes[2]), mask=rough).best, livers[2]) > 0.7


@pytest.mark.parametrize(
    "prompts",
    [
        {},
        {"points": []},
        {"mask": np.zeros((4, 4), bool)},
        {"box": (5.0, 5.0, 5.0, 9.0)},
        {"points": [(3.0, 3.0)], "labels": [True, False]},
    ],
)
def test_unusable_prompts_are_refused(segmenter, study, prompts):
    with pytest.raises(QuestionError):
        segmenter.segment(segmenter.embed(study[0][2]), **prompts)


def test_a_mask_is_carried_to_the_neighbours_nearest_first(segmenter, study):
    planes, livers = study
    carried = list(segmenter.propagate(planes, 2, livers[2], cancelled=lambda: False))
    assert [index for index, _ in carried] == [3, 1, 4, 0]
    for index, mask in carried:
        assert mask.shape == planes[index].grid.shape
        assert _dice(mask, livers[index]) > 0.6


def test_carrying_loses_little_and_ends_where_the_organ_ends(segmenter):
    """A kidney of the sample study, every 20 mm, from its largest slice to well beyond both poles."""
    volume, labels = read(ct_folder()), read(truth("ct"))
    value = next(v for v, (name, _) in label_names("ct").items() if name == "kidney")
    area = (labels.voxels == value).sum((1, 2))
    indices = range(area.argmax() % 4, len(area), 4)
    seed = list(indices).index(int(area.argmax()))
    planes = [cut(volume, "axial", index, default_window(volume)) for index in indices]
    kidneys = [cut(labels, "axial", index, Window(0, 1)).image == value for index in indices]
    carried = dict(segmenter.propagate(planes, seed, kidneys[seed], cancelled=lambda: False))
    inside = [index for index, kidney in enumerate(kidneys) if kidney.sum() > 0.3 * area.max()]
    dice = {abs(index - seed): _dice(carried[index], kidneys[index]) for index in inside if index != seed}
    assert dice[1] > 0.8
    assert min(dice.values()) > 0.6
    poles = [index for index, kidney in enumerate(kidneys) if kidney.any()]
    assert min(carried) >= poles[0] - 1
    assert max(carried) <= poles[-1] + 1


def test_carrying_stops_between_slices_when_it_is_cancelled(segmenter, study):
    planes, livers = study
    done = []
    masks = segmenter.propagate(planes, 2, livers[2], cancelled=lambda: len(done) == 2)
    done.append(next(masks)[0])
    done.append(next(masks)[0])
    assert done == [3, 1]
    with pytest.raises(CancelledError):
        next(masks)


def test_a_mask_that_jumps_to_another_place_is_not_carried(segmenter, study, monkeypatch):
    planes, livers = study
    elsewhere = np.where(np.roll(livers[2], 90, axis=1), 5.0, -5.0).astype(np.float32)
    jumped = ScoredMasks(elsewhere[None], np.ones(1, np.float32))
    monkeypatch.setattr(segmenter, "segment", lambda *_, **__: jumped)
    assert list(segmenter.propagate(planes, 2, livers[2], cancelled=lambda: False)) == []


def test_carrying_can_be_cancelled(segmenter, study):
    planes, livers = study
    with pytest.raises(CancelledError):
        list(segmenter.propagate(planes, 2, livers[2], cancelled=lambda: True))


def test_a_picture_without_pixel_size_can_be_segmented(segmenter):
    image = np.full((1, 90, 140), 20.0, np.float32)
    image[0, 30:60, 50:100] = 200
    picture = Volume(image, np.eye(4), calibrated=False, orientation_known=False)
    embedding = segmenter.embed(cut(picture, "axial", 0, Window(0, 255)))
    masks = segmenter.segment(embedding, box=(50.0, 30.0, 100.0, 60.0))
    assert masks.logits.shape == (1, 90, 140)
    assert masks.best.any()


def test_it_fits_the_interface(segmenter):
    assert isinstance(segmenter, Segmenter)
    assert segmenter.id == "embedded"
    assert len(segmenter.weights_sha256) == 64
