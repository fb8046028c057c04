"""The tokenizer of LLaVA-Med, and the splice rule for its one image.

Read from the folder's `tokenizer.model` (sentencepiece, BPE), where the text between two added tokens is
split as a text of its own, as in the Llama tokenizer that the published systems were trained with; else
from `tokenizer.json` as it stands. Imported only inside functions, since it needs transformers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from napari_medreason.errors import WeightsError

IMAGE_WORD = "<image>"
IMAGE_ID = -200
"""Stands for the image in a list of token ids (LLaVA); it is no id of the vocabulary."""
_FILES = ("tokenizer.model", "tokenizer.json")
_WORDS, _UNKNOWN, _CONTROL, _BPE = (1, 4), 2, 3, 2
"""Types of a sentencepiece piece, and the model type (sentencepiece_model.proto)."""


class Piece(NamedTuple):
    """One entry of a sentencepiece vocabulary; its place in the list is its id."""

    text: str
    score: float
    kind: int


def load_tokenizer(folder: Path, extra_tokens: Sequence[str] = ()) -> Any:
    """The folder's tokenizer, with `extra_tokens` as further words; WeightsError when it has none.

    Extra tokens are found wherever they stand in a text, and the text beside them is left alone.
    """
    core = _core(folder)
    controls = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    lacking = [token for token in controls.values() if core.token_to_id(token) is None]
    if lacking:
        raise WeightsError(f"the tokenizer of {folder.name} has no token {lacking[0]}; a Llama one is needed")
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=core, padding_side="right", **controls)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in extra_tokens])
    return tokenizer


def spliced_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text with at most one `<image>`, which becomes IMAGE_ID.

    The texts before and after it are tokenised by themselves, and the second one's beginning-of-sequence
    token is left out (LLaVA, `tokenizer_image_token`).
    """
    chunks = [list(tokenizer(chunk).input_ids) for chunk in text.split(IMAGE_WORD)]
    if len(chunks) > 2:
        raise ValueError(f"the text has {len(chunks) - 1} images; one is accepted")
    return chunks[0] if len(chunks) == 1 else [*chunks[0], IMAGE_ID, *chunks[1][1:]]


def plain(tokenizer: Any, text: str) -> str:
    """A user's text without control words, which would break the prompt."""
    for word in (IMAGE_WORD, *tokenizer.get_added_vocab()):
        text = text.replace(word, " ")
    return text


def _core(folder: Path) -> Tokenizer:
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        raise WeightsError(
            f"{folder.name} has neither {_FILES[0]} nor {_FILES[1]}; give the folder with all files "
            "of LLaVA-Med"
        )
    try:
        if file.name == _FILES[0]:
            return _sentencepiece_core(read_pieces(file.read_bytes()))
        return Tokenizer.from_buffer(file.read_bytes())
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(
            f"the tokenizer of {folder.name} can't be read ({file.name}: {str(error)[:150]}); please install "
            "the weights again"
        ) from error


def _sentencepiece_core(pieces: Sequence[Piece]) -> Tokenizer:
    """A tokenizer that merges as sentencepiece does: the piece with the best score first."""
    vocabulary = {piece.text: id_ for id_, piece in enumerate(pieces)}
    scores = {piece.text: piece.score for piece in pieces}
    no_words = {piece.text for piece in pieces if piece.kind not in _WORDS}
    unknown = next((piece.text for piece in pieces if piece.kind == _UNKNOWN), None)
    core = Tokenizer(
        models.BPE(
            vocabulary,
            generate_merges(vocabulary, scores, no_words),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    controls = [piece.text for piece in pieces if piece.kind in (_UNKNOWN, _CONTROL)]
    core.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in controls])
    return core


def read_pieces(content: bytes) -> list[Piece]:
    """The vocabulary of a sentencepiece model file; ValueError unless it is a BPE model.

    The file is a protocol buffer: field 1 repeats the pieces (1 text, 2 score, 3 type), field 2 says how
    it was trained (3 model type), by sentencepiece_model.proto.
    """
    pieces, kind = [], 0
    for number, value in _fields(content):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(dict(_fields(value))))
        elif number == 2 and isinstance(value, bytes):
            kind = dict(_fields(value)).get(3, 1)
    if not pieces or kind != _BPE:
        raise ValueError("tokenizer.model is no sentencepiece BPE model")
    return pieces


def _piece(entry: dict[int, Any]) -> Piece:
    text, score, kind = entry.get(1), entry.get(2, 0.0), entry.get(3, 1)
    if not (isinstance(text, bytes) and text and isinstance(score, float) and isinstance(kind, int)):
        raise ValueError("tokenizer.model has a piece without text, score or type")
    return Piece(text.decode(), score, kind)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Field number and value of a protocol buffer message, in order."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        if key & 7 == 0:
            value, at = _varint(content, at)
            yield key >> 3, value
        else:
            size, at = {5: (4, at), 1: (8, at)}.get(key & 7) or _varint(content, at)
            if at + size > len(content) or key & 7 not in (1, 2, 5):
                raise ValueError("tokenizer.model is cut off or no sentencepiece model")
            raw, at = content[at : at + size], at + size
            yield key >> 3, struct.unpack("<f", raw)[0] if key & 7 == 5 else raw


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if at >= len(content) or shift > 63:
            raise ValueError("tokenizer.model is cut off or no sentencepiece model")
        value |= (content[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if content[at - 1] < 0x80:
            return value, at
