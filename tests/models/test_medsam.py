"""SAM checkpoints as released: the numbers of the `segment-anything` package, and MedSAM's own way."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.volume import Volume, Window
from napari_medreason.errors import ModelUnavailableError, QuestionError, WeightsError
from napari_medreason.models.base import Segmenter
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters.released import model_type_of
from napari_medreason.models.segmenters.sam import SamSegmenter

from .tiny_sam import blobs, tiny_sam

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None,
    reason="the package segment-anything is not installed",
)
SIZE = 256
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference():
    return tiny_sam(SIZE)


@pytest.fixture(scope="module")
def checkpoint(reference, tmp_path_factory):
    file = tmp_path_factory.mktemp("released") / "medsam_vit_b.pth"
    torch.save(reference.state_dict(), file)
    return file


def plane_of(picture, spacing=(1.0, 1.0)):
    volume = Volume(picture[None], np.diag([spacing[1], spacing[0], 1.0, 1.0]), modality="MR")
    return cut(volume, "axial", 0, Window(0, 100))


@pytest.fixture(scope="module")
def plane():
    return plane_of(blobs((SIZE, SIZE)))


def box_area():
    area = np.zeros((SIZE, SIZE), bool)
    area[60:180, 50:150] = True
    return area


def prompts(kind):
    ours, theirs = {}, {}
    if kind in ("box", "both"):
        ours["box"] = (30.0, 40.0, 170.0, 200.0)
        theirs["box"] = np.array([30.0, 40.0, 169.0, 199.0])
    if kind in ("points", "both"):
        ours |= {"points": [(100.0, 120.0), (200.0, 30.0)], "labels": [True, False]}
        theirs |= {
            "point_coords": np.array([[100.0, 120.0], [200.0, 30.0]]),
            "point_labels": np.array([1, 0]),
        }
    if kind == "mask":
        ours["mask"] = box_area()
        logits = torch.where(torch.from_numpy(ours["mask"]), 10.0, -10.0)[None, None]
        theirs["mask_input"] = torch.nn.functional.interpolate(
            logits, (SIZE // 4,) * 2, mode="bilinear", align_corners=False, antialias=True
        )[0].numpy()
    return ours, theirs


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", ["box", "points", "both", "mask"])
def test_masks_are_those_of_the_stock_predictor(reference, checkpoint, plane, kind, single):
    from segment_anything import SamPredictor

    segmenter = SamSegmenter(checkpoint, device="cpu", faithful=True, single_mask=single)
    predictor = SamPredictor(reference)
    predictor.set_image(letterboxed_picture(plane, SIZE)[0])
    ours, theirs = prompts(kind)
    masks = segmenter.segment(segmenter.embed(plane), **ours)
    logits, scores, _ = predictor.predict(multimask_output=not single, return_logits=True, **theirs)
    order = np.argsort(-scores, kind="stable")
    assert masks.logits.shape == (1 if single else 3, SIZE, SIZE)
    assert np.abs(logits).mean() > 0.3
    np.testing.assert_allclose(masks.logits, logits[order], atol=TOLERANCE)
    np.testing.assert_allclose(masks.scores, np.clip(scores[order], 0, 1), atol=TOLERANCE)


def test_by_default_medsam_is_run_as_it_was_trained(reference, checkpoint, plane):
    """Pixels from 0 to 1 between the darkest and the brightest, the box alone, one mask."""
    segmenter = SamSegmenter(checkpoint, device="cpu")
    masks = segmenter.segment(segmenter.embed(plane), box=(30.0, 40.0, 170.0, 200.0))
    picture = letterboxed_picture(plane, SIZE)[0].astype(np.float32)
    pixels = torch.from_numpy((picture - picture.min()) / (picture.max() - picture.min())).permute(2, 0, 1)
    with torch.no_grad():
        features = reference.image_encoder(pixels[None])
        sparse, dense = reference.prompt_encoder(
            points=None, boxes=torch.tensor([[[30.0, 40.0, 169.0, 199.0]]]), masks=None
        )
        low, _ = reference.mask_decoder(
            image_embeddings=features,
            image_pe=reference.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits = torch.nn.functional.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)
    assert masks.logits.shape == (1, SIZE, SIZE)
    np.testing.assert_allclose(masks.logits[0], logits[0, 0].numpy(), atol=TOLERANCE)
    as_evaluated = SamSegmenter(checkpoint, device="cpu", faithful=True)
    other = as_evaluated.segment(as_evaluated.embed(plane), box=(30.0, 40.0, 170.0, 200.0))
    assert other.logits.shape[0] == 3


def test_plain_sam_is_read_as_sam_without_a_switch(reference, checkpoint, tmp_path, plane):
    plain = tmp_path / "sam_vit_b_01ec64.pth"
    plain.write_bytes(checkpoint.read_bytes())
    box = (30.0, 40.0, 170.0, 200.0)
    first, second = (
        one.segment(one.embed(plane), box=box).logits
        for one in (
            SamSegmenter(plain, device="cpu"),
            SamSegmenter(checkpoint, device="cpu", faithful=True),
        )
    )
    np.testing.assert_array_equal(first, second)


def test_what_lies_beside_the_plane_is_zero_after_the_mean_is_taken_off(checkpoint):
    segmenter = SamSegmenter(checkpoint, device="cpu", faithful=True)
    picture, frame = letterboxed_picture(plane_of(np.full((100, 200), 100, np.float32)), SIZE)
    pixels = segmenter._reading.pixels(picture, frame)
    assert (pixels[:, :63] == 0).all()
    assert (pixels[:, 193:] == 0).all()
    np.testing.assert_allclose(pixels[0, 66:190, 2:-2], (255 - 123.675) / 58.395, rtol=1e-5)


def test_the_transformers_layout_gives_the_same(checkpoint, tmp_path, plane):
    """Also where its configuration has transformers' own constant of the norms, as published ones do."""
    from napari_medreason.models.segmenters.sam_released import network

    snapshot = tmp_path / "models--wanglab--medsam-vit-base" / "snapshots" / ("0" * 40)
    network(checkpoint, device=torch.device("cpu")).save_pretrained(snapshot)
    config = json.loads((snapshot / "config.json").read_text())
    config["mask_decoder_config"]["layer_norm_eps"] = 1e-6
    (snapshot / "config.json").write_text(json.dumps(config))
    assert model_type_of(snapshot) == "sam"
    twin = SamSegmenter(snapshot, device="cpu")
    assert twin.id == "medsam-vit-base"
    box = (30.0, 40.0, 170.0, 200.0)
    first, second = (
        one.segment(one.embed(plane), box=box).logits
        for one in (twin, SamSegmenter(checkpoint, device="cpu"))
    )
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_planes_of_any_shape_and_spacing_give_masks_of_their_own(checkpoint):
    segmenter = SamSegmenter(checkpoint, device="cpu")
    plane = plane_of(blobs((60, 90)), spacing=(1.5, 1.0))
    masks = segmenter.segment(segmenter.embed(plane), box=(10, 10, 60, 40), points=[(30.0, 25.0)])
    assert masks.logits.shape == (1, 60, 90)


