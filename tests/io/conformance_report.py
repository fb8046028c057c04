"""How our reading of real series compares with dcm2niix, and that of single files with other libraries.

Run: MEDREASON_TEST_DATA=FOLDER python tests/io/conformance_report.py
Both results are brought to the axis order of dcm2niix's affine; voxels are compared by hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from conformance_files import OUTCOMES as FILE_OUTCOMES
from conformance_files import compare_file

from napari_medreason import io
from napari_medreason.core.regrid import regridded
from napari_medreason.core.volume import Volume
from napari_medreason.errors import MedReasonError

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
COLUMN_MM = 1e-3
CORNER_MM = 0.02
"""The reference affines are rounded to 5 decimals, which shifts the far corner of 512 pixels by 0.01 mm."""
SCALE_SHARE = 1e-3
MEAN_SHARE = 1e-3
"""Of the range of values: by so much may the mean of an interpolated volume differ."""


class Row(NamedTuple):
    """One volume of the reference, or one refusal. outcome is a key of OUTCOMES."""

    case: str
    outcome: str
    detail: str


OUTCOMES = {
    "same": "shape, affine and every voxel agree",
    "scaled": "shape and affine agree, values differ by rounding or by a constant factor (Philips scaling)",
    "sheared": "shape and every voxel agree; ours keeps the shear of the tilted stack",
    "regridded": "resampled to a right-angled grid: same size, spacing and mean as by dcm2niix",
    "evened": "resampled to even steps, of which dcm2niix chooses others; same size within slices and mean",
    "guessed": "dcm2niix guesses how many tiles of a mosaic are slices; we read it from the protocol",
    "refused": "refused with a reason",
    "differs": "does not agree",
}


def load_reference(data: Path) -> dict[str, Any]:
    """Case name -> entry of REFERENCE.json."""
    entries: dict[str, Any] = json.loads((data / "conformance" / "REFERENCE.json").read_text())
    return entries


def compare(data: Path, case: str, entry: dict[str, Any]) -> Iterator[Row]:
    """One row per volume that dcm2niix made of the series, or one row for a refusal."""
    path = data / "conformance" / f"{case}.zip"
    try:
        volumes = [io.read(path, series=found.uid) for found in io.list_series(path)]
    except MedReasonError as error:
        yield Row(case, "refused", str(error))
        return
    guessed = any("Guessing this is a mosaic" in text for text in entry["dcm2niix_warnings"])
    for reference in entry["dcm2niix"]:
        if "_Tilt" in reference["file"]:
            yield _resampled(case, volumes[0], reference)
        elif guessed:
            yield Row(case, "guessed", f"{volumes[0].shape_kji[0]} slices, dcm2niix {reference['shape'][2]}")
        else:
            rows = [_against(case, volume, reference) for volume in volumes]
            yield min(rows, key=lambda row: list(OUTCOMES).index(row.outcome))


def _resampled(case: str, volume: Volume, reference: dict[str, Any]) -> Row:
    ours = regridded(volume)
    slices, rows, columns = ours.shape_kji
    mean = float(ours.voxels.mean(dtype=np.float64))
    spacing_ijk = ours.spacing_kji[::-1]
    detail = f"{reference['file']}: mean {mean:.2f}, dcm2niix {reference['mean']:.2f}; {slices} slices"
    within = [columns, rows] == reference["shape"][:2]
    if not within or abs(mean - reference["mean"]) > MEAN_SHARE * (reference["max"] - reference["min"]):
        return Row(case, "differs", detail)
    even = slices == reference["shape"][2] and np.allclose(spacing_ijk, reference["zooms"], rtol=1e-4)
    return Row(case, "regridded" if even else "evened", detail)


def _against(case: str, volume: Volume, reference: dict[str, Any]) -> Row:
    wanted = np.array(reference["affine"])
    ours = RAS_FROM_LPS @ volume.affine
    turn = nib.orientations.ornt_transform(nib.io_orientation(ours), nib.io_orientation(wanted))
    voxels = nib.apply_orientation(volume.voxels.T, turn)
    affine = ours @ nib.orientations.inv_ornt_aff(turn, volume.voxels.T.shape[:3])
    name = reference["file"]
    if list(voxels.shape) != reference["shape"]:
        return Row(case, "differs", f"{name}: shape {voxels.shape}, dcm2niix {reference['shape']}")
    same = _hash(voxels) == reference["sha256_float32_fortran"]
    column, corner = _distances(affine, wanted, voxels.shape[:3])
    if column > COLUMN_MM or corner > CORNER_MM:
        tilted = same and any("tilt" in warning for warning in volume.warnings)
        return Row(case, "sheared" if tilted else "differs", f"{name}: corners {corner:.3f} mm apart")
    if same:
        return Row(case, "same", f"{name}: corners {corner:.4f} mm apart")
    return _values(case, voxels, reference)


def _hash(voxels: np.ndarray) -> str:
    return hashlib.sha256(voxels.astype(np.float32).tobytes(order="F")).hexdigest()


def _distances(ours: np.ndarray, wanted: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float]:
    """Largest difference of an affine column entry, and of a corner of the grid, in mm."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in shape])).reshape(3, -1)
    apart = (ours - wanted)[:3, :3] @ corners + (ours - wanted)[:3, 3:]
    return float(np.abs((ours - wanted)[:3, :3]).max()), float(np.linalg.norm(apart, axis=0).max())


def _values(case: str, voxels: np.ndarray, reference: dict[str, Any]) -> Row:
    """Whether the range and the mean are those of the reference up to one factor."""
    span = float(voxels.max()) - float(voxels.min())
    factor = span / (reference["max"] - reference["min"])
    mean = (float(voxels.mean(dtype=np.float64)) - float(voxels.min())) / span
    wanted = (reference["mean"] - reference["min"]) / (reference["max"] - reference["min"])
    outcome = "scaled" if abs(mean - wanted) < SCALE_SHARE else "differs"
    return Row(case, outcome, f"{reference['file']}: factor {factor:.6g}")


def single_files(data: Path) -> list[Path]:
    """Every file of the conformance folder that is no archive."""
    return [
        path for path in sorted((data / "conformance").rglob("*")) if path.is_file() and path.suffix != ".zip"
    ]


def main() -> int:
    """Print both tables and their counts; 1 when anything differs."""
    data = Path(os.environ["MEDREASON_TEST_DATA"])
    series = [row for case, entry in load_reference(data).items() for row in compare(data, case, entry)]
    files = [compare_file(path) for path in single_files(data)]
    for table, outcomes in ((series, OUTCOMES), (files, FILE_OUTCOMES)):
        counts = Counter(row.outcome for row in table)
        for name, outcome, detail in table:
            sys.stdout.write(f"{outcome:10} {name:50} {detail}\n")
        for outcome, meaning in outcomes.items():
            sys.stdout.write(f"{counts[outcome]:4} {outcome}: {meaning}\n")
    return int(any(row.outcome == "differs" for row in (*series, *files)))


if __name__ == "__main__":
    sys.exit(main())
