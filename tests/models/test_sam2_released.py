"""SAM 2 checkpoints as released: the same numbers as the `sam2` package's own predictors."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import CancelledError, ModelUnavailableError, QuestionError, WeightsError
from napari_medreason.models.base import Segmenter
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters.released import model_type_of, released_tensors
from napari_medreason.models.segmenters.sam2 import LOST_SLICES, Sam2Segmenter

from .tiny_sam import blobs, tiny_sam2

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("sam2") is None, reason="the package sam2 is not installed"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning"),
]
TOLERANCE = 1e-4


def never():
    return False


@pytest.fixture(scope="module")
def sam2_package():
    with warnings.catch_warnings(action="ignore"):
        import sam2.sam2_image_predictor
        import sam2.sam2_video_predictor
    return sam2


@pytest.fixture(scope="module")
def released(tmp_path_factory, sam2_package):
    """Networks of the `sam2` package by their size in pixels, and a checkpoint of each."""
    folder = tmp_path_factory.mktemp("released")
    networks = {}
    for size in (512, 1024):
        network = tiny_sam2(size, video=True)
        file = folder / f"MedSAM2_{size}.pt"
        torch.save({"model": network.state_dict()}, file)
        networks[size] = (network, file)
    return networks


@pytest.fixture(scope="module")
def segmenter(released):
    return Sam2Segmenter(released[512][1], device="cpu")


@pytest.fixture(scope="module")
def small(released):
    """The same on few pixels, which is quick."""
    return Sam2Segmenter(released[512][1], device="cpu", image_size=128)


def planes_of(pictures):
    volume = Volume(np.stack(pictures).astype(np.float32), np.eye(4), modality="MR")
    return [cut(volume, "axial", index, Window(0, 100)) for index in range(len(pictures))]


def disk(shape, centre=(0.5, 0.5), radius=0.12):
    rows, columns = np.indices(shape)
    row, column = centre[0] * shape[0], centre[1] * shape[1]
    return (rows - row) ** 2 + (columns - column) ** 2 < (radius * shape[0]) ** 2


@pytest.fixture(scope="module", params=[512, 1024])
def embedded(request, released, sam2_package):
    """Both on one picture: the package's predictor and our segmenter with its embedding."""
    size = request.param
    network, file = released[size]
    plane = planes_of([blobs((size, size))])[0]
    predictor = sam2_package.sam2_image_predictor.SAM2ImagePredictor(network)
    # The package writes these sizes down for 1024 pixels alone.
    predictor._bb_feat_sizes = [(size // stride,) * 2 for stride in (4, 8, 16)]
    predictor.set_image(letterboxed_picture(plane, size)[0])
    single = Sam2Segmenter(file, device="cpu", image_size=size, single_mask=True)
    multiple = Sam2Segmenter(file, device="cpu", image_size=size)
    return size, predictor, {False: multiple, True: single}, multiple.embed(plane)


def prompts(kind, size):
    ours, theirs = {}, {}
    if kind in ("box", "both"):
        ours["box"] = (40.0, 60.0, 300.0, 400.0)
        theirs["box"] = np.array([40.0, 60.0, 299.0, 399.0])
    if kind in ("points", "both"):
        ours |= {"points": [(100.0, 120.0), (200.0, 300.0)], "labels": [True, False]}
        theirs |= {
            "point_coords": np.array([[100.0, 120.0], [200.0, 300.0]]),
            "point_labels": np.array([1, 0]),
        }
    if kind == "mask":
        ours["mask"] = disk((size, size))
        logits = torch.where(torch.from_numpy(ours["mask"]), 10.0, -10.0)[None, None]
        quarter = (size // 4, size // 4)
        theirs["mask_input"] = torch.nn.functional.interpolate(
            logits, quarter, mode="bilinear", align_corners=False, antialias=True
        )[0].numpy()
    return ours, theirs


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", ["box", "points", "both", "mask"])
def test_masks_are_those_of_the_package(embedded, kind, single):
    size, predictor, segmenters, embedding = embedded
    ours, theirs = prompts(kind, size)
    masks = segmenters[single].segment(embedding, **ours)
    logits, scores, _ = predictor.predict(multimask_output=not single, return_logits=True, **theirs)
    order = np.argsort(-scores, kind="stable")
    assert masks.logits.shape == (1 if single else 3, size, size)
    assert np.abs(logits).mean() > 1  # else the tolerance would say little
    np.testing.assert_allclose(masks.logits, logits[order], atol=TOLERANCE)
    np.testing.assert_allclose(masks.scores, scores[order], atol=TOLERANCE)


def carried_by_the_package(package, network, pictures, seed, mask, monkeypatch):
    """Logits by slice; each direction from the mask alone, as MedSAM2 does it."""
    frames = (pictures, 512, 512)
    monkeypatch.setattr(package.sam2_video_predictor, "load_video_frames", lambda **options: frames)
    logits = {}
    for reverse in (False, True):
        state = network.init_state("")
        network.add_new_mask(state, seed, 1, mask)
        for index, _, found in network.propagate_in_video(state, start_frame_idx=seed, reverse=reverse):
            logits[index] = found[0, 0].numpy()
    return logits


def test_a_mask_is_carried_through_six_slices_as_by_the_package(
    segmenter, released, sam2_package, monkeypatch
):
    from napari_medreason.models.segmenters.sam2_tracking import both_ways

    seed, mask = 2, disk((512, 512))
    planes = planes_of([np.roll(blobs((512, 512)), 9 * shift, axis=1) for shift in range(6)])
    pixels = [segmenter._pixels(plane)[0] for plane in planes]
    start = torch.from_numpy(mask).float()
    with torch.inference_mode():
        tracker = segmenter._loaded_tracker()
        steps = both_ways(tracker, pixels.__getitem__, seed=seed, mask=start, slices=6)
        ours = {index: segmenter._enlarged(logits[None, None])[0, 0].numpy() for index, logits, _ in steps}
    theirs = carried_by_the_package(
        sam2_package, released[512][0], torch.stack(pixels), seed, mask, monkeypatch
    )
    assert list(ours) == [3, 1, 4, 0, 5]
    for index, logits in ours.items():
        assert np.abs(logits).mean() > 1
        np.testing.assert_allclose(logits, theirs[index], atol=TOLERANCE)


def test_what_is_remembered_does_not_grow_with_the_volume(small, monkeypatch):
    from napari_medreason.models.segmenters import sam2_tracking

    held = []

    class Watched(sam2_tracking.Direction):
        def logits(self, index):
            result = super().logits(index)
            outputs = self.session.output_dict_per_obj[0]
            tensors = [
                tensor
                for kept in outputs.values()
                for output in kept.values()
                for tensor in output.values()
                if isinstance(tensor, torch.Tensor)
            ]
            held.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
            assert not self.session.processed_frames
            return result

    monkeypatch.setattr(sam2_tracking, "Direction", Watched)
    looked_at = []

    class Slices(list):
        def __getitem__(self, index):
            looked_at.append(index)
            return super().__getitem__(index)

    picture = np.kron(blobs((64, 64)), np.ones((4, 4)))
    planes = Slices(planes_of([picture] * 22))
    mask = disk(picture.shape)
    found = [index for index, _ in small.propagate(planes, 0, mask, cancelled=never)]
    assert found == list(range(1, 22))
    assert max(held[8:]) < 1.05 * held[8]
    assert max(looked_at) == 21


def test_a_mask_is_carried_into_planes_of_any_shape_and_spacing(small):
    picture = blobs((60, 90))
    volume = Volume(np.stack([picture] * 3), np.diag([1.0, 1.5, 4.0, 1.0]), modality="MR")
    planes = [cut(volume, "axial", index, Window(0, 100)) for index in range(3)]
    found = dict(small.propagate(planes, 1, disk(picture.shape), cancelled=never))
    assert sorted(found) == [0, 2]
    assert all(mask.shape == (60, 90) and mask.dtype == bool for mask in found.values())


def test_cancel_ends_propagation_between_slices(small):
    planes = planes_of([blobs((64, 64))] * 5)
    carried = []
    steps = small.propagate(planes, 0, disk((64, 64)), cancelled=lambda: len(carried) > 1)
    carried.append(next(steps)[0])
    carried.append(next(steps)[0])
    with pytest.raises(CancelledError):
        next(steps)
    assert carried == [1, 2]


def test_a_direction_ends_where_the_object_is_lost(released, tmp_path):
    network, _ = released[512]
    weights = dict(network.state_dict())
    # The model now says on every slice that the object is not there.
    weights["sam_mask_decoder.pred_obj_score_head.layers.2.bias"] = torch.tensor([-1000.0])
    torch.save({"model": weights}, tmp_path / "MedSAM2_blind.pt")
    blind = Sam2Segmenter(tmp_path / "MedSAM2_blind.pt", device="cpu", image_size=128)
    looked_at = []

    class Slices(list):
        def __getitem__(self, index):
            looked_at.append(index)
            return super().__getitem__(index)

    planes = Slices(planes_of([blobs((64, 64))] * 9))
    assert list(blind.propagate(planes, 0, disk((64, 64)), cancelled=never)) == []
    assert max(looked_at) == LOST_SLICES


def test_an_empty_mask_is_not_carried(small):
    planes = planes_of([blobs((64, 64))] * 2)
    with pytest.raises(QuestionError, match="no pixel"):
        small.propagate(planes, 0, np.zeros((64, 64), bool), cancelled=never)


def test_it_is_found_by_its_content_and_named_after_its_file(released):
    file = released[512][1]
    assert model_type_of(file) == "sam2"
    made = models.create_segmenter("sam2", folder=str(file), device="cpu")
    assert isinstance(made, Segmenter)
    assert made.id == "MedSAM2_512"
    assert len(made.weights_sha256) == 64


def test_a_pickle_is_read_only_until_it_is_converted(released, tmp_path, monkeypatch):
    file = tmp_path / "MedSAM2_latest.pt"
    file.write_bytes(released[512][1].read_bytes())
    first = released_tensors(file)
    monkeypatch.setattr(torch, "load", None)
    assert model_type_of(file) == "sam2"
    assert released_tensors(file).keys() == first.keys()
    monkeypatch.undo()
    torch.save({"text": {"weight": torch.zeros(2)}, "weight": torch.zeros(2)}, file)
    assert model_type_of(file) == "unknown"


@pytest.mark.parametrize(
    ("name", "options", "pixels"),
    [
        ("MedSAM2_latest.pt", {}, 512),
        ("MedSAM2_latest.pt", {"faithful": True}, 1024),
        ("sam2.1_hiera_tiny.pt", {}, 1024),
        ("other.pt", {"image_size": 256}, 256),
    ],
)
def test_the_number_of_pixels_is_that_of_the_training(released, tmp_path, name, options, pixels):
    (tmp_path / name).write_bytes(released[512][1].read_bytes())
    made = Sam2Segmenter(tmp_path, device="cpu", **options)
    plane = planes_of([blobs((40, 60))])[0]
    assert made.embed(plane).frame.model_shape == (pixels, pixels)


def test_half_precision_draws_nearly_the_same(released, small):
    plane = planes_of([blobs((128, 128))])[0]
    half = Sam2Segmenter(released[512][1], device="cpu", precision="bf16", image_size=128)
    box = (20, 20, 90, 90)
    exact, near = (one.segment(one.embed(plane), box=box).logits[0] for one in (small, half))
    assert 0 < np.abs(exact - near).mean() < 0.05 * np.abs(exact).mean()
    assert len(list(half.propagate([plane, plane], 0, disk((128, 128)), cancelled=never))) == 1
    with pytest.raises(ModelUnavailableError, match=r"'fp8' is not known; use one of fp32, bf16"):
        Sam2Segmenter(released[512][1], device="cpu", precision="fp8")


def changed(released, tmp_path, change):
    weights = dict(released[512][0].state_dict())
    change(weights)
    file = tmp_path / "MedSAM2_odd.pt"
    torch.save({"model": weights}, file)
    return file


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda weights: weights.pop("sam_mask_decoder.iou_token.weight"),
            r"lacks 1 weight \(mask_decoder\.iou_token",
        ),
        (lambda weights: weights.pop("sam_prompt_encoder.point_embeddings.2.weight"), "point_embeddings.2"),
        (lambda weights: weights.pop("maskmem_tpos_enc"), "lacks the weight maskmem_tpos_enc"),
        (lambda weights: weights.update(extra=torch.ones(1)), r"unexpected 1 weight \(extra\)"),
        (
            lambda weights: weights.update({"sam_mask_decoder.iou_token.weight": torch.ones(1, 3)}),
            r"iou_token\.weight: 1×3 in place of 1×128",
        ),
        (
            lambda weights: weights.update({"image_encoder.trunk.blocks.12.norm1.weight": torch.ones(64)}),
            "none of SAM 2's tiny, small",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(released, tmp_path, change, complaint):
    with pytest.raises(WeightsError, match=complaint) as fault:
        Sam2Segmenter(changed(released, tmp_path, change), device="cpu")
    assert "\n" not in str(fault.value)


def test_a_missing_weight_for_volumes_is_named_when_a_mask_is_carried(released, tmp_path):
    file = changed(released, tmp_path, lambda weights: weights.pop("memory_encoder.out_proj.bias"))
    single_slices = Sam2Segmenter(file, device="cpu")
    plane = planes_of([blobs((64, 64))])[0]
    with pytest.raises(WeightsError, match=r"lacks 1 weight \(memory_encoder\.projection\.bias\)"):
        single_slices.propagate([plane, plane], 0, disk((64, 64)), cancelled=never)
    assert single_slices.segment(single_slices.embed(plane), box=(5, 5, 40, 40)).logits.shape[0] == 3


def test_a_checkpoint_of_another_model_and_an_unclear_folder_are_refused(released, tmp_path):
    torch.save({"model.layers.0.weight": torch.ones(2)}, tmp_path / "text.pt")
    assert model_type_of(tmp_path / "text.pt") == "unknown"
    with pytest.raises(WeightsError, match="SAM 2 checkpoint as it was released"):
        Sam2Segmenter(tmp_path / "text.pt", device="cpu")
    (tmp_path / "second.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"holds second\.pt, text\.pt; give one checkpoint"):
        Sam2Segmenter(tmp_path, device="cpu")


def test_a_folder_of_transformers_for_volumes_gives_the_same(released, small, tmp_path):
    from transformers import Sam2ImageProcessor

    from napari_medreason.models.segmenters.sam2_released import tracking_model

    folder = tmp_path / "sam2.1-hiera-tiny"
    tracking_model(released[512][1], 128, device=torch.device("cpu")).save_pretrained(folder)
    Sam2ImageProcessor().save_pretrained(folder)
    assert model_type_of(folder) == "sam2_video"
    other = Sam2Segmenter(folder, device="cpu")
    assert other.id == "sam2.1-hiera-tiny"
    planes = planes_of([blobs((64, 64))] * 3)
    first, second = (
        dict(one.propagate(planes, 1, disk((64, 64)), cancelled=never)) for one in (small, other)
    )
    assert first.keys() == second.keys() == {0, 2}
    assert all(np.array_equal(first[index], second[index]) for index in first)


@pytest.mark.parametrize(
    "prompt", [{"box": (1.0, float("nan"), 5.0, 6.0)}, {"points": [(3.0, float("inf"))]}]
)
def test_a_prompt_at_no_number_is_refused(small, prompt):
    embedding = small.embed(planes_of([blobs((64, 64))])[0])
    with pytest.raises(QuestionError, match="draw it again"):
        small.segment(embedding, **prompt)


def test_a_closed_segmenter_holds_no_network(released):
    import gc

    def networks():
        gc.collect()
        names = {"Sam2Model", "Tracker"}
        return sum(type(one).__name__ in names for one in gc.get_objects())

    before = networks()
    made = Sam2Segmenter(released[512][1], device="cpu", image_size=128)
    planes = planes_of([blobs((64, 64))] * 2)
    assert list(made.propagate(planes, 0, disk((64, 64)), cancelled=never))
    assert networks() == before + 2
    made.close()
    assert networks() == before


@pytest.mark.parametrize(("options", "pixels"), [({}, 512), ({"faithful": True}, 1024)])
def test_a_pair_takes_a_released_checkpoint_and_the_switch_of_the_paper(
    released, qwen_folder, options, pixels
):
    file = released[512][1]
    pair = models.create("medreasoner", reasoner=qwen_folder, segmenter=file, device="cpu", **options)
    plane = planes_of([blobs((40, 60))])[0]
    assert pair.segmenter.id == "MedSAM2_512"
    assert pair.embedding(plane).frame.model_shape == (pixels, pixels)
    pair.close()
