"""The Study dock on a real viewer: what it tells, and what it changes."""

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton

from napari_medreason import layers
from napari_medreason._qt.study_dock import StudyWidget
from napari_medreason.core.geometry import RAS_FROM_LPS
from napari_medreason.core.volume import CT_WINDOWS, Volume

pytestmark = pytest.mark.window


@pytest.fixture
def dock(volume, qtbot):
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    dock = StudyWidget(viewer)
    qtbot.addWidget(dock)
    yield dock
    dock.close_all()


def test_card_tells_geometry_and_doubts(dock):
    assert "64 × 48 × 20 voxels" in dock.view.card.text()
    assert "1.5 × 1.5 × 4 mm" in dock.view.card.text()
    assert "LPS" in dock.view.card.text()
    assert "✓\u00a0Orientation" in dock.view.checks.text()


def test_an_array_of_another_program_has_no_sides(dock):
    dock._viewer.add_image(np.zeros((4, 5, 6)), name="foreign")
    assert "Orientation: unknown" in dock.view.card.text()
    assert "left and right can't be told" in dock.view.checks.text()


def test_an_irregular_study_is_resampled_as_a_new_image(dock, qtbot):
    assert not dock.view.regrid_button.isVisibleTo(dock.view)
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[1, 2] = 0.8
    tilted = Volume(
        np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6), sheared, modality="CT", name="tilted"
    )
    dock._viewer.add_layer(Layer.create(*layers.image_layer(tilted)))
    assert "⚠\u00a0Tilt" in dock.view.checks.text()
    assert dock.view.regrid_button.isVisibleTo(dock.view)
    dock.view.regrid_button.click()
    qtbot.waitUntil(lambda: len(dock._viewer.layers) == 3, timeout=10_000)
    assert dock.image.name == "tilted on a regular grid"
    assert "✓\u00a0Tilt" in dock.view.checks.text()
    assert not dock.view.regrid_button.isVisibleTo(dock.view)


def test_presets_and_numbers_set_the_window(dock, qtbot):
    image = dock.image
    dock.view.preset_chosen.emit("lung")
    assert tuple(image.contrast_limits) == (CT_WINDOWS["lung"].low, CT_WINDOWS["lung"].high)
    assert dock.view.preset_choice.currentText() == "lung"
    dock.view.width_box.setValue(400)
    assert tuple(image.contrast_limits) == (-800, -400)
    assert dock.view.preset_choice.currentText() == ""
    image.contrast_limits = (-160, 240)  # as napari's own slider does
    assert (dock.view.centre_box.value(), dock.view.width_box.value()) == (40, 400)
    assert dock.view.preset_choice.currentText() == "soft-tissue"


def test_percentiles_suit_what_is_not_ct(dock, volume_maker, qtbot):
    dock._viewer.add_layer(Layer.create(*layers.image_layer(volume_maker(modality="MR", name="head"))))
    dock.view.preset_chosen.emit("full range")
    data = np.asarray(dock.image.data)
    qtbot.waitUntil(lambda: tuple(dock.image.contrast_limits) == (data.min(), data.max()), timeout=20_000)


def test_a_ct_preset_decodes_no_slice(dock, volume):
    class Lazy:
        """Tells its shape, as lazily decoded data does, and breaks when it is looked at."""

        shape, dtype, ndim, size = volume.voxels.shape, volume.voxels.dtype, 3, volume.voxels.size

        def __array__(self, *_args, **_options):
            raise AssertionError("the whole study was decoded")

    dock.image._data = Lazy()
    dock.view.preset_chosen.emit("bone")
    assert tuple(dock.image.contrast_limits) == (CT_WINDOWS["bone"].low, CT_WINDOWS["bone"].high)


def test_planes_by_button_keep_the_place(dock):
    viewer = dock._viewer
    viewer.dims.set_point(2, viewer.dims.point[2] + 6)
    place = viewer.dims.point
    for plane, order in (("sagittal", (2, 0, 1)), ("coronal", (1, 0, 2)), ("axial", (0, 1, 2))):
        dock.view.plane_buttons[plane].click()
        assert tuple(viewer.dims.order) == order
        assert viewer.dims.point == pytest.approx(place)


def test_letters_can_be_switched_off(dock):
    dock.view.letters_box.setChecked(True)
    assert dock._viewer.canvas.overlays["medreason_left"].visible
    dock.view.letters_box.setChecked(False)
    assert not dock._viewer.canvas.overlays["medreason_left"].visible
    dock.view.letters_box.setChecked(True)


