import os
import sys
import threading
import time

import pytest

from gradmidi.errors import RunLogError
from gradmidi.sources.follow import (
    CAUGHT_UP,
    Line,
    follow_file,
    follow_host,
    follow_pipe,
    remote,
    ssh_line,
)


def line(step, t):
    return b'{"step": %d, "t": %g, "norms": [0.5]}\n' % (step, t)


class Reader:
    """Collects what a source yields, on a thread, until it is stopped."""

    def __init__(self, source, stop):
        self.lines, self.error, self._stop = [], None, stop
        self.caught_up = []  # How many lines were past, each time that the source said so.
        self._thread = threading.Thread(target=self._run, args=(source,))
        self._thread.start()

    def _run(self, source):
        try:
            for each in source:
                if each == CAUGHT_UP:
                    self.caught_up.append(len(self.lines))
                else:
                    self.lines.append(each)
        except RunLogError as error:
            self.error = error

    def wait(self, count):
        deadline = time.monotonic() + 10.0
        while len(self.lines) < count and self._thread.is_alive():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.005)
        return self.lines

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def follow(make):
    stop = threading.Event()
    return Reader(make(stop), stop)


def test_what_is_there_is_past_and_what_comes_is_not(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(line(1, 0.1) + line(2, 0.2) + line(3, 0.3)[:9])
    with follow(lambda stop: follow_file(path, stop=stop)) as reader:
        reader.wait(2)
        with path.open("ab") as file:
            file.write(line(3, 0.3)[9:])
            file.flush()
            reader.wait(3)
            file.write(line(4, 0.4) + line(5, 0.5))
        reader.wait(5)
    assert reader.lines == [
        Line(line(1, 0.1), past=True),
        Line(line(2, 0.2), past=True),
        Line(line(3, 0.3)),
        Line(line(4, 0.4)),
        Line(line(5, 0.5)),
    ]
    assert reader.caught_up == [2]


def test_half_a_line_is_never_yielded(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"")
    whole = line(1, 0.1) * 3
    with follow(lambda stop: follow_file(path, stop=stop)) as reader, path.open("ab") as file:
        for byte in whole:
            file.write(bytes([byte]))
            file.flush()
        reader.wait(3)
    assert [each.data for each in reader.lines] == [line(1, 0.1)] * 3


@pytest.mark.parametrize("how", ["replaced", "cut short"])
def test_a_log_that_begins_anew_is_read_anew(tmp_path, how):
    path = tmp_path / "run.jsonl"
    path.write_bytes(line(1, 0.1) + line(2, 0.2))
    with follow(lambda stop: follow_file(path, stop=stop)) as reader:
        reader.wait(2)
        if how == "replaced":
            other = tmp_path / "other"
            other.write_bytes(line(7, 0.7) + line(8, 0.8) + line(9, 0.9))
            other.replace(path)
            expected = 5
        else:
            path.write_bytes(line(7, 0.7))
            expected = 3
        reader.wait(expected)
    assert [each.data for each in reader.lines[2:]] == [
        line(n, n / 10) for n in range(7, 7 + expected - 2)
    ]


def test_a_log_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RunLogError, match="cannot be read"):
        next(follow_file(tmp_path / "none"))


