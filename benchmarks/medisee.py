"""MediSee (LLaVA-Med and MedSAM), as the plugin runs it, beside a plain script of transformers, same run.

    python benchmarks/medisee.py                       small networks of the real classes, on the CPU
    python benchmarks/medisee.py --full-size           Mistral-7B, CLIP ViT-L/14-336, SAM ViT-B, on a GPU

Weights are random, written once in the released layout and once in that of transformers. Each row is a
process of its own. The plain script writes text with `generate` and draws with SAM and a box, everything
anew each time; it reads no candidate tokens, which the plugin does in one more pass. Needs the test extra.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "models"))
import tiny_llava
from systems_child import QUESTIONS, Peak, plane_of_noise, wait
from table import print_table

WORDS, CANDIDATES = 32000, 2
SIZES = {
    "full": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "heads": (32, 8)},
    "small": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "heads": (4, 2)},
}
TOWERS = {"full": (1024, 24, 16), "small": (128, 4, 4)}
"""Width, layers and heads of the CLIP tower; both see 336 pixels in patches of 14."""
TURN = "Please answer with a segmentation mask and a location box, and explain why."


class Passes:
    """Times the passes of a Llava, or of its text layers alone, the device awaited.

    first: when the pass ended that gave the first new token. seconds: spent inside the network.
    """

    def __init__(self, network) -> None:
        self._depth = 0
        self.reset()
        for part in (network, network.model.language_model):
            part.register_forward_pre_hook(self._begin, with_kwargs=True)
            part.register_forward_hook(self._end)

    def reset(self) -> None:
        self.seconds, self.passes, self.first, self._ended = 0.0, 0, 0.0, 0.0

    def _begin(self, _network, _arguments, named) -> None:
        self._depth += 1
        words = named.get("input_ids") if named.get("inputs_embeds") is None else named["inputs_embeds"]
        if self._depth > 1:
            return
        if words.shape[1] == 1 and not self.first:
            self.first = self._ended
        self._began = time.perf_counter()

    def _end(self, *_) -> None:
        self._depth -= 1
        if self._depth:
            return
        wait()
        self._ended = time.perf_counter()
        self.seconds += self._ended - self._began
        self.passes += 1


def settings_of(size: str) -> dict:
    chosen = dict(SIZES[size])
    heads, pairs = chosen.pop("heads")
    more = {"num_attention_heads": heads, "num_key_value_heads": pairs, "max_position_embeddings": 32768}
    return {**tiny_llava.LLAVA_SETTINGS, **chosen, **more, "vocab_size": WORDS, "torch_dtype": "bfloat16"}


def sam_of(size: str):
    from segment_anything.build_sam import _build_sam

    width, depth, heads, everywhere = (768, 12, 12, [2, 5, 8, 11]) if size == "full" else (96, 3, 3, [2])
    return _build_sam(
        encoder_embed_dim=width,
        encoder_depth=depth,
        encoder_num_heads=heads,
        encoder_global_attn_indexes=everywhere,
    )


def save(folder: Path, size: str, device: str) -> None:
    """The released checkpoint, LLaVA-Med's and CLIP's folder, and both networks in transformers' layout."""
    from transformers import CLIPVisionConfig, LlavaForConditionalGeneration

    from napari_medreason.models.llava_layout import LlavaWeights, llava_config
    from napari_medreason.models.medisee.heads import MediSeeHeads
    from napari_medreason.models.medisee.medsam import load_sam

    base, clip, checkpoint = (folder / name for name in ("base", "clip", "checkpoint"))
    for place in (base, clip, checkpoint):
        place.mkdir()
    pieces = tiny_llava.tiny_pieces()
    filling = [(f"filling{number}", -1e6, 5) for number in range(len(pieces), WORDS)]
    tiny_llava.write_tokenizer(base, [*pieces, *filling])
    settings = settings_of(size)
    (base / "config.json").write_text(json.dumps(settings))
    width, layers, heads = TOWERS[size]
    tower = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=336,
        patch_size=14,
    )
    tower.save_pretrained(clip)
    rows = {"model.embed_tokens.weight": torch.empty(WORDS + CANDIDATES, 1, device="meta")}
    config = llava_config(LlavaWeights("random", settings, tower, rows, ()))
    torch.manual_seed(0)
    with torch.device(device):
        network = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    network.save_pretrained(folder / "plain-llava")
    sam = sam_of(size)
    load_sam(sam.state_dict(), what="SAM").save_pretrained(folder / "plain-sam")
    named = {original(name): value.cpu() for name, value in network.state_dict().items()}
    named |= {f"model.visual_model.{name}": value for name, value in sam.state_dict().items()}
    head_tensors = MediSeeHeads(settings["hidden_size"]).state_dict()
    named |= {f"model.{name}": value for name, value in head_tensors.items()}
    peft = {f"base_model.model.{name}": value.contiguous() for name, value in named.items()}
    torch.save(peft, checkpoint / "pytorch_model.bin")


