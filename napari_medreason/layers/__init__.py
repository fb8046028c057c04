"""Core objects to and from plain layer-data tuples `(data, attributes, layer type)`; no napari here."""

from napari_medreason.layers.answers import (
    AnswerLabel,
    answer_layers,
    box_of,
    mask_note,
    on_slice,
    points_of,
    rectangle,
    short_answer,
    shown_grid,
    to_data,
    to_plane,
)
from napari_medreason.layers.recognise import LayerLike, study_of
from napari_medreason.layers.study import (
    METADATA_KEY,
    DisplayedPlane,
    LayerDataTuple,
    StudyRef,
    display_array,
    displayed_plane,
    image_layer,
    plane_of,
    slice_index,
    stored_array,
)

__all__ = [
    "METADATA_KEY",
    "AnswerLabel",
    "DisplayedPlane",
    "LayerDataTuple",
    "LayerLike",
    "StudyRef",
    "answer_layers",
    "box_of",
    "display_array",
    "displayed_plane",
    "image_layer",
    "mask_note",
    "on_slice",
    "plane_of",
    "points_of",
    "rectangle",
    "short_answer",
    "shown_grid",
    "slice_index",
    "stored_array",
    "study_of",
    "to_data",
    "to_plane",
]
