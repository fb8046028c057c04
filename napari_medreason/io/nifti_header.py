"""NIfTI geometry: which affine counts, in which unit, and its way to LPS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError

from napari_medreason.core.geometry import RAS_FROM_LPS, Affine, checked_affine, index_to_lps
from napari_medreason.errors import UnreadableImageError

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
"""By the NIfTI codes for metre, millimetre and micron; other codes are taken as millimetres."""

NO_ORIENTATION = (
    "The NIfTI header does not say how the image lies in the patient (sform_code and qform_code are 0); "
    "left and right can't be told, and no patient words are given."
)
BROKEN_FORM = (
    "The {broken} of the NIfTI header can't be used (it is not finite or not invertible); the {used} is used."
)
DISAGREEMENT = (
    "The sform and the qform of the NIfTI header place voxels up to {distance:.1f} mm apart; "
    "the sform is used, other programs may use the qform."
)


@dataclass(frozen=True, eq=False)
class NiftiGeometry:
    """affine: (4, 4), voxel (i, j, k) to LPS mm."""

    affine: Affine
    orientation_known: bool
    warnings: tuple[str, ...]


def geometry(header: Any, shape_ijk: tuple[int, int, int], name: str) -> NiftiGeometry:
    """The sform if its code is above 0, else the qform if its code is, else pixdim with unknown orientation.

    The precedence is nibabel's and that of NIfTI-1 ("METHOD 3", "METHOD 2", "METHOD 1"). Raises
    UnreadableImageError when a code is set and no form is usable.
    """
    stated = [form for form in ("sform", "qform") if int(header[f"{form}_code"]) > 0]
    read = {form: _form(header, form) for form in stated}
    usable = {form: _to_lps(affine, header) for form, affine in read.items() if affine is not None}
    if stated and not usable:
        raise UnreadableImageError(
            f"{name}: the {' and the '.join(stated)} of the NIfTI header are not finite or not invertible; "
            "an invertible affine is needed; correct the header"
        )
    if not usable:
        return NiftiGeometry(_to_lps(_base(header, name), header), False, (NO_ORIENTATION,))
    return NiftiGeometry(next(iter(usable.values())), True, _form_warnings(stated, usable, shape_ijk))


def _form(header: Any, which: str) -> Affine | None:
    try:
        return checked_affine(header.get_sform() if which == "sform" else header.get_qform())
    except (HeaderDataError, ValueError):
        return None


def _base(header: Any, name: str) -> Affine:
    try:
        return checked_affine(header.get_base_affine())
    except (HeaderDataError, ValueError) as error:
        raise UnreadableImageError(
            f"{name}: the voxel sizes of the NIfTI header are not finite or zero; correct pixdim"
        ) from error


def _to_lps(affine_ras: Affine, header: Any) -> Affine:
    """RAS in the header's unit to LPS mm; the only such place besides `nifti.write`."""
    scale = MM_PER_UNIT.get(int(header["xyzt_units"]) % 8, 1.0)
    return np.asarray(np.diag([scale, scale, scale, 1.0]) @ RAS_FROM_LPS @ affine_ras)


def _form_warnings(
    stated: list[str], usable: dict[str, Affine], shape_ijk: tuple[int, int, int]
) -> tuple[str, ...]:
    """usable: by the name of the form, voxel (i, j, k) to LPS mm."""
    if len(usable) < len(stated):
        broken = next(form for form in stated if form not in usable)
        return (BROKEN_FORM.format(broken=broken, used=next(iter(usable))),)
    if len(usable) < 2:
        return ()
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape_ijk])).reshape(3, -1).T
    sform, qform = usable["sform"], usable["qform"]
    distance = float(
        np.linalg.norm(index_to_lps(corners, sform) - index_to_lps(corners, qform), axis=1).max()
    )
    limit = 0.5 * float(np.linalg.norm(sform[:3, :3], axis=0).min())
    return (DISAGREEMENT.format(distance=distance),) if distance > limit else ()
