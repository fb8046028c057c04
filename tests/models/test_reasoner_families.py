"""Families of reasoners on tiny real architectures: forms, kept image prefix, cancel, forced answers."""

import threading
import time

import numpy as np
import pytest

from napari_medreason.core.question import Question
from napari_medreason.errors import (
    AnswerFormatError,
    CancelledError,
    ModelUnavailableError,
    NotEnoughMemoryError,
)
from napari_medreason.models.base import Reasoner
from napari_medreason.models.pair_choice import reasoner_family
from napari_medreason.models.reasoners.coordinates import example, in_words
from napari_medreason.models.reasoners.forms import MEDREASONER, SEG_ZERO, VLM_R1
from napari_medreason.models.reasoners.prompt_text import AskedPrompt, Prompt, read_prompt

from .tiny_reasoners import tiny_gemma3, tiny_internvl

PROMPT = Prompt("", "\nQuestion: {question}\nAnswer well.\n")
FAMILIES = ["qwen", "gemma3", "internvl"]


def silent(text):
    pass


def never():
    return False


@pytest.fixture(scope="module")
def folders(qwen_folder, tmp_path_factory):
    found = {"qwen": qwen_folder}
    for name, make in (("gemma3", tiny_gemma3), ("internvl", tiny_internvl)):
        found[name] = tmp_path_factory.mktemp("families") / f"tiny-{name}"
        for part in make():
            part.save_pretrained(found[name])
    return found


@pytest.fixture(scope="module")
def loaded(folders):
    from napari_medreason.models.reasoners.generation import VisionLanguageModel

    made = {
        name: VisionLanguageModel(folder, device="cpu", precision="fp32", exact_pixels=name == "qwen")
        for name, folder in folders.items()
    }
    for model in made.values():
        make_talkative(model.network)
    return made


def make_talkative(network):
    """Weights at their usual start make an untrained model repeat its last token; larger ones don't."""
    import torch

    with torch.no_grad():
        for name, weights in network.named_parameters():
            if weights.ndim == 2 and "embed" not in name and "lm_head" not in name:
                weights.mul_(8)


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (112, 112, 3), dtype=np.uint8) for _ in range(2)]


def write(model, picture, question, *, tokens=24, prompt=PROMPT, cancelled=never, on_text=silent):
    from napari_medreason.models.reasoners.generation import Writing

    writing = Writing(tokens, repetition_penalty=1.3)
    return model.write(
        picture, prompt.asked(question), writing=writing, on_text=on_text, cancelled=cancelled
    ).text


def counted(model, name):
    """A list that grows by one each time the vision tower runs."""
    runs = []
    inner = model.network.model
    tower = inner.visual if name == "qwen" else inner.vision_tower
    return runs, tower.register_forward_hook(lambda *_: runs.append(1))


