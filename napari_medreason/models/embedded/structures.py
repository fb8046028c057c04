"""The structures each expert is trained for: vocabulary ids, without sides."""

from __future__ import annotations

BRAIN_MR: tuple[str, ...] = (
    "cerebral_white_matter",
    "cerebral_cortex",
    "lateral_ventricle",
    "inferior_lateral_ventricle",
    "cerebellar_white_matter",
    "cerebellar_cortex",
    "thalamus",
    "caudate_nucleus",
    "putamen",
    "globus_pallidus",
    "third_ventricle",
    "fourth_ventricle",
    "brainstem",
    "hippocampus",
    "amygdala",
    "nucleus_accumbens",
    "ventral_diencephalon",
    "cerebrospinal_fluid",
)
BODY_CT: tuple[str, ...] = (
    "liver",
    "spleen",
    "kidney",
    "gallbladder",
    "stomach",
    "pancreas",
    "adrenal_gland",
    "lung",
    "oesophagus",
    "heart",
    "aorta",
    "inferior_vena_cava",
    "portal_vein",
    "small_bowel",
    "colon",
    "urinary_bladder",
    "vertebra",
    "sacrum",
    "hip_bone",
    "femur",
    "spinal_canal",
    "ribs",
    "iliopsoas",
    "gluteal_muscles",
    "erector_spinae",
)
UNPAIRED: frozenset[str] = frozenset(
    {"third_ventricle", "fourth_ventricle", "brainstem", "cerebrospinal_fluid", "liver", "spleen"}
    | {"gallbladder", "stomach", "pancreas", "oesophagus", "heart", "aorta", "inferior_vena_cava"}
    | {"portal_vein", "small_bowel", "colon", "urinary_bladder", "vertebra", "sacrum", "spinal_canal"}
)
"""Structures that lie on one side or in the middle; all others come as a left and a right one."""
