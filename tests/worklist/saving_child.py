"""A program that a test kills: it saves labels in a loop and says when each save is finished."""

import sys

import numpy as np

from napari_medreason.worklist import Comment, WorkList


def main(folder):
    work_list = WorkList.open(folder)
    item_id = work_list.items[0].id
    work_list.begin(item_id, reader="Anna", take_over=True)
    study = work_list.read_study(item_id)
    noise = np.random.default_rng(0).integers(1, 200, study.shape_kji).astype(np.uint16)
    number = int(sys.argv[2])
    while True:
        number += 1
        noise[0, 0, :2] = divmod(number, 1000)
        work_list.save_labels(item_id, noise, reader="Anna", like=study)
        work_list.comment(item_id, Comment("Anna", "", str(number)))
        print(number, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1])
