"""What the docks show while an engine works."""

from napari_medreason._qt.answer_words import stage_words
from napari_medreason.engine.protocol import is_patient


def test_a_stage_is_told_with_the_words_that_follow_it():
    assert stage_words("loading") == "Loading the model"
    words = "Lingshu-7B in 4-bit: needs about 8.3 GB of 11 GB free"
    assert stage_words(f"loading: {words}") == f"Loading the model ({words})"
    assert stage_words("warming up") == "Warming up"


def test_words_do_not_make_an_engine_that_loads_look_stuck():
    assert is_patient("loading: Lingshu-7B in 4-bit")
    assert is_patient("embedding")
    assert not is_patient("reasoning: loading")
    assert not is_patient(None)
