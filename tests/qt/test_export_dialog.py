"""The export dialog looks at where layers lie, not at their voxels, and hands the work over."""

import dask.array
import numpy as np
import pytest
from napari.layers import Labels, Layer
from qtpy.QtCore import Qt

from napari_medreason import layers
from napari_medreason._qt import export_dialog
from napari_medreason._qt.export_dialog import ExportDialog

pytestmark = pytest.mark.window


@pytest.fixture
def image(volume):
    return Layer.create(*layers.image_layer(volume))


def placed(image, data, name):
    return Labels(
        data, scale=image.scale, translate=image.translate, axis_labels=image.axis_labels, name=name
    )


def test_reasons_are_found_without_reading_labels(image, qtbot):
    shape = image.data.shape

    def last_slice_fails(block, block_info=None):
        if block_info[0]["chunk-location"][0] == shape[0] - 1:
            raise AssertionError("the labels were read")
        return block

    data = dask.array.zeros(shape, np.uint8, chunks=(1, *shape[1:]))
    lazy = placed(
        image, data.map_blocks(last_slice_fails, dtype=np.uint8, meta=np.empty(0, np.uint8)), "lazy"
    )
    dialog = ExportDialog([lazy], [lazy], None)
    qtbot.addWidget(dialog)
    assert "Not as DICOM segmentation" in dialog.reason.text()
    assert dialog.form.id == "nifti"


def test_one_tick_looks_once(image, qtbot, monkeypatch):
    looks = []
    study_under = export_dialog.study_under
    monkeypatch.setattr(
        export_dialog, "study_under", lambda *args, **more: looks.append(args) or study_under(*args, **more)
    )
    masks = [placed(image, np.ones(image.data.shape, np.uint8), name) for name in ("liver", "spleen")]
    dialog = ExportDialog(masks, masks[:1], None)
    qtbot.addWidget(dialog)
    assert len(looks) == 1
    dialog.list.item(1).setCheckState(Qt.CheckState.Checked)
    assert len(looks) == 2
    dialog.forms.setCurrentIndex(1)
    assert dialog.form.id == "nrrd"
    assert len(looks) == 2


def test_a_layer_that_lies_on_no_study_says_so(image, qtbot):
    moved = placed(image, np.ones(image.data.shape, np.uint8), "moved")
    moved.translate = moved.translate + 0.3
    dialog = ExportDialog([moved], [moved], None)
    qtbot.addWidget(dialog)
    assert "lies on no study" in dialog.reason.text()
