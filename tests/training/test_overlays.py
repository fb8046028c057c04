"""Pictures of sample answers keep their colours wherever the image is dark or bright."""

import numpy as np
import pytest

from napari_medreason_training.overlays import overlaid


@pytest.mark.parametrize("grey", [0.0, 128.0, 255.0])
def test_green_red_and_yellow_are_seen_on_any_ground(grey):
    image = np.full((1, 4, 3), grey, np.float32)
    corrected, answered = np.array([[True, False, True, False]]), np.array([[False, True, True, False]])
    (green, red, yellow, plain) = overlaid(image, corrected, answered)[0].astype(int)
    assert green[1] > max(green[0], green[2]) + 100
    assert red[0] > max(red[1], red[2]) + 100
    assert min(yellow[:2]) > yellow[2] + 100
    assert plain.tolist() == [grey] * 3
