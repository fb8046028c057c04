"""Training runs in plain words: state, why one ended and what to do about it, time left. No Qt here."""

from __future__ import annotations

from napari_medreason.jobs import RunSummary

RESUMABLE_REASONS = frozenset({"", "stopped", "failed"})
"""Reasons after which going on makes sense, "" for a process that broke off; others would end it at once."""

_STATES = {
    "done": "done",
    "steps": "done",
    "no gain": "done, no more gain",
    "time": "time is up",
    "disk": "disk budget used",
    "stopped": "stopped",
    "failed": "failed",
}
_ENDS = {
    "done": "It went through its whole schedule.",
    "steps": "It has done all the steps of its budget.",
    "no gain": "Validation rose no more, so it ended early; the best state is what was exported.",
    "time": "The minutes of its budget are over. If validation was still rising, start a new run with more.",
    "disk": "Its folder has grown beyond its disk budget. Start a new run with a larger one.",
    "stopped": "It was stopped. Resume goes on from its last checkpoint.",
    "failed": "It could not go on.",
}


def state_words(run: RunSummary, *, stopping: bool) -> str:
    """The state of a run in a word or two."""
    if run.state == "running":
        if stopping:
            return "stopping"
        return "working" if run.step or run.seconds else "preparing"
    return "broken off" if run.state == "broken off" else _STATES.get(run.reason, run.reason)


def end_words(run: RunSummary, told: str) -> str:
    """Why a run ended and what can be done; "" while it works.

    told: what the run itself said; of one that broke off, the last line of its log.
    """
    if run.state == "running":
        return ""
    if run.state == "broken off":
        return _broken_off(run, told)
    words = _ENDS.get(run.reason, f"It ended: {run.reason}.")
    if run.reason == "failed":
        return f"{words} {sentence(told)}".strip()
    return f"{words} {sentence(told)}".strip() if told and told != run.reason else words


def _broken_off(run: RunSummary, last_line: str) -> str:
    what = "Its process ended before its time, as after a power cut, a hard stop, or when memory ran out."
    if last_line:
        what += f" The last line of its log: “{last_line}”."
    if run.resumable:
        return f"{what} Resume goes on from its last checkpoint; if it breaks off again, use a smaller batch."
    return f"{what} It left no checkpoint, so it begins anew; if it breaks off again, use a smaller batch."


def sentence(words: str) -> str:
    """Words with a capital letter in front and a full stop behind."""
    stripped = words.strip().rstrip(".")
    return f"{stripped[0].upper()}{stripped[1:]}." if stripped else ""


def can_resume(run: RunSummary) -> bool:
    """Whether it makes sense to go on with a run."""
    return run.state != "running" and run.reason in RESUMABLE_REASONS


def duration_words(seconds: float) -> str:
    """A time as a clock shows it: 0:05, 12:30, 3:07:00."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def left_words(seconds: float | None) -> str:
    """How long a run still takes, roughly; "" when nothing is known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return "about a minute left" if seconds > 20 else "nearly done"
    if seconds < 5400:
        return f"about {round(seconds / 60)} minutes left"
    return f"about {seconds / 3600:.1f} hours left"
