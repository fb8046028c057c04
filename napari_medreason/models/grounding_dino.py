"""Grounding DINO with any segmenter: the baseline of the three papers that finds a box from a few words.

The words come from the vocabulary, or from a model that writes text and is put in front. The detector was
trained on photographs; it tells neither left from right (the side is chosen by where boxes lie) nor whether
a plane is of the right body part. Its boxes run from edge to edge, as shares of an undistorted square.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.anatomy import structures
from napari_medreason.core.answer_words import absent_answer, found_answer, unknown_answer
from napari_medreason.core.plane import Box, Plane
from napari_medreason.core.question import Question
from napari_medreason.errors import CancelledError, ModelUnavailableError
from napari_medreason.models.base import Cancelled, GroundingModel, ModelInfo, OnText, Reasoning
from napari_medreason.models.fit import Precision
from napari_medreason.models.grounding_names import Named, Namer, by_vocabulary, written_by
from napari_medreason.models.medreasoner import MedReasoner, close_part
from napari_medreason.models.memory import give_memory_back
from napari_medreason.models.pair_choice import placed_together, segmenter_maker
from napari_medreason.models.picture import letterboxed_picture
from napari_medreason.models.segmenters.released import model_type_of
from napari_medreason.models.weights import weight_files, weights_sha256

SQUARE_SIZE = 800
"""Pixels of the square that the detector is shown, its shorter side in training."""
_MODEL_TYPE = "grounding-dino"
BOX_THRESHOLD = 0.25
"""Boxes with a lower score are not taken for the object; the library's own default."""
_HALF = "the side was chosen by which half of the image the box lies in"
_UNCHECKED = "this plane does not show left and right, so the side that was asked is not checked"


@dataclass(frozen=True)
class _Found:
    """Boxes (n, 4) in the plane, half-open, and their scores (n,), best first."""

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]


class DetectorReasoner:
    """Grounding DINO in a local folder as Reasoner: it gives a box, and an answer from a template.

    name: says what a question asks for. threshold: the least score of a box.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        name: Namer = by_vocabulary,
        threshold: float = BOX_THRESHOLD,
        square_size: int = SQUARE_SIZE,
    ) -> None:
        folder = Path(folder)
        self.id = folder.name
        if (kind := model_type_of(folder)) != _MODEL_TYPE:
            raise ModelUnavailableError(
                f"{folder.name} holds a model of type {kind!r}; the detector is one of type {_MODEL_TYPE!r}, "
                "such as IDEA-Research/grounding-dino-tiny"
            )
        self.weights_sha256 = weights_sha256(weight_files(folder))
        self._name, self._threshold, self._square_size = name, threshold, square_size
        import torch
        from transformers import GroundingDinoForObjectDetection, GroundingDinoProcessor

        from napari_medreason.models.loading import load_model, load_processor, pick_device

        self._device = pick_device(device)
        self._processor = load_processor(GroundingDinoProcessor, folder)
        # In 16 bits its sampling places would be off by pixels, and it is small.
        self._model = load_model(
            GroundingDinoForObjectDetection, folder, device=self._device, dtype=torch.float32
        )

    def reason(self, question: Question, *, on_text: OnText, cancelled: Cancelled) -> Reasoning:
        """The best box for what the question names; "unknown" when it names nothing, else "absent"."""
        _check(cancelled)
        named = self._name(question, on_text=on_text, cancelled=cancelled)
        _check(cancelled)
        if not named.words:
            known = [item.name for item in structures().values()]
            return Reasoning("unknown", unknown_answer("", known), text=named.text, templated=True)
        found = self._detected(question.plane, named.words)
        _check(cancelled)
        reasoning = _reasoning(question.plane, named, found, self._threshold)
        if not named.text:
            on_text(reasoning.answer)
        return reasoning

    def close(self) -> None:
        """Give memory back; the reasoner is not used again."""
        close_part(self._name)
        del self._model
        give_memory_back()

    def _detected(self, plane: Plane, words: str) -> _Found:
        import torch

        from napari_medreason.models.loading import enough_memory

        picture, frame = letterboxed_picture(plane, self._square_size)
        inputs = self._processor(images=picture, text=f"{words}.", return_tensors="pt").to(self._device)
        with torch.inference_mode(), enough_memory(self.id):
            output = self._model(**inputs)
        scores = output.logits[0].sigmoid().max(dim=-1).values.cpu().double().numpy()
        x, y, width, height = output.pred_boxes[0].cpu().double().numpy().T * self._square_size
        corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        order = np.argsort(-scores, kind="stable")
        boxes = [_clipped(frame.box_to_plane(tuple(corners[number])), plane) for number in order]
        return _Found(np.array(boxes), scores[order])


def _reasoning(plane: Plane, named: Named, found: _Found, threshold: float) -> Reasoning:
    kept = (found.scores >= threshold) & (_areas(found.boxes) > 0)
    side = named.side if _shows_sides(plane) else ""
    on_side = kept & _on_side(plane, side, found.boxes)
    best = int(np.flatnonzero(on_side)[0]) if on_side.any() else None
    subject = named.structure or named.words
    notes = [f"looked for: {named.words}", f"best score of all boxes: {found.scores.max():.2f}"]
    if named.side:
        notes.append(f"the detector does not know sides: {_HALF if side else _UNCHECKED}")
    common: dict[str, Any] = {"text": named.text, "structure": named.structure, "templated": True}
    if best is None:
        words = absent_answer(subject, axis=plane.grid.axis, side=side)
        return Reasoning("absent", words, notes=tuple(notes), **common)
    score = float(found.scores[best])
    words = found_answer(subject, axis=plane.grid.axis, side=side, confidence=score)
    x0, y0, x1, y1 = (float(edge) for edge in found.boxes[best])
    return Reasoning("found", words, box=(x0, y0, x1, y1), confidence=score, notes=tuple(notes), **common)


def _shows_sides(plane: Plane) -> bool:
    """Whether x grows to the patient's left."""
    orientation = plane.grid.orientation
    return orientation is not None and orientation[0] == "L"


