"""A trainer in a process of its own, and receivers of what it plays, for tests of failures."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from pythonosc.osc_message import OscMessage

PATIENCE = 60.0
"""Seconds after which a test that waits for something gives up."""

SOON_SECONDS = 1.0 + 3.0
"""How long after its cause silence may come: the second that is promised, and what a machine
may add that is busy with something else."""

TRAINER = Path(__file__).with_name("trainer.py")


def until(condition, what="it"):
    """Wait until `condition` returns something true; return that."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


class Receiver:
    """An OSC receiver on this machine: what came, when, and which notes sound."""

    def __init__(self):
        self.messages = []
        self.sounding = Counter()
        self._ended = 0.0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.port = self._socket.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        self._open = True
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self):
        while self._open:
            try:
                message = OscMessage(self._socket.recv(65536))
            except TimeoutError:
                continue
            except OSError:
                return
            now = time.monotonic()
            if message.address == "/gradmidi/note":
                voice, pitch, _, velocity, _ = message.params
                note = (voice, round(pitch, 3))
                self.sounding[note] += 1 if velocity else -1
                if self.sounding[note] <= 0:
                    del self.sounding[note]
                    self._ended = now
            self.messages.append((now, message.address, message.params))

    def of(self, address):
        return [params for _, each, params in list(self.messages) if each == address]

    @property
    def step(self):
        steps = self.of("/gradmidi/step")
        return steps[-1][0] if steps else 0

    def silent(self, since=None):
        """Wait for silence; return how many seconds after `since` the last note ended.

        That is a time of the monotonic clock; without it, when the last step was heard.
        """
        until(lambda: not self.sounding, "silence")
        if since is None:
            since = max(now for now, address, _ in self.messages if address == "/gradmidi/step")
        return self._ended - since

    def close(self):
        self._open = False
        self._socket.close()
        self._thread.join(5.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Program:
    """A command at work; it and all that it started are ended with the block."""

    def __init__(self, *command, env=None, prepare=lambda: None, **options):
        def before_it_starts():
            # Where the tests run under nohup, they ignore it, and so would the command.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            prepare()

        if os.name == "posix":
            options["preexec_fn"] = before_it_starts
        self._mark = f"GRADMIDI_TEST={uuid.uuid4()}"
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(env or {}), **dict([self._mark.split("=")])},
            **options,
        )

    @property
    def pid(self):
        return self.process.pid

    def family(self):
        """All processes that it and its children started: pid to command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if self._mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        if line:
                            found[int(entry.name)] = line
        return found

    def find(self, words):
        """The pid of the process of its family whose command line has these words."""
        return until(
            lambda: next((p for p, line in self.family().items() if words in line), 0), words
        )

    def player(self):
        """The player's pid."""
        return self.find("gradmidi.player.process")

    def guard(self):
        """The pid of the player's guard."""
        return self.find("guard.py")

    def result(self):
        """Wait for its end; return exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def gone(self):
        """Wait until nothing of it is left."""
        until(lambda: not self.family(), f"the end of {self.family()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self.process.communicate(timeout=PATIENCE)


class Trainer(Program):
    """`trainer.py` at work."""

    def __init__(self, folder, mode="record", *, env=None, **options):
        self.folder = Path(folder)
        words = [f"{key}={value}" for key, value in options.items()]
        super().__init__(sys.executable, TRAINER, mode, folder, *words, env=env)


def summed(steps):
    """What `trainer.py record` prints at its end."""
    return f"result {sum(3.0 + 3.0 + n % 7 + n % 3 for n in range(1, steps + 1))}\n"


@functools.cache
def alone(mode="model", steps=100):
    """What training prints at its end where nobody listens."""
    with Trainer("unused", mode, live="no", steps=steps) as trainer:
        code, out, err = trainer.result()
    assert code == 0, err
    return out
