"""What the recipes are measured beside: scripts as the libraries' own documentation writes them."""

from collections.abc import Callable

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from napari_medreason_training.reasoning.grpo import question
from napari_medreason_training.reasoning.sft import example


class Timing(TrainerCallback):
    """Tells the clock when TRL's loop begins and ends a step."""

    def __init__(self, clock) -> None:
        self.clock = clock

    def on_step_begin(self, *_, **__) -> None:
        self.clock.begin()

    def on_step_end(self, *_, **__) -> None:
        self.clock.end()


def trl_script(config, data, steps: int, clock) -> None:
    """TRL's trainer on the same conversations, run by its own loop."""
    settings = config.settings
    shared = {
        "output_dir": "unused",
        "max_steps": steps,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "use_cpu": clock.device == "cpu",
        "bf16": clock.device != "cpu",
        "gradient_checkpointing": settings.checkpointing,
        "learning_rate": settings.learning_rate,
        "dataloader_pin_memory": False,
    }
    names = "|".join(settings.low_rank_targets)
    adapter = LoraConfig(
        r=settings.low_rank,
        lora_alpha=settings.low_rank_scale,
        target_modules=rf".*language_model\.layers\.\d+\..*\.({names})",
        task_type="CAUSAL_LM",
    )
    own = {"model": _network(data, settings, clock), "processing_class": data.processor}
    own |= {"peft_config": adapter, "callbacks": [Timing(clock)]}
    trainer = (_grpo if config.recipe == "grpo" else _sft)(settings, data, shared, own)
    trainer.train()


def _network(data, settings, clock):
    if settings.numbers != "4bit":
        return AutoModelForImageTextToText.from_pretrained(data.base.folder, dtype=torch.float32)
    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["visual", "lm_head", "embed_tokens"],
    )
    return AutoModelForImageTextToText.from_pretrained(
        data.base.folder, quantization_config=packed, dtype=torch.bfloat16, device_map=clock.device
    )


def _sft(settings, data, shared, own):
    accumulated = settings.batch // settings.at_once
    options = SFTConfig(
        **shared,
        per_device_train_batch_size=settings.at_once,
        gradient_accumulation_steps=accumulated,
        max_length=None,
    )
    examples = Dataset.from_list([example(one) for one in data.train])
    return SFTTrainer(args=options, train_dataset=examples, **own)


def _grpo(settings, data, shared, own):
    answers = settings.prompts * settings.group
    options = GRPOConfig(
        **shared,
        per_device_train_batch_size=settings.at_once,
        gradient_accumulation_steps=answers // settings.at_once,
        num_generations=settings.group,
        max_completion_length=settings.max_answer_tokens,
        beta=settings.kl,
        temperature=settings.temperature,
    )
    questions = Dataset.from_list([question(one) for one in data.train])

    def length(completions, **_) -> list[float]:
        return [float(len(one[0]["content"]) % 7) for one in completions]

    return GRPOTrainer(reward_funcs=length, args=options, train_dataset=questions, **own)


def torch_script(recipe, module) -> Callable[[int], object]:
    """A step of PyTorch's loop around the same network, losses and batches."""
    from napari_medreason_training.joint.samples import drawn

    settings, config = recipe.settings, recipe.config
    trained = [value for value in module.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, settings.learning_rate)
    half = module.language.device.type != "cpu"

    def step(number: int) -> None:
        module.train()
        optimiser.zero_grad()
        for part in range(settings.accumulation):
            first = ((number - 1) * settings.accumulation + part) * settings.batch
            samples = drawn(recipe.samples, config.seed, first, settings.batch)
            with torch.autocast("cuda" if half else "cpu", torch.bfloat16, enabled=half):
                losses = module(samples, epoch=0.0)
            (losses["loss"] / settings.accumulation).backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()

    return step
