"""Tensors of released checkpoints, read without running anything that a file may bring along.

Imported only inside functions, since it needs torch. Old checkpoints are pickles: they are read by PyTorch's
`weights_only` unpickler alone, in which the few harmless classes that training scripts leave behind (an
`argparse.Namespace`, NumPy numbers, an optimiser) become empty placeholders instead of being built.
"""

from __future__ import annotations

import os
import re
import secrets
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_medreason.errors import WeightsError
from napari_medreason.models.weights import file_sha256

Tensors = dict[str, Tensor]

_OPTIMIZERS = ("adam.Adam", "adamw.AdamW", "sgd.SGD", "adagrad.Adagrad", "rmsprop.RMSprop")
_SCHEDULERS = ("LambdaLR", "StepLR", "MultiStepLR", "CosineAnnealingLR", "ReduceLROnPlateau", "OneCycleLR")
_NUMPY_NUMBERS = ("Float64", "Float32", "Float16", "Int64", "Int32", "Int16", "Int8", "UInt8", "Bool")
_LEFT_BEHIND = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "__builtin__.dict",
    "builtins.dict",
    "__builtin__.list",
    "builtins.list",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{name}DType" for name in _NUMPY_NUMBERS),
    *(f"torch.optim.{name}" for name in _OPTIMIZERS),
    *(f"torch.optim.lr_scheduler.{name}" for name in _SCHEDULERS),
)
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError)
_DAMAGED = "a file that is cut off, damaged or no PyTorch checkpoint"
_AGAIN = "please download it again, or give another file"


class _Placeholder:
    """Stands for something in a pickle that is no tensor; takes whatever it is given and keeps nothing."""

    def __new__(cls, *arguments: object) -> _Placeholder:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _plain_dict(*factory: object) -> dict[object, object]:
    """What a `collections.defaultdict` becomes: the unpickler fills plain dictionaries only."""
    return {}


def read_tensors(file: Path, *, section: str | None = None) -> Tensors:
    """The tensors of a .safetensors file or of a PyTorch checkpoint, by name, on the CPU.

    section: the nested dictionary of a checkpoint that holds them, such as "model"; a .safetensors file has
    none, so it is read whole. Other entries are left out. The tensors may be mapped from the file.
    WeightsError when the file is truncated, of another kind, would run code, or holds no tensors there.
    """
    file = Path(file)
    if _is_safetensors(file):
        return _safetensors(file)
    return _tensors_in(_checkpoint(file), file, section)


def sections_of(file: Path) -> tuple[str, ...]:
    """Names of the nested dictionaries of a checkpoint, () for a flat one; errors as `read_tensors`."""
    file = Path(file)
    if _is_safetensors(file):
        return ()
    return tuple(str(name) for name, value in _checkpoint(file).items() if isinstance(value, dict))


def conversion_of(file: Path) -> tuple[Path, str | None] | None:
    """What `safetensors_of` made beside a checkpoint earlier, and of which section; None if it fits no more.

    It saves reading a pickle once again.
    """
    target = file.parent / f"{file.name}.safetensors"
    about = _metadata(target) or {}
    if "source_sha256" not in about or about["source_sha256"] != file_sha256(file):
        return None
    return target, about.get("source_section") or None


def safetensors_of(file: Path, *, section: str | None = None, folder: Path | None = None) -> Path:
    """The .safetensors file with a checkpoint's tensors, made once, beside it or in `folder`.

    It is named as the checkpoint with ".safetensors" added, and its metadata hold the checkpoint's SHA-256
    (`source_sha256`) and the section; one that fits is given as it is. Errors as `read_tensors`, and
    WeightsError when it can't be written.
    """
    file = Path(file)
    if _is_safetensors(file):
        return file
    target = (folder or file.parent) / f"{file.name}.safetensors"
    about = {"format": "pt", "source_sha256": file_sha256(file), "source_section": section or ""}
    if _metadata(target) != about:
        _write(_unshared(read_tensors(file, section=section)), target, about)
    return target


def renamed(
    tensors: Mapping[str, Tensor], rules: Sequence[tuple[str, str]], *, dropped: Sequence[str] = ()
) -> Tensors:
    """The same tensors under other names.

    rules: (regular expression, replacement), all applied to every name in their order. dropped: regular
    expressions; a name in which one is found is left out. WeightsError when two names become one.
    """
    result: Tensors = {}
    for name, tensor in tensors.items():
        if any(re.search(pattern, name) for pattern in dropped):
            continue
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if new in result:
            raise WeightsError(f"two tensors have the name {new!r} after mapping, one is {name!r}; {_AGAIN}")
        result[new] = tensor
    return result


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], *, what: str) -> None:
    """Give a module exactly these weights; a module without memory (on "meta") takes the tensors themselves.

    what: the checkpoint, in words for the user. WeightsError names what is missing, unexpected or of another
    shape, the first three of each; the module is unchanged then.
    """
    wanted = module.state_dict()
    faults = [
        _listed("lacks", [name for name in wanted if name not in tensors]),
        _listed("has unexpected", [name for name in tensors if name not in wanted]),
        _listed("has other shapes in", _misshapen(wanted, tensors)),
    ]
    if any(faults):
        raise WeightsError(
            f"{what} does not fit this architecture: it {'; it '.join(filter(None, faults))}. "
            "Give the checkpoint that this model was released with"
        )
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    module.load_state_dict(dict(tensors), strict=True, assign=on_meta)


