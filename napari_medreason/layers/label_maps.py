"""Label maps in Labels layers: their study, their voxels as a volume, the names of their labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.label_names import named
from napari_medreason.core.volume import Volume
from napari_medreason.layers.recognise import LayerLike, in_place
from napari_medreason.layers.study import METADATA_KEY, StudyRef, is_ours, stored_array

NAMES_KEY = "label_names"
_ENTRY = re.compile(r"\s*(\d{1,10})\s*[:=\s]\s*([^\d\s:=][^,;\n]*)")


def claimed_study(layer: LayerLike) -> StudyRef | None:
    """The study in the note that we left in a layer, if the layer still lies where the study does."""
    study = _note(layer).get("study")
    if isinstance(study, StudyRef) and is_ours(study) and in_place(layer, study):
        return study
    return None


def fitting_studies(layer: LayerLike, studies: Iterable[StudyRef]) -> tuple[StudyRef, ...]:
    """The studies of known orientation on whose voxels the voxels of a layer lie, one on one."""
    return tuple(study for study in studies if study.orientation_known and in_place(layer, study))


def has_own_place(layer: LayerLike) -> bool:
    """Whether a layer has another scale or translation than napari gives to bare arrays.

    Without, an equal place in the viewer says nothing: every bare array has it.
    """
    return not (np.allclose(layer.scale, 1.0) and np.allclose(layer.translate, 0.0))


def label_volume(data: Any, study: StudyRef, frame: int | None) -> Volume:
    """Layer data as a (k, j, i) volume of labels: a view of NumPy data, computed from any other.

    frame: which frame of layer data with four axes.
    """
    array = computed(data[frame or 0] if data.ndim == 4 else data)
    return Volume(
        stored_array(array[np.newaxis] if array.ndim == 2 else array, study),
        np.array(study.affine),
        name=study.name,
        orientation_known=study.orientation_known,
        calibrated=study.calibrated,
    )


def computed(data: Any) -> NDArray[np.generic]:
    """Layer data as a NumPy array, also off the main thread.

    dask keeps its callbacks, among them napari's cache, in a global that one computation takes away from
    another; with none of its own, this one leaves them alone.
    """
    if isinstance(data, np.ndarray) or not hasattr(data, "compute"):
        return np.asarray(data)
    return np.asarray(data.compute(callbacks=()))


def label_names(layer: Any) -> dict[int, str]:
    """Names by label: those given here, else a `name` column beside an `index` column of the features."""
    noted = _note(layer).get(NAMES_KEY)
    if isinstance(noted, Mapping):
        return {int(label): str(name) for label, name in noted.items()}
    features = layer.features
    if not {"index", "name"} <= set(features):
        return {}
    pairs = zip(features["index"], features["name"], strict=True)
    return {int(label): str(name) for label, name in pairs if isinstance(name, str) and name}


def keep_names(layer: Any, names: Mapping[int, str]) -> None:
    """Note the names of labels in a layer's metadata, and show them in its status line.

    The features are left alone when they hold columns of somebody else. The note is a new dictionary:
    duplicates of the layer share the old one.
    """
    kept = {label: name for label, name in sorted(names.items()) if name}
    layer.metadata = {**layer.metadata, METADATA_KEY: {**_note(layer), NAMES_KEY: kept}}
    if set(layer.features) <= {"index", "name"}:
        layer.features = {"index": list(kept), "name": list(kept.values())}


def parsed_names(text: str) -> dict[int, str]:
    """Names from a list such as "1 liver, 2: left kidney" or one per line; empty for a single name."""
    return {int(match[1]): match[2].strip() for match in map(_ENTRY.match, re.split("[,;\n]", text)) if match}


def full_name(text: str) -> str:
    """A label's name as it is shown: the words of the vocabulary with the side, else as it was given."""
    if not text.strip():
        return ""
    found = named(text)
    return f"{found.side} {found.name}".strip() if found.structure else text.strip()


def _note(layer: LayerLike) -> Mapping[str, Any]:
    note = layer.metadata.get(METADATA_KEY)
    return note if isinstance(note, Mapping) else {}
