"""A work list in its folder: the only place where its files change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason.core.agreement import LabelAgreement, agreement
from napari_medreason.core.label_values import checked_labels
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError, WorkListError
from napari_medreason.io.find_studies import find_studies
from napari_medreason.worklist import steps, storage
from napari_medreason.worklist.item_folder import ItemFolder, Labels, Role
from napari_medreason.worklist.items import Comment, Item, LabelDefinition, PreLabel, Settings, Verdict
from napari_medreason.worklist.making import checked_definitions, id_of, write_new
from napari_medreason.worklist.prelabels import Cancelled, PreLabeller, Progress

SETTINGS_LOCK = "settings"


def now() -> str:
    """The time as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _nothing(_done: int, _total: int) -> None:
    """Progress that nobody wants to see."""


def _never() -> bool:
    return False


class WorkList(ItemFolder):
    """The studies of one folder, on their way from waiting to accepted and read twice.

    Everything that changes is on the disk when a method returns; a study's files change under a lock, and
    steps are taken on what is on the disk then, so that two programs can share the folder. Methods may
    be called from any thread.
    """

    def __init__(self, folder: Path, studies: Path, settings: Settings) -> None:
        super().__init__(folder, studies, settings)
        self._written: dict[Path, tuple[str, bytes]] = {}

    @classmethod
    def create(
        cls,
        folder: str | Path,
        studies: str | Path,
        *,
        labels: Iterable[LabelDefinition],
        title: str = "",
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> WorkList:
        """Make a work list of the studies below a folder, in a folder of its own (made if missing).

        Raises WorkListError when there is one already, labels are not clear or no study is found.
        """
        folder, studies = Path(folder), Path(studies)
        if (folder / storage.SETTINGS_FILE).exists():
            raise WorkListError(f"the folder {folder.name!r} holds a work list already; open it instead")
        definitions = checked_definitions(labels)
        found = find_studies(studies, left_out=(folder,), progress=progress, cancelled=cancelled)
        if not found:
            raise WorkListError(f"no study was found below {studies.name!r}; choose a folder with CT or MR")
        storage.make_folders(folder)
        way = storage.relative_studies(folder, studies)
        settings = Settings(title or studies.name, definitions, way, now())
        for study in found:
            write_new(folder, study)
        storage.write_json(folder / storage.SETTINGS_FILE, settings)
        return cls(folder, studies, settings)

    @classmethod
    def open(cls, folder: str | Path, *, studies: str | Path | None = None) -> WorkList:
        """Go on with a work list; studies: where they are now, if they or the list have moved.

        Items that are damaged are named in `damaged`; the others can be used. Raises WorkListError.
        """
        folder = Path(folder)
        settings = storage.read_settings(folder)
        place = Path(studies) if studies is not None else folder / settings.studies
        if (studies is None and not settings.studies) or not place.is_dir():
            raise WorkListError(
                f"the studies of {folder.name!r} are not where they were; say where their folder is now"
            )
        storage.make_folders(folder)
        storage.remove_leftovers(folder)
        return cls(folder, place, settings)

    def add_studies(
        self, *, progress: Progress | None = None, cancelled: Cancelled | None = None
    ) -> tuple[str, ...]:
        """Search the folder of studies again; the ids of those that were added. None is ever removed."""
        found = find_studies(self.studies, left_out=(self.folder,), progress=progress, cancelled=cancelled)
        added = tuple(study for study in found if id_of(study) not in {*self._items, *self.damaged})
        for study in added:
            write_new(self.folder, study)
        self.refresh()
        return tuple(id_of(study) for study in added)

    def define_labels(self, labels: Iterable[LabelDefinition]) -> Settings:
        """Other labels for the whole list; what was drawn stays, whatever its values."""
        definitions = checked_definitions(labels)
        with storage.locked(self.folder, SETTINGS_LOCK):
            settings = replace(storage.read_settings(self.folder), labels=definitions)
            storage.write_json(self.folder / storage.SETTINGS_FILE, settings)
        self.settings = settings
        return settings

    def starting_labels(
        self, item_id: str, *, reader: str, like: Volume, independent: bool = False
    ) -> Labels:
        """What a reader goes on with: own labels, else those to be reviewed, else the model's, else none.

        like: the study. independent: a second reader starts from the model's labels and does not see the
        first reader's. A new array, so that painting on it changes no other.
        """
        item = self.item(item_id)
        role = steps.role_of(item, reader)
        roles: list[Role] = ["first", "prelabel"]
        if role == "second":
            roles = ["second", "prelabel"] if independent else ["second", "first", "prelabel"]
        elif item.replaced:
            roles = ["second", "first", "prelabel"]
        for one in roles:
            labels = self.read_labels(item_id, one, like=like)
            if labels is not None:
                return labels.astype(_roomy(int(labels.max(initial=0))))
        return np.zeros(like.shape_kji, _roomy(0))

    def prelabel(
        self,
        item_id: str,
        draw: PreLabeller,
        *,
        progress: Progress = _nothing,
        cancelled: Cancelled = _never,
    ) -> Item:
        """Let a model draw the labels of a study that no reader has begun; long, so call it off the GUI.

        Raises WorkListError when a reader has begun meanwhile; what the model drew is dropped then.
        """
        study = self.read_study(item_id, cancelled=cancelled)
        made = draw(study, progress, cancelled)
        labels = checked_labels(made.labels)
        note = PreLabel(made.model, now(), made.weights_sha256, made.confidences, made.notes)

        def step(item: Item) -> Item:
            changed = steps.prelabelled(item, note)
            storage.write_labels(self.labels_path(item_id, "prelabel"), labels, study)
            return changed

        return self._change(item_id, step)

    def prelabel_waiting(
        self, draw: PreLabeller, *, progress: Progress = _nothing, cancelled: Cancelled = _never
    ) -> Iterator[tuple[Item, str]]:
        """Pre-label every waiting study, one after the other: (item, "" or what went wrong).

        Stops when cancelled; CancelledError then comes out of the study in progress.
        """
        for item in self.items:
            if item.state == "waiting" and not cancelled():
                try:
                    yield self.prelabel(item.id, draw, progress=progress, cancelled=cancelled), ""
                except MedReasonError as error:
                    yield self.item(item.id), str(error)

    def begin(self, item_id: str, *, reader: str, take_over: bool = False) -> Item:
        """Put a study in progress by a reader, or go on with it."""
        return self._change(
            item_id, lambda item: steps.begun(item, reader=reader, when=now(), take_over=take_over)
        )

    def save_labels(self, item_id: str, labels: NDArray[np.generic], *, reader: str, like: Volume) -> Item:
        """Save the labels of the reader who is at the study; nothing is written when they are unchanged.

        labels: (k, j, i) on the grid of `like`, the study. For autosave; takes a second or two for large
        volumes. Raises WorkListError when another reader took over, LabelMapError and ExportError; the
        labels saved before stay then.
        """
        whole = checked_labels(labels)
        content = blake2b(np.ascontiguousarray(whole).data, digest_size=16).digest()
        when = now()

        def step(item: Item) -> Item:
            changed = steps.saved(item, reader=reader, when=when)
            second = item.open_second
            last, role = (item.saved, "first") if second is None else (second.saved, "second")
            path = self.labels_path(item_id, "second" if role == "second" else "first")
            # Labels that another reader's had replaced count again once their reader saves them.
            known = self._written.get(path) == (last, content) and path.is_file()
            if known and not (role == "first" and item.replaced):
                return item
            storage.write_labels(path, whole, like)
            self._written[path] = (when, content)
            return changed

        return self._change(item_id, step)

    def accept(self, item_id: str, *, reader: str) -> Item:
        """Accept the labels that the reader saved."""
        return self._change(item_id, lambda item: steps.accepted(item, reader=reader, when=now()))

    def reject(self, item_id: str, *, reader: str, reason: str) -> Item:
        """Reject a study as unfit."""
        return self._change(
            item_id, lambda item: steps.rejected(item, reader=reader, reason=reason, when=now())
        )

    def skip(self, item_id: str, *, reader: str, reason: str) -> Item:
        """Leave a study for later or for somebody else."""
        return self._change(
            item_id, lambda item: steps.skipped(item, reader=reader, reason=reason, when=now())
        )

    def reopen(self, item_id: str, *, reader: str, reason: str = "") -> Item:
        """Put an accepted, rejected or skipped study in progress again."""
        return self._change(
            item_id, lambda item: steps.reopened(item, reader=reader, reason=reason, when=now())
        )

    def begin_second(self, item_id: str, *, reader: str, take_over: bool = False) -> Item:
        """Begin the second reading of an accepted study."""
        return self._change(
            item_id, lambda item: steps.second_begun(item, reader=reader, when=now(), take_over=take_over)
        )

    def finish_second(self, item_id: str, *, reader: str, verdict: Verdict, comment: str = "") -> Item:
        """End the second reading; agreement figures are kept when the second reader saved labels."""

        def step(item: Item) -> Item:
            second = item.open_second
            figures = self._figures(item) if second is not None and second.saved else ()
            return steps.second_finished(
                item, reader=reader, verdict=verdict, when=now(), comment=comment, agreement=figures
            )

        return self._change(item_id, step)

    def comment(self, item_id: str, comment: Comment) -> Item:
        """Add a comment; its date is set here when it has none."""
        dated = comment if comment.date else replace(comment, date=now())
        return self._change(item_id, lambda item: steps.commented(item, dated))

    def agreement(self, item_id: str) -> tuple[LabelAgreement, ...]:
        """Figures of both readers' saved labels as they are now; empty unless both saved some."""
        return self._figures(self.item(item_id))

    def final_labels(self, item_id: str) -> Path | None:
        """The label file that counts for an accepted study, None for others."""
        role = self.item(item_id).final
        return self.labels_path(item_id, role) if role else None

    def _figures(self, item: Item) -> tuple[LabelAgreement, ...]:
        paths = [self.labels_path(item.id, role) for role in ("first", "second")]
        if not all(path.is_file() for path in paths):
            return ()
        first, second = (io.read(path) for path in paths)
        return agreement(first.voxels, second.voxels, spacing_kji=first.spacing_kji)


def _roomy(highest: int) -> type[np.integer]:
    """A dtype with room for labels that the reader adds, and small for the viewer."""
    return np.uint16 if highest < 2**16 else np.int32 if highest < 2**31 else np.int64