def test_it_is_found_by_its_content_and_says_what_it_can_not_do(checkpoint, plane):
    assert model_type_of(checkpoint.parent) == "sam"
    segmenter = models.create_segmenter("sam", folder=checkpoint.parent, device="cpu", precision="bf16")
    assert isinstance(segmenter, Segmenter)
    assert (segmenter.id, len(segmenter.weights_sha256)) == ("medsam_vit_b", 64)
    with pytest.raises(QuestionError, match="draw one"):
        segmenter.segment(segmenter.embed(plane))
    with pytest.raises(ModelUnavailableError, match="single slices"):
        segmenter.propagate([plane], 0, box_area(), cancelled=lambda: False)
    with pytest.raises(ModelUnavailableError, match="folder=FOLDER"):
        models.create_segmenter("sam")
    segmenter.close()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: weights.pop("image_encoder.neck.1.bias"), r"lacks 1 weight \(vision_encoder\.neck"),
        (
            lambda weights: weights.pop("image_encoder.pos_embed"),
            r"lacks the weight image_encoder\.pos_embed",
        ),
        (lambda weights: weights.update(extra=torch.ones(1)), r"unexpected 1 weight \(extra\)"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(reference, tmp_path, change, complaint):
    weights = dict(reference.state_dict())
    change(weights)
    torch.save(weights, tmp_path / "medsam_odd.pth")
    with pytest.raises(WeightsError, match=complaint):
        SamSegmenter(tmp_path / "medsam_odd.pth", device="cpu")


def test_weights_in_a_folder_that_can_not_be_written_are_read_as_they_are(
    reference, checkpoint, plane, tmp_path, monkeypatch
):
    def full(tensors, file, metadata):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("napari_medreason.models.checkpoints.save_file", full)
    copy = tmp_path / "medsam_copy.pth"
    torch.save(reference.state_dict(), copy)
    segmenter = SamSegmenter(copy, device="cpu")
    assert segmenter.segment(segmenter.embed(plane), box=(30, 40, 170, 200)).logits.shape == (1, SIZE, SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ["medsam_copy.pth"]


def test_looking_what_a_file_holds_writes_nothing(tmp_path):
    torch.save({"model.layers.0.weight": torch.ones(2)}, tmp_path / "text.bin")
    assert model_type_of(tmp_path) == "unknown"
    assert [file.name for file in tmp_path.iterdir()] == ["text.bin"]
