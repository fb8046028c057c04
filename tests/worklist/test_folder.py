"""A work list on the disk: found studies, saved labels, two programs, moved folders, damaged files."""

import json
import re
import shutil
import threading

import nibabel
import numpy as np
import pytest

from napari_medreason import io
from napari_medreason.core.agreement import agreement
from napari_medreason.errors import LabelMapError, UnreadableImageError, WorkListError
from napari_medreason.worklist import Comment, LabelDefinition, WorkList, agreement_rows, state_counts

from .conftest import LIVER, SPLEEN, study


def text_of(folder):
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.json")))


def first_id(work_list):
    return work_list.items[0].id


def finished(work_list, labels, reader="Anna"):
    """The first study accepted by a reader, with the study itself."""
    item_id = first_id(work_list)
    work_list.begin(item_id, reader=reader)
    image = work_list.read_study(item_id)
    work_list.save_labels(item_id, labels, reader=reader, like=image)
    return work_list.accept(item_id, reader=reader), image


def test_every_study_is_found_once_and_the_files_name_no_absolute_path(work_list, tmp_path):
    assert [item.path for item in work_list.items] == ["a.nii.gz", "b.nii.gz", "ward/c.nii"]
    assert state_counts(work_list.items)["waiting"] == 3
    written = text_of(work_list.folder)
    assert str(tmp_path) not in written
    assert json.loads((work_list.folder / "worklist.json").read_text())["studies"] == "../studies"
    assert not re.search(r'"/|[A-Z]:\\\\', written)


def test_saved_labels_lie_where_the_study_does_in_other_programs(work_list, drawn):
    item, image = finished(work_list, drawn())
    path = work_list.final_labels(item.id)
    ours, theirs = nibabel.load(path), nibabel.load(work_list.study_path(item.id))
    assert np.allclose(ours.affine, theirs.affine, atol=1e-4)
    assert np.array_equal(np.asarray(ours.dataobj).T, drawn())
    assert ours.get_data_dtype() == np.uint8
    assert np.array_equal(work_list.read_labels(item.id, "first", like=image), drawn())


def test_another_program_goes_on_where_this_one_stopped(work_list, drawn):
    item_id = first_id(work_list)
    work_list.begin(item_id, reader="Anna")
    image = work_list.read_study(item_id)
    work_list.save_labels(item_id, drawn(), reader="Anna", like=image)
    work_list.skip(work_list.items[1].id, reader="Anna", reason="motion")
    again = WorkList.open(work_list.folder)
    assert again.items == work_list.items
    assert again.settings == work_list.settings
    labels = again.starting_labels(item_id, reader="Anna", like=image)
    assert np.array_equal(labels, drawn())
    labels[:] = 7
    assert np.array_equal(again.read_labels(item_id, "first"), drawn())


def test_two_readers_agree_as_the_figures_of_their_labels_say(work_list, drawn):
    item, image = finished(work_list, drawn(5))
    other = WorkList.open(work_list.folder)
    other.begin_second(item.id, reader="Ben")
    assert np.array_equal(other.starting_labels(item.id, reader="Ben", like=image), drawn(5))
    assert not other.starting_labels(item.id, reader="Ben", like=image, independent=True).any()
    other.save_labels(item.id, drawn(6), reader="Ben", like=image)
    assert np.array_equal(other.starting_labels(item.id, reader="Ben", like=image), drawn(6))
    other.comment(item.id, Comment("Ben", "", "The dome was missing.", label=1, axis="axial", index=2))
    done = other.finish_second(item.id, reader="Ben", verdict="replaced")
    expected = agreement(drawn(5), drawn(6), spacing_kji=image.spacing_kji)
    assert [row.label for row in expected] == [1, 2]
    for kept, row in zip(done.second.agreement, expected, strict=True):
        assert (kept.label, kept.dice) == (row.label, row.dice)
        assert kept.distance_95_mm == pytest.approx(row.distance_95_mm, rel=1e-4)
    assert work_list.refresh() == (item.id,)
    mine = work_list.item(item.id)
    assert mine == done
    assert mine.comments[0].date
    assert [row.label for row in agreement_rows(work_list.items, work_list.settings)] == ["liver", "spleen"]
    assert np.array_equal(io.read(work_list.final_labels(item.id)).voxels, drawn(6))


def test_reopening_goes_on_with_the_labels_that_counted(work_list, drawn):
    item, image = finished(work_list, drawn(5))
    work_list.begin_second(item.id, reader="Ben")
    work_list.save_labels(item.id, drawn(6), reader="Ben", like=image)
    work_list.finish_second(item.id, reader="Ben", verdict="replaced")
    work_list.reopen(item.id, reader="Anna")
    assert np.array_equal(work_list.starting_labels(item.id, reader="Anna", like=image), drawn(6))
    work_list.save_labels(item.id, drawn(7), reader="Anna", like=image)
    assert np.array_equal(work_list.starting_labels(item.id, reader="Anna", like=image), drawn(7))


