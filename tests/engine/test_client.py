"""The client with real child processes: order, cancel, crashes, restarts and a clean end."""

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_medreason.core.grounding import Grounding
from napari_medreason.engine import client as client_module
from napari_medreason.engine import process as process_module
from napari_medreason.engine.client import EngineClient
from napari_medreason.engine.process import EngineProcess, default_command, ssh_command
from napari_medreason.engine.shelf import PLANES_KEPT
from napari_medreason.errors import (
    CancelledError,
    EngineError,
    ModelUnavailableError,
    UnknownModelError,
    WeightsError,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")


def test_an_answer_comes_word_by_word_and_then_whole(viewer, plane):
    heard = viewer.ask("where?", plane, box=(1, 2, 5, 6))
    grounding = heard.wait()
    assert isinstance(grounding, Grounding)
    assert heard.texts == ["Here", " it", " is."]
    assert heard.stages == ["loading", "reasoning"]
    assert heard.order == ["progress", "progress", "text", "text", "text", "end"]
    assert heard.threads == {"medreason-engine-client"}
    inside = np.zeros(plane.image.shape, bool)
    inside[2:6, 1:5] = True
    np.testing.assert_array_equal(grounding.mask, inside & (plane.image > 0))
    assert grounding.grid == plane.grid
    assert grounding.provenance.seconds.reason == 0.25
    assert grounding.provenance.seconds.load > 0


def test_the_process_starts_with_the_first_request_and_serves_the_next(viewer, plane):
    assert not viewer.client.running
    assert viewer.client.pid is None
    first = viewer.ask("one", plane).wait()
    second = viewer.ask("two", plane)
    assert second.wait().answer.split()[-1] == first.answer.split()[-1] == str(viewer.client.pid)
    assert second.stages == ["reasoning"]
    assert second.endings[0].provenance.seconds.load == 0.0
    assert viewer.client.running
    assert viewer.states == ["starting", "ready"]
    assert viewer.logged("create fake") == 1


def test_two_clients_have_two_processes(viewer, plane, fake_engine, listener):
    viewer.ask("one", plane).wait()
    with EngineClient(fake_engine) as other:
        other.models(on_result=listener.on_end, on_error=listener.on_end)
        listener.wait()
        assert other.pid != viewer.client.pid


def test_questions_that_are_asked_together_are_answered_in_order(viewer, plane):
    heard = [viewer.ask(f"number {n}", plane) for n in range(5)]
    assert [h.wait().answer.split()[1] for h in heard] == ["0", "1", "2", "3", "4"]
    ends = [h.ended_at for h in heard]
    assert ends == sorted(ends)


def test_a_cancelled_answer_stops_at_once_and_the_engine_stays(viewer, plane):
    heard = viewer.ask("slow", plane)
    heard.wait_for_text()
    pid, began = viewer.client.pid, time.monotonic()
    viewer.client.cancel(viewer.last_id)
    assert isinstance(heard.wait(), CancelledError)
    assert heard.ended_at - began < 0.5
    after = viewer.ask("next", plane)
    assert after.wait().answer.startswith("next")
    assert after.ended_at - began < 1.5
    assert viewer.client.pid == pid
    assert heard.order[-1] == "end"
    assert len(heard.endings) == 1


def test_a_waiting_question_can_be_cancelled(viewer, plane):
    running = viewer.ask("slow", plane)
    running_id = viewer.last_id
    waiting = viewer.ask("never begun", plane)
    viewer.client.cancel(viewer.last_id)
    assert isinstance(waiting.wait(), CancelledError)
    running.wait_for_text()
    assert running.endings == []
    viewer.client.cancel(running_id)
    assert isinstance(running.wait(), CancelledError)
    assert viewer.states == ["starting", "ready"]


def test_cancelling_twice_or_something_unknown_changes_nothing(viewer, plane):
    heard = viewer.ask("slow", plane)
    heard.wait_for_text()
    for request_id in (viewer.last_id, viewer.last_id, 999_999):
        viewer.client.cancel(request_id)
    viewer.ask("next", plane).wait()
    assert len(heard.endings) == 1


def test_an_engine_that_does_not_stop_is_replaced_and_waiting_questions_are_asked_again(viewer, plane):
    heard = viewer.ask("stuck", plane)
    heard.wait_for_text()
    pid, began = viewer.client.pid, time.monotonic()
    viewer.client.cancel(viewer.last_id)
    assert isinstance(heard.wait(), CancelledError)
    assert time.monotonic() - began < 0.5
    after = viewer.ask("after", plane)
    assert after.wait().answer.startswith("after")
    assert 1.5 < after.ended_at - began < 5.0
    assert viewer.client.pid != pid
    assert not _alive(pid)
    assert viewer.states == ["starting", "ready", "ended", "starting", "ready"]
    assert len(_threads()) == 4  # the client's own, and three for the one process


def test_loading_counts_as_answering_a_cancel(viewer, plane):
    heard = viewer.ask("where?", plane, model="slow-load")
    _wait_until(lambda: heard.stages.count("loading") == 3)
    pid = viewer.client.pid
    viewer.client.cancel(viewer.last_id)
    assert isinstance(heard.wait(), CancelledError)
    assert isinstance(viewer.ask("where?", plane, model="slow-load").wait(), Grounding)
    assert viewer.client.pid == pid
    assert viewer.logged("create slow-load") == 1


SLOW_STARTER = """
import sys, time
from napari_medreason.engine.frames import pack_frame, read_frame
from napari_medreason.engine.protocol import PROTOCOL_VERSION

def say(request_id, kind, value):
    sys.stdout.buffer.write(pack_frame({"id": request_id, "kind": kind, "value": value}))
    sys.stdout.flush()

time.sleep(2.5)
say(0, "result", {"protocol": PROTOCOL_VERSION})
time.sleep(0.5)
while message := read_frame(sys.stdin.buffer.raw):
    if message["method"] == "cancel":
        say(message["arguments"]["id"], "error", {"kind": "CancelledError", "message": "cancelled"})
        say(message["id"], "result", {"open": True})
"""


def test_a_cancel_while_the_engine_starts_gives_it_time_once_it_is_there(listener):
    states = []
    with EngineClient([sys.executable, "-c", SLOW_STARTER], on_state=states.append) as client:
        client.cancel(client.models(on_result=listener.on_end, on_error=listener.on_end))
        assert isinstance(listener.wait(), CancelledError)
        _wait_until(lambda: "ready" in states)
        time.sleep(1.5)
        assert states == ["starting", "ready"]


def test_what_a_model_loads_for_its_first_plane_counts_as_loading(viewer, plane):
    heard = viewer.ask("where?", plane, model="slow-prepare")
    _wait_until(lambda: heard.stages.count("loading") == 3)
    assert "reasoning" not in heard.stages
    pid = viewer.client.pid
    viewer.client.cancel(viewer.last_id)
    assert isinstance(heard.wait(), CancelledError)
    after = viewer.ask("where?", plane, model="slow-prepare")
    assert isinstance(after.wait(), Grounding)
    assert after.stages == ["reasoning"]
    assert viewer.client.pid == pid
    assert viewer.logged("prepare") == 1


def test_load_with_a_plane_leaves_nothing_to_load(viewer, plane, listener):
    viewer.client.load(
        "slow-prepare",
        plane=plane,
        on_progress=listener.on_progress,
        on_result=listener.on_end,
        on_error=listener.on_end,
    )
    assert listener.wait() is None
    assert listener.stages.count("loading") > 3
    heard = viewer.ask("where?", plane, model="slow-prepare")
    assert heard.wait().provenance.seconds.load < 1.0
    assert heard.stages == ["reasoning"]


def test_prompts_wait_for_what_their_plane_needs_under_the_stage_loading(viewer, plane):
    first = viewer.segment(plane, "slow-prepare", box=(0, 0, 9, 12)).wait()
    assert first.seconds.load > 3.5
    moved = viewer.segment(plane, "slow-prepare", box=(0, 0, 4, 4)).wait()
    assert moved.seconds.load < 1.0


@posix_only
def test_a_killed_engine_is_one_error_for_each_open_question_and_the_next_one_works(viewer, plane):
    heard = [viewer.ask("slow", plane), viewer.ask("waits", plane)]
    heard[0].wait_for_text()
    os.kill(viewer.client.pid, signal.SIGKILL)
    for each in heard:
        error = each.wait()
        assert isinstance(error, EngineError)
        assert "ended (killed by signal 9); ask again" in str(error)
    assert isinstance(viewer.ask("next", plane).wait(), Grounding)
    assert [len(each.endings) for each in heard] == [1, 1]


@posix_only
def test_an_engine_that_is_killed_while_idle_is_replaced_silently(viewer, plane):
    viewer.ask("one", plane).wait()
    pid = viewer.client.pid
    os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: viewer.states[-1] == "ended")
    assert not viewer.client.running
    assert isinstance(viewer.ask("two", plane).wait(), Grounding)
    assert viewer.client.pid != pid


