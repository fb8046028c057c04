from napari_medreason.core.recent import Recent


def test_the_least_recently_used_value_goes_first_and_is_told():
    dropped = []
    recent = Recent(2, dropped.append)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert dropped == [2]
    assert recent.get("b") is None
    assert "a" in recent
    assert "c" in recent


def test_a_new_value_under_a_kept_key_drops_nothing():
    dropped = []
    recent = Recent(2, dropped.append)
    for key, value in (("a", 1), ("b", 2), ("a", 3)):
        recent.put(key, value)
    assert dropped == []
    assert recent.get("a") == 3


def test_room_is_made_before_the_next_value_comes():
    dropped = []
    recent = Recent(2, dropped.append)
    recent.put("a", 1)
    recent.make_room()
    assert dropped == []
    recent.put("b", 2)
    recent.make_room()
    assert dropped == [1]


def test_clear_tells_every_value():
    dropped = []
    recent = Recent(3, dropped.append)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.clear()
    recent.drop("a")
    assert dropped == [1, 2]
