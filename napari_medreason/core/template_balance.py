"""How much a set of templates yields over a set of facts, and how evenly."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from napari_medreason.core.template_facts import Facts
from napari_medreason.core.templates import Template, applicable, why_not


@dataclass(frozen=True)
class Balance:
    """Counts over all pairs of templates and facts.

    yields: template id -> facts it can be filled with. reasons: why the other pairs can't, counted.
    structures, super_categories, positions, sides: facts with at least one template, by their value.
    kinds: pairs by system and kind. uncovered: facts without a template, by structure.
    """

    facts: int
    pairs: int
    yields: Mapping[str, int]
    reasons: Mapping[str, int]
    structures: Mapping[str, int]
    super_categories: Mapping[str, int]
    positions: Mapping[str, int]
    sides: Mapping[str, int]
    kinds: Mapping[str, int]
    uncovered: Mapping[str, int]

    @property
    def idle(self) -> tuple[str, ...]:
        """Ids of the templates that apply to none of the facts."""
        return tuple(name for name, count in self.yields.items() if not count)


def balance(templates: Sequence[Template], facts: Iterable[Facts]) -> Balance:
    """Yield and balance of templates over facts; counts are sorted, largest first, but for `yields`."""
    yields = {template.id: 0 for template in templates}
    counts: dict[str, Counter[str]] = {
        name: Counter()
        for name in ("reasons", "structures", "super_categories", "positions", "sides", "kinds", "uncovered")
    }
    total = 0
    for one in facts:
        total += 1
        fitting = _count_pairs(templates, one, yields, counts)
        _count_facts(one, counts, covered=fitting > 0)
    ordered = {name: dict(counter.most_common()) for name, counter in counts.items()}
    return Balance(facts=total, pairs=sum(yields.values()), yields=yields, **ordered)


def pick(templates: Sequence[Template], facts: Facts, *, seed: int, key: str) -> Template | None:
    """One of the templates that apply, None when none does; the same for the same seed and key.

    key: what tells this region from others, such as "study/series/slice 12/kidney left".
    """
    fitting = applicable(templates, facts)
    if not fitting:
        return None
    draw = int.from_bytes(hashlib.sha256(f"{seed} {key}".encode()).digest()[:8], "big")
    return fitting[draw % len(fitting)]


def _count_pairs(
    templates: Sequence[Template], facts: Facts, yields: dict[str, int], counts: dict[str, Counter[str]]
) -> int:
    fitting = 0
    for template in templates:
        reason = why_not(template, facts)
        if reason:
            counts["reasons"][reason] += 1
            continue
        fitting += 1
        yields[template.id] += 1
        counts["kinds"][f"{template.system} {template.kind}"] += 1
    return fitting


def _count_facts(facts: Facts, counts: dict[str, Counter[str]], *, covered: bool) -> None:
    if not covered:
        counts["uncovered"][facts.structure] += 1
        return
    counts["structures"][facts.structure] += 1
    counts["super_categories"][facts.super_category or "not in the vocabulary"] += 1
    counts["positions"][facts.position or "unknown"] += 1
    counts["sides"][facts.side or "none"] += 1
