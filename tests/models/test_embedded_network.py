"""The grounding network: sizes, agreement of its fast and full paths, and what prompts do."""

import pytest
import torch

from napari_medreason.models.embedded import inputs
from napari_medreason.models.embedded.network import (
    PROMPT_CHANNELS,
    GroundingNetwork,
    NetworkConfig,
    doubled,
)
from napari_medreason.models.embedded.prompts import prompt_maps


@pytest.fixture(scope="module")
def network() -> GroundingNetwork:
    torch.manual_seed(3)
    made = GroundingNetwork(NetworkConfig(("liver", "spleen", "kidney"), image_channels=3)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def _features(network, rows, columns, offset=None):
    torch.manual_seed(1)
    channels = inputs.scale_ct(torch.rand(2, rows, columns) * 1500 - 1000)
    place = inputs.place_maps(channels, torch.tensor([0, 2]), 2.4)
    with torch.no_grad():
        return network.features(channels, place, offset)


def test_size_stays_small():
    parameters = sum(p.numel() for p in GroundingNetwork(NetworkConfig(("a",) * 25, 3)).parameters())
    assert 3e6 < parameters < 5e6


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (64, 160), (96, 32)])
def test_any_multiple_of_32_gives_masks_of_the_image_size(network, rows, columns):
    features = _features(network, rows, columns)
    with torch.no_grad():
        logits, presence = network.structures(features)
        prompted, quality = network.prompted(
            features, torch.rand(2, PROMPT_CHANNELS, rows // 4, columns // 4)
        )
    assert logits.shape == (2, 3, rows, columns)
    assert presence.shape == (2, 3)
    assert prompted.shape == (2, 1, rows, columns)
    assert quality.shape == (2,)


@pytest.mark.parametrize("offset", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_every_second_pixel_of_training_is_a_pixel_of_use(network, offset):
    full, quarter = _features(network, 64, 96), _features(network, 64, 96, offset)
    maps = torch.rand(2, PROMPT_CHANNELS, 16, 24)
    with torch.no_grad():
        expected = network.structures(full)[0][..., offset[0] :: 2, offset[1] :: 2]
        torch.testing.assert_close(network.structures(quarter, offset)[0], expected, rtol=1e-3, atol=1e-4)
        expected = network.prompted(full, maps)[0][..., offset[0] :: 2, offset[1] :: 2]
        torch.testing.assert_close(network.prompted(quarter, maps, offset)[0], expected, rtol=1e-3, atol=1e-4)


def test_doubling_is_bilinear():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    for row in (0, 1):
        for column in (0, 1):
            torch.testing.assert_close(
                doubled(x, (row, column)), doubled(x, None)[..., row::2, column::2], rtol=1e-6, atol=1e-6
            )


def test_one_structure_alone_gets_the_same_answer(network):
    features = _features(network, 64, 64)
    with torch.no_grad():
        together = network.queries(features)
        kept, network.query.data = network.query.data, network.query.data[1:2]
        alone = network.queries(features)
        network.query.data = kept
    torch.testing.assert_close(alone[:, 0], together[:, 1], rtol=1e-4, atol=1e-5)


def test_prompts_change_the_mask(network):
    features = _features(network, 64, 64)
    one = features._replace(**{name: value[:1] for name, value in features._asdict().items()})
    left = prompt_maps((64, 64), box=(4, 4, 20, 20))
    right = prompt_maps((64, 64), box=(40, 40, 60, 60))
    with torch.no_grad():
        logits, _ = network.prompted(one, torch.stack([left, right]))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_prompt_maps_show_where_the_prompts_are():
    maps = prompt_maps(
        (64, 96), box=(8, 4, 24, 20), points=[(80.0, 40.0), (10.0, 10.0)], labels=[True, False]
    )
    assert maps.shape == (PROMPT_CHANNELS, 16, 24)
    assert float(maps[0].sum()) == pytest.approx(16 * 16 / 16)
    row, column = divmod(int(maps[1].argmax()), 24)
    assert (row, column) == (10, 20)
    assert maps[7:10, 0, 0].tolist() == [1.0, 1.0, 0.0]
    mask = torch.zeros(64, 96)
    mask[32:40, 48:64] = 1
    maps = prompt_maps((64, 96), mask=mask)
    assert float(maps[3:7].mean(0).sum()) == pytest.approx(8 * 16 / 16)
    assert maps[9].min() == 1


def test_grey_values_are_scaled_to_one_range():
    mr = inputs.scale_mr(torch.rand(2, 40, 40) * 3000 + 200)
    assert mr.shape == (2, 1, 40, 40)
    assert mr.min() >= -0.5001
    assert mr.max() <= 0.7001
    flat = inputs.scale_mr(torch.full((1, 40, 40), 7.0))
    assert torch.isfinite(flat).all()
    ct = inputs.scale_ct(torch.tensor([-3000.0, 50.0, 3000.0]).view(1, 1, 3))
    assert ct[0, 0, 0].tolist() == pytest.approx([-0.4, 0.1, 0.6])


def test_place_does_not_depend_on_where_the_patient_lies_in_the_image():
    image = torch.full((1, 64, 96), -1024.0)
    image[0, 16:40, 20:52] = 40.0
    moved = torch.roll(image, (8, 24), (1, 2))
    plane = torch.tensor([0])
    first = inputs.place_maps(inputs.scale_ct(image), plane, 2.0)
    second = inputs.place_maps(inputs.scale_ct(moved), plane, 2.0)
    torch.testing.assert_close(torch.roll(first, (2, 6), (2, 3))[..., 4:12, 8:18], second[..., 4:12, 8:18])
    assert first[0, 2:].amax((1, 2)).tolist() == [1.0, 0.0, 0.0]


@pytest.fixture
def slice_with_arms():
    """Trunk with a lung and an island in it, an arm on each side, a table below; 3 mm pixels."""
    y, x = torch.meshgrid(torch.arange(160.0), torch.arange(160.0), indexing="ij")
    hu = torch.full((160, 160), -1000.0)
    hu[((x - 80) / 55) ** 2 + ((y - 80) / 35) ** 2 < 1] = 40.0
    hu[((x - 60) / 20) ** 2 + ((y - 80) / 22) ** 2 < 1] = -850.0
    hu[(x - 60) ** 2 + (y - 80) ** 2 < 25] = 50.0
    for centre in (10, 150):
        hu[(x - centre) ** 2 + (y - 90) ** 2 < 80] = 45.0
    hu[128:130, 30:130] = 300.0
    return hu


def test_arms_and_table_become_air_and_the_trunk_stays(slice_with_arms):
    cleared = inputs.without_arms(slice_with_arms[None])[0]
    trunk = slice_with_arms[40:120, 24:136] > -900
    assert torch.equal(cleared[40:120, 24:136][trunk], slice_with_arms[40:120, 24:136][trunk])
    assert (cleared[:, :20] < -900).all()
    assert (cleared[:, 140:] < -900).all()
    assert (cleared[124:] < -900).all()


def test_two_thighs_both_stay():
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    hu = torch.full((128, 128), -1000.0)
    for centre, radius in ((35, 24), (92, 22)):
        hu[(x - centre) ** 2 + (y - 64) ** 2 < radius**2] = 40.0
    assert torch.equal(inputs.without_arms(hu[None])[0] > 0, hu > 0)


@pytest.mark.parametrize("hu", [-1000.0, 0.0])
def test_a_slice_without_outlines_stays_as_it_is(hu):
    image = torch.full((2, 64, 96), hu)
    assert torch.equal(inputs.without_arms(image), image)


def test_places_in_attention_follow_the_body_not_the_frame():
    torch.manual_seed(2)
    sizes = NetworkConfig(("liver", "spleen"), image_channels=3)
    network = GroundingNetwork(sizes).eval()
    body = torch.full((1, 64, 64), -1000.0)
    body[:, 16:48, 12:52] = 40.0
    wide = torch.full((1, 64, 128), -1000.0)
    wide[..., 32:96] = body
    with torch.no_grad():
        seen = []
        for hu in (body, wide):
            channels = inputs.scale(hu, "CT")
            places = inputs.place_maps(channels, torch.tensor([0]), 3.0)
            features = network.features(channels, places)
            seen.append(features.places[0, 0])
    torch.testing.assert_close(seen[1][:, 2:6], seen[0])
