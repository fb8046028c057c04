"""What training changes in a whole process is put back after each test."""

import sys

import pytest


@pytest.fixture(autouse=True)
def usual_numbers():
    """Training lets the processor take the smallest numbers as zero; other code must not find it so."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)
