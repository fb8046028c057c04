"""What is known of weights on this computer: which revision, and the size and hash of each file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from napari_medreason.errors import WeightsError
from napari_medreason.models.catalogue import WeightFile, is_safe_name
from napari_medreason.models.files import write_text


@dataclass(frozen=True)
class Record:
    """Files of a set of weights as they were when they were downloaded, or first verified.

    repository, revision: where they came from, "" for a folder of the user's own. files: by name.
    """

    repository: str
    revision: str
    files: Mapping[str, WeightFile]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size or 0 for file in self.files.values())


def weights_root() -> Path:
    """The folder of downloaded weights; the environment variable MEDREASON_WEIGHTS names another one."""
    named = os.environ.get("MEDREASON_WEIGHTS")
    return Path(named) if named else platformdirs.user_data_path("napari-medreason") / "weights"


def read_record(weights_id: str) -> Record | None:
    """The record, None without one; WeightsError when it can't be read."""
    file = _record_file(weights_id)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return _record(content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"the record {file.name} of the weights can't be read ({type(error).__name__}); delete it and "
            "download the weights again"
        ) from error


def write_record(weights_id: str, record: Record) -> None:
    """Write the record of what lies on the disk; WeightsError when that fails."""
    files = {name: {"size": file.size, "sha256": file.sha256} for name, file in sorted(record.files.items())}
    content = {"repository": record.repository, "revision": record.revision, "files": files}
    try:
        write_text(_record_file(weights_id), json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise WeightsError(
            f"the record of {weights_id} can't be written ({error.strerror}); check space and permission"
        ) from error


def forget_record(weights_id: str) -> None:
    """Remove the record, if there is one."""
    _record_file(weights_id).unlink(missing_ok=True)


def _record_file(weights_id: str) -> Path:
    return weights_root() / f"{weights_id}.json"


def _record(content: Any) -> Record:
    files = {
        name: WeightFile(name, size=int(values["size"]), sha256=str(values["sha256"]))
        for name, values in content["files"].items()
    }
    if not all(is_safe_name(name) for name in files):
        raise ValueError("a file name leads out of the folder")
    return Record(str(content["repository"]), str(content["revision"]), files)