def original(name: str) -> str:
    """LLaVA's own name of a tensor of transformers' Llava."""
    return (
        name.replace("model.language_model.", "model.")
        .replace("model.vision_tower.", "model.vision_tower.vision_tower.vision_model.")
        .replace("multi_modal_projector.linear_1.", "mm_projector.0.")
        .replace("multi_modal_projector.linear_2.", "mm_projector.2.")
    )


def ours(folder: Path, options: argparse.Namespace) -> dict:
    from napari_medreason.core.question import Question
    from napari_medreason.models.medisee import load_medisee, network  # noqa: F401 - imports aren't timed

    begin = time.perf_counter()
    places = {"weights": folder / "checkpoint", "base": folder / "base", "vision_tower": folder / "clip"}
    system = load_medisee(
        **places, device=options.device, precision=options.precision, max_new_tokens=options.tokens
    )
    wait()
    load = time.perf_counter() - begin
    llava = system._network.llava
    llava.model.generation_config.eos_token_id = None
    passes, plane = Passes(llava.model), plane_of_noise()

    def answer(text: str) -> dict:
        passes.reset()
        begin = time.perf_counter()
        found = system.ask(Question(text, plane), on_text=lambda _: None, cancelled=lambda: False)
        wait()
        return figures(passes, begin, found.provenance.seconds.reason)

    answer(QUESTIONS[0])  # warms up
    llava.forget_images()
    system._pictures.clear()
    return {"load": load, "questions": [answer(text) for text in QUESTIONS]}


def plain(folder: Path, options: argparse.Namespace) -> dict:
    from PIL import Image
    from transformers import (
        BitsAndBytesConfig,
        CLIPImageProcessor,
        LlavaForConditionalGeneration,
        SamImageProcessor,
        SamModel,
        SamProcessor,
    )

    from napari_medreason.models.llava_tokenizer import load_tokenizer

    begin = time.perf_counter()
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
    )
    dtype = torch.float32 if options.precision == "fp32" else torch.bfloat16
    more = {"quantization_config": quantised} if options.precision == "4bit" else {}
    network = LlavaForConditionalGeneration.from_pretrained(
        folder / "plain-llava", dtype=dtype, device_map=options.device, **more
    )
    sam = SamModel.from_pretrained(folder / "plain-sam").to(options.device)
    sam_processor = SamProcessor(image_processor=SamImageProcessor())
    tokenizer = load_tokenizer(folder / "base", ("[SEG]", "[BBOX]"))
    processor = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    network.generation_config.eos_token_id, network.generation_config.pad_token_id = None, 0
    network.config.image_token_id = tokenizer.convert_tokens_to_ids("[SEG]")
    wait()
    load = time.perf_counter() - begin
    passes = Passes(network)
    picture = Image.fromarray(np.repeat((plane_of_noise().image * 2.55).astype(np.uint8)[..., None], 3, 2))

    def answer(text: str) -> dict:
        passes.reset()
        begin = time.perf_counter()
        ids = tokenizer(f"[INST] {'[SEG]' * 576}\n{text.lower()} {TURN} [/INST]", return_tensors="pt")
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            network.generate(
                input_ids=ids["input_ids"].to(options.device),
                attention_mask=ids["attention_mask"].to(options.device),
                pixel_values=pixels.to(options.device, dtype),
                max_new_tokens=options.tokens,
                do_sample=False,
            )
            wait()
            reasoned = time.perf_counter() - begin
            given = sam_processor(
                images=picture, input_boxes=[[[200.0, 200.0, 400.0, 400.0]]], return_tensors="pt"
            )
            sizes = [given.pop(key) for key in ("original_sizes", "reshaped_input_sizes")]
            seen = sam(**given.to(options.device, torch.float32), multimask_output=False)
            sam_processor.post_process_masks(seen.pred_masks.cpu(), *sizes)
        return figures(passes, begin, reasoned)

    answer(QUESTIONS[0])  # warms up
    return {"load": load, "questions": [answer(text) for text in QUESTIONS]}


