"""The Fine-tune dock: a new run from records, a recipe and a model; and the runs that there are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import QSize, QTimer
from qtpy.QtWidgets import QFileDialog, QMenu, QTabWidget, QVBoxLayout

from napari_medreason._qt import notify
from napari_medreason._qt.ask_widget import MODELS_DOCK
from napari_medreason._qt.background import Background
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.settings import PLUGIN
from napari_medreason._qt.template_facts import LabelSource, has_names, label_layers, label_source
from napari_medreason._qt.tune_check import RunCheck, run_check
from napari_medreason._qt.tune_check_view import CHECKING
from napari_medreason._qt.tune_form_files import (
    RunWish,
    guessed_images,
    keep_form,
    open_form,
    own_form,
    remembered,
    save_form,
    start_run,
)
from napari_medreason._qt.tune_form_view import NewRunView
from napari_medreason._qt.tune_records import RecordReader, RecordSet
from napari_medreason._qt.tune_records_build import RecordsBuild
from napari_medreason._qt.tune_runs import RunsPage
from napari_medreason.core.run_config import RunConfig
from napari_medreason.errors import DataSetError, MedReasonError

_SIZE = QSize(420, 760)
_CHECK_AFTER_MILLISECONDS = 400
EARLIER = ", beside {files} from before"


class TuneDock(Docked):
    """Start training runs and follow them.

    form_file: where the form is kept between two uses, for tests; otherwise in the user's settings.
    """

    def __init__(self, napari_viewer: Viewer, form_file: Path | None = None) -> None:
        super().__init__()
        self._viewer, self._form_file = napari_viewer, form_file or own_form()
        self._reader, self._restored = RecordReader(), False
        self._checks, self._looking, self._work = (Background(self) for _ in range(3))
        self.build = RecordsBuild(self)
        self.view, self.runs = NewRunView(self), RunsPage(napari_viewer, self)
        self.pages = QTabWidget(self)
        self.pages.addTab(self.view, "New run")
        self.pages.addTab(self.runs, "Runs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.pages)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_CHECK_AFTER_MILLISECONDS)
        self._make_menu()
        self._connect()
        self._restore()

    def _make_menu(self) -> None:
        menu = QMenu(self)
        menu.addAction("Open configuration…", self._choose_open)
        menu.addAction("Save configuration…", self._choose_save)
        self.view.file_button.setMenu(menu)

    def _connect(self) -> None:
        view, records = self.view, self.view.records
        view.form.changed.connect(self._later.start)
        view.form.models_wanted.connect(self.open_models)
        records.changed.connect(self._on_records)
        records.file_wanted.connect(self.add_file)
        records.list_wanted.connect(self.build.from_work_list)
        records.labels_wanted.connect(self.take_labels)
        records.failed.connect(self._fail)
        view.start_wanted.connect(self.start)
        view.cancelled.connect(self._cancel)
        self._later.timeout.connect(self.check)
        self.build.built.connect(self._on_built)
        self.build.failed.connect(self._fail)
        self.build.said.connect(view.show_busy)
        self.runs.accepted.connect(
            lambda model: notify.inform(f"The tuned model {model} is in the model choice of the Ask dock.")
        )

    def _restore(self) -> None:
        kept = remembered(self._form_file)
        if kept is not None:
            config, sets, plan = kept
            self._show(config, sets)
            self.view.records.show_plan(plan)
            self._restored = True
        self.check()

    def _show(self, config: RunConfig, sets: list[RecordSet]) -> None:
        self.view.form.show_config(config)
        self.view.records.show_sets(sets)

    @property
    def wish(self) -> RunWish:
        """All that the form says; DataSetError for the first wrong field."""
        form, records = self.view.form, self.view.records
        return RunWish(form.config(), tuple(records.sets), records.plan, form.missing)

    def _on_records(self) -> None:
        self._restored = False
        self._later.start()

    def check(self) -> None:
        """Check records and memory, in the background."""
        records = self.view.records
        if not records.sets:
            self._checks.cancel()
            self.view.check.show_nothing("Choose records: corrected masks, one for each slice and structure.")
            return
        form = self.view.form
        form.base.look_again()
        config = None if form.wrong else form.config()
        self.view.check.show_nothing(CHECKING)
        job = partial(run_check, tuple(records.sets), records.plan, config, self._reader)
        self._checks.start(job, then=self._on_checked, failed=self._on_unchecked)

    def _on_checked(self, check: RunCheck) -> None:
        self.view.check.show_check(check)
        self.view.records.show_contents(check.contents)

    def _on_unchecked(self, error: Exception) -> None:
        self.view.check.show_nothing(str(error), wrong=True)
        if not isinstance(error, MedReasonError):
            notify.report(error)

    def start(self) -> None:
        """Start the run, then show it among the runs."""
        self.view.form.base.look_again()
        try:
            wish = self.wish
            self._keep(wish)
        except MedReasonError as error:
            self._fail(error)
            return
        self.view.show_busy("Starting …")
        self._work.start(partial(start_run, wish, self._reader), then=self._on_started, failed=self._fail)

    def _on_started(self, folder: Path) -> None:
        self.view.show_idle(f"The run {folder.name} has begun; it goes on when napari is closed.")
        self.runs.show_run(folder)
        self.pages.setCurrentWidget(self.runs)

    def open_models(self) -> None:
        """Open the Models dock, at the weights that the chosen base lacks."""
        window = getattr(self._viewer, "window", None)
        if window is not None:
            _, widget = window.add_plugin_dock_widget(PLUGIN, MODELS_DOCK, tabify=True)
            widget.choose(self.view.form.missing)

    def add_file(self, file: Path, images: Path | None = None) -> None:
        """Add a file of records; its images are looked for nearby, else the user is asked for them."""
        if images is None:
            job = partial(guessed_images, file)
            self._looking.start(job, then=partial(self._on_guessed, file), failed=self._fail)
            return
        self.view.records.add(RecordSet(file.resolve(), images.resolve()))

    def _on_guessed(self, file: Path, images: Path | None) -> None:
        images = images or self.view.records.choose_images(file)
        if images is not None:
            self.view.records.add(RecordSet(file.resolve(), images.resolve()))

    def add_records(self, file: Path, images: Path) -> None:
        """Fill in records; those that were only remembered from an earlier use go."""
        if self._restored:
            self.view.records.show_sets([])
        self.add_file(file, images)
        self.pages.setCurrentWidget(self.view)

    def take_labels(self, source: LabelSource | None = None) -> None:
        """Make records of a Labels layer, or of all that the viewer has; then fill them in."""
        self.pages.setCurrentWidget(self.view)
        try:
            sources = [source] if source else _sources(self._viewer)
        except MedReasonError as error:
            self._fail(error)
            return
        self.build.from_layers(sources)

    def _on_built(self, records: RecordSet) -> None:
        self.view.records.add(records)
        earlier = len(self.view.records.sets) - 1
        more = "" if not earlier else EARLIER.format(files="1 file" if earlier == 1 else f"{earlier} files")
        self.view.show_idle(f"The records are here{more}; look at the check below them, then start.")

    def _choose_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Configuration of a run", "", "Configurations (*.toml)")
        if path:
            self.open(Path(path))

    def open(self, file: Path) -> None:
        """Show the configuration in a TOML file; a faulty one changes nothing."""
        try:
            config, sets = open_form(file)
        except MedReasonError as error:
            self._fail(error)
            return
        self._show(config, sets)
        self.view.show_idle(f"Opened {file.name}.")

    def _choose_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save configuration", "tune.toml", "Configurations (*.toml)"
        )
        if path:
            self.save(Path(path) if path.endswith(".toml") else Path(f"{path}.toml"))

    def save(self, file: Path) -> None:
        """Write the form as TOML, in the background."""
        try:
            wish = self.wish
        except DataSetError as error:
            self._fail(error)
            return
        self.view.show_busy("Saving …")
        job = partial(save_form, wish, file, self._reader)
        self._work.start(
            job, then=lambda saved: self.view.show_idle(f"Saved {saved.name}."), failed=self._fail
        )

    def _keep(self, wish: RunWish) -> None:
        keep_form(wish, self._form_file)

    def _cancel(self) -> None:
        self._work.cancel()
        self.build.cancel()
        self.view.show_idle("Cancelled.")

    def _fail(self, error: Exception) -> None:
        words = str(error) if isinstance(error, MedReasonError) else ""
        self.view.show_idle(words, wrong=True)
        notify.report(error)

    def sizeHint(self) -> QSize:
        return _SIZE

    def take_apart(self) -> None:
        """Remember the form; runs go on, they are processes of their own."""
        self._later.stop()
        for work in (self._checks, self._looking, self._work):
            work.cancel()
        self.build.close()
        self.runs.take_apart()
        try:
            self._keep(self.wish)
        except MedReasonError:  # a wrong field or a full disk: what was remembered before stays
            return


def _sources(viewer: Viewer) -> list[LabelSource]:
    """The Labels layers of a viewer that somebody named, with the studies that they lie on.

    Masks of answers and of held-out cases have no names of labels, and on layers without an image is nothing
    to learn from; they are given only where there are no others, to be told why not. QuestionError for a
    layer with too many axes.
    """
    found = [label_source(viewer, layer) for layer in label_layers(viewer)]
    named = [source for source in found if has_names(source)]
    return [source for source in named if source.image is not None] or named or found
