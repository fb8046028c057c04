"""Faults that a user can act on; every message says what was found, what is accepted and what to do."""


class MedReasonError(Exception):
    """A fault of input, file, model or configuration, shown to the user as one line."""


class UnreadableImageError(MedReasonError):
    """The file or folder holds no image that can be read."""


class LabelMapError(MedReasonError):
    """The label map holds values that are no labels, or does not fit its image."""


class QuestionError(MedReasonError):
    """The question, or the place it is asked about, can't be used."""


class UnknownModelError(MedReasonError):
    """No model has this id."""


class ModelUnavailableError(MedReasonError):
    """The model is known, but can't run here: a missing package, weight file or ability."""


class NotEnoughMemoryError(ModelUnavailableError):
    """A model does not fit in the memory that is free."""


class WeightsError(ModelUnavailableError):
    """Weights are missing, damaged or made for another model."""


class AnswerFormatError(MedReasonError):
    """The text that a reasoner wrote holds no usable answer block."""


class ExportError(MedReasonError):
    """The result can't be written as asked."""


class DataSetError(MedReasonError):
    """A record, data set, its configuration or a source of it can't be used."""


class TemplateError(MedReasonError):
    """A template, or a file of templates, can't be used."""


class EngineError(MedReasonError):
    """The engine process ended or broke the protocol."""


class CancelledError(Exception):
    """The user cancelled; nothing was changed. Not a fault, so not a MedReasonError."""


class WorkListError(MedReasonError):
    """A work list, or a step asked of one of its studies, can't be used as it is."""


class RunError(MedReasonError):
    """A training run, its configuration or its records can't be used as they are."""