def test_the_last_words_of_an_engine_that_died_are_in_the_error(viewer, plane):
    error = viewer.ask("die", plane).wait()
    assert str(error) == "the engine process ended (exit code 3: the memory is gone); ask again"


def test_faults_of_models_arrive_as_they_were_raised(viewer, plane):
    assert type(viewer.ask("weights", plane).wait()) is WeightsError
    internal = viewer.ask("broken", plane).wait()
    assert type(internal) is EngineError
    assert "RuntimeError: tensor sizes differ)" in str(internal)
    assert type(viewer.ask("x", plane, model="nobody").wait()) is UnknownModelError
    assert isinstance(viewer.ask("fine", plane).wait(), Grounding)
    assert viewer.states == ["starting", "ready"]


def test_what_a_model_prints_does_not_disturb_the_frames(viewer, plane):
    heard = viewer.ask("print", plane)
    assert isinstance(heard.wait(), Grounding)
    assert heard.texts == ["Here", " it", " is."]


def test_a_plane_is_sent_once(viewer, plane_maker, monkeypatch):
    sizes = []
    send = EngineProcess.send
    monkeypatch.setattr(
        EngineProcess, "send", lambda self, frame: (sizes.append(len(frame)), send(self, frame))
    )
    large = plane_maker(shape=(300, 300))
    viewer.ask("one", large).wait()
    assert max(sizes) > 360_000
    sizes.clear()
    viewer.ask("two", dataclasses.replace(large)).wait()
    viewer.segment(large, box=(0, 0, 9, 9)).wait()
    assert sum(sizes) < 2_000


