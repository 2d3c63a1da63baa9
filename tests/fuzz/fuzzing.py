"""Mutated inputs for every format: ``python tests/fuzz/fuzzing.py --count 10000 [--only log]``.

A reader must return, or raise GradmidiError with one line, within `LIMIT_SECONDS` and
`LIMIT_BYTES`. Everything else is a failure; it is printed with its seed, and ``--seed SEED
--count 1`` repeats it.
"""

import argparse
import contextlib
import json
import logging
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import gradmidi
from gradmidi.midi import rig
from gradmidi.music import preset

LIMIT_SECONDS = 5
LIMIT_BYTES = 1 << 30

NUMBERS = (
    b"0", b"-1", b"1e308", b"-1e308", b"1e15", b"2147483648", b"9" * 400, b"0.1", b"nan", b"null",
    b"true", b'""', b"[]", b"{}", b"NaN", b"Infinity", b"1e999", b"-0", b"1_000", b"0x10",
)  # fmt: skip
"""Values that take the place of a number."""

TEXTS = (
    b"[" * 1000, b'{"a":' * 500, b"\x00", b"\xff\xfe", b"\r", b"\n\n", b",", b'"', b"\\u0000",
    "ü\u202e".encode(), b"\xf0\x9f", b"x" * 5000, b"=", b"#", b"\x1b[2J",
)  # fmt: skip
"""Bytes that are put anywhere."""


