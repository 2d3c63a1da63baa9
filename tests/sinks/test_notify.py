"""Messages about faults, which a local HTTP server gets through apprise."""

import http.server
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest

import gradmidi
from gradmidi.errors import GradmidiError
from gradmidi.music.events import Alarm
from gradmidi.options import Options
from gradmidi.sinks.notify import APART_SECONDS, Digest, Notify

pytest.importorskip("apprise")

NAN = Alarm(0, "nan", "fc1", 7, float("nan"), ("fc1",), 4)


class Server:
    """An HTTP server that keeps the messages it gets, and may refuse them or never answer."""

    def __init__(self, status=200, hangs=False):
        self.messages: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self.release = threading.Event()
        messages, release = self.messages, self.release

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                messages.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if hangs:
                    release.wait(20.0)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5.0)

    def get(self):
        return self.messages.get(timeout=20.0)


def test_a_fault_arrives_with_the_run_and_later_ones_in_one_message():
    with Server() as server:
        sink = Notify([server.url])
        try:
            sink.name("digits")
            sink.send([NAN])
            first = server.get()
            assert (first["title"], first["message"]) == ("gradmidi: digits", "step 7: fc1 nan")
            sink.send([Alarm(9, "inf", "fc1", 8, float("inf"), ("fc1",), 4), NAN])
            sink.send([Alarm(9, "spike", "fc2", 9, 57.5, ("fc2",), 4)])
        finally:
            sink.close()
        assert server.get()["message"] == "step 8: fc1 inf\nstep 9: spike in fc2 (norm 57.5)"
        assert sink.process.wait(10.0) == 0
        assert server.messages.empty()
        assert (sink.counters.sent, sink.counters.errors) == (4, 0)


@pytest.mark.parametrize("url", ["nosuch://token", "slack://", "token"])
def test_a_wrong_address_is_refused_without_its_secret(url):
    with pytest.raises(GradmidiError, match="is not an address that apprise knows") as told:
        Notify([url])
    assert "token" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_server_that_refuses_is_reported_once(capsys):
    with Server(status=500) as server:
        sink = Notify([server.url])
        sink.send([NAN])
        server.get()
        sink.send([Alarm(9, "inf", "fc1", 8, float("inf"))])
        sink.close()
        server.get()
        sink.process.wait(10.0)
    deadline = time.monotonic() + 10.0
    while sink.counters.errors < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sink.counters.errors == 2
    assert capsys.readouterr().err == (
        "gradmidi: notify: a message was not delivered; everything else continues\n"
    )


def test_nothing_waits_for_a_server_that_never_answers_or_for_a_process_that_ended():
    with Server(hangs=True) as server:
        sink = Notify([server.url])
        try:
            sink.send([NAN])
            server.get()
            began = time.monotonic()
            sink.send([NAN] * 5_000)
            sink.close()
            sink.close()
            sink.send([NAN])
            assert time.monotonic() - began < 2.0
            assert sink.counters.dropped >= 1
        finally:
            server.release.set()
            sink.process.wait(20.0)
        ended = Notify([server.url])
        os.kill(ended.process.pid, signal.SIGKILL)
        ended.process.wait(10.0)
        ended.send([NAN])
        ended.close()
        assert ended.counters.dropped == 1


def test_messages_are_apart_and_the_same_fault_is_not_repeated():
    digest = Digest()
    digest.add("nan fc1", "a", 0.0)
    assert digest.wait(0.0) == 0.0
    assert digest.take(0.0) == "a"
    assert digest.wait(0.0) is None
    for second in range(30):
        digest.add("nan fc1", "a", 1.0 + second)
        digest.add(f"spike {second}", f"b{second}", 1.0 + second)
        assert digest.take(1.0 + second) is None
    text = digest.take(APART_SECONDS)
    assert text is not None
    assert text.splitlines()[0] == "b0"
    assert text.splitlines()[-1] == "and 20 more faults"
    assert digest.take(APART_SECONDS, last=True) is None
    digest.add("nan fc1", "a", 3600.0)
    assert digest.take(3600.0) == "a"


def test_a_run_of_its_own_sends_its_faults(tmp_path):
    with Server() as server:
        with gradmidi.record(tmp_path / "a", layers=["fc1"], notify=server.url, files=()) as ears:
            ears.frame([0.5])
            ears.frame([float("nan")])
        message = server.get()
    assert message["title"] == "gradmidi: a"
    assert message["message"].startswith("step 2: fc1 nan")


def test_play_sends_the_faults_of_a_run_and_needs_no_other_output(tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc1"], files=()) as ears:
        ears.frame([0.5])
        ears.frame([float("inf")])
    with Server() as server:
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", "play", tmp_path / "a", "--notify", server.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert server.get()["message"].startswith("step 2: fc1 inf")


def test_without_apprise_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("gradmidi.options.find_spec", lambda name: None)
    with pytest.raises(GradmidiError, match=r"pip install 'gradmidi\[notify\]'"):
        Options(notify="json://127.0.0.1")


def test_a_listener_with_a_wrong_address_does_not_start(tmp_path):
    with pytest.raises(GradmidiError, match="is not an address that apprise knows"):
        gradmidi.record(tmp_path / "a", layers=["fc1"], notify="nosuch://x", files=())
