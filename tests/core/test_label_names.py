import pytest

from napari_medreason.core.label_names import named


@pytest.mark.parametrize(
    ("text", "structure", "name", "side"),
    [
        ("liver", "liver", "liver", ""),
        ("kidney_left", "kidney", "kidney", "left"),
        ("Lung-Rt", "lung", "lung", "right"),
        ("Left-Lateral-Ventricle", "lateral_ventricle", "lateral ventricle", "left"),
        ("left ventricle", "left_ventricle", "left ventricle", ""),
        ("vertebrae_L1", "vertebra", "vertebra L1", ""),
        ("rib_left_3", "ribs", "rib 3", "left"),
        ("SubmandibularGland_R", "submandibular_gland", "submandibular gland", "right"),
        ("esophagus", "oesophagus", "oesophagus", ""),
        ("colon_and_ileum", "", "colon and ileum", ""),
        ("LV", "", "LV", ""),
        ("left", "", "left", ""),
        ("", "", "", ""),
    ],
)
def test_label_names_as_people_write_them(text, structure, name, side):
    found = named(text)
    assert (found.structure, found.name, found.side) == (structure, name, side)