def test_a_moved_box_on_a_known_plane_does_not_embed_again(viewer, plane):
    first = viewer.segment(plane, box=(0, 0, 9, 12)).wait()
    np.testing.assert_array_equal(first.mask, plane.image > 0)
    assert (first.score, first.segmenter, first.weights_sha256) == (0.75, "threshold", "0" * 64)
    moved = viewer.segment(plane, box=(0, 0, 4, 4)).wait()
    assert moved.mask.any()
    assert not moved.mask[4:].any()
    assert moved.seconds.load == 0.0
    assert viewer.logged("embed") == 1
    assert viewer.logged("create threshold apart") == 1


def test_a_model_with_a_segmenter_can_be_prompted_by_its_own_id(viewer, plane):
    viewer.ask("where?", plane).wait()
    mask = np.zeros(plane.image.shape, bool)
    mask[:3] = True
    segmented = viewer.segment(plane, "fake", mask=mask, points=[(1, 1)], labels=[True]).wait()
    np.testing.assert_array_equal(segmented.mask, mask & (plane.image > 0))
    assert viewer.logged("create fake") == 1
    assert viewer.logged("create threshold apart") == 0


@pytest.mark.parametrize("order", ["ask first", "segment first"])
def test_a_model_and_a_segmenter_of_one_id_are_loaded_once(viewer, plane, order):
    steps = [
        lambda: viewer.ask("where?", plane, model="both").wait(),
        lambda: viewer.segment(plane, "both", box=(0, 0, 9, 12)).wait(),
    ]
    for step in steps if order == "ask first" else reversed(steps):
        assert not isinstance(step(), Exception)
    assert viewer.logged("create both") == 1
    assert viewer.logged("create both apart") == 0


