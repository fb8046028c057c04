"""Time until napari's reader returns: slices decoded on first use beside all slices read at once.

A synthetic CT series is written to a temporary folder, uncompressed and in JPEG 2000. The header scan
is part of both ways. Times of one coronal plane are given too: across slices, everything is decoded.
"""

import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

sys.path.insert(0, str(Path(__file__).parent))
from table import milliseconds, print_table

from napari_medreason import io
from napari_medreason.layers import image_layer

SLICES, SIZE, REPEATS = 300, 512, 3
DISTINCT = 10
"""Different slices; each is written several times over, because compressing them takes long."""


def slice_values(number: int) -> np.ndarray:
    """A noisy disc in air, as stored values of a 12-bit CT."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    noise = np.random.default_rng(number).normal(0, 15, (SIZE, SIZE))
    values = np.where(x**2 + (1.4 * y) ** 2 < 0.16, 1064, 24) + noise
    return np.clip(values, 0, 4095).astype(np.uint16)


def slice_file(number: int, syntax: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.Modality, data.SeriesNumber = CTImageStorage, "CT", 1
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.Rows = data.Columns = SIZE
    data.PixelSpacing, data.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
    data.PixelData = slice_values(number).tobytes()
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    if syntax.is_compressed:
        data.compress(syntax, generate_instance_uid=False)
    return data


def write_series(folder: Path, syntax: UID) -> Path:
    folder.mkdir()
    series, files = generate_uid(), [slice_file(number, syntax) for number in range(DISTINCT)]
    for k in range(SLICES):
        data = files[k % DISTINCT]
        data.SeriesInstanceUID, data.InstanceNumber = series, k + 1
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.ImagePositionPatient = [0, 0, k]
        data.save_as(folder / f"{k:04d}.dcm")
    return folder


def timed(work: Callable[[], object]) -> tuple[float, object]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def measure(folder: Path, read: Callable[[Path], object]) -> list[float]:
    """Median seconds: reader returns, one axial plane, first coronal plane, another coronal plane."""
    runs = []
    for _ in range(REPEATS):
        opening, (data, _, _) = timed(lambda: image_layer(read(folder)))
        planes = [(40,), (slice(None), 100), (slice(None), 101)]
        runs.append([opening, *(timed(lambda at=at, data=data: np.array(data[at]))[0] for at in planes)])
        del data
        gc.collect()
    return [median(column) for column in zip(*runs, strict=True)]


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, syntax in (("uncompressed", ExplicitVRLittleEndian), ("JPEG 2000", JPEG2000Lossless)):
            folder = write_series(Path(temporary) / name, syntax)
            timed(lambda folder=folder: io.list_series(folder))  # files are in the system's cache for both
            for way, read in (("on first use", io.read_lazily), ("all at once", io.read)):
                rows.append((f"{name}, decoded {way}", *map(milliseconds, measure(folder, read))))
    header = ("300 slices of 512 x 512", "reader returns", "axial", "first coronal", "next coronal")
    print_table(header, rows)


if __name__ == "__main__":
    main()