def _listed(verb: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > 3 else ""
    return f"{verb} {len(names)} weight{'s' if len(names) > 1 else ''} ({', '.join(names[:3])}{more})"


def _misshapen(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name}: {_size(tensors[name])} in place of {_size(tensor)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]


def _size(tensor: Tensor) -> str:
    return "×".join(str(number) for number in tensor.shape) or "one number"


def _is_safetensors(file: Path) -> bool:
    """By its content, since a suffix says little: eight bytes of length, then a JSON object."""
    start = _start(file)
    return file.suffix == ".safetensors" or (
        start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**27
    )


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise WeightsError(f"{file.name} can't be read ({error.strerror}); check the path") from error


def _safetensors(file: Path) -> Tensors:
    try:
        with safe_open(file, framework="pt") as content:
            return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no iterator
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, "a .safetensors file that is cut off or damaged") from error


def _checkpoint(file: Path) -> dict[Any, Any]:
    """The outermost dictionary of a PyTorch checkpoint."""
    zipped = zipfile.is_zipfile(file)
    if not zipped and not _start(file).startswith(b"\x80"):
        raise _unreadable(file, _kind(_start(file)))
    harmless = [(_Placeholder, name) for name in _LEFT_BEHIND]
    try:
        with (
            warnings.catch_warnings(
                action="ignore"
            ),  # about pickle protocols, nothing that a user can act on
            torch.serialization.safe_globals([*harmless, (_plain_dict, "collections.defaultdict")]),
        ):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except UnpicklingError as error:
        raise _refused(file, error) from error
    except _DAMAGE as error:
        raise _unreadable(file, _DAMAGED) from error
    if not isinstance(content, dict):
        raise _unreadable(file, f"one {type(content).__name__} in place of named tensors")
    return content


def _tensors_in(content: dict[Any, Any], file: Path, section: str | None) -> Tensors:
    holder = content if section is None else content.get(section)
    entries = holder.items() if isinstance(holder, dict) else ()
    tensors = {str(name): value.detach() for name, value in entries if isinstance(value, Tensor)}
    if not tensors:
        place = "at its top level" if section is None else f"under {section!r}"
        found = ", ".join(str(name) for name in list(content)[:4]) or "nothing"
        raise WeightsError(
            f"{file.name} holds no weights {place}; it holds {found}. "
            "Give the checkpoint file as it was released"
        )
    return tensors


def _refused(file: Path, error: UnpicklingError) -> WeightsError:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None or named[1].endswith("."):
        return _unreadable(file, _DAMAGED)
    return WeightsError(
        f"{file.name} is refused: it wants to run code ({named[1]:.80}) while it is read; only plain tensors "
        "are accepted. Give a .safetensors file, or a checkpoint that holds nothing but weights"
    )


def _unreadable(file: Path, found: str) -> WeightsError:
    return WeightsError(
        f"{file.name} holds {found}; accepted are .safetensors and PyTorch checkpoints (.pt, .pth, .bin); "
        f"{_AGAIN}"
    )


def _kind(start: bytes) -> str:
    """What a file that is no checkpoint is, as far as its first bytes tell."""
    text = start.lstrip().lower()
    if not start:
        return "nothing (0 bytes)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the weights themselves"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, such as a log-in or a download notice"
    if start.startswith(b"PK"):
        return "a PyTorch checkpoint that is cut off"
    return "content of an unknown kind"


def _unshared(tensors: Tensors) -> Tensors:
    """Contiguous tensors, each with its own memory, as the format wants them."""
    seen: set[int] = set()
    result: Tensors = {}
    for name, tensor in tensors.items():
        own = tensor.contiguous()
        place = own.untyped_storage().data_ptr()
        result[name] = own.clone() if place in seen else own
        seen.add(place)
    return result


def _metadata(file: Path) -> dict[str, str] | None:
    """The metadata of a .safetensors file, None when it is not there or can't be read."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            return cast(dict[str, str] | None, content.metadata())
    except (SafetensorError, OSError):
        return None


def _write(tensors: Tensors, target: Path, about: dict[str, str]) -> None:
    """Write to a temporary name, flush, rename; after an error nothing is left."""
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        save_file(tensors, temporary, metadata=about)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise WeightsError(
            f"{target.name} can't be written to {target.parent.name} ({reason}); free some space, or keep "
            "the weights in a folder that can be written"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