def test_labels_that_were_replaced_are_not_accepted_again_unsaved(work_list, drawn):
    item, image = finished(work_list, drawn(5))
    work_list.begin_second(item.id, reader="Ben")
    work_list.save_labels(item.id, drawn(6), reader="Ben", like=image)
    work_list.finish_second(item.id, reader="Ben", verdict="replaced")
    work_list.reopen(item.id, reader="Anna")
    with pytest.raises(WorkListError, match="no labels saved since"):
        work_list.accept(item.id, reader="Anna")
    work_list.save_labels(item.id, drawn(5), reader="Anna", like=image)
    work_list.accept(item.id, reader="Anna")
    assert np.array_equal(io.read(work_list.final_labels(item.id)).voxels, drawn(5))


def test_changes_of_another_program_are_seen_before_a_step(work_list):
    item_id = first_id(work_list)
    other = WorkList.open(work_list.folder)
    other.begin(item_id, reader="Ben")
    assert work_list.item(item_id).state == "waiting"
    with pytest.raises(WorkListError, match="in progress by Ben"):
        work_list.begin(item_id, reader="Anna")
    assert work_list.item(item_id).reader == "Ben"


def test_who_was_taken_over_can_not_save_over_the_other(work_list, drawn):
    item_id = first_id(work_list)
    work_list.begin(item_id, reader="Anna")
    image = work_list.read_study(item_id)
    work_list.save_labels(item_id, drawn(3), reader="Anna", like=image)
    other = WorkList.open(work_list.folder)
    other.begin(item_id, reader="Ben", take_over=True)
    assert np.array_equal(other.starting_labels(item_id, reader="Ben", like=image), drawn(3))
    other.save_labels(item_id, drawn(8), reader="Ben", like=image)
    with pytest.raises(WorkListError, match="in progress by Ben"):
        work_list.save_labels(item_id, drawn(4), reader="Anna", like=image)
    assert np.array_equal(work_list.read_labels(item_id, "first"), drawn(8))
    work_list.begin(item_id, reader="Anna", take_over=True)
    work_list.save_labels(item_id, drawn(3), reader="Anna", like=image)
    assert np.array_equal(work_list.read_labels(item_id, "first"), drawn(3))


def test_saving_the_same_again_writes_nothing(work_list, drawn):
    item_id = first_id(work_list)
    work_list.begin(item_id, reader="Anna")
    image = work_list.read_study(item_id)
    before = work_list.save_labels(item_id, drawn(), reader="Anna", like=image)
    stamp = work_list.labels_path(item_id, "first").stat().st_mtime_ns
    assert work_list.save_labels(item_id, drawn(), reader="Anna", like=image) == before
    assert work_list.labels_path(item_id, "first").stat().st_mtime_ns == stamp
    assert work_list.save_labels(item_id, drawn(6), reader="Anna", like=image) != before


def test_comments_of_two_programs_at_once_are_all_kept(work_list):
    item_id = first_id(work_list)
    lists = [WorkList.open(work_list.folder) for _ in range(3)]

    def remark(one, name):
        for number in range(10):
            one.comment(item_id, Comment(name, "", f"{name} {number}"))

    threads = [threading.Thread(target=remark, args=pair) for pair in zip(lists, "ABC", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work_list.refresh()
    texts = sorted(comment.text for comment in work_list.item(item_id).comments)
    assert texts == sorted(f"{name} {number}" for name in "ABC" for number in range(10))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((6, 20, 23), np.uint8), "must agree"),
        (np.full((6, 20, 24), -1), "negative"),
        (np.full((6, 20, 24), 0.5), "probability"),
    ],
)
def test_labels_that_are_none_of_this_study_leave_the_saved_ones(work_list, drawn, labels, words):
    item_id = first_id(work_list)
    work_list.begin(item_id, reader="Anna")
    image = work_list.read_study(item_id)
    before = work_list.save_labels(item_id, drawn(), reader="Anna", like=image)
    with pytest.raises(LabelMapError, match=words):
        work_list.save_labels(item_id, labels, reader="Anna", like=image)
    assert WorkList.open(work_list.folder).item(item_id) == before
    assert np.array_equal(work_list.read_labels(item_id, "first"), drawn())