def drag(canvas, right, down):
    start = QPoint(canvas.width() // 2, canvas.height() // 2)
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for part in (0.5, 1.0):
        QTest.mouseMove(canvas, start + QPoint(int(right * part), int(down * part)))
        QTest.qWait(30)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(right, down))


def test_window_by_mouse_in_a_real_window(make_napari_viewer, volume, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    image = viewer.layers[0]
    _, dock = viewer.window.add_plugin_dock_widget("napari-medreason", "Study: geometry, view, export")
    canvas = viewer.window._qt_viewer.canvas.native
    centre, limits = viewer.scene.camera.center, tuple(image.contrast_limits)
    dock.view.drag_button.click()
    drag(canvas, 60, -40)
    low, high = image.contrast_limits
    assert high - low > limits[1] - limits[0]  # wider to the right
    assert low + high < sum(limits)  # brighter upwards
    assert viewer.scene.camera.center == centre
    assert viewer.scene.camera.mouse_pan
    dock.view.drag_button.click()
    changed = tuple(image.contrast_limits)
    drag(canvas, 60, -40)
    assert tuple(image.contrast_limits) == changed
    assert viewer.scene.camera.center != centre


def test_closed_dock_leaves_nothing(make_napari_viewer, qtbot, volume):
    viewer = make_napari_viewer()
    viewer.add_layer(Layer.create(*layers.image_layer(volume)))
    overlays, drags = set(viewer.canvas.overlays), list(viewer.mouse_drag_callbacks)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-medreason", "Study: geometry, view, export")
    widget.view.drag_button.click()
    assert len(viewer.mouse_drag_callbacks) > len(drags)
    (close,) = dock.titleBarWidget().findChildren(QAbstractButton, "QTitleBarCloseButton")
    qtbot.mouseClick(close, Qt.MouseButton.LeftButton)
    assert set(viewer.canvas.overlays) == overlays
    assert viewer.mouse_drag_callbacks == drags


def test_flat_pictures_and_empty_viewers_do_not_break_it(dock):
    dock._viewer.layers.clear()
    assert "Open a study first" in dock.view.card.text()
    picture = Volume(np.ones((1, 5, 6), np.uint8), np.eye(4), orientation_known=False, calibrated=False)
    dock._viewer.add_layer(Layer.create(*layers.image_layer(picture)))
    dock.view.plane_buttons["sagittal"].click()
    assert "not calibrated" in dock.view.card.text()


def new_labels(dock):
    """What napari's own “New labels” button makes, painted on one slice."""
    dock._viewer.layers.selection.active = dock.image
    dock._viewer._new_labels()
    labels = dock._viewer.layers[-1]
    labels.data[5, 10:20, 30:50] = 1
    labels.name = "liver"
    return labels


def test_labels_of_napari_itself_are_exported_on_the_true_grid(dock, qtbot, tmp_path):
    labels = new_labels(dock)
    dialog = dock.open_export()
    assert dialog.chosen == [labels]
    assert dialog.form.id == "nifti"
    assert "Not as DICOM segmentation" in dialog.reason.text()  # the study did not come from DICOM files
    dialog.save(tmp_path / "liver.nii.gz")
    qtbot.waitUntil(lambda: "read back: identical" in dock.view.status.text(), timeout=20_000)
    image = nib.load(tmp_path / "liver.nii.gz")
    study = layers.study_of(dock.image)
    np.testing.assert_allclose(image.affine, RAS_FROM_LPS @ np.array(study.affine), atol=1e-4)
    written = np.asarray(image.dataobj).T
    np.testing.assert_array_equal(written, layers.stored_array(np.asarray(labels.data), study))


def test_a_dicom_study_can_be_exported_as_segmentation(qtbot, tmp_path):
    import highdicom

    from napari_medreason import io
    from napari_medreason_sample_data import ct_folder

    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*layers.image_layer(io.read(ct_folder()), place=ct_folder())))
    dock = StudyWidget(viewer)
    qtbot.addWidget(dock)
    new_labels(dock)
    dialog = dock.open_export()
    dialog.forms.setCurrentIndex([dialog.forms.itemData(n).id for n in range(4)].index("dicom-seg"))
    assert dialog.reason.text() == ""
    dialog.save(tmp_path / "liver")
    qtbot.waitUntil(lambda: "read back: identical" in dock.view.status.text(), timeout=60_000)
    seg = highdicom.seg.segread(tmp_path / "liver.seg.dcm")
    assert seg.get_segment_description(1).SegmentLabel == "liver"
    dock.close_all()


def test_nothing_is_exported_from_nothing(dock):
    dialog = dock.open_export()
    dialog.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert "Tick" in dialog.reason.text()
    assert not dialog.save_button.isEnabled()
