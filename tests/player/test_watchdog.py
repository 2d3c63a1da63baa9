"""A process that is stuck is ended; one that only stood still goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from listening import until

from gradmidi.player.watchdog import MOMENT_SECONDS, is_stopped

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows stops no process")

ALLOWED_SECONDS = 0.5

WATCHED = f"""
    import ctypes, signal, time
    from gradmidi.player.watchdog import Watchdog

    # PyDLL keeps the interpreter while it calls: what a native call does that never returns.
    signal.signal(signal.SIGUSR1, lambda *_: ctypes.PyDLL(None).sleep(1000))
    watchdog = Watchdog()
    print(watchdog._process.pid, flush=True)
    for _ in range(400):
        watchdog.allow({ALLOWED_SECONDS})
        print("alive", flush=True)
        time.sleep(0.05)
"""


@pytest.fixture
def watched():
    """A process that gives signs of life, and the pid of what watches it."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WATCHED)], stdout=subprocess.PIPE, text=True
    )
    try:
        process.watcher = int(process.stdout.readline())
        assert process.stdout.readline() == "alive\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def goes_on(process):
    """Let it live for far longer than it may be quiet."""
    for _ in range(round(3 * ALLOWED_SECONDS / MOMENT_SECONDS)):
        assert process.stdout.readline() == "alive\n"
    assert process.poll() is None


def test_a_process_that_gives_signs_of_life_is_left_alone(watched):
    goes_on(watched)


def test_a_process_that_is_stuck_is_ended_though_no_thread_of_it_can_act(watched):
    watched.send_signal(signal.SIGUSR1)
    until(lambda: watched.poll() is not None, "the end of what is stuck")
    assert watched.returncode == -signal.SIGKILL
    until(lambda: not is_there(watched.watcher), "the end of what watched")


@pytest.mark.slow
@pytest.mark.parametrize("both", [False, True])
def test_a_process_that_was_stopped_goes_on_when_it_is_continued(watched, both):
    with stopped(*[watched.watcher] * both, watched.pid):
        until(lambda: is_stopped(watched.pid), "it to stand still")
        time.sleep(4 * ALLOWED_SECONDS)
    goes_on(watched)


def test_what_watches_ends_with_what_it_watches(watched):
    watched.kill()
    until(lambda: not is_there(watched.watcher), "the end of what watched")
