"""A reasoner behind a chat server: what is sent, what comes back, and everything that can go wrong."""

import base64
import contextlib
import io
import json
import sys
import time
from email.utils import formatdate
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_medreason.core.question import Question
from napari_medreason.errors import AnswerFormatError, CancelledError, ModelUnavailableError
from napari_medreason.models.base import Reasoner
from napari_medreason.models.reasoners.chat_events import one_line, streamed_pieces, whole_reply
from napari_medreason.models.reasoners.endpoint import EndpointReasoner, connect

from .fake_chat_server import delta, serving, streaming

ANSWER = (
    "<think>Bright. It lies on the left.</think>"
    '<answer>{"bbox": [28, 21, 55, 41], "points_1": [30, 25], "points_2": [50, 35]}</answer>'
)
KEY = "sk-secret-of-the-test"


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("MEDREASON_ENDPOINT_KEY", raising=False)


@pytest.fixture
def question(make_plane):
    return Question("Which box is bright?", make_plane((16, 12, 32, 24), shape=(48, 48)))


def reasoner(server, **options):
    options = {"model": "lingshu", "allow_endpoint": True, "square_size": 84, "silence": 5, **options}
    return EndpointReasoner(server.address, **options)


def ask(server, question, *, cancelled=lambda: False, on_text=lambda text: None, **options):
    return reasoner(server, **options).reason(question, on_text=on_text, cancelled=cancelled)


def test_an_answer_streams_in_and_comes_out_in_the_plane(question):
    heard = []
    with serving(streaming(ANSWER)) as server:
        assert isinstance(reasoner(server), Reasoner)
        answer = ask(server, question, on_text=heard.append)
    assert "".join(heard) == ANSWER
    assert len(heard) > 10
    assert answer.answer == "It lies on the left."
    assert answer.box == pytest.approx((16, 12, 32, 24))
    assert answer.points[0] == pytest.approx((16.9, 14.1), abs=0.1)
    assert any(server.address[7:-3] in note and "not known" in note for note in answer.notes)


def test_only_pixels_and_the_question_are_sent(question, monkeypatch):
    monkeypatch.setenv("MEDREASON_ENDPOINT_KEY", KEY)
    with serving(streaming(ANSWER)) as server:
        made = reasoner(server, settings={"repetition_penalty": 1.05, "temperature": None})
        made.reason(question, on_text=lambda text: None, cancelled=lambda: False)
        path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(vars(made))
    assert set(body) == {"model", "messages", "max_tokens", "stream", "repetition_penalty"}
    assert (body["model"], body["stream"], body["repetition_penalty"]) == ("lingshu", True, 1.05)
    image, text = body["messages"][0]["content"]
    png = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.size == (84, 84)
        assert picture.info == {}
        assert np.array_equal(np.unique(picture)[[0, -1]], [0, 255])
    assert [png[at : at + 4] for at in _chunks(png)] == [b"IHDR", b"IDAT", b"IEND"]
    assert "Which box is bright?" in text["text"]
    assert "84 x 84 pixels" in text["text"]
    assert "<image>" not in text["text"]


def _chunks(png):
    at = 8
    while at < len(png):
        yield at + 4
        at += 12 + int.from_bytes(png[at : at + 4], "big")


def test_nothing_is_sent_without_consent_or_to_a_doubtful_address(question, monkeypatch):
    with serving(streaming(ANSWER)) as server:
        with pytest.raises(ModelUnavailableError, match="would be sent to 127"):
            EndpointReasoner(server.address, model="lingshu")
        with pytest.raises(ModelUnavailableError, match="would be sent"):
            EndpointReasoner(server.address, model="lingshu", allow_endpoint=False)
        assert server.requests == []
    for address in (
        "ftp://a/v1",
        "http:///v1",
        "http://me:pw@a/v1",
        "http://a/v1?key=1",
        "http://a:port/v1",
        "a",
    ):
        with pytest.raises(ModelUnavailableError, match="no address"):
            EndpointReasoner(address, model="lingshu", allow_endpoint=True)
    monkeypatch.setenv("MEDREASON_ENDPOINT_KEY", KEY)
    with pytest.raises(ModelUnavailableError, match="plain http") as fault:
        EndpointReasoner("http://gpu.example/v1", model="lingshu", allow_endpoint=True)
    assert KEY not in str(fault.value)


