"""Every way in which the same slices can be stored gives the same volume; what can't be read is named."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from napari_medreason import io
from napari_medreason.errors import UnreadableImageError

AFFINE = np.diag([0.7, 0.9, 2.5, 1.0])
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PACKED = (RLELossless, JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1)


def stored_as(path, syntax) -> None:
    """Rewrite a file in another transfer syntax."""
    if syntax == JPEGLosslessSV1:
        return by_gdcm(path)
    data = pydicom.dcmread(path)
    if syntax.is_compressed and not syntax.is_deflated:
        data.compress(syntax, generate_instance_uid=False)
    else:
        if not syntax.is_little_endian:
            words = np.frombuffer(data.PixelData, f"<u{data.BitsAllocated // 8}")
            data.PixelData = words.byteswap().tobytes()
            data["PixelData"].VR = "OB" if data.BitsAllocated == 8 else "OW"
        data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path,
        data,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        force_encoding=True,
    )


def by_gdcm(path) -> None:
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def noise(dtype, shape=(3, 40, 36)) -> np.ndarray:
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -2000), min(limits.max, 3000)
    return np.random.default_rng(3).integers(low, high, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("syntax", [*PLAIN, *PACKED], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_every_transfer_syntax_gives_the_same_values(tmp_path, series_maker, syntax, dtype):
    stored = noise(dtype)

    def change(data, k):
        data.RescaleSlope, data.RescaleIntercept = str(1 + k), str(-1000 * k)

    for path in series_maker(tmp_path, stored, AFFINE, change=change):
        stored_as(path, syntax)
    volume = io.read(tmp_path)
    numbers = np.arange(3)[:, None, None]
    np.testing.assert_array_equal(volume.voxels, stored.astype(int) * (1 + numbers) - 1000 * numbers)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.voxels.dtype == np.int16


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("signed", [False, True])
def test_twelve_bits_beside_which_something_else_is_stored(tmp_path, series_maker, syntax, signed):
    """Bits above Bits Stored held overlays once; they are no part of the value."""
    values = np.random.default_rng(0).integers(-2048 if signed else 0, 2048, (2, 8, 6))
    beside = np.random.default_rng(1).integers(0, 16, values.shape) << 12
    stored = ((values & 0xFFF) | beside).astype(np.uint16)

    def change(data, k):
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, int(signed)

    for path in series_maker(tmp_path, stored, AFFINE, change=change):
        stored_as(path, syntax)
    np.testing.assert_array_equal(io.read(tmp_path).voxels, values)


@pytest.mark.parametrize("bits", [12, 10, 24])
def test_values_packed_without_gaps_are_refused_as_such(tmp_path, series_maker, ramp, bits):
    def change(data, k):
        data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1

    series_maker(tmp_path, ramp, AFFINE, change=change)
    with pytest.raises(UnreadableImageError, match=f"packed into {bits} bits"):
        io.read(tmp_path)


@pytest.mark.parametrize(
    ("tag", "creator", "vr", "value"),
    [
        (0x0019100C, "SIEMENS MR HEADER", "IS", "{b}"),
        (0x20011003, "Philips Imaging DD 001", "FL", "{b}"),
        (0x00431039, "GEMS_PARM_01", "IS", "10000{b:05d}\\8\\0\\0"),
    ],
)
def test_b_values_of_manufacturers_split_a_series(tmp_path, series_maker, ramp, tag, creator, vr, value):
    """Instance numbers are made so that they do not help."""
    for weighting in (0, 1000):

        def change(data, k, weighting=weighting):
            block = data.private_block(tag >> 16, creator, create=True)
            words = value.format(b=weighting)
            block.add_new(tag & 0xFF, vr, float(words) if vr == "FL" else words.split("\\"))
            data.InstanceNumber = 1 + k + (4 if (weighting == 0) == (k % 2 == 0) else 0)

        series_maker(
            tmp_path / str(weighting), ramp + weighting, AFFINE, series="1.2.3", modality="MR", change=change
        )
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, np.stack([ramp, ramp + 1000]))
    assert volume.warnings == ()


def test_a_repeat_that_is_not_there_everywhere_does_not_mix_the_others(tmp_path, series_maker, ramp):
    """Times 1, 2 and 3, of which time 2 lacks a slice: times 1 and 3 stay whole."""
    for time in (1, 2, 3):

        def change(data, k, time=time):
            data.TemporalPositionIdentifier, data.InstanceNumber = time, 10 * time + k

        paths = series_maker(
            tmp_path / str(time), ramp + 200 * time, AFFINE, series="1.2.3", modality="MR", change=change
        )
        if time == 2:
            paths[1].unlink()
    volume = io.read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, np.stack([ramp + 200, ramp + 600]))
    assert "3 further images are left out, 2 per position are kept" in " ".join(volume.warnings)
