"""Training of the embedded model: seeded images, marginal loss, resuming, configuration."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medreason.errors import MedReasonError
from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.structures import BODY_CT, BRAIN_MR
from napari_medreason_training import embedded_sources
from napari_medreason_training.batches import LabelMapSource, VolumeSource
from napari_medreason_training.config import config_from, read_config
from napari_medreason_training.intensities import with_arms
from napari_medreason_training.losses import class_weights, present, side_loss, structure_loss
from napari_medreason_training.phantoms import body_ct
from napari_medreason_training.plain_unet import network_for, parameters
from napari_medreason_training.prompts import random_prompts
from napari_medreason_training.sources import phantom_volume
from napari_medreason_training.train_embedded import annealed, network_config, rate_factor, seeded
from napari_medreason_training.volumes import FREESURFER, LabelMaps, load_lps

CONFIGS = sorted((Path(embedded_sources.__file__).parent / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def phantom():
    return body_ct(10_001, spacing_mm=(12.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def body_source(phantom):
    volume = phantom_volume(phantom, BODY_CT, known=BODY_CT, weight=1.0)
    return VolumeSource([volume], "CT", 64, 6.0)


@pytest.fixture(scope="module")
def brain_source():
    """Label maps of nested boxes: white matter in cortex, left and right, in a head."""
    codes = torch.zeros(2, 60, 70, 64, dtype=torch.uint8)
    codes[:, 8:52, 8:62, 8:56] = 5
    codes[:, 12:30, 14:56, 12:52], codes[:, 30:48, 14:56, 12:52] = 2, 4
    codes[:, 16:30, 20:50, 18:46], codes[:, 30:44, 20:50, 18:46] = 1, 3
    label = torch.tensor([0, 41, 42, 2, 3, 24])
    names = [FREESURFER.get(int(value), ("", "")) for value in label]
    structure = torch.tensor([1 + BRAIN_MR.index(name) if name else 0 for name, _ in names])
    side = torch.tensor([{"left": 1, "right": 2}.get(where, 0) for _, where in names])
    maps = LabelMaps(codes, label, structure, side, torch.tensor([[18.0, 21, 20]] * 2))
    return LabelMapSource(maps, 64, 1.5)


@pytest.mark.parametrize("name", ["body_source", "brain_source"])
def test_the_same_seed_gives_the_same_images(name, request):
    source = request.getfixturevalue(name)
    first, again, other = (source.batch(4, 1.0, seeded(5, step)) for step in (1, 1, 2))
    for part in ("channels", "labels", "sides", "known", "plane"):
        assert torch.equal(getattr(first, part), getattr(again, part)), part
    assert not torch.equal(first.channels, other.channels)
    assert torch.isfinite(first.channels).all()


def test_a_batch_shows_what_its_labels_say(body_source):
    batch = body_source.batch(8, 0.0, seeded(2, 1))
    lung = batch.labels == 1 + BODY_CT.index("lung")
    assert lung.any()
    assert float(batch.channels[:, 1][lung].mean()) < inputs.DARK + 0.7
    bone = batch.labels == 1 + BODY_CT.index("vertebra")
    assert float(batch.channels[:, 2][bone].mean()) > float(batch.channels[:, 2][lung].mean())


def test_left_is_the_patients_left_on_axial_and_coronal_images(body_source):
    for step in range(6):
        batch = body_source.batch(4, 0.0, seeded(9, step))
        columns = torch.arange(64).float()
        for sides, plane in zip(batch.sides, batch.plane.tolist(), strict=True):
            if plane == 2:
                assert not sides.any()
                continue
            left, right = (sides == 1).sum(0).float(), (sides == 2).sum(0).float()
            if left.sum() > 20 and right.sum() > 20:
                assert (left * columns).sum() / left.sum() > (right * columns).sum() / right.sum()


def test_arms_lie_beside_the_trunk_and_change_nothing_in_it():
    hu = torch.full((96, 96), -1024.0)
    hu[30:66, 30:66] = 40.0
    arms = with_arms(hu, 3.0, seeded(1, 1))
    assert torch.equal(arms[30:66, 30:66], hu[30:66, 30:66])
    assert (arms[:, :28] > 0).any()
    assert (arms[:, 68:] > 0).any()
    air = torch.full((32, 32), -1024.0)
    assert torch.equal(with_arms(air, 3.0, seeded(1, 1)), air)


def test_prompts_lie_on_their_object(body_source):
    batch = body_source.batch(8, 0.5, seeded(4, 1))
    prompts = random_prompts(batch, seeded(4, 1))
    assert prompts.valid.any()
    for maps, target, valid in zip(prompts.maps, prompts.target, prompts.valid, strict=True):
        if valid and maps[8].any() and maps[1].any():
            row, column = divmod(int(maps[1].argmax()), maps.shape[2])
            near = target[max(0, 4 * row - 4) : 4 * row + 8, max(0, 4 * column - 4) : 4 * column + 8]
            assert near.any()


def test_a_structure_nobody_labelled_is_not_taught_as_absent():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 1] = 6.0
    weights = torch.ones(3)
    everything = torch.tensor([[True, True, True]])
    unlabelled = torch.tensor([[True, True, False]])
    told_off = structure_loss(logits, labels, everything.clone(), weights)
    left_alone = structure_loss(logits, labels, unlabelled.clone(), weights)
    assert float(told_off) > 5
    assert float(left_alone) < 0.2


def test_small_remains_of_a_structure_are_not_called_present():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, 0, :3] = 1
    labels[1, :4, :4] = 1
    assert present(labels, 3).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_side_loss_of_sagittal_images_is_zero_and_has_a_gradient():
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    loss = side_loss(logits, torch.zeros(2, 4, 4, dtype=torch.long))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(logits.grad).all()


def test_weights_of_rare_structures_are_larger_and_fade_out():
    weights = class_weights(torch.tensor([1000.0, 400.0, 4.0]))
    assert weights[2] > weights[1] == 1.0
    assert annealed(weights, 1.0).tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(annealed(weights, 0.3), weights)
    assert rate_factor(1000, 0.0) == 1.0
    assert rate_factor(1000, 1.0) == pytest.approx(0.02)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_the_configurations_that_come_along_are_valid(file):
    assert read_config(file).images > 1000


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"expert": "brain_mr", "imagse": 3}, "imagse"),
        ({"expert": "knee"}, "knee"),
        ({}, "expert"),
        ({"expert": "brain_mr", "images": "many"}, "images"),
        ({"expert": "brain_mr", "size": 100}, "32"),
        ({"expert": "body_ct", "phantom_seeds": [1, 10_000]}, "10000"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_line(table, words):
    with pytest.raises(MedReasonError, match=words) as caught:
        config_from(table, "run.toml")
    assert "\n" not in str(caught.value)


def test_unreadable_configuration(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("expert = ")
    with pytest.raises(MedReasonError, match=r"broken\.toml"):
        read_config(broken)


def test_nifti_axes_become_left_posterior_superior(tmp_path):
    import nibabel

    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.array([[0, 2.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, -4.0, 0], [0, 0, 0, 1]])
    nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / "odd.nii.gz")
    turned, spacing = load_lps(tmp_path / "odd.nii.gz")
    assert spacing == (2.0, 3.0, 4.0)
    assert np.array_equal(turned, voxels.transpose(1, 0, 2)[::-1, :, ::-1])


CONFIG = """
expert = "body_ct"
images = 60
batch = 2
size = 32
pixel_mm = 12.0
phantom_share = 1.0
phantom_seeds = [1, 1]
checkpoint_seconds = 0.5
validation_images = 30
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, phantom):
    _keep_phantoms(tmp_path / "phantoms", phantom)
    config = tmp_path / "run.toml"
    config.write_text(CONFIG)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    assert _train(config, unbroken, tmp_path).wait(300) == 0
    process = _train(config, broken, tmp_path)
    _wait_for(broken / "checkpoint.safetensors", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert _train(config, broken, tmp_path).wait(300) == 0
    assert _events(broken) == _events(unbroken)
    assert {event["event"] for event in _events(broken)} == {"step", "validation"}


def _keep_phantoms(folder, phantom):
    folder.mkdir()
    for seed in (1, *embedded_sources.VALIDATION_PHANTOMS):
        np.savez(
            folder / f"body_ct_{seed}.npz",
            labels=phantom.labels,
            voxels=phantom.voxels,
            structures=np.array(phantom.structures),
            sides=np.array(phantom.sides),
            affine=phantom.affine,
        )


def _train(config, folder, data):
    command = [sys.executable, "-m", "napari_medreason_training", "embedded", str(config)]
    return subprocess.Popen([*command, "--run", str(folder), "--data", str(data)])


def _wait_for(file, process):
    for _ in range(1200):
        if file.exists():
            return
        assert process.poll() is None
        time.sleep(0.1)
    pytest.fail(f"no {file.name} within two minutes")


def _events(folder):
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_the_plain_unet_is_of_the_same_size_and_asks_nothing():
    sizes = network_config("body_ct")
    grounding, plain = (network_for(sizes, plain=value) for value in (False, True))
    assert parameters(plain) == pytest.approx(parameters(grounding), rel=0.03)
    channels = inputs.scale_ct(torch.rand(2, 64, 64) * 1500 - 1000)
    features = plain.features(channels, inputs.place_maps(channels, torch.tensor([0, 1]), 3.0))
    logits, presence = plain.structures(features)
    assert logits.shape == (2, len(BODY_CT), 64, 64)
    assert presence.shape == (2, len(BODY_CT))
    (logits.sum() + presence.sum()).backward()
    assert not any("query" in name or "adapt" in name for name, _ in plain.named_parameters())
