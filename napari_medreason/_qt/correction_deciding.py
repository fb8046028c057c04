"""Decisions on the study in the viewer: first reader, second reader, comments."""

from __future__ import annotations

from collections.abc import Callable

from napari_medreason._qt.correction_presenter import CorrectionPresenter
from napari_medreason._qt.correction_saving import Target
from napari_medreason._qt.correction_view import CorrectionView
from napari_medreason.core.agreement import LabelAgreement
from napari_medreason.errors import MedReasonError
from napari_medreason.worklist import Comment, Item, Verdict


class Deciding:
    """Turns the buttons of the pages into steps of the work list."""

    def __init__(
        self, view: CorrectionView, presenter: CorrectionPresenter, report: Callable[[Exception], None]
    ) -> None:
        self._view, self._presenter, self._report = view, presenter, report
        self._connect()

    def _connect(self) -> None:
        correct, review = self._view.correct, self._view.review
        correct.accept_wanted.connect(self.accept)
        correct.reject_wanted.connect(self.reject)
        correct.skip_wanted.connect(self.skip)
        correct.reopen_wanted.connect(self.reopen)
        correct.take_over_wanted.connect(self.take_over)
        review.begin_wanted.connect(self.begin_second)
        review.agree_wanted.connect(lambda words: self.finish_second("agreed", words))
        review.changes_wanted.connect(lambda words: self.finish_second("changes wanted", words))
        review.replace_wanted.connect(lambda words: self.finish_second("replaced", words))
        review.compare_wanted.connect(self.compare)
        review.comment_wanted.connect(self.comment)
        review.place_wanted.connect(self.go_to)

    def accept(self) -> None:
        """Save and accept what is drawn, also when the model's labels were right as they are."""
        self._presenter.take(
            lambda target: target.work_list.accept(target.item_id, reader=target.reader),
            force=True,
            then=self._decided,
        )

    def reject(self, reason: str) -> None:
        """Reject the study as unfit."""
        self._presenter.take(
            lambda target: target.work_list.reject(target.item_id, reader=target.reader, reason=reason),
            then=self._decided,
        )

    def skip(self, reason: str) -> None:
        """Leave the study for later or for somebody else."""
        self._presenter.take(
            lambda target: target.work_list.skip(target.item_id, reader=target.reader, reason=reason),
            then=self._decided,
        )

    def _decided(self, item: Item) -> None:
        correct = self._view.correct
        correct.reason.setCurrentIndex(-1)
        correct.reason.clearEditText()
        words = self._presenter.advance() if correct.open_next.isChecked() else ""
        self._view.say(f"{item.path}: {item.state}. {words}".strip())

    def reopen(self, reason: str) -> None:
        """Go on with a study that was accepted, rejected or skipped."""
        self._presenter.take(
            lambda target: target.work_list.reopen(target.item_id, reader=target.reader, reason=reason),
            then=lambda _item: self._presenter.reload_labels(),
        )

    def take_over(self) -> None:
        """Go on with a study that another reader has begun."""

        def step(target: Target) -> Item:
            again = target.work_list.item(target.item_id).open_second is not None
            change = target.work_list.begin_second if again else target.work_list.begin
            return change(target.item_id, reader=target.reader, take_over=True)

        self._presenter.take(step, then=lambda _item: self._presenter.reload_labels())

    def begin_second(self, independent: bool) -> None:
        """Read an accepted study a second time; independent: without the first reader's labels."""
        self._presenter.take(
            lambda target: target.work_list.begin_second(target.item_id, reader=target.reader),
            then=lambda _item: self._presenter.reload_labels(independent=independent),
        )

    def finish_second(self, verdict: Verdict, words: str) -> None:
        """End the second reading; agreement figures come with it when the reader drew labels."""
        self._presenter.take(
            lambda target: target.work_list.finish_second(
                target.item_id, reader=target.reader, verdict=verdict, comment=words
            ),
            force=verdict == "replaced",
            then=self._finished,
        )

    def _finished(self, item: Item) -> None:
        self._view.review.words.clear()
        second = item.second_readings[-1]
        self._view.say(f"{item.path}: second reading by {second.reader}, {second.verdict}.")

    def compare(self) -> None:
        """Figures of both readers' labels as they are drawn now."""
        target, figures = self._presenter.saving.target, list[LabelAgreement]()

        def step(now: Target) -> Item:
            figures.extend(now.work_list.agreement(now.item_id))
            return now.work_list.item(now.item_id)

        def show(_item: Item) -> None:
            if target is not None:
                self._view.review.show_figures(figures, target.work_list.settings)
            self._view.say("Both readers' labels as they are now." if figures else "No label is drawn.")

        self._presenter.take(step, force=True, then=show)

    def comment(self, words: str, on_slice: bool) -> None:
        """Remark on the study, or on the label and slice that are shown."""
        opened, reader = self._presenter.opened, self._presenter.reader
        comment = Comment(reader, "", words)
        if on_slice and opened.layer is not None:
            try:
                shown = opened.shown_plane()
            except MedReasonError as error:
                self._report(error)
                return
            label = int(opened.layer.selected_label)
            comment = Comment(reader, "", words, label, shown.axis, shown.index)
        self._presenter.take(
            lambda target: target.work_list.comment(target.item_id, comment),
            then=lambda _item: self._view.review.words.clear(),
        )

    def go_to(self, comment: Comment) -> None:
        """Show the slice and the label of a comment."""
        opened = self._presenter.opened
        if comment.label is not None:
            opened.choose_label(comment.label)
        if comment.axis is not None and comment.index is not None:
            opened.jump(comment.axis, comment.index)
