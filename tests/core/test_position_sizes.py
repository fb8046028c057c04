"""Sizes as radiologists write them are compared with the mask as they are meant."""

import pytest

from napari_medreason.core.position_sizes import MaskSizes, size_statements

SIZES = MaskSizes(size_mm=(30.0, 20.0, 10.0), plane_mm=(15.0, 30.0), area_mm2=450.0, volume_ml=6.0)


def verdicts(text: str) -> list[tuple[str, str]]:
    return [(words, verdict) for _, words, verdict, _ in size_statements(text, SIZES)[1]]


@pytest.mark.parametrize(
    "words",
    [
        *("3 cm", "3.0 cm", "3,0 cm", "30mm", "30 millimetres", "30,0 mm"),
        *("3 x 1.5 cm", "3,0 x 1,5 cm", "3 cm x 1.5 cm", "3.0cm by 1.5cm", "3 by 1.5 cm", "3 cm x 15 mm"),
        *("30 x 20 x 10 mm", "3 cm x 2 cm x 1 cm", "4.5 cm²", "6 ml", "6,000 mm3"),
    ],
)
def test_sizes_that_fit_agree_as_one_statement(words):
    assert verdicts(f"a mass of {words}, well defined") == [(words, "agrees")]
    assert verdicts(f"mass.{words}.") == [(words, "agrees")]


@pytest.mark.parametrize(
    "words", ["6 cm", "1,5 cm", "3 cm x 3 cm", "3 mm x 1.5 mm", "3 cm x 3 mm", "60,0 mm"]
)
def test_sizes_that_do_not_fit_disagree_as_one_statement(words):
    assert verdicts(f"a mass of {words}") == [(words, "disagrees")]


def test_many_digits_and_spaces_are_read_in_no_time():
    assert verdicts("1" * 3000 + " " * 3000 + "x" + " " * 3000 + "2,") == []
