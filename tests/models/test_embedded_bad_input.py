"""What no expert was made for: the shipped weights never answer it with a confident mask."""

from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from napari_medreason.core.plane import cut, slice_count
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window, default_window
from napari_medreason.io import read
from napari_medreason.models.embedded import fitness, together
from napari_medreason.models.embedded.model import EmbeddedModel
from napari_medreason_sample_data import brain_file, ct_folder

QUESTIONS = {
    "CT": ("liver", "left lung", "aorta", "vertebra", "What do you see?"),
    "MR": ("brain", "cerebral cortex", "left cerebellar cortex", "brainstem", "What do you see?"),
}


@pytest.fixture(scope="module")
def model():
    return EmbeddedModel()


@pytest.fixture(scope="module")
def good():
    """A slice of each sample study, on which the model does answer."""
    planes = {}
    for modality, file in (("CT", ct_folder()), ("MR", brain_file())):
        study = read(file)
        planes[modality] = cut(study, "axial", slice_count(study, "axial") // 2, default_window(study))
    return planes


def answers(model, plane):
    return [
        model.ask(Question(text, plane), on_text=lambda _: None, cancelled=lambda: False)
        for text in QUESTIONS[plane.modality]
    ]


def assert_never_sure(model, plane):
    for answer in answers(model, plane):
        assert answer.status in ("absent", "unknown", "outside") or answer.confidence < 0.5, answer.answer


def assert_refused(model, plane, reason):
    for answer in answers(model, plane):
        assert answer.status == "outside"
        assert reason.refused in answer.answer


def as_image(picture, modality, spacing=1.0):
    stack = np.repeat(np.asarray(picture, np.float32)[None], 3, axis=0)
    volume = Volume(stack, np.diag([spacing, spacing, 3.0, 1.0]), modality=modality)
    return cut(volume, "axial", 1, default_window(volume))


def landscape():
    """A colour picture made grey: bright sky, hills, a dark house with windows."""
    y, x = np.mgrid[:256, :256] / 255
    hill = y > 0.6 + 0.1 * np.sin(7 * x)
    red, green, blue = np.where(hill, 0.4, 0.7), np.where(hill, 0.7 - 0.3 * y, 0.8), np.where(hill, 0.2, 1.0)
    house = (abs(x - 0.4) < 0.15) & (abs(y - 0.6) < 0.15)
    grey = np.where(house, 0.15, 0.3 * red + 0.59 * green + 0.11 * blue)
    grey[130:150, 90:100] = grey[130:150, 105:115] = 0.9
    return 255 * grey


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_good_slices_are_answered(model, good, modality):
    """Else the tests below would pass with a model that never answers."""
    assert fitness.fitness(good[modality]) == fitness.FIT
    found = [answer for answer in answers(model, good[modality]) if answer.status == "found"]
    assert max(answer.confidence for answer in found) > 0.5


@pytest.mark.parametrize("value", [0, 40, 1000])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_constant_image(model, good, modality, value):
    plane = good[modality]
    assert_refused(model, replace(plane, image=np.full_like(plane.image, value)), fitness.FLAT)


@pytest.mark.parametrize(("modality", "reason"), [("CT", fitness.NOT_HU), ("MR", fitness.INVERTED)])
def test_inverted_contrast(model, good, modality, reason):
    plane = good[modality]
    low, high = np.percentile(plane.image, [0.5, 99.5])
    assert_refused(model, replace(plane, image=np.float32(low + high) - plane.image), reason)


def test_a_ct_that_is_not_in_hu(model, good):
    """Stored values without the rescale intercept, and negated values."""
    plane = good["CT"]
    assert_refused(model, replace(plane, image=plane.image + 1024), fitness.NOT_HU)
    assert_refused(model, replace(plane, image=-plane.image), fitness.NOT_HU)


@pytest.mark.parametrize("picture", [landscape(), data.camera()[::2, ::2]], ids=["landscape", "camera"])
def test_a_photograph(model, picture):
    assert_refused(model, as_image(picture, "CT"), fitness.NOT_HU)
    assert_refused(model, as_image(picture, "MR"), fitness.INVERTED)
    uncalibrated = replace(as_image(picture, "CT"), calibrated=False)
    assert all(answer.status == "outside" for answer in answers(model, uncalibrated))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_heavy_noise(model, good, modality):
    plane, rng = good[modality], np.random.default_rng(0)
    spread = 120.0 if modality == "CT" else float(plane.image[plane.image > plane.image.mean()].std())
    for times, least in ((1.5, False), (5, True)):
        noise = rng.normal(0, times * spread, plane.image.shape).astype(np.float32)
        noisy = replace(plane, image=plane.image + noise)
        told = fitness.fitness(noisy)
        assert told == fitness.NOISE_ONLY if least else told == fitness.Fitness(doubts=(fitness.NOISY,))
        assert_never_sure(model, noisy)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_nothing_but_noise(model, good, modality):
    plane, rng = good[modality], np.random.default_rng(1)
    noise = rng.normal(0, 300, plane.image.shape).astype(np.float32)
    assert_refused(model, replace(plane, image=noise), fitness.NOISE_ONLY)


def test_metal_and_its_streaks(model, good):
    """Two prostheses as bright discs, with dark and bright rays between and around them."""
    plane = good["CT"]
    image = plane.image.copy()
    y, x = np.indices(image.shape)
    rows, columns = image.shape
    for centre in (0.38, 0.62):
        angle = np.arctan2(y - 0.55 * rows, x - centre * columns)
        distance = np.hypot(y - 0.55 * rows, x - centre * columns)
        image += (500 * np.sin(24 * angle) * np.exp(-distance / 40)).astype(np.float32)
        image[distance * plane.grid.spacing[0] < 9] = 3071
    artefact = replace(plane, image=image)
    assert fitness.METAL in fitness.fitness(artefact).doubts
    assert_never_sure(model, artefact)
    found = [answer for answer in answers(model, artefact) if answer.status == "found"]
    assert all(fitness.METAL in answer.provenance.notes for answer in found)


@pytest.mark.parametrize(("modality", "air"), [("CT", -1000.0), ("MR", 5.0)])
def test_a_slice_outside_the_body(model, good, modality, air):
    plane, rng = good[modality], np.random.default_rng(2)
    image = np.abs(rng.normal(0, air if air > 0 else 20.0, plane.image.shape)) + min(air, 0.0)
    for answer in answers(model, replace(plane, image=image.astype(np.float32))):
        assert answer.status == "outside"


def test_an_image_without_pixel_size(model, good):
    for plane in good.values():
        for answer in answers(model, replace(plane, calibrated=False)):
            assert answer.status == "outside"
            assert "pixel size" in answer.answer


@pytest.mark.parametrize(("modality", "text"), [("CT", "hippocampus"), ("MR", "liver"), ("CT", "left knee")])
def test_a_question_about_another_body_part(model, good, modality, text):
    answer = model.ask(Question(text, good[modality]), on_text=lambda _: None, cancelled=lambda: False)
    assert answer.status == "unknown"
    assert answer.mask is None


@pytest.mark.parametrize(
    ("seen", "body", "expected"),
    [
        ({}, 20_000.0, False),
        ({"cerebellar_cortex": 2_000.0, "brainstem": 500.0}, 15_000.0, False),
        ({"cerebellar_cortex": 3_000.0, "brainstem": 500.0, "fourth_ventricle": 100.0}, 20_000.0, True),
        ({"cerebral_cortex": 900.0, "cerebral_white_matter": 900.0}, 16_000.0, False),
        ({"cerebral_cortex": 5_000.0, "cerebral_white_matter": 5_000.0}, 16_000.0, True),
        (dict.fromkeys(("thalamus", "putamen", "brainstem", "hippocampus", "amygdala"), 100.0), 2e4, True),
    ],
)
def test_a_brain_is_more_than_one_of_its_parts(seen, body, expected):
    assert together.is_that_region("head", seen, body) == expected
    assert together.is_that_region("trunk", seen, body) == bool(seen)


def test_organs_without_a_bone_are_doubtful_on_axial_slices_only():
    assert together.doubts_about("trunk", "axial", ("lung",)) == (together.NO_SKELETON,)
    assert together.doubts_about("trunk", "coronal", ("lung",)) == ()
    assert together.doubts_about("trunk", "axial", ("lung", "ribs")) == ()
    assert together.doubts_about("head", "axial", ("cerebral_cortex",)) == ()


def test_a_little_of_the_patient_on_much_air_is_not_judged(good):
    """The last slices of a study: too few pixels of the body to say that they are odd."""
    image = np.full((300, 300), -1000, np.float32)
    image[100:110, 100:110] = 40
    assert fitness.fitness(as_image(image, "CT")) == fitness.FIT
    assert fitness.fitness(as_image(image + 1000, "MR")) == fitness.FIT


@pytest.mark.data
def test_hardly_any_brain_is_found_on_mr_of_arms_and_legs(model, real_data):
    found = []
    for patient in ("008", "018", "025"):
        study = replace(read(real_data / f"labelled/ibsi_sts/STS_{patient}_MR_T1.nii.gz"), modality="MR")
        for index in np.linspace(0, slice_count(study, "axial") - 1, 4).astype(int):
            plane = cut(study, "axial", int(index), default_window(study))
            found += [answer.status == "found" for answer in answers(model, plane)]
    assert np.mean(found) < 0.1


@pytest.mark.data
@pytest.mark.parametrize(
    "file",
    [
        "labelled/mni_icbm152/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
        "labelled/torchio-data-fpg/fpg_t2.nii.gz",
    ],
)
def test_real_heads_are_not_taken_for_something_else(model, real_data, file):
    study = replace(read(real_data / file), modality="MR")
    for share in (0.4, 0.5, 0.6, 0.7):
        plane = cut(study, "axial", int(share * slice_count(study, "axial")), default_window(study))
        assert fitness.fitness(plane) == fitness.FIT
        answer = model.ask(Question("brain", plane), on_text=lambda _: None, cancelled=lambda: False)
        assert answer.status == "found"


@pytest.mark.data
def test_no_real_ct_of_the_body_is_refused(real_data):
    files = [*sorted((real_data / "labelled/ibsi_sts").glob("*_CT.nii.gz"))[:4]]
    files += [real_data / "conformance/totalsegmentator/example_ct_dicom.zip"]
    for file in files:
        study = replace(read(file), modality="CT")
        for index in np.linspace(0, slice_count(study, "axial") - 1, 5).astype(int):
            assert not fitness.fitness(cut(study, "axial", int(index), Window(-160, 240))).refused
