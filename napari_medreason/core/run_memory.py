"""How much memory a run will take, before it starts: an estimate, said to be one wherever it is shown.

Counted are weights, gradients and moments of what is trained, the values kept for the backward pass, and the
keys and values of answers that are drawn. Not counted is what is lost between blocks of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_medreason.core.run_config import RunConfig
from napari_medreason.core.run_recipes import EmbeddedRecipe
from napari_medreason.core.run_recipes_joint import MediSeeRecipe, PrsMedRecipe
from napari_medreason.core.run_recipes_reasoning import GrpoRecipe, SftRecipe
from napari_medreason.errors import RunError

LIBRARIES = 1_000_000_000
"""Measured on a processor: PyTorch, transformers and this package; the embedded model with its phantoms."""
LIBRARIES_OF_LANGUAGE = 1_700_000_000
"""With TRL, PEFT and datasets, measured with networks of a few megabytes."""
_BYTES_PER_IMAGE = 60_000_000
"""Of the embedded model, measured on one core with images of 128 pixels."""
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a 4-bit weight with its scales (QLoRA, section 3)."""
_FULL = 4 + 8
"""Bytes of the gradient and the two moments of AdamW in 32 bits, for each trained weight."""
_LOGIT = 12
"""Bytes for each word of the vocabulary at a place where a word is judged: logit, logarithm and gradient."""
PROMPT_TOKENS, ANSWER_TOKENS = 350, 300
"""Instruction with question, and an answer to learn from, of usual length."""
LLAVA_PICTURE_TOKENS = 576
KEPT_PICTURES = 256
"""Encoded pictures that joint training remembers where their encoder is not trained."""
_ENCODED = KEPT_PICTURES * 4 * 256 * 64 * 64
"""Their bytes: (256, 64, 64) numbers each at 1024 pixels."""
SQUARE_OF_A_TOKEN = 28
"""Pixels along each side that one token of Qwen2.5-VL stands for."""


@dataclass(frozen=True)
class BaseSize:
    """What of a base decides how much memory its training takes.

    text: weights of attention and feed-forward of the text layers. words: of embeddings and output layer.
    vision: of the image encoder. layers, hidden, inner: of the text layers, inner is the width of their
    feed-forward part; pair: width of keys, or of values, in one layer. vocabulary: number of words.
    """

    text: int
    words: int
    vision: int
    layers: int
    hidden: int
    inner: int
    pair: int
    vocabulary: int


QWEN_7B = BaseSize(
    text=6_520_000_000,
    words=2 * 152_064 * 3584,
    vision=680_000_000,
    layers=28,
    hidden=3584,
    inner=18_944,
    pair=512,
    vocabulary=152_064,
)
"""Qwen2.5-VL-7B, on which MedReasoner and Lingshu rest; taken where a base's own size is not known."""
LLAVA_MED_7B = BaseSize(
    text=6_980_000_000,
    words=2 * 32_000 * 4096,
    vision=300_000_000,
    layers=32,
    hidden=4096,
    inner=14_336,
    pair=1024,
    vocabulary=32_000,
)
"""LLaVA-Med v1.5 on Mistral-7B, the language model of PRS-Med and MediSee."""


