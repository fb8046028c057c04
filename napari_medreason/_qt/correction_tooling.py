"""Runs the mask tools on the open study, off the GUI thread, each as one step of the layer's undo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from qtpy.QtCore import QObject

from napari_medreason._qt.background import Background
from napari_medreason._qt.correction_presenter import CorrectionPresenter
from napari_medreason._qt.correction_tools import TOOLS, Edit, Tool, ToolCall, edit_between
from napari_medreason._qt.correction_view import CorrectionView
from napari_medreason.errors import MedReasonError
from napari_medreason.layers import StudyRef


class Tooling(QObject):
    """One tool at a time; a result comes only onto the study it was made from."""

    def __init__(
        self, view: CorrectionView, presenter: CorrectionPresenter, report: Callable[[Exception], None]
    ) -> None:
        super().__init__(presenter)
        self._view, self._presenter, self._report = view, presenter, report
        self._opened = presenter.opened
        self._work = Background(self)
        self._tools = {tool.id: tool for tool in TOOLS}
        self._walk: tuple[str, int, int] = ("", 0, 0)
        """Study, label, and which of its uncertain slices comes next."""
        page = view.correct
        page.tool_wanted.connect(self.use)
        page.label_wanted.connect(self._opened.choose_label)
        page.undo_wanted.connect(lambda: self._opened.layer.undo() if self._opened.layer else None)
        page.redo_wanted.connect(lambda: self._opened.layer.redo() if self._opened.layer else None)
        page.doubtful_wanted.connect(self.show_doubtful)

    @property
    def busy(self) -> bool:
        """Whether a tool is at work."""
        return self._work.busy

    def use(self, tool_id: str, value: float, only_shown: bool) -> None:
        """Run a tool on the chosen label, on the slice on screen or on the volume."""
        study = self._opened.study
        if self.busy or study is None or not self._presenter.rights.draw:
            return
        tool = self._tools[tool_id]
        try:
            call = self._opened.tool_call(only_shown=only_shown, value=value)
        except MedReasonError as error:
            self._report(error)
            return
        self._view.say(f"{tool.title} …")
        self._work.start(
            partial(_run, tool, call, study),
            then=partial(self._apply, tool, call, study),
            failed=self._fail,
        )

    def _apply(self, tool: Tool, call: ToolCall, study: StudyRef, edit: Edit) -> None:
        if study is not self._opened.study:
            return
        self._opened.apply(edit)
        added = int(np.count_nonzero(edit.after == call.label))
        if edit.count == 0:
            self._view.say(f"{tool.title}: nothing to change.")
        else:
            self._view.say(f"{tool.title}: {added} voxels added, {edit.count - added} removed.")

    def _fail(self, error: Exception) -> None:
        self._view.say("Nothing was changed; see the message.")
        self._report(error)

    def show_doubtful(self) -> None:
        """Go to the next of the slices where the model was least sure of the chosen label."""
        item, layer = self._presenter.item, self._opened.layer
        if item is None or layer is None:
            return
        known = item.prelabel.labels if item.prelabel is not None else ()
        slices = [
            one for entry in known if entry.label == layer.selected_label for one in entry.least_certain
        ]
        if not slices:
            self._view.say("The model gave no figure of certainty for this label.")
            return
        *walked, number = self._walk
        number = number % len(slices) if walked == [item.id, layer.selected_label] else 0
        self._walk = (item.id, int(layer.selected_label), number + 1)
        place = slices[number]
        self._opened.jump(place.axis, place.index)
        self._view.say(f"{place.axis.capitalize()} slice {place.index}: {place.confidence:.0%} certain.")

    def close(self) -> None:
        """Drop a tool that is at work."""
        self._work.cancel()


def _run(tool: Tool, call: ToolCall, study: StudyRef, **_: object) -> Edit:
    return edit_between(call.labels, tool.run(call), study)
