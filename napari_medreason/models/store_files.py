"""Which files a set of weights is made of, and a look at a folder that says whether it holds them.

Looking reads names, sizes, config.json and the first bytes of safetensors files: enough to tell another
model or a truncated file, in milliseconds and without a network. Only hashes (store.verify) tell more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from napari_medreason.errors import WeightsError
from napari_medreason.models.catalogue import Loader, Weights
from napari_medreason.models.weights import safetensors_header

USUAL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.bin")
"""Names of the files of a model folder, where the catalogue says nothing else."""
CHECKPOINTS = (".pt", ".pth", ".bin", ".safetensors")

_NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


def chosen_files(entry: Weights, names: Iterable[str]) -> tuple[str, ...]:
    """Those of a repository's files that are needed; weights in the older format only if there are no others.

    A pattern without "/" is for the top folder alone. WeightsError when nothing fits or a file is missing.
    """
    names = list(names)
    if entry.files:
        wanted = [file.name for file in entry.files]
        if missing := sorted(set(wanted) - set(names)):
            raise WeightsError(
                f"{entry.repository} has no file {missing[0]} (any more); look at its page, and use a folder "
                "of your own instead"
            )
        return tuple(wanted)
    chosen = [name for name in names if _is_included(name, entry.include or USUAL_FILES)]
    if any(name.endswith(".safetensors") for name in chosen) and not entry.include:
        chosen = [name for name in chosen if not name.endswith((".bin", ".bin.index.json"))]
    if not any(name.endswith(CHECKPOINTS) for name in chosen):
        raise WeightsError(f"{entry.repository} holds no weight file that can be read; look at its page")
    return tuple(sorted(chosen))


def _is_included(name: str, patterns: Iterable[str]) -> bool:
    if Path(name).name in _NOT_WEIGHTS:
        return False
    return any(fnmatchcase(name, pattern) and ("/" in pattern or "/" not in name) for pattern in patterns)


def look(entry: Weights, place: Path) -> Path:
    """The file or folder that a loader takes, after a look at a user's or a downloaded one.

    WeightsError says what was found and what is needed, and never names the folders above.
    """
    if not place.exists():
        raise WeightsError(
            f"{place.name or place} is not there; give the folder or file that holds {entry.title}"
        )
    if entry.single_file:
        return _look_at_file(entry, place)
    if not place.is_dir():
        raise WeightsError(f"{place.name} is a file; {entry.title} is a folder of files, give that")
    if entry.model_types:
        _check_config(entry, place)
    _CHECKS.get(entry.loader, _check_model_folder)(entry, place)
    return place


def _look_at_file(entry: Weights, place: Path) -> Path:
    name = entry.files[0].name
    if place.is_dir():
        found = [place / name] if (place / name).is_file() else _checkpoints(place)
        if len(found) != 1:
            listing = ", ".join(file.name for file in found[:3]) or "no checkpoint"
            raise WeightsError(
                f"{place.name} holds {listing}; {entry.title} is the file {name}, give that file"
            )
        place = found[0]
    if place.suffix not in CHECKPOINTS:
        raise WeightsError(f"{place.name} is no checkpoint; {entry.title} is a file such as {name}")
    _check_whole(place)
    return place


def _check_config(entry: Weights, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder.name} has no readable config.json with a model_type; give the folder that holds "
            f"config.json and the weight files of {entry.title}"
        ) from error
    if found not in entry.model_types:
        raise WeightsError(
            f"{folder.name} holds a model of type {found!r:.40}; {entry.title} is of type "
            f"{' or '.join(entry.model_types)}, give its folder"
        )


def _check_model_folder(entry: Weights, folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(
            f"{folder.name} holds no .safetensors file; only that format is read for {entry.title}, please "
            "download or convert to it"
        )
    _check_shards(folder, files)


def _check_any_checkpoint(entry: Weights, folder: Path) -> None:
    files = _checkpoints(folder)
    if not files:
        raise WeightsError(
            f"{folder.name} holds no weight file of {entry.title} ({', '.join(CHECKPOINTS)}); give the "
            "folder that does"
        )
    _check_shards(folder, files)


def _check_prs_med(entry: Weights, folder: Path) -> None:
    if epoch_lacks(newest_epoch(folder)):
        raise WeightsError(
            f"{folder.name} holds no whole epoch of {entry.title}: a folder with lora_adapter, "
            "image_encoder.pth and mask_decoder.pth is needed, such as llm_seg_20"
        )


def newest_epoch(folder: Path) -> Path:
    """The folder of PRS-Med's last whole epoch (`llm_seg_N`), or the given one if it is an epoch itself.

    Where none is whole, the last one, so that it can be said what it lacks.
    """
    lacking = {one: len(epoch_lacks(one)) for one in (folder, *folder.iterdir())}
    whole = [one for one, count in lacking.items() if count == 0]
    begun = [one for one, count in lacking.items() if count < len(_EPOCH_FILES)]
    found = whole or begun or [folder]
    return folder if folder in found else max(found, key=_epoch_order)


def epoch_lacks(epoch: Path) -> tuple[str, ...]:
    """The files that an epoch of PRS-Med needs and that are not in this folder."""
    return tuple(names[0] for names in _EPOCH_FILES if not any((epoch / name).is_file() for name in names))


def _epoch_order(epoch: Path) -> tuple[int, str]:
    return int("0" + "".join(filter(str.isdigit, epoch.name))), epoch.name


_EPOCH_FILES = (
    ("lora_adapter/adapter_model.safetensors", "lora_adapter/adapter_model.bin"),
    ("lora_adapter/adapter_config.json",),
    ("image_encoder.pth",),
    ("mask_decoder.pth",),
)
"""Of one epoch of PRS-Med; one of each line is needed."""

_CHECKS: dict[Loader, Callable[[Weights, Path], None]] = {
    "llava": _check_any_checkpoint,
    "clip": _check_any_checkpoint,
    "medisee": _check_any_checkpoint,
    "prs-med": _check_prs_med,
}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix in CHECKPOINTS and file.name not in _NOT_WEIGHTS
    )


def _check_shards(folder: Path, files: list[Path]) -> None:
    """Every shard that an index names is there, and no file is shorter than it says itself."""
    for index in sorted(folder.glob("*.index.json")):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{index.name} can't be read; get {folder.name} again") from error
        if missing := sorted(str(name) for name in shards if not (folder / str(name)).is_file()):
            raise WeightsError(
                f"{folder.name} lacks {missing[0]} ({len(missing)} of {len(shards)} files are missing); "
                "copy or download it whole"
            )
    for file in files:
        _check_whole(file)


def _check_whole(file: Path) -> None:
    size = file.stat().st_size
    needed = safetensors_size(file) if file.suffix == ".safetensors" else 1
    if size < needed:
        raise WeightsError(
            f"{file.name} is cut off: {size} of {needed} bytes are there; copy or download it again"
        )


def safetensors_size(file: Path) -> int:
    """Bytes that a safetensors file must have, from its own header; WeightsError for another format."""
    try:
        start, header = safetensors_header(file)
        return int(start + max((about["data_offsets"][1] for about in header.values()), default=0))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"{file.name} is no whole safetensors file; copy or download it again") from error
