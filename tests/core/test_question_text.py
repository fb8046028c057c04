"""Understanding questions: what a user may type, and what must come out of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medreason.core.anatomy import structures
from napari_medreason.core.question_text import Understood, understand
from napari_medreason.core.question_words import singular, split
from napari_medreason.core.spelling import edit_distance

EMBEDDED = """
    cerebral_white_matter cerebral_cortex lateral_ventricle inferior_lateral_ventricle cerebellar_white_matter
    cerebellar_cortex thalamus caudate_nucleus putamen globus_pallidus third_ventricle fourth_ventricle
    brainstem hippocampus amygdala nucleus_accumbens ventral_diencephalon cerebrospinal_fluid liver spleen
    kidney gallbladder stomach pancreas adrenal_gland lung oesophagus trachea heart aorta inferior_vena_cava
    portal_vein small_bowel colon urinary_bladder vertebra sacrum hip_bone femur spinal_canal ribs sternum
    iliopsoas gluteal_muscles erector_spinae
"""
KNOWN = frozenset(EMBEDDED.split())

# Wordings that must come out exactly: text, structure, side.
EXACT = [
    ("segment the left kidney", "kidney", "left"),
    ("Outline the right lung.", "lung", "right"),
    ("kidneys", "kidney", "both"),
    ("Where is the liver?", "liver", ""),
    ("Mark both hippocampi", "hippocampus", "both"),
    ("right lateral ventricle", "lateral_ventricle", "right"),
    ("THE GALLBLADDER", "gallbladder", ""),
    ("gall bladder", "gallbladder", ""),
    ("inferior vena cava", "inferior_vena_cava", ""),
    ("vena cava inferior", "inferior_vena_cava", ""),
    ("IVC", "inferior_vena_cava", ""),
    ("esophagus", "oesophagus", ""),
    ("oesophagus", "oesophagus", ""),
    ("windpipe", "trachea", ""),
    ("left thigh bone", "femur", "left"),
    ("Which organ filters blood on the patient's left?", "kidney", "left"),
    ("the organ that makes bile", "liver", ""),
    ("What pumps blood?", "heart", ""),
    ("the bright fluid space in the middle of the brain", "ventricles", ""),
    ("segment the liever", "liver", ""),
    ("hipocampus", "hippocampus", ""),
    ("left lateral ventrical", "lateral_ventricle", "left"),
    ("the kidney on the left", "kidney", "left"),
    ("left atrium of the heart", "left_atrium", ""),
    ("is there any fluid around the lung?", "pleural_effusion", ""),
    ("fluid around the right lung", "pleural_effusion", "right"),
    ("a stone in the left kidney", "kidney_stone", "left"),
    ("Where are the ventricles of the brain?", "ventricles", ""),
    ("left and right kidney", "kidney", "both"),
    ("no liver here?", "liver", ""),
    ("not the liver, the spleen", "spleen", ""),
]

# Free wordings for the overall rate; "" means that naming a structure would be a guess.
FREE = [
    ("Could you please highlight the spleen for me", "spleen", ""),
    ("show stomach", "stomach", ""),
    ("I would like to see the pancreas", "pancreas", ""),
    ("pancreatic outline", "", ""),
    ("give me a mask of the urinary bladder", "urinary_bladder", ""),
    ("location of the right adrenal", "adrenal_gland", "right"),
    ("suprarenal gland, left", "adrenal_gland", "left"),
    ("Contour of the aorta please", "aorta", ""),
    ("the portal vein", "portal_vein", ""),
    ("draw around the sacrum", "sacrum", ""),
    ("where do the ribs run", "ribs", "both"),
    ("breast bone", "sternum", ""),
    ("backbone", "vertebra", ""),
    ("vertebrae", "vertebra", ""),
    ("hip bone of the right side", "hip_bone", "right"),
    ("gluteal muscles on both sides", "gluteal_muscles", "both"),
    ("left psoas major", "iliopsoas", "left"),
    ("the muscles along the spine", "erector_spinae", "both"),
    ("food pipe", "oesophagus", ""),
    ("gullet", "oesophagus", ""),
    ("large bowel", "colon", ""),
    ("loops of small intestine", "small_bowel", ""),
    ("can you segment the left half of the colon", "colon", ""),
    ("the tail of the pancreas", "pancreas", ""),
    ("upper pole of the right kidney", "kidney", "right"),
    ("Label the thalami.", "thalamus", "both"),
    ("right caudate nucleus", "caudate_nucleus", "right"),
    ("caudate on the left", "caudate_nucleus", "left"),
    ("putamen left side", "putamen", "left"),
    ("the left globus pallidus", "globus_pallidus", "left"),
    ("pallidum", "globus_pallidus", ""),
    ("fourth ventricle", "fourth_ventricle", ""),
    ("3rd ventricle?", "third_ventricle", ""),
    ("ventricle, third", "third_ventricle", ""),
    ("brain stem", "brainstem", ""),
    ("white matter of the cerebellum", "cerebellar_white_matter", ""),
    ("grey matter", "cerebral_cortex", ""),
    ("gray matter", "cerebral_cortex", ""),
    ("cerebral spinal fluid", "cerebrospinal_fluid", ""),
    ("CSF", "cerebrospinal_fluid", ""),
    ("accumbens right", "nucleus_accumbens", "right"),
    ("right temporal horn", "inferior_lateral_ventricle", "right"),
    ("cerebellum", "cerebellum", ""),
    ("basal ganglia on the left", "basal_ganglia", "left"),
    ("the whole brain", "brain", ""),
    ("pineal gland", "pineal_gland", ""),
    ("is the corpus callosum visible", "corpus_callosum", ""),
    ("optic nerve of the right eye", "optic_nerve", "right"),
    ("left eyeball", "eyeball", "left"),
    ("both eyes", "eyeball", "both"),
    ("the lens in the left eye", "lens_of_eye", "left"),
    ("jaw bone", "mandible", ""),
    ("voice box", "larynx", ""),
    ("thyroid", "thyroid_gland", ""),
    ("carotid artery left", "common_carotid_artery", "left"),
    ("jugular vein on the right side of the neck", "internal_jugular_vein", "right"),
    ("left ventricle", "left_ventricle", ""),
    ("right atrium", "right_atrium", ""),
    ("pulmonary arteries", "pulmonary_artery", ""),
    ("collar bone right", "clavicle", "right"),
    ("left shoulder blade", "scapula", "left"),
    ("upper lobe of the left lung", "lung_upper_lobe", "left"),
    ("left lower lobe", "lung_lower_lobe", "left"),
    ("womb", "uterus", ""),
    ("cervix", "uterine_cervix", ""),
    ("ovaries", "ovary", "both"),
    ("prostate gland", "prostate", ""),
    ("ureter left", "ureter", "left"),
    ("appendix", "appendix", ""),
    ("knee cap", "patella", ""),
    ("shin bone of the right leg", "tibia", "right"),
    ("anterior cruciate ligament", "anterior_cruciate_ligament", ""),
    ("achilles tendon", "achilles_tendon", ""),
    ("spinal cord", "spinal_cord", ""),
    ("lumbar vertebrae", "lumbar_vertebrae", ""),
    ("intervertebral disks", "intervertebral_disc", ""),
    ("lymph node", "lymph_nodes", ""),
    ("subcutaneous fat", "subcutaneous_fat", ""),
    # misspellings
    ("splean", "spleen", ""),
    ("right kidny", "kidney", "right"),
    ("pancrease", "pancreas", ""),
    ("panreas", "pancreas", ""),
    ("galbladder", "gallbladder", ""),
    ("stomache", "stomach", ""),
    ("stomack", "stomach", ""),
    ("esofagus", "oesophagus", ""),
    ("tracheaa", "trachea", ""),
    ("the aorrta", "aorta", ""),
    ("vertibrae", "vertebra", ""),
    ("sacrem", "sacrum", ""),
    ("hippocampas", "hippocampus", ""),
    ("thalmus", "thalamus", ""),
    ("cerebelum", "cerebellum", ""),
    ("amigdala", "amygdala", ""),
    ("putamin", "putamen", ""),
    ("brainstemm", "brainstem", ""),
    ("urinery bladder", "urinary_bladder", ""),
    ("inferior vena cavaa", "inferior_vena_cava", ""),
    ("duodenem", "duodenum", ""),
    ("prostrate", "prostate", ""),
    # function
    ("Which organ breathes?", "lung", ""),
    ("the organ we use to breathe, right one", "lung", "right"),
    ("what makes insulin", "pancreas", ""),
    ("Which structure stores urine?", "urinary_bladder", ""),
    ("the organ that holds the pee", "urinary_bladder", ""),
    ("where is bile stored", "gallbladder", ""),
    ("what stores the bile made by the liver", "gallbladder", ""),
    ("the gland that produces adrenaline", "adrenal_gland", ""),
    ("which organ produces urine on the right", "kidney", "right"),
    ("what digests food with acid", "stomach", ""),
    ("which part of the brain forms memories", "hippocampus", ""),
    ("structure responsible for fear", "amygdala", ""),
    ("what keeps us breathing in the brain", "brainstem", ""),
    ("which part of the brain relays sensory signals", "thalamus", ""),
    ("the part controlling balance and coordination", "cerebellum", ""),
    ("the vessel that carries blood from the heart to the body", "aorta", ""),
    ("vein bringing blood back from the legs to the heart", "inferior_vena_cava", ""),
    ("what connects the two halves of the brain", "corpus_callosum", ""),
    ("the bone that protects the heart at the front", "sternum", ""),
    ("which organ absorbs nutrients", "small_bowel", ""),
    ("where is stool formed", "colon", ""),
    ("what carries food to the stomach", "oesophagus", ""),
    ("which tube carries urine to the bladder", "ureter", ""),
    ("which gland makes melatonin", "pineal_gland", ""),
    ("what produces milk", "breast", ""),
    ("which muscle helps us breathe under the lungs", "diaphragm", ""),
    ("what produces tears", "lacrimal_gland", ""),
    ("which organ fights infection on the left under the ribs", "spleen", ""),
    ("the muscle that straightens the back", "erector_spinae", ""),
    ("the muscle that bends the hip", "iliopsoas", ""),
    # look and place
    ("the largest solid organ in the upper right abdomen", "liver", ""),
    ("bean-shaped organ next to the spine on the left", "kidney", "left"),
    ("small pear-shaped sac under the liver", "gallbladder", ""),
    ("the big round artery in front of the spine", "aorta", ""),
    ("air-filled tube in the middle of the neck", "trachea", ""),
    ("seahorse-shaped structure in the temporal lobe", "hippocampus", ""),
    ("the triangular bone at the back of the pelvis", "sacrum", ""),
    ("black air-filled organ in the chest", "lung", ""),
    ("flat bone at the front of the chest", "sternum", ""),
    ("tent-shaped space between brainstem and cerebellum", "fourth_ventricle", ""),
    ("folded grey ribbon at the surface of the brain", "cerebral_cortex", ""),
    ("butterfly-shaped gland in the neck", "thyroid_gland", ""),
    # findings
    ("is there a tumour?", "mass", ""),
    ("any metastases", "metastasis", ""),
    ("liver lesion", "liver_tumour", ""),
    ("is there a mass in the right kidney", "kidney_tumour", "right"),
    ("gallstones?", "gallstone", ""),
    ("is there water on the lung on the left", "pleural_effusion", "left"),
    ("pericardial effusion", "pericardial_effusion", ""),
    ("brain bleed", "intracranial_haemorrhage", ""),
    ("hematoma", "haematoma", ""),
    ("do you see a broken bone", "fracture", ""),
    ("slipped disc", "disc_herniation", ""),
    ("aortic aneurysm", "aneurysm", ""),
    ("free fluid in the abdomen", "ascites", ""),
    ("pacemaker", "pacemaker", ""),
    ("ground glass opacities", "ground_glass_opacity", ""),
    # naming a structure here would be a guess
    ("river", "", ""),
    ("hello there", "", ""),
    ("what is this?", "", ""),
    ("what do you see", "", ""),
    ("where is the flux capacitor", "", ""),
    ("the organ", "", ""),
    ("segment everything", "", ""),
    ("how is the weather in the hospital", "", ""),
    ("lever", "", ""),
    ("the skill of a surgeon", "", ""),
    ("12345", "", ""),
    ("the left one", "", ""),
    ("what is next to the liver", "", ""),
    ("what lies between the kidneys", "", ""),
    ("the thing I pointed at yesterday", "", ""),
    ("where does it hurt", "", ""),
    ("asdf qwer", "", ""),
    ("is the image normal", "", ""),
    ("the colon in this sentence: right?", "colon", ""),
]

# A second list, written after the rules had been adjusted to the first one.
LATER = [
    ("Please delineate the patient's right kidney on this slice", "kidney", "right"),
    ("Hey, can you find the spleen?", "spleen", ""),
    ("mark left femur", "femur", "left"),
    ("what's the outline of the stomach", "stomach", ""),
    ("Show me where the trachea splits", "trachea", ""),
    ("I need the volume of the liver", "liver", ""),
    ("bladder?", "urinary_bladder", ""),
    ("urinary bladder wall", "urinary_bladder", ""),
    ("segmentation of heart and aorta", "heart", ""),
    ("both lungs please", "lung", "both"),
    ("right lung only", "lung", "right"),
    ("the hip bones", "hip_bone", "both"),
    ("Find the patient's left adrenal gland", "adrenal_gland", "left"),
    ("where's the pancreas hiding", "pancreas", ""),
    ("ribcage", "ribs", ""),
    ("amygdala on the right", "amygdala", "right"),
    ("left-sided hippocampus", "hippocampus", "left"),
    ("lateral ventricles", "lateral_ventricle", "both"),
    ("caudate nuclei", "caudate_nucleus", "both"),
    ("cerebral cortex of the left hemisphere", "cerebral_cortex", "left"),
    ("the cord in the spinal canal", "spinal_cord", ""),
    ("spinal canal", "spinal_canal", ""),
    ("vertebral bodies", "vertebra", ""),
    ("neck of the left femur", "femur", "left"),
    ("gluteus maximus right", "gluteus_maximus", "right"),
    ("is the gallbladder there?", "gallbladder", ""),
    ("Do you see a left kidney?", "kidney", "left"),
    ("does this slice contain any liver", "liver", ""),
    ("has the spleen been removed", "spleen", ""),
    ("is the appendix inflamed", "appendicitis", ""),
    ("is there a nodule in the right lung", "lung_nodule", "right"),
    ("show any cysts in the left kidney", "kidney_cyst", "left"),
    ("fluid around the heart", "pericardial_effusion", ""),
    ("was there a stroke", "infarct", ""),
    ("bleeding inside the skull", "intracranial_haemorrhage", ""),
    ("hydrocephalus", "hydrocephalus", ""),
    ("enlarged lymph nodes", "lymph_nodes", ""),
    ("pneumotorax", "pneumothorax", ""),
    ("galbader", "", ""),
    ("addrenal gland", "adrenal_gland", ""),
    ("lft kidney", "kidney", ""),
    ("ventricals of the brain", "ventricles", ""),
    ("diafragm", "diaphragm", ""),
    ("urether", "ureter", ""),
    ("cerebrospinal fluids", "cerebrospinal_fluid", ""),
    ("ilopsoas", "iliopsoas", ""),
    ("thyriod gland", "thyroid_gland", ""),
    ("which organ cleans blood of urine waste", "kidney", ""),
    ("Which gland sits on top of the kidney?", "adrenal_gland", ""),
    ("What organ detoxifies the body and makes bile?", "liver", ""),
    ("Where does the food go after swallowing", "", ""),
    ("what organ takes up oxygen", "lung", ""),
    ("organ that churns food", "stomach", ""),
    ("which bone forms the thigh", "femur", ""),
    ("which bone is called the breastbone", "sternum", ""),
    ("what carries air from the throat to the lungs", "trachea", ""),
    ("what vessel returns blood from the legs", "inferior_vena_cava", ""),
    ("which vein enters the liver", "portal_vein", ""),
    ("what cushions the brain", "cerebrospinal_fluid", ""),
    ("which part of the brain thinks", "cerebrum", ""),
    ("part of the brain that processes emotions", "amygdala", ""),
    ("structure between the two thalami", "third_ventricle", ""),
    ("the relay of the senses in the brain", "thalamus", ""),
    ("the muscle that lifts the thigh", "iliopsoas", ""),
    ("the buttock muscles on the left", "gluteal_muscles", "left"),
    ("fist-sized organ beside the stomach", "spleen", ""),
    ("ring of cartilage in the neck", "", ""),
    ("long coiled tube in the lower abdomen", "small_bowel", ""),
    ("round fluid-filled bag at the front of the pelvis", "urinary_bladder", ""),
    ("air-filled hollow in the cheek on the right", "maxillary_sinus", "right"),
    ("can you help me", "", ""),
    ("thank you", "", ""),
    ("what modality is this", "", ""),
    ("which slice is this", "", ""),
    ("is this a CT or an MRI", "", ""),
    ("left", "", ""),
    ("right side please", "", ""),
    ("the patient is 50 years old", "", ""),
    ("give me the diagnosis", "", ""),
    ("the dark round spot on the left of the image", "", ""),
    ("what is the bright thing in the middle", "", ""),
    ("the big organ", "", ""),
]

# A third list, written after the rules had been adjusted to the first two.
LAST = [
    ("Segment the patient's right lung.", "lung", "right"),
    ("hepatic parenchyma", "liver", ""),
    ("draw the left iliopsoas muscle", "iliopsoas", "left"),
    ("Which one is the aorta?", "aorta", ""),
    ("let's look at the right adrenal gland", "adrenal_gland", "right"),
    ("location of both femurs", "femur", "both"),
    ("pls mark the gallbladder", "gallbladder", ""),
    ("stomach wall and spleen", "stomach", ""),
    ("the trachea in the neck", "trachea", ""),
    ("cerebellar cortex, right hemisphere", "cerebellar_cortex", "right"),
    ("white matter on the left", "cerebral_white_matter", "left"),
    ("temporal horn of the left lateral ventricle", "inferior_lateral_ventricle", "left"),
    ("brain ventricles", "ventricles", ""),
    ("frontal lobes", "frontal_lobe", "both"),
    ("thoracic aorta", "descending_aorta", ""),
    ("right main bronchus", "bronchus", "right"),
    ("eye on the left", "eyeball", "left"),
    ("optic nerves", "optic_nerve", "both"),
    ("uterus", "uterus", ""),
    ("ascending colon", "ascending_colon", ""),
    ("L-spine", "lumbar_vertebrae", ""),
    ("kneecap of the left knee", "patella", "left"),
    ("colon cancer", "colon_tumour", ""),
    ("are there renal cysts on the right?", "kidney_cyst", "right"),
    ("is there any free air", "free_air", ""),
    ("is a stent visible?", "stent", ""),
    ("pulmonary embolus", "pulmonary_embolism", ""),
    ("gallblader", "gallbladder", ""),
    ("spline", "", ""),
    ("right adrenel gland", "adrenal_gland", "right"),
    ("inferiour vena cava", "inferior_vena_cava", ""),
    ("cerebral whte matter", "cerebral_white_matter", ""),
    ("bladdr", "urinary_bladder", ""),
    ("sternem", "sternum", ""),
    ("which organ collects urine", "urinary_bladder", ""),
    ("what helps digest fat and is kept in a small sac", "", ""),
    ("where are hormones like insulin made", "pancreas", ""),
    ("the organ on the left that fights infections", "spleen", ""),
    ("which organ filters the blood on the right side", "kidney", "right"),
    ("which muscles straighten the hip", "gluteal_muscles", "both"),
    ("which bones shield the lungs", "ribs", "both"),
    ("the tube that brings food down to the stomach", "oesophagus", ""),
    ("the pipe carrying air into the lungs", "trachea", ""),
    ("which nucleus in the brain helps with reward", "nucleus_accumbens", ""),
    ("the part of the brain that relays the senses", "thalamus", ""),
    ("stalk connecting brain and spinal cord", "brainstem", ""),
    ("fluid that cushions the brain", "cerebrospinal_fluid", ""),
    ("wide tube with gas and stool", "colon", ""),
    ("the curved bones around the chest", "ribs", "both"),
    ("where is the problem", "", ""),
    ("is everything ok", "", ""),
    ("show me something interesting", "", ""),
    ("the small dark one above", "", ""),
    ("nothing", "", ""),
]

FLOOR = 0.94
"""Least share of free wordings that come out exactly. At first try, before any rule was changed for
them, it was 0.90 for the first list, 0.87 for the second and 0.89 for the third."""
MOST_WRONG = 0.02
"""Largest share in which another structure is named than the one meant."""


def asked(text: str) -> Understood:
    return understand(text, KNOWN)


@pytest.mark.parametrize(("text", "structure", "side"), EXACT)
def test_must_understand(text, structure, side):
    understood = asked(text)
    assert (understood.structure, understood.side) == (structure, side)


def test_rate_of_free_wordings():
    wordings = FREE + LATER + LAST
    answers = [(text, want, side, asked(text)) for text, want, side in wordings]
    missed = [(t, w, s, u.structure, u.side) for t, w, s, u in answers if (u.structure, u.side) != (w, s)]
    wrong = [(t, w, u.structure) for t, w, _, u in answers if u.structure and u.structure != w]
    assert 1 - len(missed) / len(wordings) >= FLOOR, missed
    assert len(wrong) / len(wordings) <= MOST_WRONG, wrong


def test_every_wording_of_the_table_names_its_structure():
    wordings = [(entry.id, phrase) for entry in structures().values() for phrase in entry.phrases]
    for structure, phrase in wordings:
        understood = asked(f"Where is the {phrase}?")
        assert understood.structure == structure, phrase
        assert understood.how in ("name", "synonym"), phrase


@pytest.mark.parametrize(
    ("text", "how", "matched"),
    [
        ("Where is the liver?", "name", "liver"),
        ("Where is the windpipe?", "synonym", "windpipe"),
        ("Show the LIEVER", "spelling", "liever"),
        ("Which organ filters blood?", "function", "filters blood"),
        ("the seahorse-shaped one in the temporal lobe", "description", "seahorse shaped temporal lobe"),
        ("hello", "", ""),
    ],
)
def test_says_how_it_understood(text, how, matched):
    understood = asked(text)
    assert (understood.how, understood.matched) == (how, matched)


@pytest.mark.parametrize(
    "word",
    [
        "river",
        "lever",
        "lives",
        "skill",
        "color",
        "heard",
        "angle",
        "store",
        "train",
        "spline",
        "connecting",
        "hypothesis",
    ],
)
def test_ordinary_words_are_no_misspelling(word):
    assert asked(f"where is the {word}").structure == ""


@pytest.mark.parametrize(
    ("text", "side", "side_of"),
    [
        ("left kidney", "left", "patient"),
        ("the kidney on the patient's right", "right", "patient"),
        ("the kidney on the left side of the image", "left", "image"),
        ("image left kidney", "left", "image"),
        ("kidney on the right-hand side of the screen", "right", "image"),
        ("the kidney on my right", "right", "image"),
        ("show the kidney right now", "", "patient"),
        ("is that right? show the kidney", "", "patient"),
        ("the kidney, right?", "", "patient"),
        ("is the kidney on the right?", "right", "patient"),
        ("the kidney right behind the liver", "", "patient"),
        ("is there any kidney left?", "", "patient"),
        ("are leftover parts of the kidney visible", "", "patient"),
        ("both kidneys", "both", "patient"),
        ("the left and the right kidney", "both", "patient"),
        ("kidneys", "both", "patient"),
        ("kidney", "", "patient"),
        ("left liver", "", "patient"),
    ],
)
def test_side(text, side, side_of):
    understood = asked(text)
    assert (understood.side, understood.side_of) == (side, side_of)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("segment the liver", "locate"),
        ("Where is the liver?", "locate"),
        ("can you find the liver", "locate"),
        ("please show me any liver", "locate"),
        ("is there a liver?", "presence"),
        ("is the liver visible on this slice", "presence"),
        ("can you see the liver?", "presence"),
        ("no liver here?", "presence"),
        ("any liver?", "presence"),
        ("does this slice show the liver", "presence"),
        ("what is the liver?", "describe"),
        ("describe the liver", "describe"),
        ("what does the liver do", "describe"),
        ("how big is the liver", "describe"),
        ("what is the organ that makes bile?", "locate"),
        ("Is that right? Show me the liver.", "locate"),
    ],
)
def test_kind(text, kind):
    assert asked(text).kind == kind
    assert asked(text).structure == "liver"


def test_several_structures_keep_their_own_sides():
    understood = asked("the spleen, the left kidney and both lungs")
    assert understood.structure == "spleen"
    assert understood.side == ""
    assert understood.others == ("kidney", "lung")
    assert understood.other_sides == ("left", "both")


def test_a_structure_that_only_says_where_is_not_the_answer():
    understood = asked("Is there a tumour in the spleen?")
    assert understood.structure == "mass"
    assert understood.located_by == ("spleen",)
    assert not understood.known
    assert understood.suggestions[0] == "spleen"
    assert asked("what is behind the stomach").structure == ""


@pytest.mark.parametrize(
    ("text", "structure"),
    [
        ("the spleen, not the liver", "spleen"),
        ("the spleen instead of the liver", "spleen"),
        ("everything but the liver", ""),
        ("is the liver not visible?", "liver"),
        ("don't segment the liver, segment the spleen", "spleen"),
        ("I do not want the liver but the spleen", "spleen"),
        ("without the liver please show the spleen", "spleen"),
        ("don't segment the liver", ""),
        ("strip away everything but the liver", "liver"),
    ],
)
def test_negation(text, structure):
    understood = asked(text)
    assert understood.structure == structure
    assert "liver" not in understood.others


@pytest.mark.parametrize(
    ("text", "side"),
    [("not the left kidney but the right one", "right"), ("the kidney that is not on the left", "right")],
)
def test_a_denied_side_means_the_other(text, side):
    understood = asked(text)
    assert (understood.structure, understood.side) == ("kidney", side)


@pytest.mark.parametrize(
    "text",
    [
        "colour in the liver",
        "give me a mask of the liver for the report",
        "for my thesis, label every pixel of the liver at this level",
        "which voxels belong to the liver?",
        "put a box around the liver",
        "zoom in on the liver",
        "I am looking for the liver, any luck?",
        "trace the border of the liver for me",
    ],
)
def test_a_preposition_of_drawing_is_no_place(text):
    assert asked(text).structure == "liver"


@pytest.mark.parametrize(
    "text",
    [
        "is there a river in the liver county",
        "a fistula, in the liver?",
        "where is the flux capacitor in the liver",
        "what surrounds the liver",
        "the organ between the stomach and the liver",
    ],
)
def test_something_unknown_at_a_place_is_not_the_place(text):
    understood = asked(text)
    assert understood.structure == ""
    assert "liver" in understood.located_by
    assert understood.suggestions


def test_an_adjective_suggests_its_structure():
    assert "liver" in asked("hepatic region").suggestions


@pytest.mark.parametrize(
    "text", ["radial artery", "sartorius muscle", "the lesser trochanter bone", "great saphenous vein"]
)
def test_a_kind_of_tissue_does_not_stand_for_an_unknown_member(text):
    assert asked(text).structure == ""


def test_a_kind_of_tissue_can_be_asked_for():
    assert asked("segment all bones").structure == "bone"
    assert asked("where is muscle").structure == "skeletal_muscle"


def test_a_group_is_known_when_all_its_parts_are():
    assert asked("ventricles").known
    assert asked("brain").known
    assert not understand("ventricles", KNOWN - {"third_ventricle"}).known
    assert not asked("paranasal sinuses").known


def test_unknown_structures_come_with_known_neighbours():
    pineal = asked("pineal gland")
    assert not pineal.known
    assert "third ventricle" in pineal.suggestions
    known_names = {structures()[id_].name for id_ in KNOWN}
    for text in ("pineal gland", "right ventricle", "kidney stone", "fracture of the femur", "rivver"):
        suggestions = asked(text).suggestions
        assert 0 < len(suggestions) <= 5, text
        assert known_names.issuperset(suggestions), text
    assert asked("liver").suggestions == ()
    assert understand("liver", []).suggestions == ()


@settings(deadline=None)  # the vocabulary is read in the first example
@given(st.text(max_size=120))
def test_any_text_gives_a_valid_result(text):
    understood = asked(text)
    assert understood == asked(text)
    assert understood.structure in ("", *structures())
    assert (understood.structure == "") == (understood.how == "") == (understood.matched == "")
    assert all(part in text.lower().replace("\u2019", "'") for part in understood.matched.split())


PAIRED = sorted(id_ for id_ in KNOWN if structures()[id_].paired)


@settings(deadline=None)
@given(st.sampled_from(PAIRED), st.sampled_from(["left", "right"]), st.booleans())
def test_side_words_do_not_change_the_structure(structure, side, before):
    name = structures()[structure].name
    text = f"segment the {side} {name}" if before else f"segment the {name} on the {side}"
    understood = asked(text)
    assert understood.structure == structure
    assert understood.side == side


def swap(word: str, place: int) -> str:
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


@settings(deadline=None)
@given(st.data())
def test_two_swapped_letters_name_the_same_structure_or_none(data):
    name = structures()[data.draw(st.sampled_from(sorted(KNOWN)))].name
    words = name.split()
    which = data.draw(st.integers(0, len(words) - 1))
    if len(words[which]) < 6:
        return
    words[which] = swap(words[which], data.draw(st.integers(1, len(words[which]) - 2)))
    understood = asked(" ".join(words))
    assert understood.structure in ("", asked(name).structure)


@given(st.text("abcd", max_size=7), st.text("abcd", max_size=7), st.text("abcd", max_size=7))
def test_edit_distance_is_symmetric_and_bounded(first, second, third):
    distance = edit_distance(first, second)
    assert distance == edit_distance(second, first)
    assert (distance == 0) == (first == second)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))
    assert edit_distance(third + first, third + second) <= distance


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("liver", "liver", 0),
        ("liever", "liver", 1),
        ("ilver", "liver", 1),
        ("livr", "liver", 1),
        ("", "abc", 3),
    ],
)
def test_edit_distance(first, second, distance):
    assert edit_distance(first, second) == distance


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("kidneys", "kidney"),
        ("arteries", "artery"),
        ("vertebrae", "vertebra"),
        ("hippocampi", "hippocampus"),
        ("abscesses", "abscess"),
        ("pancreas", "pancreas"),
        ("uterus", "uterus"),
        ("pelvis", "pelvis"),
        ("pons", "pons"),
        ("does", "does"),
    ],
)
def test_singular(plural, one):
    assert singular(plural) == one


def test_words_keep_their_places():
    text = "The patient\u2019s LEFT h\u00e6matoma"
    assert [text[word.start : word.end] for word in split(text)] == [
        "The",
        "patient",
        "LEFT",
        "h\u00e6matoma",
    ]
