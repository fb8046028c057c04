"""Pre-labels from a model's answers: geometry, confidence, skipped slices, cancelling; what to do next."""

import numpy as np
import pytest

from napari_medreason.core.grounding import Check, Grounding, Provenance, mask_box
from napari_medreason.core.keypoints import key_points
from napari_medreason.core.plane import plane_grid
from napari_medreason.errors import CancelledError, ModelUnavailableError, WorkListError
from napari_medreason.worklist import (
    LabelDefinition,
    WorkList,
    prelabeller,
    second_reading_suggestions,
    suggestions,
)

from .conftest import LIVER, SHAPE, SPLEEN, study

TRUTH = np.zeros(SHAPE, np.uint8)
TRUTH[1:5, 4:12, 3:12] = 1
TRUTH[2:4, 10:16, 10:20] = 2


def never():
    return False


def answering(volume, *, confidence=lambda value, index: 0.9, truth=TRUTH):
    """A model that knows the truth: `ask` for a pre-labeller. Each question names its structure."""

    def ask(question):
        value = 1 if "liver" in question.text else 2
        grid = plane_grid(volume, question.plane.grid.axis, question.plane.grid.index)
        provenance = Provenance("knowing", "abc")
        mask = grid.take(truth) == value
        if not mask.any():
            return Grounding("absent", "Not seen.", grid, provenance)
        sure = confidence(value, grid.index)
        checks = (Check("mirror", sure > 0.5, "It fails the mirror test."),)
        return Grounding(
            "found",
            "There.",
            grid,
            provenance,
            mask=mask,
            box=mask_box(mask),
            points=key_points(mask),
            confidence=sure,
            checks=checks,
        )

    return ask


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_answers_on_planes_become_labels_in_the_volume(axis):
    volume = study(0)
    made = prelabeller([LIVER, SPLEEN], answering(volume), axis=axis)(volume, lambda *_: None, never)
    assert np.array_equal(made.labels, TRUTH)
    assert (made.model, made.weights_sha256) == ("knowing", "abc")
    assert [label.confidence for label in made.confidences] == [0.9, 0.9]


def test_slices_in_between_are_filled_where_both_neighbours_show_the_label():
    volume = study(0)
    truth = np.zeros(SHAPE, np.uint8)
    truth[0:3, 4:12, 3:12] = 1
    made = prelabeller([LIVER], answering(volume, truth=truth), step=2)(volume, lambda *_: None, never)
    assert np.array_equal(made.labels, truth)
    truth[:] = 0
    truth[[0, 4], 4:12, 3:12] = 1
    made = prelabeller([LIVER], answering(volume, truth=truth), step=2)(volume, lambda *_: None, never)
    assert np.array_equal(made.labels, truth)


def test_confidence_is_weighted_by_area_and_the_least_certain_slices_come_first():
    volume = study(0)

    def confidence(value, index):
        return {1: 0.9, 2: 0.4, 3: 0.8, 4: 0.6}[index]

    made = prelabeller([LIVER], answering(volume, confidence=confidence))(volume, lambda *_: None, never)
    (label,) = made.confidences
    areas = [(TRUTH[k] == 1).sum() for k in range(1, 5)]
    assert label.confidence == pytest.approx(np.average([0.9, 0.4, 0.8, 0.6], weights=areas), abs=1e-4)
    assert [(place.index, place.confidence) for place in label.least_certain] == [
        (2, 0.4),
        (4, 0.6),
        (3, 0.8),
        (1, 0.9),
    ]
    assert label.doubts == ("It fails the mirror test.",)


def test_the_surer_label_has_the_pixels_that_two_claim():
    volume = study(0)
    both = np.zeros(SHAPE, np.uint8)
    both[2, 4:12, 4:12] = 1

    def ask(question):
        given = answering(volume, truth=both, confidence=lambda *_: 0.6)
        return (
            given(question) if "spleen" not in question.text else answering(volume, truth=both * 2)(question)
        )

    for order in ([LIVER, SPLEEN], [SPLEEN, LIVER]):
        made = prelabeller(order, ask)(volume, lambda *_: None, never)
        assert np.array_equal(made.labels, both * 2)


def test_what_is_not_found_is_said_and_labels_without_question_are_not_asked():
    volume = study(0)
    kidney = LabelDefinition(3, "kidney")
    truth = np.where(TRUTH == 1, 1, 0)
    made = prelabeller([LIVER, SPLEEN, kidney], answering(volume, truth=truth))(
        volume, lambda *_: None, never
    )
    spleen = made.confidences[1]
    assert (len(made.confidences), spleen.label, spleen.confidence) == (2, 2, None)
    assert "not find" in spleen.doubts[0]
    with pytest.raises(WorkListError, match="add a question"):
        prelabeller([kidney], answering(volume))


