"""The published systems' own results for given inputs, kept beside the real test images."""

import json
import math
from typing import Any

import pytest


def known_answers(real_data, name: str) -> Any:
    """A file of known answers; the test is skipped, with the reason, where the file is not."""
    file = real_data.parent / "reference" / "cases" / name
    if not file.is_file():
        pytest.skip(f"{name} with known answers of the released code is not beside the real test images")
    return _with_nonfinite(json.loads(file.read_text(encoding="utf-8")))


def _with_nonfinite(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_nonfinite(entry) for entry in value]
    if isinstance(value, dict):
        if set(value) == {"nonfinite"}:
            return math.inf if value["nonfinite"] == "inf" else math.nan
        return {key: _with_nonfinite(entry) for key, entry in value.items()}
    return value
