"""Which precision fits the memory that is free: a plan made before any weight is read; no torch here.

Text layers can be made smaller (8-bit and 4-bit weights of bitsandbytes); what else a network has, vision
tower, embeddings, output layer, keeps its 16 bits, since it is small and loses most by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Literal, get_args

Precision = Literal["fp32", "bf16", "int8", "4bit"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""From the largest weights to the smallest."""
QUANTISED: tuple[Precision, ...] = ("int8", "4bit")
WORDS: dict[Precision, str] = {"fp32": "32-bit", "bf16": "bf16", "int8": "8-bit", "4bit": "4-bit"}

GIGABYTE = 10**9
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""4 bits, an 8-bit scale for every 64 weights, a 32-bit one for every 256 scales (QLoRA, section 3)."""
RESERVE = {"cuda": 600_000_000, "mps": 600_000_000, "cpu": 500_000_000}
"""Work space of the libraries, and what is lost between blocks of memory."""


@dataclass(frozen=True)
class PartSize:
    """One network of a system.

    quantisable, kept: numbers of weights that 8 and 4 bits make smaller, and that stay as they are.
    cache, activations: bytes in 16 bits, for the longest text and the picture that are planned for.
    usual: precision on a GPU when there is room. beside: bytes, in any precision, of what is loaded with it
    and keeps its own numbers.
    """

    name: str
    quantisable: int
    kept: int
    cache: int = 0
    activations: int = 0
    usual: Precision = "bf16"
    beside: int = 0

    def bytes_in(self, precision: Precision) -> int:
        """Bytes needed in one precision; what is not quantised takes two bytes, in "fp32" four."""
        wide = 2 if precision == "fp32" else 1
        each = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "4bit": NF4_BYTES}[precision]
        fixed = wide * (2 * self.kept + self.cache + self.activations)
        return int(each * self.quantisable) + fixed + self.beside


@dataclass(frozen=True)
class FreeMemory:
    """Bytes free on the device that is planned for ("cuda:0", "mps" or "cpu") and in the computer.

    exclusive: the user named this device, so that no other is planned.
    """

    device: str
    free: int
    computer: int
    exclusive: bool = False

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]


@dataclass(frozen=True)
class PartPlan:
    """How one network is loaded, and the bytes that it will need."""

    name: str
    precision: Precision
    needed: int


@dataclass(frozen=True)
class FitPlan:
    """How a system is loaded; `words` says it to the user in one line.

    fits: whether `needed` bytes are within `free`. choice: 0 for what is best where there is room, then
    upwards with what is given up for room.
    """

    device: str
    parts: tuple[PartPlan, ...]
    needed: int
    free: int
    fits: bool
    choice: int
    words: str

    def precision(self, name: str) -> Precision:
        """The precision of the part with this name."""
        return next(part.precision for part in self.parts if part.name == name)


def bitsandbytes_there() -> bool:
    """Whether the package for 8-bit and 4-bit weights is installed."""
    return find_spec("bitsandbytes") is not None


def plan(
    parts: Sequence[PartSize],
    memory: FreeMemory,
    wanted: Precision | None = None,
    *,
    quantised: bool | None = None,
) -> FitPlan:
    """The first way to load all parts that fits; if none does, the smallest, with `fits` False.

    On a GPU bf16, 8-bit, 4-bit, and then the CPU; there 32-bit and bf16. `wanted` leaves only that precision.
    quantised: whether 8 and 4 bits can be had; None looks for bitsandbytes.
    """
    quantised = bitsandbytes_there() if quantised is None else quantised
    ways = list(_ways(memory, wanted, quantised=quantised))
    plans = [_one_plan(parts, memory, *way, choice=choice) for choice, way in enumerate(ways)]
    chosen = next((one for one in plans if one.fits), None) or _smallest(plans, memory)
    return replace(chosen, words=_words(chosen, plans[0]) + _lacking(chosen, memory, quantised=quantised))


def step_down(precision: Precision, device: str, *, quantised: bool | None = None) -> Precision | None:
    """The next smaller precision that this device can do; None when there is none."""
    quantised = bitsandbytes_there() if quantised is None else quantised
    smaller = PRECISIONS[PRECISIONS.index(precision) + 1 :]
    on_gpu = device.partition(":")[0] == "cuda" and quantised
    return next((one for one in smaller if on_gpu or one not in QUANTISED), None)


def gigabytes(number: int) -> str:
    """Bytes as "7.1 GB", "0.3 GB", "12 GB"."""
    value = number / GIGABYTE
    return f"{value:.0f} GB" if value >= 9.95 else f"{value:.1f} GB"


def _ways(
    memory: FreeMemory, wanted: Precision | None, *, quantised: bool
) -> Iterator[tuple[str, Precision | None]]:
    """Devices and precisions from the most wanted to the least; None leaves each part its usual one."""
    if wanted is not None:
        yield memory.device, wanted
        if memory.kind != "cpu" and not memory.exclusive and wanted not in QUANTISED:
            yield "cpu", wanted
        return
    if memory.kind != "cpu":
        yield memory.device, None
        if memory.kind == "cuda" and quantised:
            yield from ((memory.device, precision) for precision in QUANTISED)
    if memory.kind == "cpu" or not memory.exclusive:
        yield "cpu", "fp32"
        yield "cpu", "bf16"


def _one_plan(
    parts: Sequence[PartSize], memory: FreeMemory, device: str, precision: Precision | None, *, choice: int
) -> FitPlan:
    ways = [(part, of_part(part, precision)) for part in parts]
    plans = tuple(PartPlan(part.name, own, part.bytes_in(own)) for part, own in ways)
    needed = sum(part.needed for part in plans) + RESERVE[device.partition(":")[0]]
    free = memory.free if device == memory.device else memory.computer
    return FitPlan(device, plans, needed, free, fits=needed <= free, choice=choice, words="")


def of_part(part: PartSize, precision: Precision | None) -> Precision:
    """A network without text layers keeps its usual precision where others are quantised."""
    if precision is None or (precision in QUANTISED and not part.quantisable):
        return part.usual
    return precision


def _smallest(plans: Sequence[FitPlan], memory: FreeMemory) -> FitPlan:
    """The plan that lacks the least, on the device that was asked for."""
    return min((one for one in plans if one.device == memory.device), key=lambda one: one.needed)


def _words(chosen: FitPlan, first: FitPlan) -> str:
    names = " and ".join(f"{part.name} in {WORDS[part.precision]}" for part in chosen.parts)
    place = " on the CPU" if chosen.device == "cpu" and first.device != "cpu" else ""
    words = f"{names}{place}: needs about {gigabytes(chosen.needed)} of {gigabytes(chosen.free)} free"
    if chosen.fits and chosen.choice > 0:
        largest = max(first.parts, key=lambda part: part.needed)
        words += f" (in {WORDS[largest.precision]} it would need {gigabytes(first.needed)})"
    return words


def _lacking(chosen: FitPlan, memory: FreeMemory, *, quantised: bool) -> str:
    """Why smaller precisions were not considered, where that may matter."""
    if memory.kind != "cuda" or quantised or (chosen.fits and chosen.choice == 0):
        return ""
    return "; 8-bit and 4-bit need the package bitsandbytes, pip install 'napari-medreason[gpu]'"


@dataclass(frozen=True)
class Host:
    """What whoever keeps loaded models may offer to the loaders.

    planned: receives every plan before its weights are read. told: receives in words what was changed
    later, such as a step down. make_room: closes the model used longest ago; False when there is none.
    held: bytes that closing all of them would free.
    """

    planned: Callable[[FitPlan], None] = lambda plan: None
    told: Callable[[str], None] = lambda words: None
    make_room: Callable[[], bool] = lambda: False
    held: Callable[[], int] = lambda: 0


_host: ContextVar[Host] = ContextVar("host")


@contextmanager
def loading_for(host: Host) -> Iterator[None]:
    """Let all loaders that run in this block tell `host` what they do."""
    token = _host.set(host)
    try:
        yield
    finally:
        _host.reset(token)


def host() -> Host:
    """Who keeps what is loaded now; outside of `loading_for` one that hears nothing and can close nothing."""
    return _host.get(Host())
