"""A program that is killed, or meets a full disk, while it saves: what was finished is still there."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.errors import ExportError
from napari_medreason.worklist import WorkList, storage

CHILD = Path(__file__).with_name("saving_child.py")
DISK_IS_FULL = """
import resource, signal, sys
import numpy as np
from napari_medreason.errors import ExportError
from napari_medreason.worklist import WorkList
work_list = WorkList.open(sys.argv[1])
item = work_list.items[0]
study = work_list.read_study(item.id)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = np.random.default_rng(0).integers(0, 2**15, study.shape_kji).astype(np.uint16)
try:
    work_list.save_labels(item.id, noise, reader="Anna", like=study)
except ExportError as error:
    sys.exit(f"refused: {error}")
"""


def last_finished(output):
    """The number of the last save that the child said was finished; a cut line does not count."""
    numbers = [line for line in output.split("\n")[:-1] if line]
    return int(numbers[-1]) if numbers else None


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_a_killed_program_loses_nothing_that_was_finished(work_list):
    chance = random.Random(4)
    item_id = work_list.items[0].id
    work_list.begin(item_id, reader="Anna")
    number = 0
    for _ in range(4):
        command = [sys.executable, str(CHILD), str(work_list.folder), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            first = child.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.6))
            child.kill()
            output = first + child.stdout.read()
        assert child.returncode == -9, "the program ended by itself"
        finished = last_finished(output)
        again = WorkList.open(work_list.folder)
        item = again.item(item_id)
        labels = again.read_labels(item_id, "first", like=again.read_study(item_id))
        number = int(labels[0, 0, 0]) * 1000 + int(labels[0, 0, 1])
        comments = [int(comment.text) for comment in item.comments]
        assert number in (finished, finished + 1)
        assert comments[-1] in (finished, finished + 1)
        assert len(set(comments)) == len(comments)
        assert (item.state, item.reader, again.damaged) == ("in progress", "Anna", {})
        assert item.saved


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
@pytest.mark.parametrize("limit", [0, 300])
def test_a_full_disk_is_told_and_leaves_labels_and_state(work_list, drawn, limit):
    item_id = work_list.items[0].id
    work_list.begin(item_id, reader="Anna")
    before = work_list.save_labels(item_id, drawn(), reader="Anna", like=work_list.read_study(item_id))
    done = subprocess.run(
        [sys.executable, "-c", DISK_IS_FULL, str(work_list.folder), str(limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "refused: first.nii.gz can't be written" in done.stderr
    again = WorkList.open(work_list.folder)
    assert again.item(item_id) == before
    assert np.array_equal(again.read_labels(item_id, "first"), drawn())
    assert not [path for path in work_list.folder.rglob(".*") if path.is_file()]


def test_a_disk_that_fills_before_the_item_is_written_leaves_a_sound_item(work_list, drawn, monkeypatch):
    item_id = work_list.items[0].id
    work_list.begin(item_id, reader="Anna")
    image = work_list.read_study(item_id)
    before = work_list.save_labels(item_id, drawn(4), reader="Anna", like=image)

    def full(path, value):
        raise ExportError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_json", full)
        with pytest.raises(ExportError, match="full"):
            work_list.save_labels(item_id, drawn(5), reader="Anna", like=image)
        with pytest.raises(ExportError, match="full"):
            work_list.accept(item_id, reader="Anna")
    assert work_list.item(item_id) == before
    assert work_list.save_labels(item_id, drawn(5), reader="Anna", like=image).saved > before.saved
    assert work_list.accept(item_id, reader="Anna").state == "accepted"


def test_half_written_files_of_killed_programs_go_after_a_while(work_list, monkeypatch):
    left = work_list.folder / "items" / ".0123abcd.f-1.json"
    left.write_text("{")
    kept = work_list.folder / "items" / ".notes"
    kept.write_text("mine")
    WorkList.open(work_list.folder)
    assert left.exists()
    monkeypatch.setattr(storage, "_LEFTOVER_SECONDS", -1.0)
    again = WorkList.open(work_list.folder)
    assert not left.exists()
    assert kept.exists()
    assert again.damaged == {}


def test_making_a_list_that_was_killed_can_be_done_again(work_list, studies):
    (work_list.folder / storage.SETTINGS_FILE).unlink()
    again = WorkList.create(work_list.folder, studies, labels=work_list.settings.labels)
    assert again.items == work_list.items