def test_points_outside_reach_the_segmenter_with_their_labels(viewer, plane):
    row = int((plane.image > 0).sum(axis=1).argmax())
    points = [(1.0, float(row)), (2.0, float((row + 1) % 12))]
    drawn = viewer.segment(plane, box=(0, 0, 9, 12), points=points, labels=[False, True]).wait()
    expected = plane.image > 0
    expected[row] = False
    np.testing.assert_array_equal(drawn.mask, expected)


def test_prompts_that_do_not_fit_are_refused(viewer, plane):
    wrong_mask = viewer.segment(plane, mask=np.ones((2, 2), bool)).wait()
    assert isinstance(wrong_mask, EngineError)
    assert "(2, 2)" in str(wrong_mask)
    assert type(viewer.segment(plane, "nobody", box=(0, 0, 1, 1)).wait()) is UnknownModelError
    assert type(viewer.segment(plane, "third", box=(0, 0, 1, 1)).wait()) is ModelUnavailableError
    endless = viewer.segment(plane, box=(0, 0, float("inf"), 1)).wait()
    assert "box" in str(endless)
    with pytest.raises(ValueError, match="needs a box"):
        viewer.segment(plane)
    with pytest.raises(ValueError, match="labels"):
        viewer.segment(plane, points=[(1, 1)], labels=[True, False])


def test_a_plane_that_the_engine_forgot_is_sent_again(viewer, plane_maker):
    planes = [plane_maker(seed) for seed in range(PLANES_KEPT + 2)]
    for each in planes:
        viewer.segment(each, box=(0, 0, 9, 12)).wait()
    again = viewer.segment(planes[0], box=(0, 0, 9, 12)).wait()
    np.testing.assert_array_equal(again.mask, planes[0].image > 0)


def test_the_model_list_names_models_and_segmenters(viewer, listener):
    viewer.client.models(on_result=listener.on_end, on_error=listener.on_end)
    offered = listener.wait()
    assert [model.id for model in offered.models] == [
        "fake",
        "other",
        "third",
        "slow-load",
        "slow-prepare",
        "both",
        "planned",
    ]
    assert offered.models[0].licence == "BSD-3-Clause"
    assert offered.segmenters == ("threshold", "both")


def test_only_the_last_two_models_stay_and_the_others_are_closed(viewer, plane):
    for model in ("fake", "other", "third", "other"):
        viewer.ask("where?", plane, model=model).wait()
    assert viewer.logged("close fake") == 1
    assert viewer.logged("close other") == 0
    assert viewer.logged("create other") == 1
    lines = viewer.log.read_text(encoding="utf-8").splitlines()
    assert lines.index("close fake") < lines.index("create third"), "room is made first"


def test_how_a_model_was_made_to_fit_is_heard_while_it_loads_and_kept_with_its_answers(viewer, plane):
    heard = viewer.ask("where?", plane, model="planned")
    words = "planned in 4-bit: needs 7 GB of 11 GB"
    assert words in heard.wait().provenance.notes
    assert f"loading: {words}" in heard.stages
    assert words in viewer.ask("where?", plane, model="planned").wait().provenance.notes


def test_an_unknown_model_drives_no_loaded_one_out(viewer, plane):
    for model in ("fake", "other", "nobody"):
        viewer.ask("where?", plane, model=model).wait()
    assert viewer.logged("close fake") == 0


