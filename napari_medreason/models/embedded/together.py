"""What should be seen together: a lone structure without its neighbours is no sign of that body part.

The limits for the head were set on MR of arms and legs that was kept for calibration and on the sample
head; see docs/decisions/embedded-model.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

CORTEX = "cerebral_cortex"
SURELY_A_BRAIN = 5
"""So many different brain structures are not seen on other parts of the body."""
LEAST_CEREBRUM = 0.25
"""Share of the head that the brain takes where the cortex is seen."""
LEAST_HINDBRAIN, HINDBRAIN_PARTS = 0.15, 3
"""The same where only cerebellum and brainstem are seen, and how many of their parts are."""
SKELETON = frozenset({"vertebra", "spinal_canal", "ribs", "sacrum", "hip_bone", "femur"})
NO_SKELETON = "no bone was recognised on this slice, so the confidence was lowered"


def is_that_region(region: str, seen_mm2: Mapping[str, float], body_mm2: float) -> bool:
    """Whether the structures seen on a slice make it one of the expert's region, "head" or another.

    seen_mm2: area of each structure that is seen. body_mm2: area of all that is not air.
    """
    if region != "head" or len(seen_mm2) >= SURELY_A_BRAIN:
        return bool(seen_mm2)
    share = sum(seen_mm2.values()) / max(body_mm2, 1.0)
    if CORTEX in seen_mm2:
        return share >= LEAST_CEREBRUM
    return share >= LEAST_HINDBRAIN and len(seen_mm2) >= HINDBRAIN_PARTS


def doubts_about(region: str, axis: str, seen: Collection[str]) -> tuple[str, ...]:
    """What makes all that is seen doubtful: an axial slice of the trunk always shows some of the skeleton."""
    if region == "trunk" and axis == "axial" and SKELETON.isdisjoint(seen):
        return (NO_SKELETON,)
    return ()
