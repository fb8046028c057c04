"""The border where faults become napari notifications."""

from __future__ import annotations

from napari.utils.notifications import notification_manager, show_error, show_info, show_warning

from napari_medreason.errors import CancelledError, MedReasonError


def report(error: Exception) -> None:
    """Show a fault: one line for what the user can act on, napari's error dialog for anything else.

    A cancellation is the user's own wish and shows nothing.
    """
    if isinstance(error, CancelledError):
        return
    if isinstance(error, MedReasonError):
        show_error(one_line(str(error)))
        return
    notification_manager.receive_error(type(error), error, error.__traceback__)


def warn(text: str) -> None:
    """Show a doubt that the user must know about."""
    show_warning(one_line(text))


def inform(text: str) -> None:
    """Show something good to know."""
    show_info(one_line(text))


def one_line(text: str) -> str:
    """Text with line breaks and repeated spaces taken out."""
    return " ".join(text.split())