def test_load_takes_options_and_unload_gives_memory_back(viewer, plane, listener_maker):
    def run(method, *arguments, **more):
        heard = listener_maker()
        method(*arguments, **more, on_result=heard.on_end, on_error=heard.on_end)
        return heard.wait()

    heard = {"on_progress": lambda *_: None}
    assert run(viewer.client.load, "fake", {"name": "tuned"}, **heard) is None
    assert run(viewer.client.load, "fake", {"name": "tuned"}, **heard) is None
    assert viewer.ask("where?", plane).wait().provenance.model == "tuned"
    assert viewer.logged("create tuned") == 1
    assert run(viewer.client.unload, "fake") is None
    assert viewer.logged("close tuned") == 1
    assert isinstance(run(viewer.client.load, "fake", {"surprise": 1}, **heard), EngineError)


def test_a_command_that_cannot_be_started_is_an_error(tmp_path, plane, listener):
    with EngineClient([str(tmp_path / "no-such-program")]) as client:
        client.segment(
            plane, segmenter="a", box=(0, 0, 1, 1), on_result=listener.on_end, on_error=listener.on_end
        )
        assert "can't be started" in str(listener.wait())
        assert not client.running


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("print('Welcome to the server!')", "something else may be writing"),
        (
            "import time; print('\\x1b[1mWelcome', flush=True); time.sleep(60)",
            "something else may be writing",
        ),
        ("import time; print('\\n\\nWelcome', flush=True); time.sleep(60)", "something else may be writing"),
        (
            "import time, sys; from napari_medreason.engine.frames import *; print(flush=True); "
            "sys.stdout.buffer.write(pack_frame({'id': 0, 'kind': 'result', 'value': {'protocol': 2}})); "
            "sys.stdout.flush(); time.sleep(60)",
            "something else may be writing",
        ),
        ("import sys; sys.exit('bash: medreason: command not found')", "exit code 1: bash: medreason"),
        ("", r"exit code 0"),
        (
            "import sys; from napari_medreason.engine.frames import *; "
            "sys.stdout.buffer.write(pack_frame({'id': 0, 'kind': 'result', 'value': {'protocol': 99}}))",
            "protocol 99",
        ),
        (
            "import sys; from napari_medreason.engine.frames import *; "
            "sys.stdout.buffer.write(pack_frame({'id': 0, 'kind': 'result', 'value': {'protocol': 1}}))",
            "protocol 1, this viewer 4",
        ),
        (
            "import sys; from napari_medreason.engine.frames import *; "
            "sys.stdout.buffer.write(pack_frame({'id': 1, 'kind': 'surprise', 'value': {}}))",
            "surprise",
        ),
    ],
    ids=[
        "banner",
        "coloured banner",
        "blank lines",
        "one blank line",
        "missing",
        "ends",
        "other version",
        "version before the checks",
        "other reply",
    ],
)
def test_a_program_that_is_no_engine_is_an_error(listener, program, words):
    with EngineClient([sys.executable, "-c", program]) as client:
        client.models(on_result=listener.on_end, on_error=listener.on_end)
        error = listener.wait()
        assert isinstance(error, EngineError)
        assert words in str(error)
        _wait_until(lambda: not client.running)


def test_a_callback_that_fails_harms_nothing_but_itself(viewer, plane, caplog):
    def fail(_):
        raise RuntimeError("a widget was deleted")

    viewer.client.models(on_result=fail, on_error=fail)
    assert isinstance(viewer.ask("next", plane).wait(), Grounding)
    assert "a widget was deleted" in caplog.text


def test_a_fault_of_the_client_itself_ends_open_requests_and_the_next_one_works(
    viewer, plane, listener, caplog, monkeypatch
):
    def broken(value):
        raise LookupError("no such field")

    monkeypatch.setattr(client_module, "map_to_model_list", broken)
    viewer.client.models(on_result=listener.on_end, on_error=listener.on_end)
    assert "LookupError" in str(listener.wait())
    assert isinstance(viewer.ask("next", plane).wait(), Grounding)
    assert "no such field" in caplog.text


def test_a_fault_while_closing_does_not_keep_the_viewer_from_ending(viewer, plane, monkeypatch):
    viewer.ask("one", plane).wait()
    kill = EngineProcess.kill

    def fail(process):
        kill(process)
        raise OSError("no such process")

    monkeypatch.setattr(EngineProcess, "stop", fail)
    closing = threading.Thread(target=viewer.client.close)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()


