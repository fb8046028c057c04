"""Estimates of memory: what makes them larger, and the refusal."""

import pytest

from napari_medreason.core.run_config import run_config
from napari_medreason.core.run_memory import check_memory, training_bytes
from napari_medreason.errors import RunError


def config(**settings):
    return run_config(
        {"recipe": "embedded", "records": ["r.jsonl"], "images": ".", "embedded": settings}, "given"
    )


def test_the_embedded_model_fits_a_laptop_and_a_batch_that_does_not_is_refused():
    assert "are needed" in check_memory(config(), int(4e9))
    assert training_bytes(config(batch=40)) > training_bytes(config())
    with pytest.raises(RunError, match="smaller batch"):
        check_memory(config(), int(1e9))