def test_a_key_comes_from_the_keyring_when_the_environment_has_none(question, monkeypatch):
    asked = []
    ring = ModuleType("keyring")
    ring.get_password = lambda service, user: asked.append((service, user)) or KEY
    errors = ModuleType("keyring.errors")
    errors.KeyringError = type("KeyringError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    with serving(streaming(ANSWER)) as server:
        ask(server, question)
        assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"
        assert asked == [("napari-medreason", "127.0.0.1")]
        monkeypatch.setenv("OTHER_KEY", "another")
        ask(server, question, key_variable="OTHER_KEY")
        assert server.requests[1][1]["Authorization"] == "Bearer another"

    def locked(service, user):
        raise errors.KeyringError

    ring.get_password = locked
    with serving(streaming(ANSWER)) as server:
        ask(server, question)
        assert "Authorization" not in server.requests[0][1]


def test_a_key_that_can_not_be_sent_is_told_without_showing_it(monkeypatch):
    monkeypatch.setenv("MEDREASON_ENDPOINT_KEY", "schlüssel-geheim")
    with pytest.raises(ModelUnavailableError, match="no key has") as fault:
        EndpointReasoner("https://gpu.example/v1", model="lingshu", allow_endpoint=True)
    assert "geheim" not in str(fault.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"modle": "x"}, "'modle' is not known.*square_size"),
        ({}, "needs the option model"),
        ({"model": "x", "coordinates": "metres"}, "thousandths"),
        ({"model": "x", "form": "yolo"}, "vlm-r1"),
        ({"model": "x", "total": 0}, "above 0"),
        ({"model": "x", "square_size": "840"}, "square_size='840' .*accepted: a whole number"),
        ({"model": "x", "square_size": True}, "a whole number"),
        ({"model": 7}, "accepted: a text"),
        ({"model": "x", "direct": 1}, "true or false"),
        ({"model": "x", "settings": "x"}, "a table of names and values, none"),
    ],
)
def test_options_that_can_not_be_are_named(options, complaint):
    with pytest.raises(ModelUnavailableError, match=complaint):
        EndpointReasoner("http://127.0.0.1:1/v1", allow_endpoint=True, **options)
    with pytest.raises(ModelUnavailableError, match="needs its server's address"):
        connect()


@pytest.mark.parametrize(
    ("coordinates", "numbers"),
    [
        ("thousandths", "[333, 250, 667, 500], 'points_1': [400, 400], 'points_2': [500, 450]"),
        ("fractions", "[0.3333, 0.25, 0.6667, 0.5], 'points_1': [0.4, 0.4], 'points_2': [0.5, 0.45]"),
    ],
)
def test_each_server_may_write_places_in_its_own_way(question, coordinates, numbers):
    with serving(streaming("<answer>{'bbox': " + numbers + "}</answer>")) as server:
        answer = ask(server, question, coordinates=coordinates)
        prompt = server.requests[0][2]["messages"][0]["content"][1]["text"]
    assert answer.box == pytest.approx((16, 12, 32, 24), abs=0.05)
    assert answer.points[0] == pytest.approx((18.7, 18.7), abs=0.05)
    assert coordinates in prompt


def test_servers_that_do_not_stream_or_keep_the_reasoning_apart(question):
    message = {"content": ANSWER.partition("</think>")[2], "reasoning_content": "Large. It is the liver."}
    reply = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    with serving(lambda handler: handler.reply(200, reply)) as server:
        assert ask(server, question).text == "Large. It is the liver."
    events = [
        delta(reasoning_content="It is "),
        delta(reasoning_content="the liver."),
        delta(message["content"]),
    ]
    with serving(lambda handler: handler.stream(events)) as server:
        assert ask(server, question).text == "It is the liver."


def test_a_cancel_is_heard_at_once_and_the_server_notices(question):
    def slowly(handler):
        handler.stream([delta("<think>")], done=False)
        for _ in range(200):
            time.sleep(0.02)
            handler.wfile.write(b": alive\n\n" * 500)

    for turn in (slowly, lambda handler: time.sleep(1.5)):
        with serving(turn) as server:
            until = time.monotonic() + 0.3
            with pytest.raises(CancelledError):
                ask(server, question, cancelled=lambda until=until: time.monotonic() > until)
            assert time.monotonic() - until < 0.5
            if turn is slowly:
                assert server.hung_up.wait(3)


def busy(status, **headers):
    return lambda handler: handler.reply(status, b"{}", **headers)


def test_a_busy_server_is_asked_again_after_the_wait_that_it_names(question):
    later = formatdate(time.time() + 1, usegmt=True)
    with serving(busy(429, Retry_After="0"), busy(503, Retry_After=later), streaming(ANSWER)) as server:
        assert ask(server, question).status == "found"
        assert len(server.requests) == 3
    with serving(busy(503, Retry_After="0")) as server:
        with pytest.raises(ModelUnavailableError, match=r"is busy.*try again later"):
            ask(server, question)
        assert len(server.requests) == 5
    with serving(busy(429, Retry_After="7200")) as server:
        with pytest.raises(ModelUnavailableError, match="7200 s"):
            ask(server, question)
        assert len(server.requests) == 1