def test_callbacks_may_ask_and_cancel_and_close(viewer, plane, listener):
    heard = []

    def ask_again(_):
        heard.append(viewer.ask("second", plane))
        viewer.client.cancel(viewer.last_id)
        viewer.client.close()

    viewer.client.models(on_result=ask_again, on_error=ask_again)
    _wait_until(lambda: heard)
    assert isinstance(heard[0].wait(), CancelledError)
    viewer.client.close()
    assert not viewer.client.running


@pytest.mark.parametrize("words", ["fine", "slow", "stuck"])
def test_close_ends_process_threads_and_pipes(viewer, plane, words):
    gc.collect()
    before = _open_files()
    heard = viewer.ask(words, plane)
    heard.wait_for_text()
    pid, began = viewer.client.pid, time.monotonic()
    viewer.client.close()
    assert time.monotonic() - began < 4.0
    assert len(heard.endings) == 1
    assert not viewer.client.running
    assert not _alive(pid)
    assert _threads() == []
    assert _open_files() <= before
    viewer.client.close()
    with pytest.raises(EngineError, match="closed"):
        viewer.ask("too late", plane)


def test_a_client_that_never_asked_closes_at_once():
    with EngineClient() as client:
        assert client.pid is None


def test_the_viewer_process_loads_no_torch_and_no_qt():
    program = (
        "import sys; from napari_medreason.engine.client import EngineClient\n"
        "from threading import Event\n"
        "with EngineClient() as client:\n"
        "    done = Event(); heard = []\n"
        "    end = lambda value: (heard.append(value), done.set())\n"
        "    client.models(on_result=end, on_error=end); done.wait(60)\n"
        "heavy = {'torch', 'transformers', 'qtpy', 'napari'} & set(sys.modules)\n"
        "print(type(heard[0]).__name__, sorted(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=90)
    assert run.stdout.strip() == "ModelList []", run.stderr


@posix_only
def test_a_viewer_that_exits_without_closing_leaves_no_engine(fake_engine):
    program = (
        "import sys; from napari_medreason.engine.client import EngineClient\n"
        "from threading import Event\n"
        f"client = EngineClient({fake_engine!r}); done = Event()\n"
        "end = lambda value: done.set()\n"
        "client.models(on_result=end, on_error=end); done.wait(60); print(client.pid, flush=True)\n"
        "import os; 'kill' in sys.argv and os.kill(os.getpid(), 9)"
    )
    for arguments in ([], ["kill"]):
        command = [sys.executable, "-W", "error", "-c", program, *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert run.stderr == ""
        pid = int(run.stdout)
        _wait_until(lambda pid=pid: not _alive(pid))


def test_the_default_command_is_this_python_without_the_current_folder():
    assert default_command() == [sys.executable, "-P", "-m", "napari_medreason.engine"]


def test_ssh_hosts_are_never_taken_for_options():
    assert ssh_command("me@gpu-host")[-4:] == ["--", "me@gpu-host", "medreason", "engine"]
    for host in ("-oProxyCommand=sh", "", "host; rm", "a b"):
        with pytest.raises(EngineError, match="SSH host"):
            ssh_command(host)


@posix_only
def test_an_interrupt_in_the_viewers_terminal_does_not_reach_the_engine(viewer, plane):
    viewer.ask("one", plane).wait()
    assert os.getsid(viewer.client.pid) != os.getsid(0)
    assert os.getpgid(viewer.client.pid) != os.getpgid(0)


def test_the_engines_log_goes_to_logging(viewer, plane, caplog):
    with caplog.at_level("INFO", process_module.__name__):
        viewer.ask("print", plane).wait()
        viewer.client.close()
    assert "a library says hello" in caplog.text
    assert "so does its child" in caplog.text


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("medreason-engine")]


def _open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.is_dir() else 0


def _wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
