"""Measure other tools' logs: from a number to its note, reading a folder, memory, text passed on.

    python benchmarks/sources.py [notes] [nan] [folder] [memory] [text]

``notes`` needs ``oscdump`` (liblo) and PyTorch with TensorBoard: another process writes a number
every 0.31 s, and `oscdump` prints when its note arrives. The time from number to note includes the
wait for the next slot of 125 ms. ``nan`` needs the same: a training that nobody touched logs its
loss, which becomes nan; measured is when the fault is sent, and when it stands on the terminal,
ten times each. ``folder`` needs TensorBoard, to compare with. ``memory`` reads a
million lines of text. ``text`` passes 400 MB of text through `gradmidi play -`.
"""

import contextlib
import hashlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

POINTS = 60
NTP_EPOCH = 2_208_988_800

WRITE = """
import sys, time
{begin}
time.sleep(4.0)
for n in range(5, {points} + 5):
    value = 1.0 + n / 1000
    now = time.time()
    {write}
    print(value, now, file=times, flush=True)
    time.sleep(0.31)
"""

SOURCES = {
    "run log of gradmidi": (
        "file = open(path + '/run.jsonl', 'ab', buffering=0); began = time.time(); "
        'file.write(b\'{"gradmidi": 1, "layers": [{"name": "a", "size": 1}]}\\n\'); '
        "put = lambda n, v, t: "
        'file.write(b\'{"step": %d, "t": %f, "norms": [%f]}\\n\' % (n, t - began, v)); '
        "[put(n, 1.0, began + n / 100) for n in range(5)]",
        "put(n, value, now)",
    ),
    "CSV file": (
        "file = open(path + '/log.csv', 'ab', buffering=0); file.write(b'step,grad_norm\\n'); "
        "put = lambda n, v: file.write(b'%d,%f\\n' % (n, v)); [put(n, 1.0) for n in range(5)]",
        "put(n, value)",
    ),
    "TensorBoard's SummaryWriter, flushed": (
        "from torch.utils.tensorboard import SummaryWriter; file = SummaryWriter(path); "
        "put = lambda n, v: (file.add_scalar('grad_norm', v, n), file.flush()); "
        "[put(n, 1.0) for n in range(5)]",
        "put(n, value)",
    ),
    "print": (
        "put = lambda n, v: print(f'step {n} grad_norm {v:.6f}', flush=True); "
        "[put(n, 1.0) for n in range(5)]",
        "put(n, value)",
    ),
}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ended(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
        process.kill()
        process.wait()


@contextlib.contextmanager
def played(script: str, folder: Path, *, piped: bool) -> Iterator[tuple[Any, Any]]:
    """Run a script that writes to `folder`, `gradmidi play` of it, and `oscdump` that hears it.

    Yield the processes of the script and of the player. What `oscdump` printed is in
    ``folder / "dump"`` afterwards.
    """
    path, port = folder / "run", free_port()
    path.mkdir()
    play = [sys.executable, "-m", "gradmidi", "play", "--osc", f"127.0.0.1:{port}", "--plain"]
    with contextlib.ExitStack() as stack:
        out = stack.enter_context((folder / "dump").open("wb"))
        dump = ["stdbuf", "-oL", "oscdump", "-L", str(port)]
        stack.enter_context(ended(subprocess.Popen(dump, stdout=out)))
        writer = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE if piped else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.enter_context(ended(writer))
        while not piped and not any(file.stat().st_size for file in path.iterdir()):
            time.sleep(0.05)
        player = subprocess.Popen(
            [*play, "-" if piped else str(path)],
            stdin=writer.stdout if piped else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        yield writer, stack.enter_context(ended(player))


def delays(name: str) -> list[float]:
    """Return the milliseconds from each number of a source to its note."""
    begin, write = SOURCES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        times = folder / "times"
        head = f"path, times = {str(folder / 'run')!r}, open({str(times)!r}, 'w'); {begin}"
        script = WRITE.format(begin=head, write=write, points=POINTS)
        with played(script, folder, piped=name == "print") as (writer, _):
            writer.wait(120.0)
            time.sleep(1.0)
        written = {f"{float(v):.6f}": float(t) for v, t in map(str.split, times.open())}
        dump = (folder / "dump").read_text()
    found: dict[str, float] = {}
    note = r"(\w+)\.(\w+) /gradmidi/note iffif \d+ \S+ \S+ (\d+) (\S+)"
    for whole, part, velocity, norm in re.findall(note, dump):
        seconds = int(whole, 16) - NTP_EPOCH + int(part, 16) / 2**32
        if int(velocity) and norm in written:
            found.setdefault(norm, 1000.0 * (seconds - written[norm]))
    return list(found.values())


def notes() -> None:
    print("| source | notes | p50 ms | p99 ms |\n|---|---|---|---|")
    for name in SOURCES:
        found = sorted(delays(name))
        p99 = found[min(len(found) - 1, round(0.99 * len(found)))]
        print(f"| {name} | {len(found)} | {statistics.median(found):.0f} | {p99:.0f} |", flush=True)


NAN = """
import sys, time
{begin}
time.sleep(3.0)
for n in range(60):
    loss = 3.0 * 0.98**n if n < 30 else float("nan")
    {write}
    if n == 30:
        print(time.time(), file=open(times, "w"), flush=True)
    time.sleep(0.1)
"""

TRAININGS = {
    "`SummaryWriter(flush_secs=1)`": (
        "from torch.utils.tensorboard import SummaryWriter; "
        "file = SummaryWriter(path, flush_secs=1)",
        "file.add_scalar('train/loss', loss, n)",
    ),
    "`SummaryWriter`, flushed after each number": (
        "from torch.utils.tensorboard import SummaryWriter; file = SummaryWriter(path)",
        "file.add_scalar('train/loss', loss, n); file.flush()",
    ),
    "`print(..., flush=True)`, `python -u`": (
        "pass",
        "print(f'step {n}: loss {loss:.4f}', flush=True)",
    ),
}


def nan_delay(name: str) -> tuple[float, float]:
    """Return the seconds from a nan to its OSC message, and to its line on stderr."""
    begin, write = TRAININGS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        times = folder / "times"
        head = f"path, times = {str(folder / 'run')!r}, {str(times)!r}; {begin}"
        script = NAN.format(begin=head, write=write)
        with played(script, folder, piped="print" in name) as (_, player):
            line = next(line for line in player.stderr if line.startswith(b"fault, step 30"))
            shown = time.time()
            assert b"the loss nan" in line, line
            time.sleep(0.5)
        written = float(times.read_text())
        dump = (folder / "dump").read_text()
    fault = re.search(r"(\w+)\.(\w+) /gradmidi/fault ssif \"nan\"", dump)
    assert fault is not None
    sent = int(fault[1], 16) - NTP_EPOCH + int(fault[2], 16) / 2**32
    return sent - written, shown - written


def nan() -> None:
    print("| training | sent, s: median, most | on the terminal, s: median, most |\n|---|---|---|")
    for name in TRAININGS:
        found = [nan_delay(name) for _ in range(10)]
        cells = [
            f"{statistics.median(each):.2f}, {max(each):.2f}" for each in zip(*found, strict=True)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


def folder() -> None:
    """Read 10,000 points of 20 tags."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from gradmidi.run import read
    from gradmidi.sources.tensorboard import TensorBoardReader

    with tempfile.TemporaryDirectory() as path:
        with SummaryWriter(path) as writer:
            for step in range(10_000):
                for tag in range(20):
                    writer.add_scalar(f"metric/{tag}", step * 0.1, step)
        began = time.process_time()
        reader = TensorBoardReader(Path(path))
        points = 0
        while rows := reader.poll():
            points += len(rows)
        reader.close()
        own = time.process_time() - began
        began = time.process_time()
        read(path)
        whole = time.process_time() - began
        began = time.process_time()
        accumulator = EventAccumulator(path, size_guidance={"scalars": 0})
        accumulator.Reload()
        other = time.process_time() - began
        assert points == 20 * len(accumulator.Scalars("metric/0"))
    print(f"{points:,} points: gradmidi's reader {own:.1f} s, gradmidi.read {whole:.1f} s,")
    print(f"EventAccumulator {other:.1f} s of processor time")


class Lines:
    """A million lines of text, made as they are read."""

    missing, restarts, LINES = False, 0, 1_000_000

    def __init__(self) -> None:
        self.number = 0

    def read(self, most: int = 0) -> bytes:
        """Return the next thousand lines."""
        begin, self.number = self.number, min(self.number + 1000, self.LINES)
        return b"".join(
            b"step %d/1000000: loss %.4f, grad_norm 1.5, lr 1e-3, 12ms\n" % (n, 2.0 + n % 7)
            for n in range(begin, self.number)
        )

    def close(self) -> None:
        """Do nothing."""


def memory() -> None:
    """Follow a million lines; print the memory after a tenth and at the end."""
    import threading

    from gradmidi.sources.following import follow_log
    from gradmidi.sources.kinds import text_of
    from gradmidi.sources.selection import Selection
    from gradmidi.sources.textreader import TextReader

    lines, stop, seen = Lines(), threading.Event(), 0
    began, first = time.process_time(), 0.0
    for _ in follow_log(text_of("lines"), Selection(), reader=TextReader(lines), stop=stop):
        seen += 1
        if seen == Lines.LINES // 10:
            first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if seen > Lines.LINES:
            stop.set()
            break
    last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = (time.process_time() - began) / seen * 1e6
    print(
        f"{seen:,} lines: {first:.1f} MB after a tenth, {last:.1f} MB at the end, "
        f"{each:.0f} µs a line"
    )


def text() -> None:
    """Pass text on; compare its hash."""
    line = b"step 120/2000: loss 2.3105, grad_norm 1.94, lr 4.995e-05, 12.5k tok/s, mfu 41.2%\n"
    block = line * (4_000_000 // len(line))
    rounds = 100
    expected = hashlib.sha256()
    for _ in range(rounds):
        expected.update(block)
    # A port where nothing listens.
    words = [sys.executable, "-m", "gradmidi", "play", "-", "--osc", f"127.0.0.1:{free_port()}"]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    assert process.stdout.read(len(line)) == line
    import threading

    stdin = process.stdin

    def feed() -> None:
        for _ in range(rounds):
            stdin.write(block)
        stdin.close()

    thread = threading.Thread(target=feed)
    began = time.monotonic()
    thread.start()
    received = hashlib.sha256()
    while data := process.stdout.read(1 << 20):
        received.update(data)
    seconds = time.monotonic() - began
    thread.join()
    process.wait()
    size = rounds * len(block) / 1e6
    same = "equal" if received.digest() == expected.digest() else "DIFFERENT"
    print(f"{size:.0f} MB passed on in {seconds:.1f} s: {size / seconds:.0f} MB/s, bytes {same}")


def main() -> None:
    wanted = sys.argv[1:] or ["notes", "nan", "folder", "memory", "text"]
    for name in wanted:
        {"notes": notes, "nan": nan, "folder": folder, "memory": memory, "text": text}[name]()


if __name__ == "__main__":
    main()