def test_a_large_log_comes_whole(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = [line(n, n / 10) for n in range(20_000)]
    path.write_bytes(b"".join(lines))
    with follow(lambda stop: follow_file(path, stop=stop)) as reader:
        reader.wait(len(lines))
    assert [each.data for each in reader.lines] == lines
    assert all(each.past for each in reader.lines)


def test_a_pipe_has_caught_up_when_it_is_no_faster_than_the_run():
    read, write = os.pipe()
    # A log of a hundred seconds comes within one; then live lines do.
    now = iter([0.01 * n for n in range(100)] + [1.0 + 0.1 * n for n in range(20)])
    with follow(lambda stop: follow_pipe(read, stop=stop, clock=lambda: next(now))) as reader:
        for n in range(100):
            os.write(write, line(n, 1.0 * n))
            reader.wait(n + 1)
        for n in range(20):
            os.write(write, line(n, 100.0 + 0.1 * n))
            reader.wait(n + 101)
        os.close(write)
        reader.wait(5000)
    os.close(read)
    past = [each.past for each in reader.lines]
    assert all(past[:100])
    assert past.index(False) in range(101, 108)
    assert not any(past[past.index(False) :])


def test_a_pipe_that_is_quiet_has_caught_up():
    read, write = os.pipe()
    with follow(lambda stop: follow_pipe(read, stop=stop)) as reader:
        os.write(write, line(1, 0.1) + line(2, 0.2))
        reader.wait(2)
        time.sleep(0.6)
        os.write(write, line(3, 50.0) + b'{"step": 4')
        os.close(write)
        reader.wait(4)
    os.close(read)
    assert [each.past for each in reader.lines] == [True, True, False]
    assert reader.caught_up == [2]


def test_a_run_elsewhere_is_reported_from_a_path(tmp_path):
    assert remote("box:runs/a") == ("box", "runs/a")
    assert remote("me@box.example.org:/data/a b") == ("me@box.example.org", "/data/a b")
    assert remote(str(tmp_path)) is None
    assert remote("runs/a") is None
    assert remote(r"C:\runs\a") is None


def fake_ssh(script):
    """Stand in for ssh: run the remote command here."""

    def command(host, run, first):
        real = ssh_line(host, run, first)
        assert real[:2] == ["ssh", host]
        return ["sh", "-c", "exec " + script.replace("COMMAND", real[2]), "", "exec " + real[2]]

    return command


def test_another_machine_is_followed_and_its_folder_found(tmp_path, said):
    folder = tmp_path / "a run's"
    folder.mkdir()
    path = folder / "run.jsonl"
    path.write_bytes(line(1, 0.1))
    with follow(
        lambda stop: follow_host("box", str(folder), stop=stop, command=fake_ssh("COMMAND"))
    ) as reader:
        reader.wait(1)
        time.sleep(0.6)
        with path.open("ab") as file:
            file.write(line(2, 0.2) + b'{"end": "closed", "t": 1.0, "steps": 2}\n')
        reader.wait(3)
    assert [each.past for each in reader.lines] == [True, False, False]
    assert said == []


@pytest.mark.slow
def test_a_connection_that_breaks_goes_on_after_the_last_line(tmp_path, said):
    path = tmp_path / "run.jsonl"
    lines = [line(n, n / 10) for n in range(1, 9)]
    path.write_bytes(b"".join(lines) + b'{"end": "closed", "t": 1.0, "steps": 8}\n')
    # Each connection brings three lines and half of one, then breaks.
    script = f"{sys.executable} -c '{BREAK}' \"$1\""
    with follow(
        lambda stop: follow_host("box", str(path), stop=stop, command=fake_ssh(script))
    ) as reader:
        reader.wait(9)
    assert [each.data for each in reader.lines[:8]] == lines
    assert len(reader.lines) == 9
    assert said[0] == "the connection to box broke off (lost); trying again"
    assert said[1] == "box is back; continuing after line 3"
    assert not reader.lines[4].past


BREAK = """
import subprocess, sys
with subprocess.Popen(["sh", "-c", sys.argv[1]], stdout=subprocess.PIPE) as tail:
    for _ in range(3):
        sys.stdout.buffer.write(tail.stdout.readline())
    sys.stdout.buffer.write(tail.stdout.readline()[:10])
    tail.kill()
sys.exit("lost")
"""


def test_a_machine_that_cannot_be_reached_is_an_error_with_its_own_words():
    source = follow_host(
        "box",
        "runs/a",
        command=fake_ssh('sh -c "echo no route >&2; exit 255"'),
    )
    with pytest.raises(RunLogError, match=r"box:runs/a cannot be followed: no route; try: ssh box"):
        list(source)


def test_a_run_that_is_not_there_is_an_error(tmp_path):
    source = follow_host("box", str(tmp_path / "none"), command=fake_ssh("COMMAND"))
    with pytest.raises(RunLogError, match="No such file"):
        list(source)
