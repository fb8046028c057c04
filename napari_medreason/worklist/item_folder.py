"""The items of a work list on the disk: read, looked for again, and changed one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_medreason import io
from napari_medreason.core.volume import Volume
from napari_medreason.errors import WorkListError
from napari_medreason.worklist import storage
from napari_medreason.worklist.items import Item, Settings
from napari_medreason.worklist.prelabels import Cancelled, Progress

Role = Literal["prelabel", "first", "second"]
Labels = NDArray[np.integer]


class ItemFolder:
    """The items of one work list and their files.

    folder: of the work list; studies: of the images, on this machine. damaged: item id to what is wrong
    with its file.
    """

    def __init__(self, folder: Path, studies: Path, settings: Settings) -> None:
        self.folder, self.studies, self.settings = folder, studies, settings
        self.damaged: dict[str, str] = {}
        self._items: dict[str, Item] = {}
        self._stamps: dict[str, tuple[int, int]] = {}
        self.refresh()

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, by path."""
        return tuple(sorted(self._items.values(), key=lambda item: (item.path, item.series)))

    def item(self, item_id: str) -> Item:
        """One item as this program knows it; WorkListError for an unknown id."""
        if item_id not in self._items:
            raise WorkListError(f"the work list has no study {item_id!r}; refresh it")
        return self._items[item_id]

    def refresh(self) -> tuple[str, ...]:
        """Take over what other programs changed; the ids of items that are new or changed."""
        changed = []
        for path in storage.item_paths(self.folder):
            try:
                stamp = storage.stamp(path)
                if self._stamps.get(path.stem) == stamp:
                    continue
                self._items[path.stem] = storage.read_item(path)
                self._stamps[path.stem] = stamp
            except WorkListError as error:
                self.damaged[path.stem] = str(error)
                continue
            self.damaged.pop(path.stem, None)
            changed.append(path.stem)
        return tuple(changed)

    def study_path(self, item_id: str) -> Path:
        """Where the study of an item is on this machine."""
        return self.studies / self.item(item_id).path

    def read_study(
        self, item_id: str, *, progress: Progress | None = None, cancelled: Cancelled | None = None
    ) -> Volume:
        """The study of an item, read into memory. Raises UnreadableImageError and CancelledError."""
        series = self.item(item_id).series or None
        return io.read(self.study_path(item_id), series=series, progress=progress, cancelled=cancelled)

    def labels_path(self, item_id: str, role: Role) -> Path:
        """Where the labels of a model, the first or the latest second reader are kept."""
        item = self.item(item_id)
        name = f"second-{item.round}" if role == "second" else role
        return self.folder / storage.LABELS / item_id / f"{name}.nii.gz"

    def read_labels(self, item_id: str, role: Role, *, like: Volume | None = None) -> Labels | None:
        """Saved labels (k, j, i), None where there are none; LabelMapError when off the grid of `like`."""
        path = self.labels_path(item_id, role)
        return storage.read_labels(path, like) if path.is_file() else None

    def _change(self, item_id: str, step: Callable[[Item], Item]) -> Item:
        """Take a step on what is on the disk now; the file changes only when the step succeeds."""
        self.item(item_id)
        path = self.folder / storage.ITEMS / f"{item_id}.json"
        with storage.locked(self.folder, item_id):
            before = storage.read_item(path)
            self._items[item_id] = before
            after = step(before)
            if after is not before:
                storage.write_json(path, after)
                self._items[item_id] = after
            self._stamps[item_id] = storage.stamp(path)
        return after
