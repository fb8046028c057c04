"""A process that decodes compressed DICOM pixels: decoders in C and C++ can crash on damaged files.

Run as `python -m napari_medreason.io.dicom_child`. Each line on standard input is a JSON object with
the arguments of `stored_frames`. The answer is the line "taken", then for each frame a JSON line
(dtype, shape) and its bytes, or at a fault a JSON line with "fault". The process ends when standard
input closes or no work comes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_medreason.io.dicom_decoders import fault, stored_frames
from napari_medreason.io.dicom_values import DAMAGED

_IDLE_SECONDS = 3600.0


def main() -> None:
    """Answer requests until standard input closes."""
    warnings.simplefilter("ignore")
    # Descriptor 1 is kept for answers alone, so that no word of a library can get between them.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        idle = _end_later()
        for line in sys.stdin.buffer:
            idle.cancel()
            answers.write(b"taken\n")
            answers.flush()
            _answer(json.loads(line), answers)
            idle = _end_later()


def _end_later() -> threading.Timer:
    """End this process when it stays idle."""
    timer = threading.Timer(_IDLE_SECONDS, os._exit, (0,))
    timer.daemon = True
    timer.start()
    return timer


def _answer(request: dict[str, Any], answers: BinaryIO) -> None:
    try:
        frames = stored_frames(
            Path(request["path"]),
            request["wanted"],
            transfer_syntax=request["transfer_syntax"],
            bits_stored=request["bits_stored"],
        )
        for frame in frames:
            _write(answers, {"dtype": frame.dtype.str, "shape": frame.shape})
            answers.write(np.ascontiguousarray(frame).tobytes())
            answers.flush()
    except DAMAGED as error:
        _write(answers, {"fault": fault(error)})


def _write(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
