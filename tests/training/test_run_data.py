"""Which records judge a run."""

import pytest

from napari_medreason_training.run_data import spread

PATIENTS = [patient for patient in "abcdefgh" for _ in range(32)]
"""Records as they lie in a file: patient after patient."""


@pytest.mark.parametrize("most", [8, 10, 64, 255])
def test_a_part_of_the_records_is_of_all_patients(most):
    chosen = spread(PATIENTS, most)
    assert len(chosen) == most
    assert set(chosen) == set(PATIENTS)


def test_no_record_is_taken_twice_and_none_left_out_without_need():
    assert sorted(set(spread(range(100), 64))) == list(spread(range(100), 64))
    assert list(spread(range(100), 0)) == list(spread(range(100), 100)) == list(range(100))
