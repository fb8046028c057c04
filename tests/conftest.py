"""Shared fixtures: where real images are, and whether a window can be opened."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real, openly licensed images; tests that need it skip elsewhere."""
    folder = os.environ.get("MEDREASON_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MEDREASON_TEST_DATA does not name the folder of real test images")
    return Path(folder)


def _display_missing() -> bool:
    return sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that open a window where there is no display, and say how to run them."""
    if not _display_missing():
        return
    skip = pytest.mark.skip(reason="no display; run with: xvfb-run -a pytest -m window")
    for item in items:
        if item.get_closest_marker("window"):
            item.add_marker(skip)