def _on_side(plane: Plane, side: str, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes have their middle in the half of the image on the patient's side; all without a side."""
    if not side:
        return np.ones(len(boxes), bool)
    to_the_left = boxes[:, [0, 2]].mean(axis=1) > plane.grid.shape[1] / 2
    return np.asarray(to_the_left if side == "left" else ~to_the_left)


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _clipped(box: Box, plane: Plane) -> Box:
    rows, columns = plane.grid.shape
    x0, y0, x1, y1 = box
    x0, y0 = min(max(x0, 0.0), columns), min(max(y0, 0.0), rows)
    return x0, y0, max(x0, min(x1, columns)), max(y0, min(y1, rows))


def _check(cancelled: Cancelled) -> None:
    if cancelled():
        raise CancelledError


def load_grounding_dino(
    *,
    detector: str | Path | None = None,
    segmenter: str | Path | None = None,
    text_model: str | Path | None = None,
    device: str | None = None,
    precision: Precision | None = None,
    model_id: str = "grounding-dino",
    segmenter_id: str = "",
    **options: Any,
) -> MedReasoner:
    """Grounding DINO and a segmenter from local folders, and perhaps a model in front that writes the words.

    text_model: a vision-language model's folder, or LLaVA-Med's together with the option `vision_tower`;
    without one the words are those of the vocabulary. precision: of text model and segmenter, None for what
    fits. segmenter_id: as for `load_pair`. Other options go to DetectorReasoner. ModelUnavailableError when a
    folder is missing or holds another kind of model.
    """
    if detector is None or segmenter is None:
        raise ModelUnavailableError(
            "model grounding-dino needs two local model folders, a Grounding DINO and a segmenter such as "
            "MedSAM; give both as options detector=FOLDER and segmenter=FOLDER"
        )
    start = perf_counter()
    make_segmenter = segmenter_maker(segmenter, weights_id=segmenter_id)
    tower = options.pop("vision_tower", None)
    places = {"detector": Path(detector), "segmenter": Path(segmenter)}
    places |= {} if text_model is None else {"text model": Path(text_model)}
    parts: Mapping[str, Mapping[str, Any]] = placed_together(places, device=device, precision=precision)
    with ExitStack() as half_loaded:
        name: Namer = by_vocabulary
        if text_model is not None:
            tower = None if tower is None else Path(tower)
            name = written_by(Path(text_model), vision_tower=tower, **parts["text model"])
            half_loaded.callback(close_part, name)
        finding = DetectorReasoner(detector, device=parts["detector"]["device"], name=name, **options)
        half_loaded.callback(finding.close)
        drawing = make_segmenter(**parts["segmenter"])
        half_loaded.pop_all()
    return MedReasoner(finding, drawing, model_id=model_id, load_seconds=perf_counter() - start)


def _create(model_id: str, segmenter: str, /, **options: Any) -> GroundingModel:
    from napari_medreason.models import store
    from napari_medreason.models.published import check_weights

    check_weights(model_id, (_DETECTOR, segmenter))
    return load_grounding_dino(
        detector=store.folder(_DETECTOR),
        segmenter=store.folder(segmenter),
        model_id=model_id,
        segmenter_id=segmenter,
        **options,
    )


_DETECTOR = "grounding-dino-tiny"
_SUMMARY = (
    "A detector trained on photographs finds a box from the structure's name, a segmenter draws; "
    "a baseline of the papers"
)

MODELS = (
    ModelInfo(
        id="grounding-dino",
        title="Grounding DINO (own model folders)",
        system="Grounding DINO",
        summary=_SUMMARY,
        licence="as the weights in the folders",
        create=load_grounding_dino,
        needs_download=True,
    ),
    *(
        ModelInfo(
            id=f"grounding-dino-{segmenter}",
            title=f"Grounding DINO with {title}",
            system="Grounding DINO",
            summary=_SUMMARY,
            licence=f"as the weights {_DETECTOR} and {segmenter}",
            create=partial(_create, f"grounding-dino-{segmenter}", segmenter),
            needs_download=True,
            weights=(_DETECTOR, segmenter),
        )
        for segmenter, title in (("medsam2", "MedSAM2"), ("medsam", "MedSAM"), ("sam-med2d", "SAM-Med2D"))
    ),
)