def by_the_book(model, picture, question):
    """What transformers writes in one go, without anything kept."""
    import torch
    from PIL import Image

    content = [{"type": "image"}, {"type": "text", "text": PROMPT.after.replace("{question}", question)}]
    chat = model._processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    options = {"do_resize": False} if hasattr(model.network.model, "visual") else {}
    inputs = model._processor(text=[chat], images=[Image.fromarray(picture)], return_tensors="pt", **options)
    settings = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    with torch.inference_mode():
        tokens = model.network.generate(**inputs, max_new_tokens=24, repetition_penalty=1.3, **settings)
    return model._processor.tokenizer.decode(
        tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_second_question_runs_no_vision_tower_and_gives_the_same_words(loaded, pictures, name):
    model = loaded[name]
    model.prefixes.clear()
    questions = ["Where is it?", "Is the other box brighter?", "Where is it?"]
    expected = [by_the_book(model, pictures[0], question) for question in questions]
    assert len(set(expected)) == 2
    runs, hook = counted(model, name)
    with hook:
        assert write(model, pictures[0], questions[0]) == expected[0]
        assert len(runs) == 1
        assert write(model, pictures[0], questions[1]) == expected[1]
        assert write(model, pictures[0], questions[2]) == expected[2]
        assert len(runs) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_another_picture_in_between_changes_nothing(loaded, pictures, name):
    model = loaded[name]
    model.prefixes.clear()
    first = by_the_book(model, pictures[0], "Where is it?")
    runs, hook = counted(model, name)
    with hook:
        write(model, pictures[0], "Which one?")
        small = np.ascontiguousarray(pictures[1][:56]) if name == "qwen" else pictures[1]
        write(model, small, "Which one?")
        by_the_book(model, small, "Which one?")
        assert write(model, pictures[0], "Where is it?") == first
    assert len(runs) == 3
    assert len(model.prefixes) == 2


def test_a_prompt_with_the_question_before_the_picture_works_and_keeps_pictures_apart(loaded, pictures):
    prompt = Prompt("About {question}", "\nAnswer well.\n")
    model = loaded["qwen"]
    first = write(model, pictures[0], "the left", prompt=prompt)
    assert write(model, pictures[0], "the bright box", prompt=prompt) != first
    assert write(model, pictures[0], "the left", prompt=prompt) == first


def test_what_is_kept_is_bounded_in_number_and_bytes(loaded, pictures):
    from napari_medreason.models.reasoners.prefix_cache import KEPT_PREFIXES, PrefixCache

    model = loaded["qwen"]
    model.prefixes.clear()
    for shade in range(KEPT_PREFIXES + 2):
        write(model, np.full((56, 56, 3), shade, np.uint8), "Where?", tokens=1)
    assert len(model.prefixes) == KEPT_PREFIXES
    one = model.prefixes.nbytes // KEPT_PREFIXES
    runs, hook = counted(model, "qwen")
    with hook:
        write(model, np.full((56, 56, 3), KEPT_PREFIXES + 1, np.uint8), "Where?", tokens=1)
        assert runs == []
        write(model, np.full((56, 56, 3), 0, np.uint8), "Where?", tokens=1)
        assert runs == [1]
    model.prefixes = PrefixCache(limit_bytes=int(2.5 * one))
    for shade in range(4):
        write(model, np.full((56, 56, 3), shade, np.uint8), "Where?", tokens=1)
    assert len(model.prefixes) == 2
    model.prefixes = PrefixCache(limit_bytes=one // 2)
    write(model, pictures[0], "Where?", tokens=1)
    assert len(model.prefixes) == 0
    model.prefixes = PrefixCache()


def test_questions_at_the_same_time_wait_for_each_other(loaded, pictures):
    model = loaded["qwen"]
    expected = [by_the_book(model, picture, "Where is it?") for picture in pictures]
    found = [None, None]

    def run(number):
        found[number] = [write(model, pictures[number], "Where is it?") for _ in range(3)]

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[expected[0]] * 3, [expected[1]] * 3]


def test_a_question_that_waits_for_another_can_be_cancelled(loaded, pictures):
    model = loaded["qwen"]
    with model.changing():
        until = time.monotonic() + 0.2
        with pytest.raises(CancelledError):
            write(model, pictures[0], "Where?", cancelled=lambda: time.monotonic() > until)
    assert time.monotonic() - until < 0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cancel_is_heard_while_the_picture_is_looked_at(loaded, pictures, name):
    """Each layer of the slow network takes a tenth of a second; there are several before the first token."""
    model = loaded[name]
    model.prefixes.clear()
    layers = [layer for layer in model.network.modules() if type(layer).__name__.endswith("DecoderLayer")]
    hooks = [layer.register_forward_hook(lambda *_: time.sleep(0.15)) for layer in layers]
    spoken, until = [], time.monotonic() + 0.1
    with pytest.raises(CancelledError):
        write(model, pictures[0], "Where?", cancelled=lambda: time.monotonic() > until, on_text=spoken.append)
    for hook in hooks:
        hook.remove()
    assert time.monotonic() - until < 0.5
    assert spoken == []
    assert len(model.prefixes) == 0
    assert write(model, pictures[0], "Where is it?") == by_the_book(model, pictures[0], "Where is it?")


def test_a_full_gpu_gives_back_what_was_kept_and_the_model_goes_on(loaded, pictures):
    import torch

    model = loaded["qwen"]
    words = write(model, pictures[0], "Where is it?")
    assert len(model.prefixes) > 0

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.network.lm_head.register_forward_hook(full)
    with pytest.raises(NotEnoughMemoryError, match="memory"):
        write(model, pictures[0], "Where?")
    hook.remove()
    assert len(model.prefixes) == 0
    assert write(model, pictures[0], "Where is it?") == words


def make(folder, **options):
    family = reasoner_family(folder, family=options.pop("family", None))
    return family.create(folder, device="cpu", precision="fp32", square_size=112, **options)


@pytest.fixture
def question(make_plane):
    return Question("Where is the bright box?", make_plane((10, 10, 30, 30), shape=(40, 60)))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("direct", [False, True])
def test_forced_answers_always_parse_and_lie_in_the_image(folders, question, name, direct):
    heard = []
    reasoner = make(folders[name], constrained=True, think_tokens=5, max_new_tokens=220, direct=direct)
    assert isinstance(reasoner, Reasoner)
    answer = reasoner.reason(question, on_text=heard.append, cancelled=never)
    x0, y0, x1, y1 = answer.box
    assert 0 <= x0 < x1 <= 60
    assert 0 <= y0 < y1 <= 40
    assert all(0 <= x <= 59 and 0 <= y <= 39 for x, y in answer.points)
    assert any("enforced" in note for note in answer.notes)
    assert not any("moved" in note or "cut" in note or "another order" in note for note in answer.notes)
    assert "".join(heard).startswith("<answer>" if direct else "<think>")


@pytest.mark.parametrize("family", ["seg-zero", "vlm-r1"])
def test_other_forms_are_forced_too(folders, question, family):
    reasoner = make(folders["qwen"], family=family, constrained=True, think_tokens=3)
    answer = reasoner.reason(question, on_text=silent, cancelled=never)
    assert answer.box is not None
    assert (answer.points is None) == (family == "vlm-r1")


@pytest.mark.slow
def test_a_trained_model_writes_its_answer_unchanged_when_its_form_is_enforced(
    trained_qwen_folder, make_plane, tmp_path
):
    prompt = tmp_path / "short.txt"
    prompt.write_text("<image>\nQuestion: {question}\n")
    plane = make_plane((10, 40, 40, 80), shape=(112, 112))
    asked = Question("Where is the bright box?", plane)
    free = make(trained_qwen_folder, prompt=prompt).reason(asked, on_text=silent, cancelled=never)
    forced = make(trained_qwen_folder, prompt=prompt, constrained=True).reason(
        asked, on_text=silent, cancelled=never
    )
    assert (forced.box, forced.points, forced.text) == (free.box, free.points, free.text)
    assert "0 of its tokens" in forced.notes[-1]


def test_an_answer_that_has_no_room_is_said(folders, question):
    with pytest.raises(ModelUnavailableError, match="set max_new_tokens to more"):
        make(folders["qwen"], constrained=True, max_new_tokens=20).reason(
            question, on_text=silent, cancelled=never
        )
    with pytest.raises(AnswerFormatError, match="cut at 4 tokens"):
        make(folders["qwen"], max_new_tokens=4).reason(question, on_text=silent, cancelled=never)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"promt": "x"}, "'promt' is not known.*constrained, coordinates"),
        ({"coordinates": "metres"}, "pixels, thousandths, fractions"),
        ({"coordinates": "fractions", "constrained": True}, "whole numbers"),
        ({"max_new_tokens": 0}, "above 0"),
        ({"max_new_tokens": "many"}, "a whole number"),
        ({"repetition_penalty": "1.05"}, "a number, none"),
    ],
)
def test_options_that_can_not_be_are_named(folders, options, complaint):
    with pytest.raises(ModelUnavailableError, match=complaint):
        make(folders["qwen"], **options)