def figures(passes: Passes, begin: float, reasoned: float) -> dict:
    return {
        "first_token": passes.first - begin,
        "total": time.perf_counter() - begin,
        "reason": reasoned,
        "network": passes.seconds,
        "passes": passes.passes,
    }


def measure(who: str, folder: str, precision: str, options: argparse.Namespace) -> dict:
    chosen = ["--who", who, "--folder", folder, "--precision", precision, "--tokens", str(options.tokens)]
    command = [sys.executable, __file__, *chosen, *(["--full-size"] if options.full_size else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{who} in {precision} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(who: str, precision: str, found: dict) -> tuple[str, ...]:
    first, second = found["questions"]
    speed = second["passes"] / second["network"]
    times = [f"{each[key]:.3f} s" for each in (first, second) for key in ("first_token", "total")]
    return who, precision, f"{found['load']:.1f} s", *times, f"{speed:.1f}", f"{found['peak'] / 1e9:.2f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full-size", action="store_true", help="7 billion weights; needs a GPU of 24 GB")
    parser.add_argument("--tokens", type=int, default=64, help="tokens written for each answer")
    parser.add_argument("--who", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="", help="one of them alone, such as 4bit")
    options = parser.parse_args()
    options.device = "cuda" if options.full_size else "cpu"
    if options.who:
        peak = Peak()
        found = (ours if options.who == "ours" else plain)(Path(options.folder), options)
        print(json.dumps({**found, "peak": peak.value()}))
        return
    rows, sentences = [], []
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), "full" if options.full_size else "small", options.device)
        if options.full_size:
            torch.cuda.empty_cache()
        chosen = (
            [options.precision] if options.precision else ["bf16" if options.full_size else "fp32", "4bit"]
        )
        for precision in chosen:
            found = {who: measure(who, folder, precision, options) for who in ("ours", "plain")}
            rows += [row(who, precision, each) for who, each in found.items()]
            mine, other = (found[who]["questions"][1] for who in ("ours", "plain"))
            faster = [f"{other[key] / mine[key]:.1f}" for key in ("first_token", "total")]
            overhead = [f"{each['reason'] / each['network'] - 1:.1%}" for each in (mine, other)]
            sentences.append(
                f"{precision}: second question {faster[0]} times as fast to the first token as the plain "
                f"script, {faster[1]} times on the whole; writing takes {overhead[0]} more than the passes "
                f"alone (plain script: {overhead[1]})"
            )
    first, second = "first question: first token", "second question: first token"
    print_table(
        ("who", "weights", "load", first, "whole", second, "whole", "passes per second", "peak memory"), rows
    )
    print("\n" + "\n".join(sentences))


if __name__ == "__main__":
    main()
