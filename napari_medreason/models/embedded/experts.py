"""The experts of the embedded model: what each knows, and its weights, checked by hash when loaded.

An expert is `ID.json` beside `ID.safetensors` in this folder; both are written by
`python -m napari_medreason_training export-embedded`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medreason.core.anatomy import leaves
from napari_medreason.errors import WeightsError
from napari_medreason.models.weights import verify, weights_sha256

if TYPE_CHECKING:
    from napari_medreason.models.embedded.network import GroundingNetwork

FOLDER = Path(__file__).parent
EXPERT_IDS = ("brain_mr", "body_ct")
LEVELS = ("supported", "preliminary", "experimental", "unmeasured")
"""How far measurements support answers about a structure; only "experimental" words them as doubtful."""
_DAMAGED = "please install napari-medreason again"


@dataclass(frozen=True)
class Expert:
    """One network of the embedded model.

    modality: DICOM modality it reads. region: words for the body part. structures: vocabulary ids,
    in the order of the network's queries. paired: those that have a left and a right one.
    pixel_mm: size of its pixels. presence: per structure the bias and the weights of presence logit
    and log(1 + mask area) that give the log-odds of being in the slice. evidence: per structure or
    group, one line about what was measured. level: how far that supports an answer, one of LEVELS;
    a structure that is not named there is "unmeasured". overlaid: findings that tuning has added; they lie
    in anatomy, so they take no pixel from it. damaged: what to do when the weights are.
    """

    id: str
    modality: str
    region: str
    structures: tuple[str, ...]
    paired: frozenset[str]
    pixel_mm: float
    network: Mapping[str, Any]
    presence: Mapping[str, tuple[float, float, float]]
    evidence: Mapping[str, str]
    sha256: str
    folder: Path
    level: Mapping[str, str] = field(default_factory=dict)
    overlaid: frozenset[str] = frozenset()
    damaged: str = _DAMAGED

    def is_experimental(self, structure: str) -> bool:
        """Whether the model was measured to be poor at a structure, or at all parts of a group."""
        if structure in self.level:
            return self.level[structure] == "experimental"
        return all(self.level.get(leaf) == "experimental" for leaf in leaves(structure))

    @property
    def symmetric(self) -> bool:
        """Whether left and right of the body part look alike."""
        return self.region == "head"

    @property
    def file(self) -> Path:
        """The weights."""
        return self.folder / f"{self.id}.safetensors"


def load_experts(folder: Path = FOLDER) -> tuple[Expert, ...]:
    """All experts of a folder; WeightsError when a description is missing or damaged."""
    return tuple(read_expert(folder, expert_id) for expert_id in EXPERT_IDS)


def read_expert(folder: Path, expert_id: str) -> Expert:
    """One expert of a folder; WeightsError when its description is missing or damaged."""
    file = folder / f"{expert_id}.json"
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        return Expert(
            id=expert_id,
            modality=table["modality"],
            region=table["region"],
            structures=tuple(table["structures"]),
            paired=frozenset(table["paired"]),
            pixel_mm=float(table["pixel_mm"]),
            network=dict(table["network"]),
            presence={name: _three(values) for name, values in table["presence"].items()},
            evidence=dict(table["evidence"]),
            sha256=table["sha256"],
            folder=folder,
            level={name: LEVELS[LEVELS.index(word)] for name, word in table.get("level", {}).items()},
            overlaid=frozenset(table.get("overlaid", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file.name} of the embedded model is missing or damaged ({type(error).__name__}); {_DAMAGED}"
        ) from error


def _three(values: list[float]) -> tuple[float, float, float]:
    bias, per_logit, per_area = (float(value) for value in values)
    return bias, per_logit, per_area


def combined_hash(experts: tuple[Expert, ...]) -> str:
    """The `weights_sha256` of an answer: one hash for all experts."""
    return weights_sha256(expert.file for expert in experts)


def load_network(expert: Expert) -> GroundingNetwork:
    """The expert's network, ready to use; WeightsError when the weights are not those that belong to it."""
    verify(expert.folder, {expert.file.name: expert.sha256})
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_medreason.models.embedded.network import GroundingNetwork, NetworkConfig

    sizes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in expert.network.items()
    }
    try:
        network = GroundingNetwork(NetworkConfig(structures=expert.structures, **sizes))
        network.load_state_dict({name: value.float() for name, value in load_file(expert.file).items()})
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise WeightsError(
            f"{expert.file.name} does not fit the network of this version; {expert.damaged}"
        ) from error
    return network.eval()