def test_a_cancel_ends_the_wait_for_a_busy_server(question):
    with serving(busy(429, Retry_After="30")) as server:
        until = time.monotonic() + 0.2
        with pytest.raises(CancelledError):
            ask(server, question, cancelled=lambda: time.monotonic() > until)
        assert time.monotonic() - until < 0.5


def fault(status, message):
    return lambda handler: handler.reply(status, json.dumps({"error": {"message": message}}).encode())


def whole(message, finish="stop"):
    reply = {"choices": [{"message": message, "finish_reason": finish}]}
    return lambda handler: handler.reply(200, json.dumps(reply).encode())


@pytest.mark.parametrize(
    ("turn", "kind", "complaint"),
    [
        (fault(404, "The model `x` does not exist."), ModelUnavailableError, r"does not exist.*/v1/models"),
        (fault(401, "Incorrect API key"), ModelUnavailableError, "401.*access key"),
        (fault(400, "image\ntoo large"), ModelUnavailableError, "image too large"),
        (fault(500, "out of memory"), ModelUnavailableError, "its own fault"),
        (lambda h: h.reply(301, b"", Location="http://127.0.0.1/"), ModelUnavailableError, "not followed"),
        (lambda h: h.reply(200, b"<html>log in", "text/html"), ModelUnavailableError, "web page"),
        (lambda h: h.reply(502, b"<html>Bad gateway", "text/html"), ModelUnavailableError, "502"),
        (lambda h: h.reply(200, b"hello", "text/plain"), ModelUnavailableError, "something else than JSON"),
        (lambda h: h.reply(200, b"[]"), ModelUnavailableError, "no chat reply"),
        (lambda h: h.reply(200, b'{"choices": []}'), ModelUnavailableError, "without an answer"),
        (lambda h: h.stream(["data: {oops\n\n"]), ModelUnavailableError, "something else than JSON"),
        (lambda h: h.stream([{"error": {"message": "CUDA"}}]), ModelUnavailableError, "CUDA"),
        (lambda h: h.stream([delta("I see")], done=False), AnswerFormatError, "I see"),
        (streaming("I'm sorry, but I can't help with medical images."), AnswerFormatError, "I'm sorry"),
        (streaming(""), AnswerFormatError, "wrote nothing"),
        (streaming("<think>so", finish="length"), AnswerFormatError, "cut at 2048 tokens"),
        (streaming("<answer>{'bbox': [NaN, 1, 2, 3]}</answer>"), AnswerFormatError, "NaN"),
        (streaming("<answer>{'bbox': [900, 900, 999, 999]}</answer>"), AnswerFormatError, "outside"),
        (whole({"refusal": "I won't."}), AnswerFormatError, "declined to answer: “I won't.”"),
        (whole({"content": None}, "content_filter"), AnswerFormatError, "declined"),
        (lambda h: h.wfile.write(b"nonsense\r\n\r\n"), ModelUnavailableError, "broke"),
        (lambda h: None, ModelUnavailableError, "broke"),
    ],
)
def test_every_fault_is_one_clear_line(question, turn, kind, complaint):
    with serving(turn) as server, pytest.raises(kind, match=complaint) as told:
        ask(server, question)
    assert "\n" not in str(told.value)
    assert ";" in str(told.value)


def test_servers_that_are_down_silent_or_never_done(question):
    with serving(streaming(ANSWER)) as server:
        pass
    with pytest.raises(ModelUnavailableError, match="nothing answers at 127"):
        ask(server, question)
    silent = serving(lambda handler: time.sleep(1.5))
    with silent as server, pytest.raises(ModelUnavailableError, match=r"sent nothing for 0\.3 s"):
        ask(server, question, silence=0.3)

    def trickle(handler):
        handler.stream([], done=False)
        for _ in range(100):
            time.sleep(0.02)
            handler.wfile.write(b": alive\n\n")

    with serving(trickle) as server, pytest.raises(ModelUnavailableError, match="did not finish"):
        ask(server, question, total=0.4)


def test_a_reply_without_end_is_cut_off(question, monkeypatch):
    monkeypatch.setattr("napari_medreason.models.reasoners.chat_client.LARGEST_REPLY", 1000)
    endless = serving(lambda handler: handler.stream(["x" * 3000]))
    with endless as server, pytest.raises(ModelUnavailableError, match="MB for one answer"):
        ask(server, question)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b'data: {"choices": [{}]}', b"data: null"])))
def test_no_bytes_from_a_server_raise_anything_else(lines):
    for read in (lambda: streamed_pieces(lines, "host"), lambda: whole_reply(b"".join(lines), "host")):
        with contextlib.suppress(ModelUnavailableError, AnswerFormatError):
            list(read())


def test_words_from_outside_are_shown_as_one_short_line():
    assert one_line("a\x1b[31m\r\n b", 20) == "a [31m b"
    assert one_line("word " * 100, 12) == "word word w…"
