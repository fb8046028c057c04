"""Damaged headers of every kind of file: an image, or one clear line, and never anything else.

More of it: MEDREASON_FUZZ_EXAMPLES=100000 python -m pytest tests/io/test_dicom_fuzz.py
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from napari_medreason import io
from napari_medreason.errors import MedReasonError

FUZZ = settings(
    max_examples=int(os.environ.get("MEDREASON_FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
BYTES = st.one_of(
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 12, 16, 0x28, 0x7F, 0xE0, 0xFE, 0xFF, ord("S"), ord("Q"), ord("\\")]),
)
WORDS = st.sampled_from(
    [
        b"SQ",
        b"UN",
        b"OB",
        b"OW",
        b"DS",
        b"\xff\xff\xff\xff",
        b"\xfe\xff\x00\xe0",
        b"\xfe\xff\x0d\xe0",
        b"\0" * 4,
    ]
)


def enhanced(data: Dataset, k: int) -> None:
    data.NumberOfFrames, data.Rows = 2, data.Rows // 2
    item, frame, place, order = Dataset(), Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient, order.DimensionIndexValues = [0, 0, 1], [1, 2]
    frame.PlanePositionSequence, frame.FrameContentSequence = [place], [order]
    item.DimensionIndexPointer = 0x00209128
    data.DimensionIndexSequence = [item, item]
    data.SharedFunctionalGroupsSequence = [Dataset()]
    data.PerFrameFunctionalGroupsSequence = [frame, frame]


def mosaic(data: Dataset, k: int) -> None:
    data.ImageType = ["ORIGINAL", "PRIMARY", "MOSAIC"]
    block = data.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x20, "OB", b"SV10\4\3\2\1" + bytes([1, 0, 0, 0, 77, 0, 0, 0]) + b"MrProtocol" + bytes(80))


def compressed(data: Dataset, k: int) -> None:
    data.compress(RLELossless, generate_instance_uid=False)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, series_maker) -> list[bytes]:
    """Valid files, one of each kind."""
    root = tmp_path_factory.mktemp("seeds")
    images = np.arange(48, dtype=np.int16).reshape(1, 6, 8)
    made = [
        series_maker(root / str(n), images, np.eye(4), modality="MR", change=change)[0]
        for n, change in enumerate((None, enhanced, mosaic, compressed))
    ]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian):
        data = pydicom.dcmread(made[0])
        data.file_meta.TransferSyntaxUID = syntax
        target = root / f"{syntax.keyword}.dcm"
        little = syntax.is_little_endian
        pydicom.dcmwrite(
            target, data, implicit_vr=syntax.is_implicit_VR, little_endian=little, force_encoding=True
        )
        made.append(target)
    return [path.read_bytes() for path in made] + [directory(root, made[0])]


def directory(root: Path, image: Path) -> bytes:
    data = pydicom.dcmread(image)
    data.StudyInstanceUID, data.StudyID, data.StudyDate, data.StudyTime = "1.2", "1", "20200101", "120000"
    files = FileSet()
    files.add(data)
    files.write(root / "disc")
    files._stage["t"].cleanup()  # pydicom leaves it to the garbage collector, with a warning
    return (root / "disc" / "DICOMDIR").read_bytes()


@st.composite
def damage(draw):
    """A function that changes, inserts, cuts or doubles some of the bytes of a file."""
    edits = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["change", "insert", "cut", "word", "double"]),
                st.floats(0, 1, exclude_max=True),
                BYTES,
                WORDS,
            ),
            min_size=1,
            max_size=6,
        )
    )

    def apply(original: bytes) -> bytes:
        data = bytearray(original)
        for kind, where, byte, word in edits:
            at = 128 + int(where * max(len(data) - 128, 1))
            if kind == "change":
                data[at : at + 1] = bytes([byte])
            elif kind == "insert":
                data[at:at] = bytes([byte])
            elif kind == "cut":
                del data[at : at + 1 + byte]
            elif kind == "word":
                data[at : at + len(word)] = word
            else:
                data[at:at] = data[at : at + byte]
        return bytes(data)

    return apply


def survives(path: Path) -> None:
    """Reading gives a volume or a MedReasonError of one line."""
    for ask in (io.list_series, io.read):
        try:
            ask(path)
        except MedReasonError as error:
            said = str(error)
            assert "\n" not in said
            assert len(said) < 1000


@FUZZ
@given(which=st.integers(0, 6), change=damage())
def test_damaged_files(tmp_path_factory, seeds, which, change):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / ("DICOMDIR" if which == 6 else "image.dcm")
    path.write_bytes(change(seeds[which]))
    survives(path)
    path.unlink()


@FUZZ
@given(which=st.integers(0, 5), changes=st.lists(damage(), min_size=2, max_size=3))
def test_folders_of_damaged_files(tmp_path_factory, seeds, which, changes):
    folder = tmp_path_factory.mktemp("fuzz")
    for number, change in enumerate(changes):
        (folder / f"{number}.dcm").write_bytes(change(seeds[which]))
    (folder / "whole.dcm").write_bytes(seeds[0])
    survives(folder)
    for path in folder.iterdir():
        path.unlink()


@FUZZ
@given(which=st.integers(0, 5), change=damage(), of_archive=st.booleans())
def test_damaged_archives(tmp_path_factory, seeds, which, change, of_archive):
    path = tmp_path_factory.mktemp("fuzz") / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", seeds[which] if of_archive else change(seeds[which]))
        archive.writestr("b.dcm", seeds[0])
    if of_archive:
        path.write_bytes(change(path.read_bytes()))
    survives(path)
    path.unlink()
