"""The correction dock: joins view, rules, engine and viewer, and takes all of it apart when it closes."""

from __future__ import annotations

from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import QSize
from qtpy.QtWidgets import QFileDialog, QMenu, QVBoxLayout

from napari_medreason._qt import correction_settings, notify
from napari_medreason._qt.correction_deciding import Deciding
from napari_medreason._qt.correction_lists import Lists, write_agreement
from napari_medreason._qt.correction_new_list import NewListDialog
from napari_medreason._qt.correction_prelabelling import PreLabelling
from napari_medreason._qt.correction_presenter import CorrectionPresenter
from napari_medreason._qt.correction_tooling import Tooling
from napari_medreason._qt.correction_view import CorrectionView
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.engine_bridge import EngineBridge
from napari_medreason.errors import ExportError, WorkListError

_WIDTH = 460


class CorrectionWidget(Docked):
    """Correct the masks of a folder of studies, one study after the other, and have them read twice.

    engine: a bridge of one's own, for tests; otherwise the one that all docks share.
    """

    def __init__(self, napari_viewer: Viewer, engine: EngineBridge | None = None) -> None:
        super().__init__()
        self.view = CorrectionView(self)
        self.presenter = CorrectionPresenter(self.view, napari_viewer, report=notify.report, parent=self)
        self.lists = Lists(self.presenter)
        self.deciding = Deciding(self.view, self.presenter, notify.report)
        self.tooling = Tooling(self.view, self.presenter, notify.report)
        self.pre_labelling = PreLabelling(self.view, self.presenter, notify.report, engine)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self._make_menu()
        view, presenter = self.view, self.presenter
        view.open_wanted.connect(presenter.open_item)
        view.step_wanted.connect(presenter.step)
        view.order_changed.connect(lambda _key: presenter.refresh())
        view.reader_changed.connect(presenter.set_reader)
        view.cancelled.connect(self._cancel)

    def _make_menu(self) -> None:
        menu = QMenu(self)
        menu.addAction("New…", self.choose_new)
        menu.addAction("Open…", self.choose_open)
        menu.addAction("Open, with its studies at another place…", self.choose_open_moved)
        last = correction_settings.saved("work_list")
        if last and Path(last).is_dir():
            menu.addAction(f"Go on with “{Path(last).name}”", lambda: self.lists.open(Path(last)))
        menu.addSeparator()
        menu.addAction("Look for new studies", self.lists.look_again)
        menu.addAction("Save agreement of readers…", self.choose_agreement)
        self.view.files_button.setMenu(menu)

    def choose_new(self) -> None:
        """Let the user describe a work list, then make it."""
        dialog = NewListDialog(self)
        if dialog.exec() == NewListDialog.DialogCode.Accepted:
            self.lists.create(
                Path(dialog.folder.text()),
                Path(dialog.studies.text()),
                dialog.definitions,
                title=dialog.title.text().strip(),
            )
        dialog.deleteLater()

    def choose_open(self) -> None:
        """Let the user choose the folder of a work list, then go on with it."""
        if folder := QFileDialog.getExistingDirectory(self, "Open a work list"):
            self.lists.open(Path(folder))

    def choose_open_moved(self) -> None:
        """As `choose_open`, when the studies or the list were moved."""
        if folder := QFileDialog.getExistingDirectory(self, "Open a work list"):
            studies = QFileDialog.getExistingDirectory(self, "Where are its studies now?", folder)
            if studies:
                self.lists.open(Path(folder), Path(studies))

    def choose_agreement(self) -> None:
        """Let the user choose a file, then write the figures of all second readings."""
        work_list = self.presenter.work_list
        if work_list is None:
            notify.report(WorkListError("no work list is open; open one first"))
            return
        path, _ = QFileDialog.getSaveFileName(self, "Save agreement", "agreement.csv", "CSV table (*.csv)")
        if path:
            try:
                count = write_agreement(work_list, Path(path))
            except ExportError as error:
                notify.report(error)
                return
            self.view.say(f"{count} lines of agreement figures were saved.")

    def _cancel(self) -> None:
        self.pre_labelling.cancel()
        self.presenter.reading.cancel()

    def sizeHint(self) -> QSize:
        return QSize(_WIDTH, super().sizeHint().height())

    def take_apart(self) -> None:
        """Save what is drawn; the layers stay in the viewer."""
        self.pre_labelling.close()
        self.tooling.close()
        self.presenter.close()
