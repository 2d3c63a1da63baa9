"""Whatever a command is given, it ends in one line and an exit code that is not 0."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from logs import write_log


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("runs") / "a", [[1.0] * 4, [2.0] * 4])


def failed(*words: object, **options: object) -> str:
    """Run a command that fails; return its last line on stderr, without a traceback."""
    options = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    return str(done.stderr.splitlines()[-1])


def test_a_name_that_the_system_does_not_allow() -> None:
    assert "gradmidi: " in failed("describe", "h" * 300 + ":a")
    assert "gradmidi: " in failed("describe", "h" * 5000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_stdout(run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        line = failed("describe", run, stdout=full)
    assert line == "gradmidi: standard output: No space left on device"


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor as a shell does")
def test_stdin_that_is_closed() -> None:
    line = failed("play", "-", "--osc", "9", stdin=None, preexec_fn=lambda: os.close(0))
    assert line == "gradmidi: - reads stdin, which is closed; pipe a run log or text into it"


def test_a_length_of_four_hundred_digits_is_all_there_is_room_for(run: Path) -> None:
    words = ["render", run, "-o", run / "b.mid", "--length", "9" * 400]
    done = subprocess.run([sys.executable, "-m", "gradmidi", *map(str, words)], check=False)
    assert done.returncode == 0
    assert (run / "b.mid").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "gradmidi: " in failed("describe", tmp_path / "pipe")
