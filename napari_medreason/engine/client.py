"""The viewer's side of the engine: requests go out, callbacks come back; no Qt and no torch here."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_medreason.core.grounding import Grounding
from napari_medreason.core.plane import Box, Plane, Point
from napari_medreason.core.question import Question
from napari_medreason.engine.call import Call, OnError, OnProgress, OnState
from napari_medreason.engine.dispatcher import Dispatcher
from napari_medreason.engine.frames import Map
from napari_medreason.engine.process import default_command
from napari_medreason.engine.protocol import (
    ModelList,
    Prompt,
    Segmented,
    map_to_model_list,
    map_to_segmented,
    prompt_to_map,
    question_to_map,
)
from napari_medreason.engine.protocol_propagate import Carried, Seed, map_to_carried, seed_to_map
from napari_medreason.engine.protocol_weights import (
    WeightsSummary,
    map_to_summary,
    map_to_verified,
    map_to_weights_list,
)
from napari_medreason.engine.values import map_to_grounding
from napari_medreason.models.store import Verified


class EngineClient:
    """Starts the engine process on demand, restarts it after a crash, and talks to it.

    Every method but `close` returns at once. Every request ends in exactly one `on_result` or
    `on_error`. All callbacks, `on_state` ("starting", "ready", "ended") included, come on one
    thread of the client, in order; none comes for a request after it ended. A request that is made
    after `close` raises EngineError.
    """

    def __init__(self, command: Sequence[str] | None = None, *, on_state: OnState | None = None) -> None:
        self._dispatcher = Dispatcher(command if command is not None else default_command(), on_state)
        atexit.register(self.close)

    def __enter__(self) -> EngineClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether an engine process is alive."""
        process = self._dispatcher.process
        return process is not None and process.running

    @property
    def pid(self) -> int | None:
        """Id of the engine process, None when there is none."""
        process = self._dispatcher.process
        return process.pid if process is not None else None

    def ask(
        self,
        question: Question,
        *,
        model: str,
        on_text: Callable[[str], None],
        on_progress: OnProgress,
        on_result: Callable[[Grounding], None],
        on_error: OnError,
    ) -> int:
        """Ask a model a question; the answer's words come piece by piece. Returns the request's id."""
        return self._dispatcher.submit(
            Call(
                method="ask",
                arguments=lambda: {"model": model, **question_to_map(question)},
                decode=map_to_grounding,
                on_result=on_result,
                on_error=on_error,
                on_text=on_text,
                on_progress=on_progress,
                plane=question.plane,
            )
        )

    def segment(  # noqa: PLR0913 - four kinds of prompts, each optional
        self,
        plane: Plane,
        *,
        segmenter: str,
        box: Box | None = None,
        points: Sequence[Point] | None = None,
        labels: Sequence[bool] | None = None,
        mask: NDArray[np.bool_] | None = None,
        on_result: Callable[[Segmented], None],
        on_error: OnError,
    ) -> int:
        """Draw a mask from prompts in plane pixels. Returns the request's id.

        segmenter: id of a segmenter, or of a model that has one. labels: which points are inside.
        mask: (rows, columns) bool in the plane, to be refined; copied. ValueError when there is not
        one label for each point.
        """
        prompt = Prompt(
            box=box,
            points=None if points is None else tuple(points),
            labels=None if labels is None else tuple(labels),
            mask=None if mask is None else np.array(mask, dtype=np.bool_),
        )
        return self._dispatcher.submit(
            Call(
                method="segment",
                arguments=lambda: {"segmenter": segmenter, **prompt_to_map(prompt)},
                decode=map_to_segmented,
                on_result=on_result,
                on_error=on_error,
                plane=plane,
            )
        )

    def propagate(
        self,
        planes: Sequence[Plane],
        seed: Seed,
        *,
        segmenter: str,
        on_progress: OnProgress,
        on_result: Callable[[Carried], None],
        on_error: OnError,
    ) -> int:
        """Carry a mask from one plane to the others, nearest first. Returns the request's id.

        planes: 2 to 32 neighbours in order, on one grid. segmenter: as for `segment`; it ends a direction
        where it loses the object, so there may be fewer masks than planes.
        """
        start = Seed(seed.index, np.array(seed.mask, dtype=np.bool_))
        return self._dispatcher.submit(
            Call(
                method="propagate",
                arguments=lambda: {"segmenter": segmenter, **seed_to_map(start)},
                decode=map_to_carried,
                on_result=on_result,
                on_error=on_error,
                on_progress=on_progress,
                planes=tuple(planes),
            )
        )

    def models(self, *, on_result: Callable[[ModelList], None], on_error: OnError) -> int:
        """List the models and segmenters that the engine offers. Returns the request's id."""
        return self._dispatcher.submit(Call("models", dict, map_to_model_list, on_result, on_error))

    def load(
        self,
        model: str,
        options: Map | None = None,
        *,
        plane: Plane | None = None,
        on_progress: OnProgress,
        on_result: Callable[[None], None],
        on_error: OnError,
    ) -> int:
        """Load a model before its first question, with options of `models.create` if it takes any.

        plane: load what questions about it need as well; parts of a model may wait for their first plane.
        Returns the request's id.
        """
        return self._dispatcher.submit(
            Call(
                method="load",
                arguments=lambda: {"model": model, "options": dict(options or {}), "plane": None},
                decode=_nothing,
                on_result=on_result,
                on_error=on_error,
                on_progress=on_progress,
                plane=plane,
            )
        )

    def unload(self, model: str, *, on_result: Callable[[None], None], on_error: OnError) -> int:
        """Give a model's memory back; it loads again at its next question. Returns the request's id."""
        return self._dispatcher.submit(
            Call("unload", lambda: {"model": model}, _nothing, on_result, on_error)
        )

    def weights(self, *, on_result: Callable[[tuple[WeightsSummary, ...]], None], on_error: OnError) -> int:
        """List the weights and what of them is on the engine's machine. Returns the request's id."""
        return self._dispatcher.submit(Call("weights", dict, map_to_weights_list, on_result, on_error))

    def pull(
        self,
        weights: str,
        *,
        on_progress: OnProgress,
        on_result: Callable[[WeightsSummary], None],
        on_error: OnError,
    ) -> int:
        """Download weights to the engine's machine, beside its other work. Returns the request's id.

        A cancelled download keeps what came; the next one goes on from there.
        """
        call = Call("pull", lambda: {"weights": weights}, map_to_summary, on_result, on_error)
        call.on_progress = on_progress
        return self._dispatcher.submit(call)

    def verify(
        self,
        weights: str,
        *,
        on_progress: OnProgress,
        on_result: Callable[[Verified], None],
        on_error: OnError,
    ) -> int:
        """Read all files of weights anew and compare their hashes. Returns the request's id."""
        call = Call("verify", lambda: {"weights": weights}, map_to_verified, on_result, on_error)
        call.on_progress = on_progress
        return self._dispatcher.submit(call)

    def use(
        self,
        weights: str,
        folder: str | None,
        *,
        on_result: Callable[[WeightsSummary], None],
        on_error: OnError,
    ) -> int:
        """Load weights from a folder or file on the engine's machine; None: from what is downloaded.

        Returns the request's id.
        """
        arguments = {"weights": weights, "folder": folder}
        return self._dispatcher.submit(Call("use", lambda: arguments, map_to_summary, on_result, on_error))

    def cancel(self, request_id: int) -> None:
        """End a request with CancelledError at once; the engine is killed if it works on for 2 s."""
        self._dispatcher.cancel(request_id)

    def close(self) -> None:
        """End the engine and the client's threads, in about 2 s at most; open requests are cancelled."""
        atexit.unregister(self.close)
        self._dispatcher.close()


def _nothing(_: object) -> None:
    return None
