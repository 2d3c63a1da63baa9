"""What the machine lacks is reported once and training goes on; what the user gives is kept."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import gradmidi
from gradmidi.log import FILE_NAME

LAYERS = ["fc1", "fc2"]


class Odd:
    def __str__(self) -> str:
        raise ValueError("no text")


class OddError(Exception):
    __str__ = Odd.__str__


def train(out: Path, steps: int = 5, **options: Any) -> int:
    with gradmidi.record(out, layers=LAYERS, **{"files": ("mid",), **options}) as ears:
        for _ in range(steps):
            ears.frame([1.0, 2.0], loss=1.0)
    return steps


def test_texts_that_are_no_texts_reach_the_log_by_their_type(tmp_path: Path) -> None:
    with gradmidi.record(tmp_path / "a", layers=LAYERS, files=()) as ears:
        ears.frame([1.0, 2.0])
        ears.mark(Odd())  # type: ignore[arg-type]
        with ears.pause(Odd()):  # type: ignore[arg-type]
            pass
    log = (tmp_path / "a" / FILE_NAME).read_text()
    for key in ("mark", "pause", "resume"):
        assert f'{{"{key}": "Odd", "t"' in log


def test_an_exception_without_a_text_reaches_the_user_as_it_is(tmp_path: Path) -> None:
    error = OddError()

    def failing() -> None:
        with gradmidi.record(tmp_path / "a", layers=LAYERS, files=()) as ears:
            ears.frame([1.0, 2.0])
            raise error

    with pytest.raises(OddError) as caught:
        failing()
    assert caught.value is error
    assert '{"end": "exception: OddError: OddError"' in (tmp_path / "a" / FILE_NAME).read_text()


@pytest.mark.parametrize("value", [None, "", "/nowhere/python"])
def test_without_a_python_to_start_the_log_is_written_all_the_same(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", value)
    train(tmp_path / "a", osc="127.0.0.1:9")
    assert gradmidi.read(tmp_path / "a").steps == 5
    told = [line for line in said if line.startswith("the player cannot be started: ")]
    assert len(told) == 1
    assert told[0].endswith(": no sound, everything else continues")
    assert sum(line.startswith("files: FileNotFoundError: ") for line in said) == 1


def test_without_a_thread_training_goes_on_unrecorded(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        train(tmp_path / "a", osc="127.0.0.1:9")
    assert said == [
        "the player cannot be started: can't start new thread: no sound, everything else continues",
        "run log: can't start new thread; this run is not recorded, training continues",
    ]


NO_DESCRIPTOR = """
import os, resource, sys
import gradmidi

def train(out, **options):
    with gradmidi.record(out, layers=["fc1"], **options) as ears:
        for _ in range(5):
            ears.frame([1.0])

train(sys.argv[1] + "/before", files=("mid",))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
train(sys.argv[1] + "/none", files=("mid",), osc="127.0.0.1:9")
os.close(held.pop())
os.close(held.pop())
train(sys.argv[1] + "/log", files=("mid",), osc="127.0.0.1:9")
print("trained")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_without_a_file_descriptor_training_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_DESCRIPTOR, tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    lines = done.stderr.splitlines()
    none = "gradmidi: Too many open files: this run is not recorded, training continues"
    assert lines.count(none) == 1
    assert sum("the player cannot be started: Too many open files" in line for line in lines) == 1
    assert gradmidi.read(tmp_path / "log").steps == 5


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_folder_whose_name_is_no_utf_8_holds_a_run_like_any_other(
    tmp_path: Path, said: list[str]
) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    train(out, osc="127.0.0.1:9", take=out / "live.mid")
    assert sorted(os.listdir(os.fsencode(out))) == [b"live.mid", b"run.jsonl", b"run.mid"]
    assert gradmidi.read(out).name == "a?"
    assert any(line.startswith("wrote ") for line in said)


def test_a_run_goes_beside_the_current_folder_if_that_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train(Path(), files=())
    train(Path(), files=())
    train(Path(".."), files=())
    train(Path(".."), files=())
    assert gradmidi.read(tmp_path / "here-2").steps == 5
    assert gradmidi.read(tmp_path.with_name(f"{tmp_path.name}-2")).steps == 5


