"""The data-set dock: joins its pages with the viewer's layers, the build process and the review queue."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QVBoxLayout

from napari_medreason._qt import notify
from napari_medreason._qt.background import Background
from napari_medreason._qt.dataset_form import TEMPLATES, BuildForm, check, write_config
from napari_medreason._qt.dataset_layers import LayerCase, taken, write_cases
from napari_medreason._qt.dataset_process import BuildProcess
from napari_medreason._qt.dataset_reviewing import Reviewing
from napari_medreason._qt.dataset_view import DataSetView
from napari_medreason._qt.docked import Docked
from napari_medreason._qt.template_library import FILE_NAME, TemplateLibrary, own_file
from napari_medreason.core.template_review import usable
from napari_medreason.core.templates import State
from napari_medreason.errors import DataSetError, ExportError, MedReasonError, TemplateError
from napari_medreason.io.templates import shipped, write_templates

RECORDS = "records.jsonl"
_STATES: dict[str, tuple[State, ...]] = {"usable": ("approved", "draft"), "approved": ("approved",)}


class DataSetDock(Docked):
    """Build records from folders or layers with masks, and review them.

    templates: the user's file of templates, for tests; otherwise that of the template bench.
    """

    def __init__(self, napari_viewer: Viewer, templates: Path | None = None) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._templates = templates or own_file()
        self._out = Path()
        self._preparing = Background(self)
        self.view = DataSetView(self)
        self.process = BuildProcess(self)
        self.reviewing = Reviewing(self.view.review)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.view.sources.layers_wanted.connect(self.take_layers)
        self.view.out_button.clicked.connect(self._choose_out)
        self.view.start_button.clicked.connect(self._on_button)
        self.view.review.open_wanted.connect(self._choose_records)
        self.process.progressed.connect(self.view.show_progress)
        self.process.done.connect(self._on_done)
        self.process.failed.connect(self._fail)
        self.process.cancelled.connect(self._on_cancelled)

    def take_layers(self) -> None:
        """Take copies of the viewer's Labels layers as a source, in place of those taken before."""
        try:
            self.view.sources.set_cases(taken(self._viewer))
        except MedReasonError as error:
            notify.report(error)

    def _choose_out(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Output folder")
        if path:
            self.view.out.setText(path)

    def _choose_records(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open records", "", "Records (*.jsonl)")
        if path:
            self.reviewing.open(Path(path))

    @property
    def form(self) -> BuildForm:
        """What the pages say, without the sources that come from layers."""
        words, amounts = self.view.words, self.view.amounts
        return BuildForm(
            system=words.chosen_system,  # type: ignore[arg-type]
            sources=tuple(self.view.sources.sources),
            out=Path(self.view.out.text().strip()).expanduser(),
            writer=words.form,
            axes=amounts.chosen_axes,
            minimum_pixels=amounts.minimum.value(),
            slices=amounts.slices.value(),
            questions=amounts.questions.value(),
            formats=amounts.formats.value(),
            test=amounts.test.value() / 100,
            validation=amounts.validation.value() / 100,
            seed=amounts.seed.value(),
        )

    def _on_button(self) -> None:
        if self.process.running:
            self.view.status.setText("Cancelling …")
            self.process.cancel()
        elif self._preparing.busy:
            self._preparing.cancel()
            self._on_cancelled()
        else:
            self.build()

    def build(self) -> None:
        """Write configuration, templates and layers into the output folder, then start the build."""
        form, cases = self.form, list(self.view.sources.cases)
        self.reviewing.put_away()
        self._out = form.out
        self.view.show_busy(True)
        self.view.status.setText("Preparing …")
        templates = str(self.view.words.templates.currentData())
        job = partial(_prepared, form, cases, _STATES.get(templates), self._templates)
        self._preparing.start(job, then=partial(self.process.start, form.system), failed=self._fail)

    def _on_done(self, event: dict) -> None:
        self.view.show_busy(False)
        self.view.show_result(event)
        left_out = sum(event["left_out"].values())
        self.view.status.setText(
            f"{event['records']:,} records and their card are in the folder “{self._out.name}”; "
            f"{left_out:,} regions or texts were left out."
        )
        self.view.pages.setCurrentWidget(self.view.result)
        self.reviewing.open(self._out / RECORDS)

    def _on_cancelled(self) -> None:
        self.view.show_busy(False)
        self.view.status.setText("Cancelled. Build again to go on after the last whole case.")

    def _fail(self, error: Exception) -> None:
        self.view.show_busy(False)
        self.view.status.setText(str(error))
        notify.report(error)

    def take_apart(self) -> None:
        """End a build, whose finished cases are kept, and write the reviews."""
        self._preparing.cancel()
        self.process.close()
        self.reviewing.close()


def _prepared(
    form: BuildForm,
    cases: list[LayerCase],
    states: tuple[State, ...] | None,
    own_templates: Path,
    **_signals: object,
) -> Path:
    """The configuration file of a build, with all that it names written beside it."""
    check(form, layers=bool(cases))
    try:
        (form.out / TEMPLATES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"the output folder can't be made: {error.strerror}; choose another") from error
    sources = (*form.sources, *(write_cases(cases, form.out) if cases else ()))
    folder = _write_bench(form.out, states, own_templates) if states else ""
    return write_config(replace(form, sources=sources, templates=folder))


def _write_bench(out: Path, states: tuple[State, ...], own_templates: Path) -> str:
    """Write the templates of the bench whose state is among `states`; name of their folder."""
    library = TemplateLibrary(shipped(), own_templates)
    if library.fault:
        raise TemplateError(f"the templates of the bench can't be used: {library.fault}")
    chosen = usable(library.templates, states=states)
    if not chosen:
        raise DataSetError(
            "no template is approved yet; approve some in the template bench, or use drafts too"
        )
    write_templates(out / TEMPLATES / FILE_NAME, chosen)
    return TEMPLATES
