"""The fields of a settings dataclass as widgets that magicgui makes: one row each, wrong ones are marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from magicgui.widgets import create_widget
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFormLayout, QWidget

from napari_medreason._qt.tune_form import FieldInfo, fields_of, parsed, shown
from napari_medreason.core.run_limits import LARGEST
from napari_medreason.errors import DataSetError

WRONG = "border: 1px solid #e0604f;"


class Field(QObject):
    """One field: numbers with a fraction, texts and lists are typed, the rest is chosen.

    changed: the user, or `set_value`, changed it. choices: what a text must be one of.
    """

    changed = Signal()

    def __init__(self, info: FieldInfo, parent: QWidget, choices: tuple[str, ...] = ()) -> None:
        super().__init__(parent)
        self.info = info
        self._typed = not choices and info.kind not in (bool, int) and get_origin(info.kind) is not Literal
        magic: Any = create_widget(name=info.name, **_how(info, choices))
        self._magic = magic
        self.widget: QWidget = self._magic.native
        self.widget.setParent(parent)
        if isinstance(self.widget, QCheckBox):
            self.widget.setText("")  # its name stands beside it
        self.widget.setToolTip(info.help)
        self.widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.widget.installEventFilter(self)
        self.set_value(info.default)
        self._magic.changed.connect(lambda *_: self._on_changed())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """The wheel scrolls the page; only a field that was clicked takes it."""
        wheel = event is not None and event.type() == QEvent.Type.Wheel
        if wheel and event is not None and not self.widget.hasFocus():
            event.ignore()
            return True
        return False

    def _on_changed(self) -> None:
        self.mark(self.fault)
        self.changed.emit()

    @property
    def fault(self) -> str:
        """What is wrong with what stands there, "" for nothing."""
        try:
            self.value  # noqa: B018 - asked for its error
        except DataSetError as error:
            return str(error)
        return ""

    @property
    def value(self) -> Any:
        """The value; DataSetError when what was typed is none."""
        value = self._magic.value
        return parsed(self.info, str(value)) if self._typed else value

    def set_value(self, value: Any) -> None:
        """Show a value, also one that is not among the usual choices."""
        offered = getattr(self._magic, "choices", None)
        if offered is not None and value not in offered:
            self._magic.choices = [(_words(one), one) for one in (*offered, value)]
        self._magic.value = shown(value) if self._typed else value
        self.mark("")

    def mark(self, fault: str) -> None:
        """Mark the field as wrong, or as sound with ""."""
        self.widget.setStyleSheet(f"QLineEdit {{ {WRONG} }}" if fault else "")
        self.widget.setToolTip("\n".join(filter(None, (fault, self.info.help))))


def _how(info: FieldInfo, choices: tuple[str, ...]) -> dict[str, Any]:
    """How magicgui is to make the widget of a field."""
    options = choices or (get_args(info.kind) if get_origin(info.kind) is Literal else ())
    if options:
        return {"widget_type": "ComboBox", "options": {"choices": [(_words(one), one) for one in options]}}
    if info.kind is bool:
        return {"widget_type": "CheckBox", "options": {"text": ""}}
    if info.kind is int:
        least, most = (round(limit or 0) for limit in (info.least, info.most or LARGEST))
        return {"widget_type": "SpinBox", "options": {"min": least, "max": most, "step": 1}}
    return {"widget_type": "LineEdit"}


def _words(option: Any) -> str:
    return str(option).replace("_", " ") or "automatic"


class FieldsForm(QWidget):
    """All fields of a settings dataclass, but for those that are left out."""

    changed = Signal(str)

    def __init__(
        self,
        settings: type,
        parent: QWidget | None = None,
        *,
        left_out: tuple[str, ...] = (),
        choices: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__(parent)
        offered = choices or {}
        self.fields = {
            info.name: Field(info, self, offered.get(info.name, ()))
            for info in fields_of(settings)
            if info.name not in left_out
        }
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, field in self.fields.items():
            form.addRow(field.info.label, field.widget)
            if (label := form.labelForField(field.widget)) is not None:
                label.setToolTip(field.info.help)
            field.changed.connect(lambda name=name: self.changed.emit(name))

    def faults(self) -> tuple[str, ...]:
        """What is wrong, a sentence for each wrong field."""
        return tuple(field.fault for field in self.fields.values() if field.fault)

    def values(self) -> dict[str, Any]:
        """All values by name; DataSetError for the first wrong one."""
        return {name: field.value for name, field in self.fields.items()}

    def show_values(self, settings: Any) -> None:
        """Show the values that an object of the dataclass has."""
        for name, field in self.fields.items():
            field.set_value(getattr(settings, name))