@pytest.mark.parametrize(
    ("name", "chosen", "family"),
    [
        ("tiny", {}, "qwen2.5-vl"),
        ("Seg-Zero-7B", {}, "seg-zero"),
        ("VLM-R1-Qwen2.5VL-3B-Math-0305", {}, "vlm-r1"),
        ("Qwen2.5VL-3B-VLM-R1-REC-500steps", {}, "vlm-r1"),
        ("my folder", {"weights_id": "seg-zero-7b"}, "seg-zero"),
        ("Seg-Zero-7B", {"family": "qwen2.5-vl"}, "qwen2.5-vl"),
        ("MedReasoner-7B", {}, "qwen2.5-vl"),
        ("medgemma-of-qwen", {}, "qwen2.5-vl"),
    ],
)
def test_the_form_is_chosen_by_option_then_catalogue_id_then_model_type(tmp_path, name, chosen, family):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert reasoner_family(folder, **chosen).id == family


def test_families_that_are_not_known(tmp_path):
    with pytest.raises(ModelUnavailableError, match=r"'yolo' is not known; known: .*endpoint, gemma3"):
        reasoner_family(tmp_path, family="yolo")
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}')
    with pytest.raises(ModelUnavailableError, match=r"'internvl_chat'.*gemma3, internvl, qwen2_5_vl"):
        reasoner_family(tmp_path)
    assert reasoner_family("https://gpu.example.org/v1").id == "endpoint"


@pytest.mark.parametrize("form", [MEDREASONER, SEG_ZERO, VLM_R1])
@pytest.mark.parametrize("direct", [False, True])
def test_built_in_prompts_are_whole_and_their_example_is_read_back(form, direct):
    prompt = read_prompt(
        None,
        form.direct_prompt if direct else form.prompt,
        coordinates=in_words("pixels", 840, sized=True),
        example=example("pixels", 840, keys=form.keys),
    )
    text = prompt.before + prompt.after
    assert text.count("{question}") == 1
    assert "840 x 840" in text
    assert ("<think>" in text) == (not direct)
    answer = "<answer>" + example("pixels", 840, keys=form.keys) + "</answer>"
    assert form.parse(answer).box == (212, 388, 301, 506)
    leftover = text.replace("{question}", "").replace(example("pixels", 840, keys=form.keys), "")
    assert "{" not in leftover


def test_the_reasoning_prompt_has_its_parts_in_the_published_order():
    text = read_prompt(None, "medreasoner.txt", coordinates="C", example="E").after
    modalities = (
        "X-ray, a CT, an MRI, an ultrasound, an endoscopy, a fundus, a pathology, a dermoscopy, a mammogram"
    )
    parts = [part.split()[-1] for part in modalities.split(", ")]
    parts += ["hints", "goal", "step by step", "Question: {question}", "1. Read", "2. Collect", "3. Settle"]
    parts += ["4. Give", "5. Where", "<think>", "<answer>", '"bbox"', '"points_1"', '"points_2"']
    parts += ["1. Write both", "2. Reason", "3. Never", "4. Make", "5. Choose", "Example"]
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


def test_a_question_can_not_reach_into_the_prompt():
    asked = Prompt("", "Ask: {question} now").asked("{question} {example}")
    assert asked == AskedPrompt("", "Ask: ", "{question} {example} now")
