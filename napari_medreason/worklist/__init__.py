"""Work lists: studies of a folder, pre-labelled, corrected, accepted and read twice; no Qt here."""

from napari_medreason.worklist.export import export_accepted
from napari_medreason.worklist.folder import WorkList
from napari_medreason.worklist.item_folder import Role
from napari_medreason.worklist.items import (
    STATES,
    VERDICTS,
    Comment,
    Event,
    Item,
    LabelConfidence,
    LabelDefinition,
    PreLabel,
    SecondReading,
    Settings,
    SliceConfidence,
    State,
    Verdict,
)
from napari_medreason.worklist.prelabels import Ask, PreLabeller, PreLabels, prelabeller
from napari_medreason.worklist.suggestions import (
    AgreementRow,
    Suggestion,
    agreement_rows,
    second_reading_suggestions,
    state_counts,
    suggestions,
)

__all__ = [
    "STATES",
    "VERDICTS",
    "AgreementRow",
    "Ask",
    "Comment",
    "Event",
    "Item",
    "LabelConfidence",
    "LabelDefinition",
    "PreLabel",
    "PreLabeller",
    "PreLabels",
    "Role",
    "SecondReading",
    "Settings",
    "SliceConfidence",
    "State",
    "Suggestion",
    "Verdict",
    "WorkList",
    "agreement_rows",
    "export_accepted",
    "prelabeller",
    "second_reading_suggestions",
    "state_counts",
    "suggestions",
]
