"""The fields of a run's configuration as a form shows them, and configurations as TOML. No Qt here."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from napari_medreason.core.run_config import PRESETS, RecipeName, RunConfig, table_of
from napari_medreason.core.run_limits import limits, within
from napari_medreason.core.strict import from_plain, to_plain

PRESET = "preset"

RECIPES: Mapping[RecipeName, str] = {
    "embedded": "Embedded model, on corrected masks",
    "sft": "Reasoner, by examples (SFT)",
    "grpo": "Reasoner, by rewards (GRPO)",
    "prs-med": "PRS-Med, words and masks together",
    "medisee": "MediSee, words and masks together",
}
"""Every recipe, in words."""


_COMMON = {
    PRESET: "A set of values for all settings of the recipe; what you change here wins over it",
    "learning_rate": "Size of the optimiser's steps",
    "weight_decay": "How strongly weights are drawn towards zero",
    "batch": "Slices of one optimiser step",
    "warm_up_steps": "Steps in which the learning rate rises to its top",
    "warm_up": "Share of the steps in which the learning rate rises to its top",
    "gradient_clip": "Longer gradients are shortened to this length",
    "schedule": "How the learning rate falls",
    "trained": "All weights, or a small adapter beside them",
    "numbers": "How weights are held: in 32, 16 or 4 bits",
    "low_rank_targets": "Layers of the text part that get an adapter",
    "lora_rank": "Size of the adapter",
    "lora_alpha": "Weight of the adapter, together with its rank",
    "lora_dropout": "Share of the adapter's inputs that is left out at random",
    "temperature": "How varied drawn answers are",
    "aggregation": "Whether each word or each answer counts alike",
    "mask_weight": "Weight of the mask's loss",
    "text_weight": "Weight of the words' loss",
    "cross_entropy_weight": "Weight of the mask's loss for each pixel",
    "dice_weight": "Weight of the mask's loss for the overlap",
    "class_epochs": "Passes over the data in which the kind of picture is learnt too",
}
"""Of fields that need no words where they are defined."""


_SPELT = {"kl": "KL", "lora": "LoRA", "vllm": "vLLM", "dice": "Dice"}


@dataclass(frozen=True)
class FieldInfo:
    """One field of a settings dataclass.

    kind: its type. least, most: limits of a number, None for none. help: what the docstring says about it.
    """

    name: str
    kind: Any
    default: Any
    help: str
    least: float | None
    most: float | None

    @property
    def label(self) -> str:
        """The name as words."""
        first, *rest = self.name.split("_")
        return " ".join([_SPELT.get(first, first.capitalize()), *(_SPELT.get(word, word) for word in rest)])


@cache
def fields_of(settings: type) -> tuple[FieldInfo, ...]:
    """The fields of a settings dataclass that have a default, in their order."""
    kinds, words = get_type_hints(settings), _COMMON | _words_of_recipes() | field_words(settings)
    return tuple(
        FieldInfo(
            field.name,
            kinds[field.name],
            _default(field),
            words.get(field.name, ""),
            *limits(settings, field),
        )
        for field in dataclasses.fields(settings)
        if _default(field) is not dataclasses.MISSING
    )


@cache
def _words_of_recipes() -> dict[str, str]:
    """What recipes say about fields that others have too: "as in SftRecipe" needs no more words there."""
    words: dict[str, str] = {}
    for recipe in RECIPES:
        kind = get_type_hints(RunConfig)[table_of(recipe)]
        words = field_words(kind) | words
    return words


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def field_words(settings: type) -> dict[str, str]:
    """What a dataclass's docstring says about each field, by name: "name, other: words."."""
    text = " ".join((settings.__doc__ or "").split())
    names = "|".join(re.escape(field.name) for field in dataclasses.fields(settings))
    heads = list(re.finditer(rf"(?<![\w.])((?:{names})(?:, (?:{names}))*): ", text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    words: dict[str, str] = {}
    for head, end in zip(heads, ends, strict=True):
        sentence = text[head.end() : end].strip()
        words |= dict.fromkeys(head[1].split(", "), sentence[:1].upper() + sentence[1:])
    return words


def parsed(info: FieldInfo, text: str) -> Any:
    """What a user typed as the value of a field; DataSetError says what is accepted."""
    value = from_plain(info.kind, _plain(info.kind, text.strip()), info.label)
    return within(value, info.least, info.most, info.label)


def _plain(kind: Any, text: str) -> Any:
    """Typed text as a TOML or JSON value would give it: numbers, lists with commas, nothing."""
    if kind is str or get_origin(kind) is Literal:
        return text
    if not text and NoneType in get_args(kind):
        return None
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return [_plain(inner, part.strip()) for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return _number(text)


def _number(text: str) -> Any:
    """What JSON does not take for a number, such as "1e-6" without a digit or ".5"; else the text itself."""
    try:
        return float(text)
    except ValueError:
        return text


def shown(value: Any) -> str:
    """A value as text that `parsed` understands."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, tuple | list):
        return ", ".join(shown(entry) for entry in value)
    return str(value)


def with_preset(settings: Any, name: str, recipe: RecipeName) -> Any:
    """The settings of a recipe as a preset has them, the dataclass's defaults where it says nothing."""
    kind = type(settings)
    changes = PRESETS.get(table_of(recipe), {}).get(name, {})
    return from_plain(kind, {**to_plain(kind()), **to_plain(dict(changes)), PRESET: name}, recipe)


def toml_text(config: RunConfig) -> str:
    """A configuration as TOML; keys that are as the defaults, or as the preset, are left out."""
    top = {"recipe": config.recipe, "records": list(config.records), "images": config.images}
    plain = {"base": "", "name": "", "seed": None, "device": ""}
    top |= {key: getattr(config, key) for key, usual in plain.items() if getattr(config, key) != usual}
    tables = {"": top}
    settings = config.settings
    usual = type(settings)()
    if hasattr(settings, PRESET):
        usual = dataclasses.replace(with_preset(settings, settings.preset, config.recipe), preset="")
    tables[table_of(config.recipe)] = _changed(settings, usual)
    for name in _nested():
        tables[name] = _changed(getattr(config, name), type(getattr(config, name))())
    parts = [[*([f"[{name}]"] if name else []), *_lines(table)] for name, table in tables.items() if table]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _nested() -> tuple[str, ...]:
    """Tables of a configuration beside those of the recipes."""
    recipes = {table_of(recipe) for recipe in RECIPES}
    kinds = get_type_hints(RunConfig)
    return tuple(
        name for name, kind in kinds.items() if dataclasses.is_dataclass(kind) and name not in recipes
    )


def _changed(settings: Any, usual: Any) -> dict[str, Any]:
    values = to_plain(settings)
    return {
        key: value for key, value in values.items() if value != to_plain(usual)[key] and value is not None
    }


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    """A TOML value; its basic strings are JSON strings but for the delete character."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
