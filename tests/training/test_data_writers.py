"""U-MRG and MLMR-SD builds with the template writer and with a server on the loopback address."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_medreason.core.template_facts import Facts
from napari_medreason.core.template_names import names_in
from napari_medreason.errors import DataSetError
from napari_medreason.io.records import read_records
from napari_medreason_training.data.build import build
from napari_medreason_training.data.config import WriterConfig, read_build_config
from napari_medreason_training.data.writers.cache import TextCache
from napari_medreason_training.data.writers.endpoint import endpoint
from napari_medreason_training.data.writers.task import WriterSilentError

from .data_cases import config_file, pair_folder

Reply = Callable[[dict], tuple[int, str]]


class Server:
    """An OpenAI-compatible server in a thread; `reply` turns a request's body into (status, text)."""

    def __init__(self, reply: Reply) -> None:
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                status, text = reply(body)
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", text)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(text.encode("utf-8"))

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], Server]]:
    servers: list[Server] = []

    def start(reply: Reply) -> Server:
        servers.append(Server(reply))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def completion(answer: object) -> tuple[int, str]:
    content = answer if isinstance(answer, str) else json.dumps(answer)
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return 200, json.dumps({"choices": [{"message": {"content": content}}], "usage": usage})


def prompt_of(body: dict) -> str:
    content = body["messages"][1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def name_in(prompt: str) -> str:
    """The name that the prompt of a pair asks to be said."""
    return re.search(r'name "([^"]+)"', prompt).group(1)


def good(body: dict) -> tuple[int, str]:
    """What a careful model would answer; the wording differs with the prompt."""
    prompt = prompt_of(body)
    mark = f"{abs(hash(prompt)) % 10_000}"
    if '"caption"' in prompt:
        return completion({"caption": "A slice with two outlined areas."})
    if '"formats"' in prompt:
        count = int(re.search(r"exactly (\d+) forms", prompt).group(1))
        forms = [
            {"id": n, "question": f"What is at place {n}?", "answer": "Look there."} for n in range(count)
        ]
        return completion({"supercategory": "abdomen anatomies", "formats": forms})
    if '"reasoning"' in prompt:
        name = name_in(prompt)
        steps = "An area stands out. It has a smooth edge."
        return completion(
            {"question": f"What is area {mark}?", "reasoning": steps, "answer": f"It is the {name}."}
        )
    if '{"short": {"question"' in prompt:
        pair = {"question": f"Which area has mark {mark}?", "answer": f"That is the {name_in(prompt)}."}
        long = {"question": f"Which outlined area has the mark {mark}?", "answer": pair["answer"]}
        return completion({"short": pair, "long": long})
    return completion({"short": f"the area with mark {mark}", "long": f"the area with the long mark {mark}"})


def settings(server: Server | str, more: str = "") -> str:
    address = server if isinstance(server, str) else server.address
    return (
        f'[writer]\nkind = "endpoint"\naddress = "{address}"\nmodel = "toy"\nallow_endpoint = true\n'
        f"back_off = 0.0\ntimeout = 5.0\n{more}\n[regions]\nslices_per_structure = 2\n"
    )


def run(config: Path, system: str):
    seen = []
    result = build(system, read_build_config(config), config.parent, seen.append)
    return result, list(read_records(result.folder / "records.jsonl")), seen[-1].usage


@pytest.mark.parametrize("system", ["mlmr-sd", "u-mrg"])
def test_the_template_writer_needs_no_model_and_never_names_the_structure_in_a_question(tmp_path, system):
    config = config_file(tmp_path)
    result, records, _ = run(config, system)
    assert {record.structure for record in records} == {"liver", "spleen"}
    assert result.report.sound
    for record in records:
        assert names_in(record.question, Facts(record.structure)) == ()
        assert names_in(record.answer, Facts(record.structure))
        assert record.template.id
        assert record.review.state == "waiting for review"
        assert record.short_description
        assert bool(record.reasoning) == (system == "u-mrg")
    content = (result.folder / "records.jsonl").read_bytes()
    run(config, system)
    assert (result.folder / "records.jsonl").read_bytes() == content


def test_mlmr_sd_has_attribute_and_location_questions_short_and_long(tmp_path):
    _, records, _ = run(config_file(tmp_path), "mlmr-sd")
    kinds = {(record.approach, record.length) for record in records}
    assert kinds == {(a, n) for a in ("attribute", "location") for n in ("short", "long")}


@pytest.mark.parametrize("system", ["mlmr-sd", "u-mrg"])
def test_a_server_that_answers_well(tmp_path, serve, system):
    server = serve(good)
    config = config_file(tmp_path, settings(server, "price_input = 10.0\nprice_output = 30.0"))
    result, records, usage = run(config, system)
    assert result.report.sound
    assert records
    assert {record.provenance.writer for record in records} == {"endpoint"}
    assert usage.requests == len(server.bodies)
    assert usage.input_tokens == 100 * len(server.bodies)
    assert usage.cost == pytest.approx(len(server.bodies) * (100 * 10 + 20 * 30) / 1e6)
    sent = json.dumps(server.bodies)
    for private in (".nii", "toy_", "p0", str(tmp_path), "p-"):
        assert private not in sent


def test_a_second_build_comes_from_the_cache_and_gives_the_same_bytes(tmp_path, serve):
    server = serve(good)
    config = config_file(tmp_path, settings(server))
    first = (run(config, "u-mrg")[0].folder / "records.jsonl").read_bytes()
    asked = len(server.bodies)
    _, _, usage = run(config, "u-mrg")
    assert len(server.bodies) == asked
    assert usage.cached >= asked
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == first


def bad_json(_body: dict) -> tuple[int, str]:
    return completion("Sure! Here is the JSON you asked for: {short: yes}")


def leaking(body: dict) -> tuple[int, str]:
    prompt = prompt_of(body)
    if '"caption"' in prompt or '"formats"' in prompt:
        return good(body)
    return completion({"short": "the liver or the spleen", "long": "the large liver beside the spleen"})


def other_keys(_body: dict) -> tuple[int, str]:
    return completion({"short": "a", "long": "b", "note": "extra"})


@pytest.mark.parametrize(
    ("system", "reply", "reason"),
    [
        ("u-mrg", bad_json, "text: description: bad JSON"),
        ("mlmr-sd", bad_json, "text: caption: bad JSON"),
        ("u-mrg", leaking, "text: description: name given away"),
        ("mlmr-sd", leaking, "text: attribute: name given away"),
        ("u-mrg", other_keys, "text: description: JSON of another form"),
    ],
)
def test_a_server_that_answers_badly_costs_records_and_every_one_is_counted(
    tmp_path, serve, system, reply, reason
):
    server = serve(reply)
    result, records, usage = run(config_file(tmp_path, settings(server)), system)
    assert records == []
    assert result.report.sound
    assert reason in result.dropped
    assert usage.refused == sum(n for name, n in result.dropped.items() if name.startswith("text: "))
    assert usage.retries == 2 * usage.refused
    assert "refused" in server.bodies[-1]["messages"][-1]["content"]


def test_a_server_that_is_right_at_the_second_try(tmp_path, serve):
    def moody(body: dict) -> tuple[int, str]:
        return good(body) if len(body["messages"]) > 2 else bad_json(body)

    result, records, usage = run(config_file(tmp_path, settings(serve(moody))), "u-mrg")
    assert records
    assert usage.refused == 0
    assert usage.retries == usage.requests // 2
    assert not any(name.startswith("text") for name in result.dropped)


def test_a_busy_server_is_asked_again_and_what_it_gave_is_kept(tmp_path, serve):
    answers = iter([429, 503, 200] * 1000)

    def busy(body: dict) -> tuple[int, str]:
        status = next(answers)
        return good(body) if status == 200 else (status, "")

    _, records, usage = run(config_file(tmp_path, settings(serve(busy))), "u-mrg")
    assert records
    assert usage.requests == 3 * (usage.requests - usage.retries)


def test_a_server_that_takes_too_long_stops_the_build_and_a_later_start_goes_on(tmp_path, serve):
    slow = threading.Event()

    def sleepy(body: dict) -> tuple[int, str]:
        if slow.is_set():
            time.sleep(1.0)
        elif len(server.bodies) == 6:
            slow.set()
        return good(body)

    server = serve(sleepy)
    config = config_file(tmp_path, settings(server, "attempts = 2\ngive_up_after = 2").replace("5.0", "0.3"))
    with pytest.raises(WriterSilentError) as caught:
        run(config, "u-mrg")
    assert "time-out" in str(caught.value)
    assert "what is done is kept" in str(caught.value)
    assert not (tmp_path / "out" / "records.jsonl").exists()
    slow.clear()
    server.bodies.extend({} for _ in range(10))
    _, records, usage = run(config, "u-mrg")
    assert records
    assert usage.cached >= 5


def test_no_server_at_all_is_told_in_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(WriterSilentError) as caught:
        run(config_file(tmp_path, settings(address)), "mlmr-sd")
    assert "connection refused" in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_key_stops_at_once(tmp_path, serve):
    server = serve(lambda _body: (401, "no"))
    with pytest.raises(WriterSilentError, match="status 401"):
        run(config_file(tmp_path, settings(server)), "u-mrg")
    assert len(server.bodies) == 1


def test_a_redirect_is_not_followed(tmp_path, serve):
    elsewhere = serve(good)
    server = serve(lambda _body: (307, f"{elsewhere.address}/chat/completions"))
    with pytest.raises(WriterSilentError, match="status 307"):
        run(config_file(tmp_path, settings(server)), "u-mrg")
    assert elsewhere.bodies == []


def test_nothing_is_sent_without_consent(tmp_path, serve):
    server = serve(good)
    text = settings(server).replace("allow_endpoint = true", "")
    with pytest.raises(DataSetError, match="set allow_endpoint = true to agree") as caught:
        run(config_file(tmp_path, text), "u-mrg")
    assert server.address in str(caught.value)
    assert server.bodies == []


def test_pixels_are_sent_only_when_asked_for(tmp_path, serve):
    server = serve(good)
    config = config_file(tmp_path, settings(server))
    run(config, "mlmr-sd")
    assert "data:image/png" not in json.dumps(server.bodies)
    config_file(tmp_path, settings(server, "send_images = true"))
    run(config, "mlmr-sd")
    assert "data:image/png;base64," in json.dumps(server.bodies)


def test_the_key_comes_from_the_environment_and_not_over_plain_http_to_others(tmp_path, serve, monkeypatch):
    server = serve(good)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    result, _, _ = run(config_file(tmp_path, settings(server)), "u-mrg")
    assert server.headers[0]["Authorization"] == "Bearer secret-key"
    for path in result.folder.rglob("*"):
        assert path.is_dir() or b"secret-key" not in path.read_bytes()
    remote = WriterConfig("endpoint", "toy", "http://example.org/v1", allow_endpoint=True)
    with pytest.raises(DataSetError, match="plain http"):
        endpoint(remote)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/v1", "http://me:pw@host/v1", "v1", ""])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(DataSetError, match="address"):
        endpoint(WriterConfig("endpoint", "toy", address, allow_endpoint=True))


def test_the_cache_survives_a_cut_line(tmp_path):
    path = tmp_path / "texts.jsonl"
    with TextCache(path) as cache:
        cache.put("a", {"short": "eins"})
        cache.put("b", {"short": "zwei"})
    path.write_bytes(path.read_bytes()[:-7])
    with TextCache(path) as cache:
        assert cache.get("a") == {"short": "eins"}
        assert cache.get("b") is None
        cache.put("b", {"short": "drei"})
    with TextCache(path) as cache:
        assert len(cache) == 2
        assert cache.get("b") == {"short": "drei"}


def test_the_cache_keeps_texts_with_unusual_line_ends(tmp_path):
    path, text = tmp_path / "texts.jsonl", "one\u2028two\x85three"
    with TextCache(path) as cache:
        cache.put("a", {"short": text})
    with TextCache(path) as cache:
        assert cache.get("a") == {"short": text}


def test_a_local_model_that_writes_nonsense_costs_its_texts_only(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    words = {word: number for number, word in enumerate(["[UNK]", "[EOS]", "liver", "{", "}", '"', ":"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[EOS]")
    network = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4096)
    )  # fmt: skip
    folder = tmp_path / "model"
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    pair_folder(tmp_path / "toy", patients=2)
    text = (
        f'[writer]\nkind = "transformers"\nmodel = "{folder.as_posix()}"\nmaximum_tokens = 5\nattempts = 1\n'
        "[regions]\nslices_per_structure = 1\n"
    )
    result, records, usage = run(config_file(tmp_path, text), "u-mrg")
    assert records == []
    assert usage.refused == sum(result.dropped[name] for name in result.dropped if name.startswith("text: "))
    assert usage.output_tokens > 0
    assert "model model" in (result.folder / "card.md").read_text(encoding="utf-8")


def test_a_model_that_is_not_on_this_machine_is_told(tmp_path):
    text = '[writer]\nkind = "transformers"\nmodel = "nobody/nothing"'
    with pytest.raises(DataSetError, match="no language model with safetensors on this machine"):
        run(config_file(tmp_path, text), "u-mrg")
