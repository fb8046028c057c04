"""Sample answers of a run as they improve: pictures and words of one evaluation, chosen by a slider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QPixmap, QResizeEvent
from qtpy.QtWidgets import QComboBox, QLabel, QScrollArea, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_runs_reading import SampleAnswer

NONE = "Sample answers appear with the first evaluation."


class Picture(QLabel):
    """A picture that fills the width it has, without smoothing its pixels away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.setMinimumHeight(160)
        self._whole = QPixmap()

    def show_picture(self, png: bytes) -> None:
        """Show a PNG; nothing for one that can't be read."""
        self._whole = QPixmap()
        self._whole.loadFromData(png)
        self._fit()

    @property
    def pixels(self) -> QSize:
        """Size of the picture itself."""
        return self._whole.size()

    def _fit(self) -> None:
        if self._whole.isNull():
            self.clear()
            return
        keep, mode = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.FastTransformation
        self.setPixmap(self._whole.scaled(self.size(), keep, mode))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self._fit()


class SamplesView(QWidget):
    """wanted(step): the samples of this evaluation are to be shown."""

    wanted = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._steps: tuple[int, ...] = ()
        self._samples: tuple[SampleAnswer, ...] = ()
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setToolTip("Earlier and later evaluations")
        self.step = text_label(self, NONE, low=True)
        self.which, self.kind = QComboBox(self), QComboBox(self)
        self.which.setToolTip("Which of the samples; they are the same in every evaluation")
        self.kind.setToolTip("Which picture of it")
        self.picture = Picture(self)
        self.picture.setToolTip("Green: the correction; red: the answer; yellow: both")
        self.words = text_label(self)
        self.words.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._lay_out()
        self.slider.valueChanged.connect(self._on_slider)
        self.which.currentIndexChanged.connect(self._show)
        self.kind.currentIndexChanged.connect(self._show_picture)
        self.clear()

    def _lay_out(self) -> None:
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setWidget(self.words)
        scroll.setMaximumHeight(140)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.step)
        layout.addWidget(self.slider)
        layout.addLayout(side_by_side((self.which, 1), (self.kind, 1)))
        layout.addWidget(self.picture, 1)
        layout.addWidget(scroll)

    def clear(self) -> None:
        """Show nothing, before another run is shown."""
        self._samples = ()
        self.set_steps(())
        self._show()

    @property
    def chosen_step(self) -> int | None:
        """Whose samples are shown."""
        return self._steps[self.slider.value()] if self._steps else None

    def set_steps(self, steps: Sequence[int]) -> None:
        """Steps with samples; the newest is shown unless the user went back to an earlier one."""
        if tuple(steps) == self._steps:
            return
        former, at_end = self.chosen_step, self.slider.value() == len(self._steps) - 1
        self._steps = tuple(steps)
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(0, len(steps) - 1))
        newest = at_end or former not in self._steps
        if self._steps:
            self.slider.setValue(len(steps) - 1 if newest else self._steps.index(former or 0))
        self.slider.blockSignals(False)
        self.slider.setEnabled(len(steps) > 1)
        self._on_slider()

    def _on_slider(self, *_: object) -> None:
        step = self.chosen_step
        if step is None:
            self.step.setText(NONE)
            return
        self.step.setText(f"Evaluation at step {step} ({self.slider.value() + 1} of {len(self._steps)})")
        self.wanted.emit(step)

    def show_samples(self, step: int, samples: Sequence[SampleAnswer]) -> None:
        """Show the answers of one evaluation, unless another one is chosen by now."""
        if step != self.chosen_step:
            return
        self._samples = tuple(samples)
        _refill(self.which, [sample.name for sample in samples])
        self._show()

    def _show(self, *_: object) -> None:
        row = self.which.currentIndex()
        sample = self._samples[row] if 0 <= row < len(self._samples) else None
        _refill(self.kind, list(sample.pictures) if sample else [])
        self.which.setVisible(len(self._samples) > 1)
        self.kind.setVisible(sample is not None and len(sample.pictures) > 1)
        self.words.setText(sample_words(sample.words) if sample else "")
        self._show_picture()

    def _show_picture(self, *_: object) -> None:
        row, title = self.which.currentIndex(), self.kind.currentText()
        sample = self._samples[row] if 0 <= row < len(self._samples) else None
        self.picture.show_picture(sample.pictures.get(title, b"") if sample else b"")


def _refill(box: QComboBox, names: list[str]) -> None:
    """Offer other names; the one that was chosen stays chosen if it is among them."""
    if names == [box.itemText(row) for row in range(box.count())]:
        return
    former = box.currentText()
    box.blockSignals(True)
    box.clear()
    box.addItems(names)
    box.setCurrentIndex(names.index(former) if former in names else (0 if names else -1))
    box.blockSignals(False)


def sample_words(words: Mapping[str, Any]) -> str:
    """The words of a sample, a line for each of its parts."""
    return "\n".join(f"{name.replace('_', ' ')}: {_value(value)}" for name, value in words.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_value(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(_value(part) for part in value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return "–" if value is None else str(value)
