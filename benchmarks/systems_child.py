"""One system in a process of its own: loads it, asks twice on a plane, prints one JSON line of figures.

"ours" goes through the plugin's own model; "plain" is what a user would write with transformers alone:
processor, `generate`, and SAM 2's processor and model on the same picture, everything anew each time.
"""

import json
import sys
import threading
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from napari_medreason import models
from napari_medreason.core.plane import cut
from napari_medreason.core.question import Question
from napari_medreason.core.volume import Volume, Window
from napari_medreason.models.fit import Host, loading_for

clock = time.perf_counter if torch.cuda.is_available() else time.thread_time
"""Without a GPU the main thread's seconds of the processor count, so that other programs do not disturb."""
QUESTIONS = ("Where is the organ that filters the blood?", "Which organ lies above it on the same side?")
SIZE = 840


class Steps:
    """Counts and times the passes of a network, the device awaited.

    seconds: spent inside it. first: when the pass ended that gave the first new token, which is the last one
    that read more than one token.
    """

    def __init__(self, network) -> None:
        self._began, self._length = 0.0, 0
        self.reset()
        if network is not None:
            network.register_forward_pre_hook(self._begin, with_kwargs=True)
            network.register_forward_hook(self._end)

    def around(self, work):
        """`work`, timed as a pass of a network."""

        def timed(*arguments, **named):
            self._begin(None, (), {})
            try:
                return work(*arguments, **named)
            finally:
                self._end()

        return timed

    def reset(self) -> None:
        self.seconds, self.passes, self.first = 0.0, 0, 0.0

    def _begin(self, _network, _arguments, named) -> None:
        self._length = named["input_ids"].shape[1] if named.get("input_ids") is not None else 0
        self._began = clock()

    def _end(self, *_) -> None:
        wait()
        ended = clock()
        self.seconds += ended - self._began
        self.passes += 1
        if self._length > 1:
            self.first = ended


class Peak:
    """Peak memory: of the GPU as PyTorch counts it, else of this process, sampled."""

    def __init__(self) -> None:
        self._ended, self.most = threading.Event(), 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        if not torch.cuda.is_available():
            self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, psutil.Process().memory_info().rss)

    def value(self) -> int:
        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else self.most


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def plane_of_noise():
    """Smooth noise of 840 x 840 pixels, shown to both without resizing."""
    coarse = np.random.default_rng(0).uniform(0, 100, (1, 30, 30)).astype(np.float32)
    voxels = np.repeat(np.repeat(coarse, SIZE // 30, 1), SIZE // 30, 2)
    return cut(Volume(voxels, np.eye(4), "MR"), "axial", 0, Window(0, 100))


def ours(reasoner: Path, segmenter: Path, *, precision: str, device: str, tokens: int) -> dict:
    notes: list[str] = []
    for name in ("reasoners.generation", "segmenters.sam2_tracking"):
        import_module(f"napari_medreason.models.{name}")  # imports are not part of loading
    begin = clock()
    with loading_for(Host(planned=lambda plan: notes.append(plan.words), told=notes.append)):
        system = models.create(
            "medreasoner",
            reasoner=reasoner,
            segmenter=segmenter,
            precision=precision,
            device=device,
            max_new_tokens=tokens,
            constrained=True,
        )
    wait()
    load = clock() - begin
    network = system.reasoner._model.network
    steps, vision = Steps(network), Steps(network.model.visual)
    reasoned = Steps(None)
    system.reasoner.reason = reasoned.around(system.reasoner.reason)
    plane = plane_of_noise()
    system.ask(
        Question(QUESTIONS[0], replace(plane)), on_text=lambda _: None, cancelled=lambda: False
    )  # warms up
    system.reasoner._model.prefixes.clear()
    system._embeddings.clear()
    rows = []
    for text in QUESTIONS:
        steps.reset()
        vision.reset()
        reasoned.reset()
        begin = clock()
        system.ask(Question(text, plane), on_text=lambda _: None, cancelled=lambda: False)
        wait()
        rows.append(
            {
                "first_token": steps.first - begin,
                "total": clock() - begin,
                "reason": reasoned.seconds,
                "network": steps.seconds,
                "passes": steps.passes,
                "vision_passes": vision.passes,
            }
        )
    return {"load": load, "notes": notes, "questions": rows}


def plain(reasoner: Path, segmenter: Path, *, precision: str, device: str, tokens: int) -> dict:
    from importlib import resources

    from transformers import (
        AutoModelForImageTextToText,
        AutoProcessor,
        BitsAndBytesConfig,
        Sam2Model,
        Sam2Processor,
    )

    prompt = (
        resources.files("napari_medreason.models.reasoners") / "prompts" / "medreasoner.txt"
    ).read_text()
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
    begin = clock()
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    options = {"quantization_config": quantised} if precision == "4bit" else {}
    network = AutoModelForImageTextToText.from_pretrained(reasoner, dtype=dtype, device_map=device, **options)
    processor = AutoProcessor.from_pretrained(reasoner)
    sam, sam_processor = (
        Sam2Model.from_pretrained(segmenter).to(device),
        Sam2Processor.from_pretrained(segmenter),
    )
    wait()
    load = clock() - begin
    steps, vision = Steps(network), Steps(network.model.visual)
    picture = Image.fromarray(np.repeat((plane_of_noise().image * 2.55).astype(np.uint8)[..., None], 3, 2))

    def answer(text: str) -> dict:
        steps.reset()
        vision.reset()
        begin = clock()
        head, tail = prompt.replace("{question}", text).split("<image>")
        content = [
            {"type": "text", "text": head},
            {"type": "image", "image": picture},
            {"type": "text", "text": tail},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device, dtype)
        with torch.inference_mode():
            network.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
            wait()
            reasoned = clock()
            given = sam_processor(
                images=picture, input_boxes=[[[200, 200, 400, 400]]], return_tensors="pt"
            ).to(device)
            output = sam(**{key: value for key, value in given.items() if key != "original_sizes"})
            sam_processor.post_process_masks(output.pred_masks.cpu(), given["original_sizes"])
        end = clock()
        return {
            "first_token": steps.first - begin,
            "total": end - begin,
            "reason": reasoned - begin,
            "network": steps.seconds,
            "passes": steps.passes,
            "vision_passes": vision.passes,
        }

    answer(QUESTIONS[0])  # warms up
    return {"load": load, "notes": [], "questions": [answer(text) for text in QUESTIONS]}


def main() -> None:
    who, reasoner, segmenter, precision, device, tokens = sys.argv[1:]
    peak = Peak()
    work = ours if who == "ours" else plain
    figures = work(Path(reasoner), Path(segmenter), precision=precision, device=device, tokens=int(tokens))
    print(json.dumps({**figures, "peak": peak.value()}))


if __name__ == "__main__":
    main()
