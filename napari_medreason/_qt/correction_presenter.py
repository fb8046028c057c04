"""The rules of the correction dock: what is listed, opened and saved. Decisions and tools are beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from napari.viewer import Viewer
from qtpy.QtCore import QObject

from napari_medreason._qt import correction_settings, notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.correction_lists import listed
from napari_medreason._qt.correction_rights import Rights, rights_of
from napari_medreason._qt.correction_saving import Saving, Step, Target
from napari_medreason._qt.correction_study import Loaded, OpenStudy, digest_of, load, starting_labels
from napari_medreason._qt.correction_view import NOTHING_OPEN, CorrectionView
from napari_medreason._qt.correction_writer import Writer
from napari_medreason.errors import WorkListError
from napari_medreason.worklist import Item, Suggestion, WorkList

Report = Callable[[Exception], None]


class CorrectionPresenter(QObject):
    """One work list, and at most one study of it in the viewer."""

    def __init__(self, view: CorrectionView, viewer: Viewer, *, report: Report, parent: QObject) -> None:
        super().__init__(parent)
        self._view, self._report = view, report
        self.work_list: WorkList | None = None
        self.reader = correction_settings.saved("reader")
        self.opened = OpenStudy(viewer, self)
        self.writer = Writer(self)
        self.saving = Saving(self.opened, self.writer, report, self)
        self.reading = Background(self)
        self._suggested: dict[str, Suggestion] = {}
        self._row = 0
        self._told = ("", "")
        self._closed = False
        view.reader.setText(self.reader)
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        self.reading.progressed.connect(self._view.show_progress)
        self.reading.ended.connect(self._on_read)
        self.saving.told.connect(self._view.show_saved)
        self.saving.saved.connect(lambda _item: self.refresh())
        self.opened.gone.connect(self._on_gone)
        self.opened.label_chosen.connect(self._view.correct.show_label)

    # Reading and the list

    def leave_then(self, go_on: Callable[[], None]) -> None:
        """Save the study in the viewer, then go on; what can't be saved stays there as a layer."""

        def leave_behind() -> None:
            self.saving.start(None)
            name = self.opened.leave_behind()
            notify.warn(f"The labels stay in the viewer as layer “{name}”: save them with File › Save.")
            go_on()

        self.saving.flush(lambda _item: go_on(), otherwise=leave_behind)

    def read(self, words: str, job: Callable[..., Any], then: Callable[[Any], None]) -> None:
        """Read in the background; words: what is being read."""
        self._view.say(words)
        self._view.show_progress(0, 0)
        self.reading.start(job, then=then, failed=self._fail)

    def _on_read(self) -> None:
        self._view.show_idle()
        self._view.say("")
        self._told = ("", "")
        self.show_rights()

    def say(self, words: str) -> None:
        """One line at the bottom of the dock."""
        self._view.say(words)

    def _fail(self, error: Exception) -> None:
        self._view.say("Nothing was changed; see the message.")
        self._report(error)

    def show_list(self, work_list: WorkList) -> None:
        """Work on another list; the study in the viewer was saved."""
        self.saving.start(None)
        self.opened.close()
        self.work_list, self._row = work_list, 0
        correction_settings.save("work_list", str(work_list.folder.resolve()))
        for page in (self._view.correct, self._view.pre_label):
            page.set_labels(work_list.settings.labels)
        self._view.show_open("")
        self.refresh()
        self._view.say(f"“{work_list.settings.title}”: double-click a study to open it.")
        for words in work_list.damaged.values():
            self._report(WorkListError(words))

    def refresh(self) -> None:
        """Show the list as it is on the disk now."""
        work_list = self.work_list
        if work_list is None:
            self._view.show_items([], {}, NOTHING_OPEN)
            self.show_rights()
            return
        listing = listed(work_list, order=self._view.order_key, reader=self.reader)
        self._suggested = listing.suggested
        reasons = {key: one.reason for key, one in self._suggested.items()}
        self._view.show_items(listing.items, reasons, listing.words)
        ids = self._view.table.ids
        if self.item_id in ids:
            self._row = ids.index(self.item_id)
            self._view.show_open(self.item_id)
        self.show_rights()

    # Studies

    @property
    def item_id(self) -> str:
        """Id of the study in the viewer, "" for none."""
        return self.saving.target.item_id if self.saving.target else ""

    @property
    def item(self) -> Item | None:
        """The study in the viewer."""
        target = self.saving.target
        return target.work_list.item(target.item_id) if target else None

    @property
    def rights(self) -> Rights:
        """What the reader may do with the study in the viewer."""
        item = self.item
        return rights_of(item, self.reader) if item is not None else Rights()

    def open_item(self, item_id: str) -> None:
        """Save the study in the viewer, then read another one in its place."""
        if self.work_list is not None:
            self.leave_then(partial(self._open_now, item_id))

    def _open_now(self, item_id: str) -> None:
        if self.work_list is None or self._closed:
            return
        self.opened.set_editable(False)  # what is drawn while the other one is read would not be saved
        independent = self._view.review.independent.isChecked()
        job = partial(load, self.work_list, item_id, reader=self.reader, independent=independent)
        self.read(f"Opening {self.work_list.item(item_id).path} …", job, self._show_study)

    def _show_study(self, loaded: Loaded) -> None:
        if self.work_list is None:
            return
        self.opened.show(loaded, self.work_list.settings)
        target = Target(self.work_list, loaded.item.id, self.reader, loaded.volume, loaded.digest)
        self.saving.start(target)
        self._view.show_open(loaded.item.id)
        self.refresh()
        suggested = self._suggested.get(loaded.item.id)
        if suggested is not None and suggested.label is not None:
            self.opened.choose_label(suggested.label)
            if suggested.axis is not None and suggested.index is not None:
                self.opened.jump(suggested.axis, suggested.index)
        if self.opened.layer is not None:
            self._view.correct.show_label(int(self.opened.layer.selected_label))

    def step(self, by: int) -> None:
        """Open the next (1) or the previous (-1) study of the list."""
        ids = self._view.table.ids
        place = ids.index(self.item_id) + by if self.item_id in ids else min(self._row, len(ids) - 1)
        if 0 <= place < len(ids):
            self.open_item(ids[place])
        else:
            self._view.say("There is no further study in this direction.")

    def advance(self) -> str:
        """Open the next study of the list with something to do; a sentence when there is none."""
        work_list, ids = self.work_list, self._view.table.ids
        start = ids.index(self.item_id) + 1 if self.item_id in ids else self._row
        others = [item_id for item_id in (*ids[start:], *ids[:start]) if item_id != self.item_id]
        for item_id in others:
            if work_list is not None and rights_of(work_list.item(item_id), self.reader).work:
                self.open_item(item_id)
                return ""
        return "No study of this list is left for you."

    def _on_gone(self) -> None:
        """The user deleted the Labels layer: what was drawn is kept, the study is closed."""
        self.saving.stop()
        self.saving.start(None)
        self._view.show_open("")
        self.show_rights()

    def show_rights(self) -> None:
        """Let the view offer what the reader may do now."""
        rights, item, view = self.rights, self.item, self._view
        reading = self.reading.busy
        view.correct.set_rights(
            draw=rights.draw, decide=rights.decide, reopen=rights.reopen, take_over=rights.take_over
        )
        view.review.set_rights(
            begin=rights.begin_second, decide=rights.second, comment=item is not None and bool(self.reader)
        )
        view.pre_label.this_button.setEnabled(item is not None and item.state in ("waiting", "pre-labelled"))
        view.pre_label.waiting_button.setEnabled(self.work_list is not None)
        if not reading:
            self.opened.set_editable(rights.draw)
        if item is not None and not reading:
            self._show_review(item)
            told = (item.id, rights.words)
            if told != self._told:
                view.say(rights.words)
            self._told = told

    def _show_review(self, item: Item) -> None:
        """Comments and kept figures; figures compared by hand stay until another study is shown."""
        if self.work_list is None:
            return
        review, settings = self._view.review, self.work_list.settings
        figured = [second.agreement for second in item.second_readings if second.agreement]
        review.show_comments(item.comments, settings)
        if figured or self._told[0] != item.id:
            review.show_figures(figured[-1] if figured else (), settings)

    def set_reader(self, name: str) -> None:
        """Save under the former name, then go on under another."""
        name = " ".join(name.split())
        if name != self.reader:
            self.leave_then(partial(self._set_reader, name))

    def _set_reader(self, name: str) -> None:
        self.reader = name
        correction_settings.save("reader", name)
        if self.saving.target is not None:
            self.saving.target.reader = name
            self.opened.set_editable(False)  # until the labels of this reader are shown
            self.reload_labels(independent=self._view.review.independent.isChecked())
        else:
            self.refresh()

    # Steps

    def take(self, step: Step, *, force: bool = False, then: Callable[[Item], None] | None = None) -> None:
        """Save, then take a step with the study in the viewer. force: save unchanged labels as well."""
        if self.saving.target is None:
            self._report(WorkListError("no study is open; double-click one in the list"))
            return

        def go_on(item: Item | None) -> None:
            if then is not None and item is not None and not self._closed:
                then(item)

        self.saving.flush(go_on, step=step, force=force)

    def reload_labels(self, *, independent: bool = False) -> None:
        """Show the labels of the study in the viewer as they are on the disk now."""
        target = self.saving.target
        if target is not None and not self._closed:
            self.writer.submit(
                partial(_starting_labels, target, independent=independent),
                then=partial(self._replace_labels, target),
                failed=self._report,
            )

    def _replace_labels(self, target: Target, labels_and_digest: tuple[Any, bytes]) -> None:
        if target is self.saving.target and not self._closed:
            labels, target.digest = labels_and_digest
            self.opened.replace_labels(labels)
            self.refresh()

    def close(self) -> None:
        """Save what is drawn and stop; the layers stay in the viewer."""
        self._closed = True
        self.reading.cancel()
        self.saving.stop()
        self.writer.close()
        self.opened.let_go()


def _starting_labels(target: Target, *, independent: bool) -> tuple[Any, bytes]:
    labels = starting_labels(
        target.work_list, target.item_id, reader=target.reader, volume=target.like, independent=independent
    )
    return labels, digest_of(labels)