def test_large_label_values_come_back(work_list, drawn):
    item_id = first_id(work_list)
    work_list.begin(item_id, reader="Anna")
    labels = drawn().astype(np.int64) * (2**31 - 1)
    image = work_list.read_study(item_id)
    work_list.save_labels(item_id, labels, reader="Anna", like=image)
    assert np.array_equal(work_list.starting_labels(item_id, reader="Anna", like=image), labels)


def test_a_study_that_was_exchanged_is_not_given_the_old_labels(work_list, drawn):
    item, _ = finished(work_list, drawn())
    io.write(work_list.study_path(item.id), study(5))
    exchanged = work_list.read_study(item.id)
    with pytest.raises(LabelMapError, match="the study was changed"):
        work_list.read_labels(item.id, "first", like=exchanged)


def test_a_list_and_its_studies_can_move_together_or_apart(work_list, tmp_path, drawn):
    item, _ = finished(work_list, drawn())
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(work_list.folder, moved / "list")
    with pytest.raises(WorkListError, match="say where"):
        WorkList.open(moved / "list")
    again = WorkList.open(moved / "list", studies=tmp_path / "studies")
    assert again.item(item.id) == item
    shutil.move(tmp_path / "studies", moved / "studies")
    assert WorkList.open(moved / "list").read_study(item.id).shape_kji == (6, 20, 24)


def test_new_studies_are_added_and_old_ones_stay(work_list, studies, drawn):
    item, _ = finished(work_list, drawn())
    io.write(studies / "new.nii.gz", study(9))
    (studies / "b.nii.gz").unlink()
    added = work_list.add_studies()
    assert [work_list.item(one).path for one in added] == ["new.nii.gz"]
    assert work_list.add_studies() == ()
    assert work_list.item(item.id) == item
    with pytest.raises(UnreadableImageError, match=r"b\.nii\.gz"):
        work_list.read_study(work_list.items[1].id)


def test_a_damaged_item_is_named_and_the_others_work(work_list, drawn):
    broken = work_list.folder / "items" / f"{work_list.items[2].id}.json"
    broken.write_text(broken.read_text()[:50])
    again = WorkList.open(work_list.folder)
    assert list(again.damaged) == [broken.stem]
    assert "damaged" in again.damaged[broken.stem]
    assert len(again.items) == 2
    assert finished(again, drawn())[0].state == "accepted"
    assert again.add_studies() == ()


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/a.nii.gz", "C:/a.nii.gz", "a\\\\..\\\\b.nii"])
def test_an_item_that_points_out_of_the_studies_is_not_used(work_list, path):
    item = work_list.folder / "items" / f"{first_id(work_list)}.json"
    item.write_text(item.read_text().replace('"a.nii.gz"', f'"{path}"'))
    again = WorkList.open(work_list.folder)
    assert "outside" in again.damaged[item.stem]
    assert len(again.items) == 2


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "needs labels"),
        ([LIVER, LabelDefinition(1, "spleen")], "different values"),
        ([LabelDefinition(0, "air")], "from 1 on"),
        ([LabelDefinition(3, " ")], "has no name"),
    ],
)
def test_labels_must_be_clear(tmp_path, studies, labels, words):
    with pytest.raises(WorkListError, match=words):
        WorkList.create(tmp_path / "list", studies, labels=labels)
    assert not (tmp_path / "list").exists()


def test_labels_can_be_redefined_and_other_programs_see_it_on_opening(work_list):
    kidney = LabelDefinition(3, "kidney", "kidney")
    work_list.define_labels([LIVER, SPLEEN, kidney])
    assert WorkList.open(work_list.folder).settings.name_of(3) == "kidney"
    assert work_list.settings.name_of(9) == "label 9"


def test_a_list_is_not_made_twice_nor_of_nothing(work_list, studies, tmp_path):
    with pytest.raises(WorkListError, match="open it instead"):
        WorkList.create(work_list.folder, studies, labels=[LIVER])
    (tmp_path / "empty").mkdir()
    with pytest.raises(WorkListError, match="no study was found"):
        WorkList.create(tmp_path / "other", tmp_path / "empty", labels=[LIVER])
    with pytest.raises(WorkListError, match=r"no worklist\.json"):
        WorkList.open(tmp_path / "empty")
    with pytest.raises(UnreadableImageError, match="no folder"):
        WorkList.create(tmp_path / "other", tmp_path / "nowhere", labels=[LIVER])
    with pytest.raises(WorkListError, match="no study 'x'"):
        work_list.begin("x", reader="Anna")


def test_a_list_inside_its_studies_is_not_searched(studies, drawn):
    inside = WorkList.create(studies / "list", studies, labels=[LIVER])
    finished(inside, drawn())
    assert inside.add_studies() == ()
    assert len(inside.items) == 3