def test_pre_labels_are_kept_and_started_from(work_list):
    item_id = work_list.items[0].id
    image = work_list.read_study(item_id)
    done = []
    item = work_list.prelabel(
        item_id, prelabeller([LIVER, SPLEEN], answering(image)), progress=lambda *at: done.append(at)
    )
    assert done[-1] == (6, 6)
    assert (item.state, item.prelabel.model, item.confidence) == ("pre-labelled", "knowing", 0.9)
    work_list.begin(item_id, reader="Anna")
    labels = work_list.starting_labels(item_id, reader="Anna", like=image)
    assert np.array_equal(labels, TRUTH)
    again = WorkList.open(work_list.folder)
    assert again.item(item_id).prelabel == item.prelabel
    with pytest.raises(WorkListError, match="in progress"):
        again.prelabel(item_id, prelabeller([LIVER], answering(image)))


def test_cancelling_leaves_the_study_waiting(work_list):
    item_id = work_list.items[0].id
    calls = iter([False] * 4 + [True] * 100)
    draw = prelabeller([LIVER], answering(study(0)))
    with pytest.raises(CancelledError):
        work_list.prelabel(item_id, draw, cancelled=lambda: next(calls))
    assert WorkList.open(work_list.folder).item(item_id).state == "waiting"
    assert work_list.read_labels(item_id, "prelabel") is None


def test_one_study_that_fails_does_not_stop_the_others(work_list):
    broken = work_list.study_path(work_list.items[1].id)
    broken.write_bytes(broken.read_bytes()[:200])
    draw = prelabeller([LIVER], answering(study(0)))
    results = list(work_list.prelabel_waiting(draw))
    assert [item.state for item, _ in results] == ["pre-labelled", "waiting", "pre-labelled"]
    assert "b.nii.gz" in results[1][1]


def test_a_model_that_fails_leaves_the_study_waiting_and_says_why(work_list):
    def fails(question):
        raise ModelUnavailableError("no weights")

    results = list(work_list.prelabel_waiting(prelabeller([LIVER], fails)))
    assert [words for _, words in results] == ["no weights"] * 3
    assert {item.state for item in WorkList.open(work_list.folder).items} == {"waiting"}


def prelabel_with(work_list, number, confidence):
    item_id = work_list.items[number].id
    image = work_list.read_study(item_id)
    ask = answering(image, confidence=lambda value, index: confidence + 0.01 * index - 0.1 * (value == 2))
    work_list.prelabel(item_id, prelabeller([LIVER, SPLEEN], ask))
    return item_id


def test_the_least_certain_study_comes_first_then_those_without_figures(work_list):
    sure, unsure = prelabel_with(work_list, 0, 0.9), prelabel_with(work_list, 2, 0.5)
    waiting = work_list.items[1].id
    found = suggestions(work_list.items, work_list.settings, reader="Anna")
    assert [entry.item.id for entry in found] == [unsure, sure, waiting]
    first = found[0]
    assert (first.label, first.axis, first.index) == (2, "axial", 2)
    assert first.reason == "spleen 42% certain"
    assert found[2].reason == "not pre-labelled"


def test_own_and_returned_studies_come_before_all_and_those_of_others_not_at_all(work_list, drawn):
    unsure = prelabel_with(work_list, 2, 0.3)
    returned, begun = work_list.items[1].id, work_list.items[0].id
    image = work_list.read_study(returned)
    work_list.begin(returned, reader="Anna")
    work_list.save_labels(returned, drawn(), reader="Anna", like=image)
    work_list.accept(returned, reader="Anna")
    assert second_reading_suggestions(work_list.items, work_list.settings, reader="Anna") == ()
    (second,) = second_reading_suggestions(work_list.items, work_list.settings, reader="Ben")
    assert second.item.id == returned
    work_list.begin_second(returned, reader="Ben")
    assert second_reading_suggestions(work_list.items, work_list.settings, reader="Cleo") == ()
    work_list.finish_second(returned, reader="Ben", verdict="changes wanted", comment="dome")
    work_list.begin(begun, reader="Anna")
    mine = suggestions(work_list.items, work_list.settings, reader="Anna")
    assert [entry.item.id for entry in mine] == [returned, begun, unsure]
    assert mine[0].reason.startswith("changes wanted: dome")
    others = suggestions(work_list.items, work_list.settings, reader="Ben")
    assert [entry.item.id for entry in others] == [unsure]
