"""Bad input: one clear line, bounded memory, and never a value of a patient tag in messages or logs."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import traceback
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.uid import RLELossless

from napari_medreason import io
from napari_medreason.errors import MedReasonError, UnreadableImageError

CANARY = "CANARY"
PATIENT = {
    **{keyword: f"{CANARY}^{keyword}"[:60] for keyword in ("PatientName", "ReferringPhysicianName")},
    **{
        keyword: f"{CANARY}{keyword}"[:60]
        for keyword in ("PatientAddress", "PatientComments", "InstitutionName")
    },
    **{"PatientID": f"{CANARY}-4711", "AccessionNumber": CANARY, "OtherPatientIDs": CANARY},
    **{"PatientBirthDate": "19520229", "PatientAge": "071Y", "StudyDescription": CANARY},
}


def refusal(path: Path, **options) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        io.read(path, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 500
    return said


def vanishing(paths: list[Path]):
    """Progress that deletes files once headers have been read and pixels come next."""
    starts = []

    def progress(done: int, total: int) -> None:
        starts.append(done == 0)
        if done == total:
            for path in paths:
                path.unlink(missing_ok=True)

    return progress


@pytest.mark.parametrize("compressed", [False, True])
def test_files_that_vanish_while_they_are_read(tmp_path, series_maker, ramp, compressed):
    def change(data, k):
        if compressed:
            data.compress(RLELossless, generate_instance_uid=False)

    paths = series_maker(tmp_path, ramp, np.eye(4), change=change)
    assert "no longer there" in refusal(tmp_path, progress=vanishing(paths[2:3]))


def test_a_folder_that_vanishes_is_one_clear_line(tmp_path, series_maker, ramp):
    series_maker(tmp_path / "study", ramp, np.eye(4))

    def progress(done, total):
        shutil.rmtree(tmp_path / "study", ignore_errors=True)

    refusal(tmp_path / "study", progress=progress)


PEAK = """
import resource, sys
from pathlib import Path
from napari_medreason import io
from napari_medreason.errors import MedReasonError
try:
    volume = io.read(sys.argv[1])
    size = volume.voxels.nbytes
except MedReasonError as error:
    size = 0
    print(str(error), file=sys.stderr)
status = Path("/proc/self/status")
if status.exists():  # ru_maxrss begins at what the parent had
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(size, int(kilobytes) * 1024)
"""


def peak_memory(path: Path) -> tuple[int, int, str]:
    """(bytes of the array, most memory that a fresh process used, what it said)."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    size, peak = (int(part) for part in done.stdout.split())
    return size, peak, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory of a process is measured with `resource`")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_claims_seventy_gigabytes_takes_no_memory(tmp_path, series_maker, ramp, compressed):
    def change(data, k):
        if compressed:
            data.compress(RLELossless, generate_instance_uid=False)
        data.Rows, data.Columns, data.NumberOfFrames = 30_000, 30_000, 42

    series_maker(tmp_path, ramp[:1], np.eye(4), modality="MR", change=change)
    size, peak, said = peak_memory(tmp_path)
    assert size == 0
    assert said
    assert peak < 600e6


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory of a process is measured with `resource`")
def test_a_study_needs_no_more_than_twice_its_array(tmp_path, series_maker):
    """Compared with a study of four slices, so that what Python and the libraries need does not count."""
    images = np.random.default_rng(0).integers(0, 2000, (120, 512, 512)).astype(np.int16)
    series_maker(tmp_path / "small", images[:4], np.eye(4))
    series_maker(tmp_path / "large", images, np.eye(4))
    (few, least, _), (many, most, _) = (peak_memory(tmp_path / name) for name in ("small", "large"))
    assert many == images.nbytes
    assert most - least < 1.3 * (many - few)


ODD_ELEMENTS = {
    "colour": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
    "no pixels": {"PixelData": None},
    "no rows": {"Rows": None},
    "too large": {"Rows": 60_000},
    "frames": {"NumberOfFrames": 7},
    "packed": {"BitsAllocated": 12},
    "bits": {"BitsAllocated": 24},
    "no position": {"ImagePositionPatient": None},
    "mosaic": {"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]},
    "segmentation": {"Modality": "SEG"},
    "two/a": {},
    "two/b": {"PatientID": f"{CANARY}-other"},
}
ODD_BYTES = {
    "cut": lambda data: data[:-50],
    "wrong vr": lambda data: data.replace(b"DS", b"SQ"),
    "wrong lengths": lambda data: data.replace(b"LO\x0b\x00", b"LO\xff\xff"),
    "wrong dates": lambda data: data.replace(b"DA\x08\x00", b"DS\x08\x00"),
}


def with_patient(elements):
    """Patient tags with canaries, then the given elements; None takes one away."""

    def change(data, k):
        for keyword, value in PATIENT.items():
            data.add_new(pydicom.tag.Tag(keyword), dictionary_VR(keyword), value)
        for keyword, value in elements.items():
            if value is None:
                data.pop(keyword, None)
            else:
                setattr(data, keyword, value)

    return change


def broken_folders(root: Path, series_maker, ramp) -> list[Path]:
    """Folders that are refused or warned of, each for another reason, full of patient tags."""
    for name, elements in ODD_ELEMENTS.items():
        series_maker(root / name, ramp, np.eye(4), change=with_patient(elements))
    for name, damage in ODD_BYTES.items():
        for path in series_maker(root / name, ramp, np.eye(4), change=with_patient({})):
            path.write_bytes(damage(path.read_bytes()))
    series_maker(root / "uneven", ramp, np.eye(4), positions=[0, 1, 2, 9], change=with_patient({}))
    return sorted(path for path in root.iterdir() if path.is_dir())


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    return target


def test_no_value_of_a_patient_tag_is_told(tmp_path, series_maker, ramp, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        places = broken_folders(tmp_path, series_maker, ramp)
        caught.clear()  # pydicom's own, of the writing of wrong files
        for place in [*places, *map(zipped, places)]:
            for ask in (io.read, io.read_lazily, io.list_series, lambda path: io.read(path, series="1.2")):
                try:
                    found = ask(place)
                    told.append(repr(getattr(found, "warnings", "")))
                except MedReasonError as error:
                    told += traceback.format_exception_only(error)
    told += [str(entry.message) for entry in caught]
    told += [caplog.text, *capfd.readouterr()]
    assert len(told) > 50
    for words in told:
        for value in (CANARY, "19520229", "071Y", "4711", "SECRET"):
            assert value not in words


def test_every_patient_tag_of_the_canary_is_one():
    assert all(keyword_for_tag(pydicom.tag.Tag(keyword)) == keyword for keyword in PATIENT)
