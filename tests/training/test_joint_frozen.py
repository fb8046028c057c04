"""PRS-Med with a frozen image encoder, and the encoder of the proof's toy base."""

import numpy as np
import pytest
import torch

from napari_medreason.models.prs_med.encoder import TinySamEncoder
from napari_medreason.models.prs_med.pictures import encoder_input
from napari_medreason_training.joint.tiny_encoder import shown_shapes

from .joint_cases import tuning, write_all


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = write_all(tmp_path_factory.mktemp("frozen"), patch)
    return tuning("prs-med", folder, train_encoder=False)


def test_a_frozen_encoder_stays_as_it_was_and_its_kept_features_are_right(recipe):
    module = recipe.module
    before = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    first = module.eval().look(recipe.samples[0]).mask
    assert np.array_equal(module.look(recipe.samples[0]).mask, first)
    recipe.step(1)
    assert all(value.equal(before[name]) for name, value in module.encoder.state_dict().items())
    pictures = [sample.picture for sample in recipe.samples]
    squares = torch.cat([encoder_input(picture.rgb, module.settings.size) for picture in pictures])
    with torch.no_grad():
        fresh = module.encoder(squares)
    assert torch.allclose(module._features(pictures), fresh, atol=1e-4)
    assert not fresh[0].equal(fresh[-1])


def test_the_toy_encoder_is_shown_shapes_the_same_for_a_seed():
    encoders = []
    for steps in (0, 2, 2):
        torch.manual_seed(3)
        encoders.append(shown_shapes(TinySamEncoder(), 1, steps).state_dict())
    assert all(value.equal(encoders[2][name]) for name, value in encoders[1].items())
    assert not all(value.equal(encoders[0][name]) for name, value in encoders[1].items())
