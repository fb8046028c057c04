"""How a run is to go, as the user sees it: a few things first, all others under “More settings”."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_medreason._qt.parts import side_by_side, text_label
from napari_medreason._qt.tune_form import PRESET, RECIPES, fields_of, with_preset
from napari_medreason._qt.tune_form_base_box import BaseBox
from napari_medreason._qt.tune_form_fields import FieldsForm
from napari_medreason.core.run_config import (
    PRESETS,
    Budget,
    EvaluationPlan,
    RecipeName,
    RunConfig,
    table_of,
)

MINUTES = 15.0
_MOST_MINUTES = 10_000_000
UNNAMED = RunConfig("embedded", ("records.jsonl",), "")
"""A configuration with nothing but defaults."""


class _MinutesBox(QDoubleSpinBox):
    """Minutes without zeros that say nothing."""

    def textFromValue(self, value: float) -> str:
        return f"{value:.10g}"


class RunForm(QWidget):
    """The settings of a run, without its records. changed: something else stands there now."""

    changed = Signal()
    models_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left: dict[RecipeName, tuple[str, str]] = {}
        self._make_first()
        self._make_rest()
        self._lay_out()
        self._connect()
        self.show_recipe()

    def _make_first(self) -> None:
        self.name = QLineEdit(self)
        self.name.setPlaceholderText("such as our-lesions")
        self.name.setToolTip("Of the run, and of the tuned model that results")
        self.recipe, self.base, self.preset = QComboBox(self), BaseBox(self), QComboBox(self)
        for recipe, words in RECIPES.items():
            self.recipe.addItem(words, recipe)
        self.recipe.setToolTip("What is trained, and how")
        self.preset.setToolTip("A set of values for all settings of the recipe; your changes win over it")
        for choice in (self.recipe, self.preset):
            choice.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.models_button = QPushButton("Models…", self)
        self.models_button.setToolTip("Download the weights that are missing, or use a folder of yours")
        self.minutes = _MinutesBox(self)
        self.minutes.setRange(0, _MOST_MINUTES)
        self.minutes.setDecimals(2)
        self.minutes.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.minutes.setSuffix(" minutes")
        self.minutes.setSpecialValueText("no limit")
        self.minutes.setValue(MINUTES)
        self.minutes.setToolTip("The run ends after so much work at the latest, and keeps its best state")
        self.note, self.faults = text_label(self, low=True), text_label(self, low=True)
        self.faults.setObjectName("faults")
        self.faults.setStyleSheet("#faults { color: #e0604f; }")

    def _make_rest(self) -> None:
        self.settings: dict[RecipeName, FieldsForm] = {
            recipe: FieldsForm(type(getattr(UNNAMED, table_of(recipe))), self, left_out=(PRESET,))
            for recipe in RECIPES
        }
        top = tuple(
            i.name for i in fields_of(RunConfig) if i.name in ("base", "name") or _is_table(i.default)
        )
        self.top = FieldsForm(RunConfig, self, left_out=top, choices={"device": ("", "cpu", "cuda")})
        self.budget = FieldsForm(Budget, self, left_out=("minutes",))
        self.evaluation = FieldsForm(EvaluationPlan, self)
        self.more = QCollapsible("More settings", self)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for words, widget in (
            ("Name", self.name),
            ("Recipe", self.recipe),
            ("Start from", self.base),
            ("Preset", self.preset),
            ("Time", self.minutes),
        ):
            form.addRow(words, widget)
        self._form = form
        rest = QWidget(self)
        inner = QVBoxLayout(rest)
        inner.setContentsMargins(0, 0, 0, 0)
        for part in self.settings.values():
            inner.addWidget(part)
        for words, part in (("Run", self.top), ("Limits", self.budget), ("Judging", self.evaluation)):
            inner.addWidget(_heading(words, rest))
            inner.addWidget(part)
        self.more.setContent(rest)
        self.more.collapse(animate=False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(side_by_side((self.note, 1), (self.models_button, 0)))
        layout.addWidget(self.faults)
        layout.addWidget(self.more)

    def _connect(self) -> None:
        self.recipe.activated.connect(lambda _: self.show_recipe())
        self.base.changed.connect(self._on_base)
        self.base.activated.connect(lambda _: self._on_change())
        self.models_button.clicked.connect(self.models_wanted)
        self.preset.activated.connect(lambda _: self._on_preset())
        self.name.textEdited.connect(lambda _: self._on_change())
        self.minutes.valueChanged.connect(lambda _: self._on_change())
        for part in (*self.settings.values(), self.top, self.budget, self.evaluation):
            part.changed.connect(lambda _name: self._on_change())

    @property
    def chosen_recipe(self) -> RecipeName:
        """The recipe."""
        recipe: RecipeName = self.recipe.currentData()
        return recipe

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of the weights that the chosen model lacks."""
        choice = self.base.choice
        return () if choice is None else choice.missing

    def show_recipe(self, base: str | None = None) -> None:
        """Show what belongs to the chosen recipe, as it was left.

        base: the model to start from, "" for the first, None for the one that was chosen before.
        """
        recipe = self.chosen_recipe
        first_time = recipe not in self._left
        left_preset, left_base = self._left.get(recipe, ("", ""))
        for name, part in self.settings.items():
            part.setVisible(name == recipe)
        presets = tuple(PRESETS.get(table_of(recipe), {}))
        self.preset.clear()
        for preset in presets:
            self.preset.addItem(preset, preset)
        self._form.setRowVisible(self.preset, bool(presets))
        self.base.fill(recipe, left_base if base is None else base)
        self.preset.setCurrentIndex(max(0, self.preset.findData(left_preset)))
        if presets and first_time:
            self._show_preset()
        self._on_change()

    def _on_base(self) -> None:
        choice = self.base.choice
        self.note.setText("" if choice is None else choice.lack)
        self.note.setVisible(bool(self.note.text()))
        self.models_button.setVisible(bool(self.missing))

    def _on_preset(self) -> None:
        self._show_preset()
        self._on_change()

    def _show_preset(self) -> None:
        """Show the values of a preset in place of what stood there."""
        recipe = self.chosen_recipe
        usual = getattr(UNNAMED, table_of(recipe))
        self.settings[recipe].show_values(with_preset(usual, str(self.preset.currentData()), recipe))

    def _on_change(self) -> None:
        self._left[self.chosen_recipe] = str(self.preset.currentData() or ""), self.base.base
        faults = self.wrong
        self.faults.setText("\n".join(faults))
        self.faults.setVisible(bool(faults))
        if faults:
            self.more.expand(animate=False)
        self.changed.emit()

    @property
    def wrong(self) -> tuple[str, ...]:
        """What is wrong with the fields, a sentence each."""
        parts = (self.settings[self.chosen_recipe], self.top, self.budget, self.evaluation)
        return tuple(fault for part in parts for fault in part.faults())

    def config(self) -> RunConfig:
        """The configuration, without records; DataSetError for the first wrong field."""
        recipe = self.chosen_recipe
        kind = type(getattr(UNNAMED, table_of(recipe)))
        preset = {PRESET: str(self.preset.currentData())} if self.preset.count() else {}
        own: dict[str, Any] = {table_of(recipe): kind(**preset, **self.settings[recipe].values())}
        return RunConfig(
            recipe,
            UNNAMED.records,
            UNNAMED.images,
            base=self.base.base,
            name=self.name.text().strip(),
            budget=Budget(minutes=self.minutes.value(), **self.budget.values()),
            evaluation=EvaluationPlan(**self.evaluation.values()),
            **self.top.values(),
            **own,
        )

    def show_config(self, config: RunConfig) -> None:
        """Show a configuration."""
        self.recipe.setCurrentIndex(self.recipe.findData(config.recipe))
        self.show_recipe(config.base)
        self.name.setText(config.name)
        self.preset.setCurrentIndex(self.preset.findData(getattr(config.settings, PRESET, "")))
        self.settings[config.recipe].show_values(config.settings)
        self.minutes.setValue(_shown_minutes(config.budget.minutes))
        for part, values in ((self.top, config), (self.budget, config.budget)):
            part.show_values(values)
        self.evaluation.show_values(config.evaluation)
        self._on_change()


def _shown_minutes(minutes: float) -> float:
    """Minutes that the form can show; what is nearly nothing is not "no limit"."""
    return max(0.01, minutes) if minutes > 0 else 0.0


def _is_table(default: Any) -> bool:
    return is_dataclass(default)


def _heading(words: str, parent: QWidget) -> QLabel:
    label = QLabel(words, parent)
    label.setStyleSheet("font-weight: bold; margin-top: 6px;")
    return label
