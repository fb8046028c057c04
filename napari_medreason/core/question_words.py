"""Words of a question: splitting, word forms, spelling distance and the word lists that go with them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache


def word_list(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


ARTICLES = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "my", "your", "his", "her", "their"}
)

COMMAND_WORDS = word_list(
    """
    segment segmentation outline mask mark label annotate contour delineate draw highlight show
    display find locate location position point identify name give get see seen visible look looking
    please help all every entire complete full could would two can you me i we us want need like do
    does did is are was were be been being am has have had there here where what which who whose
    whom how why when will shall should may might must it its image picture slice scan plane view ct
    mri mr ray xray x patient person body human organ structure area region part thing place spot
    side one tell describe explain detect check any some no not none without also both and or but
    then than so just only exactly around about as at by for from in into of off on onto out to up
    with s t bright dark shiny grey gray white black light colour color coloured responsible called
    known anatomy anatomical located lie lies found sit sits job function use used that's here's
    question
    """
)
"""Words that say nothing about which structure is meant."""

PART_NOUNS = word_list(
    """
    head tail body neck tip edge wall lobe pole dome border surface size shape volume mask outline
    contour boundary extent side half location position picture segmentation segment margin rest
    box appearance state look length width area diameter function job role purpose colour color
    rim portion piece fragment slice loop
    """
)
"""Nouns after which "of the X" still asks for X."""

_SAME_MEANING = {
    "pee": "urine", "wee": "urine", "piss": "urine", "belly": "abdomen", "tummy": "abdomen",
    "big": "large", "huge": "large", "biggest": "largest", "little": "small", "tiny": "small",
    "poo": "stool", "feces": "stool", "faeces": "stool", "excrement": "stool",
    "create": "make", "produce": "make", "secrete": "make", "generate": "make", "manufacture": "make",
    "made": "make", "transport": "carry", "bring": "carry", "convey": "carry", "deliver": "carry",
    "hold": "store", "keep": "store", "contain": "store", "inhale": "breathe", "inhalation": "breathe",
    "respiration": "breathe", "pipe": "tube", "channel": "tube", "duct": "tube", "sac": "bag",
    "pouch": "bag", "sack": "bag", "midline": "middle", "centre": "middle", "center": "middle",
    "upper": "top", "lower": "bottom", "anterior": "front", "posterior": "back", "rear": "back",
    "behind": "back", "under": "beneath", "below": "beneath", "underneath": "beneath", "next": "beside",
    "near": "beside", "adjacent": "beside", "thorax": "chest",
    "liquid": "fluid", "water": "fluid", "purify": "clean", "cleanse": "clean", "beat": "pump",
    "protect": "shield", "guard": "shield",
    "return": "carry", "drain": "carry", "supply": "feed",
    "recall": "memory", "remember": "memory", "memories": "memory", "urinate": "urine", "digestion": "digest",
    "backbone": "spine", "shaped": "shape", "oxygenate": "oxygen", "throughout": "around",
}  # fmt: skip

_IRREGULAR = {
    "vertebrae": "vertebra", "bronchi": "bronchus", "hippocampi": "hippocampus", "thalami": "thalamus",
    "nuclei": "nucleus", "femora": "femur", "femurs": "femur", "ossa": "os", "venae": "vena",
    "cavae": "cava", "atria": "atrium", "calculi": "calculus", "metastases": "metastasis",
    "diverticula": "diverticulum", "diagnoses": "diagnosis", "pelves": "pelvis", "ova": "ovum",
    "cortices": "cortex", "apices": "apex", "viscera": "viscus", "sulci": "sulcus", "gyri": "gyrus",
    "amygdalae": "amygdala", "scapulae": "scapula", "tibiae": "tibia", "fibulae": "fibula",
    "clavicles": "clavicle", "teeth": "tooth", "feet": "foot", "uteri": "uterus", "thrombi": "thrombus",
    "emboli": "embolus", "menisci": "meniscus", "patellae": "patella", "humeri": "humerus", "sacra": "sacrum",
    "sterna": "sternum", "putamina": "putamen", "globi": "globus", "pallidi": "pallidus", "radii": "radius",
    "ulnae": "ulna", "tali": "talus", "calcanei": "calcaneus", "rami": "ramus", "foramina": "foramen",
    "cerebella": "cerebellum", "cerebra": "cerebrum", "hila": "hilum", "ilia": "ilium", "ilea": "ileum",
    "jejuna": "jejunum", "duodena": "duodenum", "mediastina": "mediastinum", "ceca": "cecum",
    "testes": "testis", "larynges": "larynx", "pharynges": "pharynx", "coccyges": "coccyx",
    "pneumothoraces": "pneumothorax", "appendices": "appendix", "cervices": "cervix", "hiatuses": "hiatus",

    "conchae": "concha", "leaves": "leaf", "halves": "half",
    "calves": "calf", "abscesses": "abscess", "masses": "mass", "viruses": "virus",
}  # fmt: skip

_NO_PLURAL = frozenset(
    {
        "pons",
        "lens",
        "biceps",
        "triceps",
        "quadriceps",
        "forceps",
        "diabetes",
        "achilles",
        "pancreas",
        "psoas",
        "iliopsoas",
        "atlas",
        "canvas",
    }
)

_AMERICAN = (
    ("haem", "hem"),
    ("oeso", "eso"),
    ("oede", "ede"),
    ("aemia", "emia"),
    ("tumour", "tumor"),
    ("colour", "color"),
    ("grey", "gray"),
    ("fibre", "fiber"),
    ("centre", "center"),
    ("foet", "fet"),
    ("faec", "fec"),
    ("caec", "cec"),
    ("anaes", "anes"),
    ("paed", "ped"),
    ("diarrhoe", "diarrhe"),
    ("orthopaed", "orthoped"),
)


@dataclass(frozen=True)
class Word:
    """One word of a text: `form` is its singular in American spelling, `start` and `end` its place."""

    form: str
    start: int
    end: int
    plural: bool
    corrected: bool = False


def split(text: str) -> tuple[Word, ...]:
    """The words and numbers of a text in order, without possessive endings."""
    plain = _plain(text)
    return tuple(_word(match) for match in re.finditer(r"[a-z0-9\u00e6\u0153]+(?:'s\b)?", plain))


def _plain(text: str) -> str:
    """Lower case without accents, character by character, so that places in the text stay valid."""
    letters = (unicodedata.normalize("NFKD", character)[:1] or " " for character in text)
    return "".join(letters).lower().replace("\u2019", "'") if text else ""


def _word(match: re.Match[str]) -> Word:
    raw = match.group().removesuffix("'s")
    american = raw.replace("\u00e6", "ae").replace("\u0153", "oe")
    for british, spelling in _AMERICAN:
        american = american.replace(british, spelling)
    form = singular(american)
    return Word(form, match.start(), match.start() + len(raw), plural=form != american)


@cache
def singular(word: str) -> str:
    """The singular of an English or Latin noun; a word that is not a plural comes back unchanged."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if (
        len(word) < 4
        or word in _NO_PLURAL
        or word in COMMAND_WORDS
        or word.endswith(("ss", "us", "is", "aes"))
    ):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("shes", "ches", "xes", "sses")):
        return word[:-2]
    return word.removesuffix("s")