@dataclass(frozen=True)
class BesideSize:
    """What a joint system has beside its language model, held in 32 bits.

    trained, fixed: weights. kept_per_image: bytes kept for the backward pass of one record. kept_pictures:
    bytes of the pictures that are remembered encoded.
    """

    trained: int
    fixed: int
    kept_per_image: int
    kept_pictures: int = 0


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak. values: kept for a backward pass. answers: keys and values while drawn."""

    weights: int
    training: int
    values: int
    answers: int = 0
    libraries: int = LIBRARIES_OF_LANGUAGE

    @property
    def total(self) -> int:
        """All together; answers are drawn when nothing is kept for a backward pass."""
        return self.weights + self.training + max(self.values, self.answers) + self.libraries

    @property
    def words(self) -> str:
        """The parts, for people."""
        told = {
            "weights": self.weights,
            "gradients and optimiser": self.training,
            "values kept for the backward pass": self.values,
            "drawn answers": self.answers,
        }
        parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in told.items() if size >= 5e7)
        return f"{self.total / 1e9:.1f} GB" + (f" ({parts})" if parts else "")


def memory_estimate(config: RunConfig, base: BaseSize | None = None) -> MemoryEstimate:
    """The estimate for one process; base: of the model that is tuned, else the usual one of the recipe."""
    settings = config.settings
    if isinstance(settings, EmbeddedRecipe):
        return MemoryEstimate(0, 0, _BYTES_PER_IMAGE * settings.batch, libraries=LIBRARIES)
    if isinstance(settings, SftRecipe | GrpoRecipe):
        return _of_reasoner(settings, base or QWEN_7B)
    return _of_joint(settings, base or LLAVA_MED_7B)


def training_bytes(config: RunConfig, base: BaseSize | None = None) -> int:
    """Bytes of memory at the peak."""
    return memory_estimate(config, base).total


def check_memory(config: RunConfig, free_bytes: int, base: BaseSize | None = None) -> str:
    """The estimate in words; RunError when it is more than is free on the device."""
    estimate = memory_estimate(config, base)
    words = f"about {estimate.words} of memory are needed, {free_bytes / 1e9:.1f} GB are free"
    if estimate.total > free_bytes:
        raise RunError(f"{words}; {_remedy(config)}")
    return words


def _remedy(config: RunConfig) -> str:
    if config.recipe == "embedded":
        return "choose a smaller batch, or close other programs"
    preset = "one-gpu-4bit" if config.recipe in ("sft", "grpo") else "one-gpu"
    return f'choose preset = "{preset}", a smaller batch, or a smaller base'


def _of_reasoner(settings: SftRecipe | GrpoRecipe, base: BaseSize) -> MemoryEstimate:
    width = 4 if settings.numbers == "fp32" else 2
    everything = base.text + base.words + base.vision
    if settings.trained == "all":
        weights, trained = 4 * everything, everything - (0 if settings.vision else base.vision)
    else:
        small = _NF4 * base.text if settings.numbers == "4bit" else width * base.text
        trained = low_rank_weights(base, settings.low_rank, settings.low_rank_targets)
        weights = int(small) + width * (base.words + base.vision) + 4 * trained
    prompt = PROMPT_TOKENS + (settings.square // SQUARE_OF_A_TOKEN) ** 2
    if isinstance(settings, SftRecipe):
        tokens = settings.at_once * (prompt + ANSWER_TOKENS)
        values = kept_values(base, tokens, width, checkpointing=settings.checkpointing)
        return MemoryEstimate(weights, _FULL * trained, values + _LOGIT * base.vocabulary * tokens)
    if settings.trained == "all" and settings.kl:
        weights += 4 * everything  # the start, for the divergence from it
    length = prompt + settings.max_answer_tokens
    values = kept_values(base, settings.at_once * length, width, checkpointing=settings.checkpointing)
    values += _LOGIT * base.vocabulary * settings.at_once * settings.max_answer_tokens
    cache = 2 * base.pair * base.layers * width * length * settings.prompts * settings.group
    return MemoryEstimate(weights, _FULL * trained, values, cache)


def _of_joint(settings: PrsMedRecipe | MediSeeRecipe, base: BaseSize) -> MemoryEstimate:
    width = 4 if settings.precision == "fp32" else 2
    small = _NF4 * base.text if settings.precision == "4bit" else width * base.text
    beside = _beside(settings)
    low_rank = low_rank_weights(base, settings.lora_rank, settings.lora_targets)
    trained = low_rank + beside.trained
    if isinstance(settings, MediSeeRecipe) and settings.words == "all":
        trained += base.words  # a second copy, in 32 bits
    weights = int(small) + width * (base.words + base.vision) + 4 * (trained + beside.fixed)
    tokens = settings.batch * (LLAVA_PICTURE_TOKENS + PROMPT_TOKENS)
    values = kept_values(base, tokens, width, checkpointing=settings.checkpointing)
    values += settings.batch * beside.kept_per_image + beside.kept_pictures
    return MemoryEstimate(weights, _FULL * trained, values)


def _beside(settings: PrsMedRecipe | MediSeeRecipe) -> BesideSize:
    """The image encoder and decoder that the joint systems have beside LLaVA-Med, and the base's own copies.

    Weights are counted, and values of PRS-Med's encoder (2.4 GB at 1024 pixels in 32 bits); those of the
    decoders are estimated.
    """
    if isinstance(settings, MediSeeRecipe):
        return BesideSize(41_000_000, 135_000_000, kept_per_image=200_000_000, kept_pictures=_ENCODED)
    part = (settings.size / 1024) ** 2
    if settings.train_encoder:
        return BesideSize(11_100_000, 11_100_000, kept_per_image=int(2_600_000_000 * part))
    encoded = int(_ENCODED * part)
    return BesideSize(5_400_000, 11_100_000, kept_per_image=int(300_000_000 * part), kept_pictures=encoded)


def kept_values(base: BaseSize, tokens: int, width: int, *, checkpointing: bool) -> int:
    """Bytes kept of so many tokens for the backward pass through the text layers.

    Of a layer, and token, ten values of the hidden width, keys and values, and four of the inner width, for
    attention that keeps no map (counted with autograd's own hooks). checkpointing: only what goes into each
    layer, and one layer as a whole (Chen et al. 2016, Training deep nets with sublinear memory cost).
    """
    layer = 10 * base.hidden + 2 * base.pair + 4 * base.inner
    if checkpointing:
        return width * tokens * (base.layers * base.hidden + layer)
    return width * tokens * base.layers * layer


def low_rank_weights(base: BaseSize, rank: int, targets: tuple[str, ...]) -> int:
    """Weights of a low-rank adapter on these layers of the text model (Hu et al. 2021, section 4.1)."""
    hidden, inner, pair = base.hidden, base.inner, base.pair
    sides = {"q_proj": 2 * hidden, "o_proj": 2 * hidden, "k_proj": hidden + pair, "v_proj": hidden + pair}
    sides |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden + inner)
    return base.layers * rank * sum(sides.get(name, hidden + inner) for name in targets)