@pytest.mark.parametrize(
    "tail",
    [
        b'{"step": 6, "t": 1.0, "nor',
        b'{"step": "six", "t": 1.0, "norms": [1, 2]}\n',
        b'{"step": 1e999, "norms": []}\n',
        b'[{"norms": 1}]\n',
        b"\x00\xff\xfe" * 100,
        b'{"norms": ' + b"[" * 100_000,
        b'{"gradmidi": 1, "layers": [',
    ],
)
@pytest.mark.parametrize("way", [{"resume": True}, {"overwrite": True}, {}, {"requeued": True}])
def test_a_log_whose_end_is_damaged_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: bytes, way: dict[str, bool]
) -> None:
    train(tmp_path / "a", files=())
    with (tmp_path / "a" / FILE_NAME).open("ab") as file:
        file.write(tail)
    if way.pop("requeued", False):
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with gradmidi.record(tmp_path / "a", layers=LAYERS, files=(), **way) as ears:
        ears.frame([3.0, 4.0])
    assert gradmidi.read(ears.folder).steps == (1 if ears.step == 1 else 6)


# -- nothing is lost uncounted -------------------------------------------------------------------


def test_a_run_folder_that_was_removed_is_reported(tmp_path: Path, said: list[str]) -> None:
    with gradmidi.record(tmp_path / "a", layers=LAYERS) as ears:
        for _ in range(100):
            ears.frame([1.0, 2.0])
        until_written(tmp_path / "a" / FILE_NAME, b'"step": 100,')
        (tmp_path / "a").rename(tmp_path / "b")
    path = tmp_path / "a" / FILE_NAME
    assert said[1:] == [f"{path} was removed or replaced during the run: 100 steps lost"]


def until_written(path: Path, text: bytes) -> None:
    end = time.monotonic() + 30.0
    while text not in path.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_line_that_the_system_takes_in_parts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def in_parts(fd: int, data: Any) -> int:
        return write(fd, bytes(data)[:7])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", in_parts)
        train(tmp_path / "a", files=())
    log = gradmidi.read(tmp_path / "a")
    assert (len(list(log.frames())), log.unreadable) == (5, 0)


CLOSED_STDERR = """
import os, sys
import gradmidi
os.close(2)
with gradmidi.record(sys.argv[1], layers=["fc1"], files=()) as ears:
    ears.frame([1.0])
    try:
        os.write(2, b"a message of a library\\n")
    except OSError:
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such descriptors")
def test_messages_do_not_go_into_the_log_if_stderr_is_closed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CLOSED_STDERR, tmp_path / "a"], check=True)
    lines = (tmp_path / "a" / FILE_NAME).read_bytes().splitlines()
    assert [line[:6] for line in lines] == [b'{"grad', b'{"step', b'{"end"']


STOPPED = """
import sys, time
import gradmidi
layers = [f"layer{n}" for n in range(600)]
with gradmidi.record(sys.argv[1], layers=layers, files=()) as ears:
    for step in range(3000):
        ears.frame([0.123456 * (step + n) for n in range(600)])
        if step == 100:
            print("begun", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_process_that_stood_still_for_eleven_seconds_loses_no_step(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, tmp_path / "a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(11.0)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    assert "left out" not in err
    match = re.search(r"([\d,]+) steps and the end are not in the run log yet", err)
    missing = int(match[1].replace(",", "")) if match else 0
    assert gradmidi.read(tmp_path / "a").steps + missing >= 3000


def test_a_disk_that_fails_in_the_middle_of_a_log_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "a", steps=2000, files=())
    log = gradmidi.read(tmp_path / "a")
    monkeypatch.setattr(Path, "open", lambda path, *_: Failing(path))
    with pytest.raises(gradmidi.RunLogError, match="cannot be read: Input/output error"):
        list(log.items())
    with pytest.raises(gradmidi.RunLogError, match="cannot be read: Input/output error"):
        gradmidi.read(tmp_path / "a")


class Failing:
    """A file on a disk with a bad block, after the first lines."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if self._file.tell():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._file.read(min(size, 10_000))

    def __iter__(self) -> Any:
        for number, line in enumerate(self._file):
            if number == 100:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            yield line
