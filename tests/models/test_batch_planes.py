"""A batch with the real networks, tiny: each image goes through their vision towers once."""

import numpy as np

from napari_medreason import io, models
from napari_medreason.batch.questions import read_rows
from napari_medreason.batch.results import open_results
from napari_medreason.batch.run import Asking, run_batch
from napari_medreason.core.volume import Volume


def counted(network, calls):
    network.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_questions_in_any_order_pay_for_each_image_once(qwen_folder, sam2_folder, tmp_path):
    voxels = np.zeros((3, 64, 64), np.float32)
    voxels[0, 10:30, 10:30] = voxels[2, 30:60, 20:40] = 100
    io.write(tmp_path / "study.nii.gz", Volume(voxels, np.eye(4), "MR"))
    order = [(0, "Where?"), (2, "Where?"), (0, "What is bright?"), (2, "What is bright?")]
    table = tmp_path / "questions.csv"
    table.write_text("image,question,slice\n" + "".join(f"study.nii.gz,{text},{k}\n" for k, text in order))
    pair = models.create(
        "medreasoner",
        reasoner=qwen_folder,
        segmenter=sam2_folder,
        device="cpu",
        precision="fp32",
        square_size=112,
        max_new_tokens=100,
        think_tokens=2,
        constrained=True,
    )
    seen = counted(pair.reasoner._model.network.model.visual, [])
    embedded = counted(pair.segmenter._model.vision_encoder, [])
    results = open_results(tmp_path / "out", model="medreasoner", options={})
    done = run_batch(
        read_rows(table), results, Asking(pair, files=False), report=lambda _: None, cancelled=lambda: False
    )
    pair.close()
    assert (done.answered, done.faults) == (4, 0)
    assert (len(seen), len(embedded)) == (2, 2)
