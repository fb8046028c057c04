"""Words of a question: splitting, word forms, spelling distance and the word lists that go with them."""

from __future__ import annotations

import re
import unicodedata
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
    please could would can you me i we us want need like do does did is are was were be been being
    am has have had there here where what which who whose whom how why when will shall should may
    might must it its image picture slice scan plane view ct mri mr ray xray x patient person body
    human organ structure area region part thing place spot side one tell describe explain detect
    check any some no not none without also both and or but then than so just only exactly around
    about as at by for from in into of off on onto out to up with s t bright dark shiny grey gray
    white black light colour color coloured responsible called known anatomy anatomical located lie
    lies found sit sits job function use used that's here's question
    """
)
"""Words that say nothing about which structure is meant."""

PART_NOUNS = word_list(
    """
    head tail body neck tip edge wall lobe pole dome border surface size shape volume mask outline
    contour boundary extent side half location position picture segmentation segment margin rest
    box appearance state look length width area diameter function job role purpose colour color
    rim portion piece fragment slice
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
    "recall": "memory", "remember": "memory", "memories": "memory", "urinate": "urine", "digestion": "digest",
    "backbone": "spine", "shaped": "shape", "oxygenate": "oxygen", "throughout": "around",
}  # fmt: skip

_REAL_WORDS = word_list(
    """
    above after along angle artist aside avoid basic beard begin being below blade bowl brown chair
    chess chose clean clear close color colour colours could count course cover cross diver drive
    early edges every extra false field final first front gland glands grain grand great green group
    guess heard hears heavy hidden image images inner joint large later layer lever lived lives
    liked lower lunch major minor model mouse mouth nerve never night normal notes often other outer
    pains paint paper pasta patch phase place plain plane plate plaza point power price prime print
    quick quiet rapid reach ready right river round route scale scan scope score serve shade shape
    share sharp sheet shift shirt short sight skill slice small solid sound space spike spins split
    spoon sport stage stair start state steak steel stick still store storm story strip style sugar
    table taste teach their there these thing think third those thumb tight tired title toast today
    total touch tower trace track train treat trial truck trust truth under unity until upper usual
    value voice waist waste watch water where which while white whole whose woman world would wrong
    young lovers letter better matter mother father brother number member people person picture
    please pretty really second should similar simple single something special strong structure
    system though through together turned visible vision window without wonder section session
    mission region lesson season reason patient patients possible present
    """
)
"""Ordinary words within a slip of a vocabulary word; they are never taken for a misspelling."""

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
    "conchae": "concha", "leaves": "leaf", "abscesses": "abscess", "masses": "mass", "viruses": "virus",
}  # fmt: skip

_NO_PLURAL = frozenset({"pons", "lens", "biceps", "triceps", "quadriceps", "forceps", "diabetes"})

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
    return tuple(_word(match) for match in re.finditer(r"[a-z0-9]+(?:'s\b)?", plain))


def _plain(text: str) -> str:
    """Lower case without accents, character by character, so that places in the text stay valid."""
    letters = (unicodedata.normalize("NFKD", character)[:1] or " " for character in text)
    return "".join(letters).lower().replace("\u2019", "'") if text else ""


def _word(match: re.Match[str]) -> Word:
    raw = match.group().removesuffix("'s")
    american = raw
    for british, spelling in _AMERICAN:
        american = american.replace(british, spelling)
    form = singular(american)
    return Word(form, match.start(), match.start() + len(raw), plural=form != american)


@cache
def singular(word: str) -> str:
    """The singular of an English or Latin noun; a word that is not a plural comes back unchanged."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or word in _NO_PLURAL or word.endswith(("ss", "us", "is", "as", "aes")):
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
    for ending, least in (("ing", 6), ("ion", 7), ("ive", 7), ("ed", 5), ("ly", 6), ("e", 4)):
        if word.endswith(ending) and len(word) >= least:
            word = word.removesuffix(ending)
            break
    known = _SAME_MEANING.get(word) or _SAME_MEANING.get(word + "e")
    if known is not None and known != form:
        return stem(known)
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") else word


def content_stems(words: tuple[Word, ...]) -> tuple[str, ...]:
    """Roots of the words that may say which structure is meant, each once."""
    return tuple(
        dict.fromkeys(
            stem(word.form)
            for word in words
            if word.form not in COMMAND_WORDS and word.form not in ARTICLES and len(word.form) > 1
        )
    )


def corrected(form: str, vocabulary: frozenset[str]) -> str | None:
    """The one vocabulary word that `form` is a likely slip of, or None.

    Only words of five letters and more, with the same first letter, that are no ordinary word: one
    slip, or two from eight letters on. In a short word a changed consonant is not taken for a slip.
    """
    if len(form) < 5 or form in vocabulary or form in COMMAND_WORDS or form in _REAL_WORDS:
        return None
    limit = 2 if len(form) >= 8 else 1
    near: dict[int, list[str]] = {}
    for word in vocabulary:
        if word[0] == form[0] and len(word) >= 5 and abs(len(word) - len(form)) <= limit:
            distance = edit_distance(form, word)
            if distance <= limit and not _changes_consonant(form, word):
                near.setdefault(distance, []).append(word)
    closest = near.get(min(near, default=0), [])
    same_length = [word for word in closest if len(word) == len(form)]
    unique = closest if len(closest) == 1 else same_length
    return unique[0] if len(unique) == 1 else None


def _changes_consonant(form: str, word: str) -> bool:
    """Whether two short words of equal length differ by one consonant for another."""
    if len(form) != len(word) or len(form) > 6:
        return False
    different = [(a, b) for a, b in zip(form, word, strict=True) if a != b]
    return len(different) == 1 and not set(different[0]) <= set("aeiouy")


def edit_distance(first: str, second: str) -> int:
    """Insertions, deletions, changes and swaps of neighbours (Damerau 1964; optimal string alignment)."""
    before_previous: list[int] = []
    previous = list(range(len(second) + 1))
    for row, a in enumerate(first, start=1):
        current = [row]
        for column, b in enumerate(second, start=1):
            cost = min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (a != b))
            swapped = row > 1 and column > 1 and a == second[column - 2] and first[row - 2] == b
            current.append(min(cost, before_previous[column - 2] + 1) if swapped else cost)
        before_previous, previous = previous, current
    return previous[-1]