@cache
def stem(form: str) -> str:
    """A crude root: "filters" and "filtering" agree, and everyday words map to the table's."""
    word = _SAME_MEANING.get(form, form)
    for ending, least in (("ing", 6), ("ion", 7), ("ive", 7), ("ory", 7), ("ed", 5), ("ly", 6), ("e", 4)):
        if word.endswith(ending) and len(word) >= least:
            word = word.removesuffix(ending)
            break
    known = _SAME_MEANING.get(word) or _SAME_MEANING.get(word + "e")
    if known is not None and known != form:
        return stem(known)
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


PLACE_ROOTS = frozenset(
    map(
        stem,
        word_list(
            """
            top bottom front back middle end base apex left right inner outer beneath above beside inside
            outside between next close around deep whole
            """
        )
        | PART_NOUNS,
    )
)
"""Roots of words that place something on or beside a structure, but don't tell structures apart."""


def content_stems(words: Iterable[Word]) -> tuple[str, ...]:
    """Roots of the words that may say which structure is meant, each once."""
    return tuple(
        dict.fromkeys(
            stem(word.form)
            for word in words
            if word.form not in COMMAND_WORDS and word.form not in ARTICLES and len(word.form) > 1
        )
    )


QUIET_ROOTS = frozenset(
    map(
        stem,
        word_list(
            """
            thank thanks cheers kindly kind sorry hello hi hey dear good morning afternoon evening ok okay
            yes well great nice fine report thesis study paper project research work task homework lecture
            class student teaching training test level frame serie sequence dataset data file screen window
            monitor field fov acquisition exam examination film precise precisely exact accurate accurately
            careful carefully closely quick quickly fast slow rough roughly approximately clear clearly
            possible possibly next first last again once more another already still yet now today later try
            wonder wondering curious think believe guess hope know sure certain maybe perhaps probably luck
            anything something interested doctor doc colleague friend plus such much many very really
            actually simply quite currently present presently shown appear let go come take put make start
            don won didn couldn wouldn ll ve re ask said told teacher professor nurse surgeon radiologist
            tutor anatomy mother father
            """
        ),
    )
)
"""Roots of words of courtesy, manner and handling images, which name no structure either."""
