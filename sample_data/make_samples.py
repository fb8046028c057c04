"""Make the sample studies: `python -m napari_medreason_sample_data.make_samples [FOLDER]`.

The same library versions give the same bytes on every run. Without a folder the files inside the
package are replaced.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_medreason_training.phantoms import Phantom

CT_SEED, MR_SEED = 10_106, 10_002
"""Both lie in the range that training never uses (see napari_medreason_training.phantoms)."""

_SLABS = 3
"""Thin slices averaged into one, so that slices show the partial volume of their 5 mm."""

_log = logging.getLogger(__name__)


def make_ct(folder: Path, *, pixels: int = 256, z_range_mm: tuple[float, float] = (-290.0, 195.0)) -> Phantom:
    """Write `ct/*.dcm` and `ct_labels.nii.gz` into a folder; returns the phantom on that grid."""
    from napari_medreason_sample_data.acquisition import scanned_ct, thick_slices
    from napari_medreason_sample_data.ct_series import write_series

    thin = _thin_ct(pixels, z_range_mm)
    phantom = _thickened(thin, thick_slices(thin.voxels, _SLABS))
    rng = np.random.default_rng([CT_SEED, 3])
    (folder / "ct").mkdir(parents=True)
    write_series(scanned_ct(phantom.voxels, rng, noise_hu=13.0), phantom.affine, folder / "ct")
    _write_nifti(_named(phantom), phantom.affine, folder / "ct_labels.nii.gz")
    return phantom


def _thin_ct(pixels: int, z_range_mm: tuple[float, float]) -> Phantom:
    from napari_medreason_training.phantoms import body_ct

    step = 5.0 / _SLABS
    low, high = z_range_mm[0] - step * (_SLABS // 2), z_range_mm[1] + step * (_SLABS // 2)
    in_plane = 1.6 * 256 / pixels
    return body_ct(
        CT_SEED,
        spacing_mm=(step, in_plane, in_plane),
        pixels=pixels,
        z_range_mm=(low, high + 0.01),
        phase="portal",
    )


def _thickened(thin: Phantom, voxels: NDArray[np.float32]) -> Phantom:
    """The phantom with averaged voxels; labels are those of the middle of each slice."""
    from dataclasses import replace

    affine = thin.affine.copy()
    affine[2, 3] += thin.affine[2, 2] * (_SLABS // 2)
    affine[2, 2] *= _SLABS
    labels = thin.labels[_SLABS // 2 :: _SLABS][: len(voxels)]
    return replace(thin, voxels=voxels, labels=np.ascontiguousarray(labels), affine=affine.round(6))


def make_mr(
    folder: Path, *, spacing_mm: float = 1.4, shape: tuple[int, int, int] = (136, 180, 138)
) -> Phantom:
    """Write `mr/brain_t1.nii.gz` and `mr_labels.nii.gz` into a folder; returns the phantom."""
    from napari_medreason_sample_data.acquisition import scanned_mr
    from napari_medreason_training.phantoms import head_mr

    phantom = head_mr(MR_SEED, contrast="t1", spacing_mm=(spacing_mm, spacing_mm, spacing_mm), shape=shape)
    voxels = scanned_mr(phantom.voxels, np.random.default_rng([MR_SEED, 3]), noise=3.5, scale=0.3)
    (folder / "mr").mkdir(parents=True)
    _write_nifti(voxels, phantom.affine, folder / "mr" / "brain_t1.nii.gz")
    _write_nifti(_named(phantom), phantom.affine, folder / "mr_labels.nii.gz")
    return phantom


def _named(phantom: Phantom) -> NDArray[np.uint8]:
    """Labels with unnamed tissue set to 0."""
    keep = np.array([bool(name) for name in phantom.structures])
    return np.where(keep[phantom.labels], phantom.labels, 0).astype(np.uint8)


def _write_nifti(voxels: NDArray[np.generic], affine: NDArray[np.float64], path: Path) -> None:
    """Write (k, j, i) voxels with an LPS affine as NIfTI (RAS) without a time stamp."""
    import nibabel

    image = nibabel.Nifti1Image(
        np.asfortranarray(voxels.transpose(2, 1, 0)), np.diag([-1, -1, 1, 1]) @ affine
    )
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def write_label_names(folder: Path, **studies: Phantom) -> None:
    """Write `labels.json`: study -> label value -> structure and side."""
    table = {
        study: {
            str(value): {"structure": name, "side": side}
            for value, (name, side) in enumerate(zip(phantom.structures, phantom.sides, strict=True))
            if name
        }
        for study, phantom in studies.items()
    }
    (folder / "labels.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def checksums(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every sample; a folder's is that of its files' bytes in order of their names."""
    for name in ("ct", "ct_labels.nii.gz", "labels.json", "mr/brain_t1.nii.gz", "mr_labels.nii.gz"):
        path = folder / name
        parts = sorted(path.glob("*.dcm")) if path.is_dir() else [path]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.read_bytes())
        yield name, digest.hexdigest()


def make_all(folder: Path) -> None:
    """Write all samples and their sources page into an existing, empty folder."""
    write_label_names(folder, ct=make_ct(folder), mr=make_mr(folder))
    write_sources(folder)


def write_sources(folder: Path) -> None:
    """Write `SOURCES.md`: where the samples come from, and their checksums."""
    rows = "\n".join(f"| `{name}` | `{digest}` |" for name, digest in checksums(folder))
    (folder / "SOURCES.md").write_text(_SOURCES.format(rows=rows, ct=CT_SEED, mr=MR_SEED), encoding="utf-8")


def replace_samples(target: Path) -> None:
    """Make the samples beside the target folder, then move them into it."""
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        fresh = Path(temporary)
        make_all(fresh)
        for new in sorted(fresh.iterdir()):
            old = target / new.name
            if old.is_dir():
                shutil.rmtree(old)
            new.replace(old)
            _log.info("wrote %s", new.name)


_SOURCES = """# Where the sample studies come from

Everything in this folder is made by `make_samples.py` from procedural phantoms
(`napari_medreason_training.phantoms`, seeds {ct} and {mr}): no patient, no scanner and no other
data set is involved. It is our own work, under the licence of this project (BSD-3-Clause). Making it
again with the same library versions gives the same bytes:

    python -m napari_medreason_sample_data.make_samples

`ct/` is a CT of the trunk in the portal venous phase, `mr/brain_t1.nii.gz` a T1-weighted head.
`ct_labels.nii.gz` and `mr_labels.nii.gz` are their exact label maps; `labels.json` names the values.

| sample | SHA-256 |
| --- | --- |
{rows}

The SHA-256 of `ct` is that of its files' bytes, in order of their names.

The third sample, a real CT slice, is not stored here: it is `CT_small.dcm` from the test files that
pydicom distributes, under its terms, inside its own package.
"""


def main() -> None:
    """Make the samples in the folder named on the command line, or in this package."""
    parser = argparse.ArgumentParser(description="Make the synthetic sample studies.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    replace_samples(folder)


if __name__ == "__main__":
    main()