def mutated(seed: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return a seed with one to four changes."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        where = chance.randrange(len(data) + 1)
        span = chance.choice((1, 1, 2, 8, 64))
        match chance.randrange(10):
            case 0:
                data[where : where + span] = bytes(chance.randrange(256) for _ in range(span))
            case 1:
                del data[where : where + span]
            case 2:
                data[where:where] = data[where : where + span]
            case 3:
                data[where:where] = chance.choice(TEXTS)
            case 4 | 5:
                numbers = list(re.finditer(rb"-?\d+(\.\d+)?(e[+-]?\d+)?", data))
                if numbers:
                    found = chance.choice(numbers)
                    data[found.start() : found.end()] = chance.choice(NUMBERS)
            case 6:
                lines = data.split(b"\n")
                first, second = chance.randrange(len(lines)), chance.randrange(len(lines))
                lines[first], lines[second] = lines[second], lines[first]
                data = bytearray(b"\n".join(lines))
            case 7:
                lines = data.split(b"\n")
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
                data = bytearray(b"\n".join(lines))
            case 8:
                data = data[:where]
            case 9:
                start = chance.randrange(len(other) + 1)
                data[where:where] = other[start : start + span]
    return bytes(data)


# -- seeds --------------------------------------------------------------------------------------

NORMS = [(0.5 + step % 3, 2.0, float(step % 5)) for step in range(12)]


def run_log(folder: Path) -> bytes:
    """Write a run with marks, late values and every kind of norm."""
    with gradmidi.record(folder / "a", layers=["conv", "fc1", "fc2"], files=()) as listener:
        for step, norms in enumerate(NORMS):
            listener.frame(norms, loss=2.0 / (step + 1))
            if step == 4:
                listener.mark("epoch 2")
        listener.log(acc=0.5)
    return (folder / "a" / "run.jsonl").read_bytes()


def midi_file(folder: Path) -> bytes:
    """Render the run."""
    run_log(folder)
    gradmidi.render(folder / "a", folder / "a.mid")
    return (folder / "a.mid").read_bytes()


def event_file(_: Path) -> bytes:
    """Write a TensorBoard file of a few scalars, as its protocol buffers have them."""
    from gradmidi.sources import encodings

    def masked(data: bytes) -> bytes:
        return struct.pack("<I", encodings.masked(data))

    def field(number: int, kind: int, data: bytes) -> bytes:
        return bytes([number << 3 | kind]) + (bytes([len(data)]) if kind == 2 else b"") + data

    records = [field(1, 1, struct.pack("<d", 1e9)) + field(3, 2, b"brain.Event:2")]
    for step in range(1, 9):
        value = field(1, 2, b"loss") + field(2, 5, struct.pack("<f", 2.0 / step))
        records.append(
            field(1, 1, struct.pack("<d", 1e9 + step))
            + field(2, 0, bytes([step]))
            + field(5, 2, field(1, 2, value))
        )
    out = b""
    for record in records:
        head = struct.pack("<Q", len(record))
        out += head + masked(head) + record + masked(record)
    return out


CSV = b"step,time,loss,grad_norm/fc1,grad_norm/fc2\n" + b"".join(
    b"%d,%.1f,%.3f,0.5,%d\n" % (step, step / 10, 2.0 / step, step % 4) for step in range(1, 20)
)
TRAINER_STATE = json.dumps(
    {
        "global_step": 12,
        "log_history": [
            {"step": step, "epoch": 0.1, "loss": 2.0 / step, "grad_norm": 0.5}
            for step in range(1, 12)
        ],
    },
    indent=1,
).encode()
LONG = b"step;layer;grad_norm;loss\n" + b"".join(
    b"%d;fc%d;0,5;%d\n" % (step, layer, step % 4) for step in range(1, 9) for layer in (1, 2)
)
HISTORY = json.dumps(
    {"loss": [2.0 / step for step in range(1, 12)], "grad_norm": [0.5] * 11, "lr": ["1e-3"] * 9}
).encode()
PRINTED = b"".join(
    b"Epoch 1: %d/19 [00:0%d<00:09, 3.1it/s] - loss: %.3f - grad_norm: 0.5, lr=1e-3\n"
    % (step, step // 3, 2.0 / step)
    for step in range(1, 20)
)
LINES = b"".join(b'{"step": %d, "loss": %.3f, "lr": 1e-3}\n' % (s, 2.0 / s) for s in range(1, 20))
PRESET = (
    b'title = "mine"\n[time]\nstyle = "chord"\ntempo = 90\n[voices]\nhome = ["C3", "C6"]\n'
    b'[pitch]\nscale = "D minor pentatonic"\nrange = ["C1", "C8"]\n[sound]\ngain = -12\n'
    b"partials = [1.0, 0.5]\ndecay = [0.0, 0.2]\n[faults]\nspike = 8.0\n"
)
RIG = b'ports = ["synth"]\nchannels = "1-4,6"\nfaults = 10\nbend_range = 2\ndin_limit = 900\n'


# -- targets ------------------------------------------------------------------------------------


def hear(path: Path) -> None:
    """Read a source, describe it and compose it."""
    run, chosen = gradmidi.read(path), preset.load("pentatonic")
    for _ in gradmidi.describe(run, chosen):
        pass
    for _ in gradmidi.compose(run, chosen, length=5):
        pass


def decode(path: Path) -> None:
    """Decode a MIDI file."""
    gradmidi.decode(path)


@dataclass(frozen=True)
class Target:
    """A format: the name of the file, a seed, and what reads it."""

    file: str
    seed: Callable[[Path], bytes]
    read: Callable[[Path], object]


TARGETS = {
    "log": Target("run.jsonl", run_log, hear),
    "mid": Target("a.mid", midi_file, decode),
    "preset": Target("mine.toml", lambda _: PRESET, preset.load),
    "rig": Target("rig.toml", lambda _: RIG, rig.load),
    "csv": Target("metrics.csv", lambda _: CSV, hear),
    "json": Target("trainer_state.json", lambda _: TRAINER_STATE, hear),
    "long": Target("long.csv", lambda _: LONG, hear),
    "history": Target("history.json", lambda _: HISTORY, hear),
    "text": Target("train.log", lambda _: PRINTED, hear),
    "lines": Target("metrics.jsonl", lambda _: LINES, hear),
    "events": Target("events.out.tfevents.1.box", event_file, hear),
}


class Slow(BaseException):
    """A reader took longer than it may."""


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise Slow(f"more than {LIMIT_SECONDS} s")


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Bound time and further memory, and keep messages to the user off the terminal."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(re.search(r"VmData:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    handler = signal.signal(signal.SIGALRM, _too_slow)
    logger = logging.getLogger("gradmidi")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (used + LIMIT_BYTES, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_DATA, before)
        signal.signal(signal.SIGALRM, handler)
        logger.setLevel(level)


@dataclass(frozen=True)
class Failure:
    """An input that was not handled."""

    target: str
    seed: int
    error: str
    place: str

    def __str__(self) -> str:
        return f"--only {self.target} --seed {self.seed}: {self.error} at {self.place}"


def failure_of(
    target: str, read: Callable[[Path], object], path: Path, seed: int
) -> Failure | None:
    """Read one input; return what went wrong."""
    signal.alarm(LIMIT_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(path)
    except gradmidi.GradmidiError as error:
        signal.alarm(0)
        if "\n" in str(error):
            return Failure(target, seed, f"{type(error).__name__} of several lines", repr(error))
    except (Exception, Slow) as error:
        signal.alarm(0)
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "gradmidi/" in frame.filename] or frames
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}"
        return Failure(target, seed, f"{type(error).__name__}: {str(error)[:100]}", place)
    finally:
        signal.alarm(0)
    return None


def fuzz(names: list[str], seeds: range) -> Iterator[Failure]:
    """Try every seed on every target; yield the failures."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        first = {name: TARGETS[name].seed(folder) for name in names}
        others = list(first.values())
        with limits():
            for name in names:
                target = TARGETS[name]
                path = folder / name / target.file
                path.parent.mkdir()
                for seed in seeds:
                    chance = random.Random(f"{name} {seed}")
                    path.write_bytes(mutated(first[name], chance.choice(others), chance))
                    found = failure_of(name, target.read, path, seed)
                    if found is not None:
                        yield found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS)
    given = parser.parse_args()
    names = [given.only] if given.only else list(TARGETS)
    seen: dict[tuple[str, str], int] = {}
    for name in names:
        began = time.monotonic()
        for failure in fuzz([name], range(given.seed, given.seed + given.count)):
            key = (failure.error.split(":")[0], failure.place)
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == 1:
                print(failure, flush=True)
        rate = given.count / (time.monotonic() - began)
        print(f"{name}: {given.count} inputs, {rate:.0f} a second", flush=True)
    print(f"{len(seen)} kinds of failure, {sum(seen.values())} failures")
    return int(bool(seen))


if __name__ == "__main__":
    sys.exit(main())
