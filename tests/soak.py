"""Soak: ``python tests/soak.py --minutes 60 --lines 30000000``; prints what it measures.

First a training of a thousand steps a second is heard live through MIDI (JACK) and OSC, and its
growing log is followed by `gradmidi play`. Memory, descriptors and threads of every process stay
the same, and slots do not come later and later. Then a day's log is rendered, and played in a
simulated time: memory does not grow with the log.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from listening import Program, Receiver, until

import gradmidi
from gradmidi.log import Decoder, End, Header, Layer, encode_end, encode_header
from gradmidi.midi.backends import library
from gradmidi.music.preset import load

HERE = Path(__file__)
STEP_SECONDS = 0.001
DAY_SECONDS = 86_400.0
DAY_LINES = 30_000_000
PORT = "soak"
PRESET = "pentatonic"

ROLES = {"player": "gradmidi.player.process", "guard": "guard.py"}
"""Words in the command lines of the processes that a command starts."""

MORE_MEGABYTES = 4.0
"""How much memory may grow in the last four fifths of a soak, or with a log ten times as long."""

MORE_SECONDS = 0.05
"""How much later the last slots may come than the first ones, on a busy machine."""


@dataclass(frozen=True)
class Sample:
    """What a process uses."""

    megabytes: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Sample":
        place = Path("/proc", str(pid))
        status = (place / "status").read_text()
        resident = next(x for x in status.splitlines() if x.startswith("VmRSS")).split()[1]
        count = [len(list((place / what).iterdir())) for what in ("fd", "task")]
        return cls(int(resident) / 1024, *count)


# -- the training ----------------------------------------------------------------------------------


def train(folder: str, target: str, midi: str, seconds: float) -> None:
    """Train a small network at a thousand steps a second; print how many steps it made."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    batches = torch.randn(64, 4, 8)
    with gradmidi.listen(
        net, optimizer, out=folder, preset=PRESET, osc=target, midi=midi or None, files=()
    ) as ears:
        began = time.monotonic()
        step, due = 0, began
        while (now := time.monotonic()) < began + seconds:
            if due > now:
                time.sleep(due - now)
            due = max(due + STEP_SECONDS, now)
            step += 1
            optimizer.zero_grad()
            loss = (net(batches[step % 64]) - 3.0).square().mean()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                ears.log(loss=loss)
    print(step)


# -- live ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def midi_receiver(folder: Path) -> Iterator[Any]:
    """A program that receives MIDI from JACK and writes what came; None where it is missing."""
    sys.path.append(str(HERE.parent / "receivers"))
    from studio import jack_server, midi_dump

    try:
        library()
        there = shutil.which("jackd") and shutil.which("jack_midi_dump")
    except gradmidi.GradmidiError:
        there = None
    if not there:
        yield None
        return
    name = f"gm{os.getpid()}s"
    with (
        jack_server(name, folder / "jackd.log") as jack,
        midi_dump(jack, PORT, folder / "midi.txt") as dump,
    ):
        yield jack, dump


def live(minutes: float) -> dict[str, Any]:
    """Listen to a training for so many minutes; return what was measured."""
    seconds = 60.0 * minutes
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        midi = stack.enter_context(midi_receiver(folder))
        ears, follower = stack.enter_context(Receiver()), stack.enter_context(Receiver())
        arguments = ["--train", folder / "run", ears.target, PORT if midi else "", seconds]
        env = midi[0].env if midi else {}
        trainer = stack.enter_context(Program(sys.executable, HERE, *arguments, env=env))
        until(lambda: ears.step > 100 or trainer.process.poll() is not None, "a step")
        command = [sys.executable, "-m", "gradmidi", "play", folder / "run", "--plain"]
        options = ["--osc", follower.target, "--preset", PRESET]
        play = stack.enter_context(Program(*command, *options))
        until(lambda: follower.step or play.process.poll() is not None, "a step that is followed")
        samples: dict[str, list[Sample]] = {}
        while trainer.process.poll() is None and len(trainer.family()) > 1:
            for owner, program in (("training", trainer), ("play", play)):
                for pid, line in program.family().items():
                    role = next((role for role, words in ROLES.items() if words in line), "process")
                    with contextlib.suppress(OSError, StopIteration):
                        samples.setdefault(f"{owner}: {role}", []).append(Sample.of(pid))
            time.sleep(min(5.0, seconds / 50.0))
        code, out, err = trainer.result()
        assert code == 0, err
        assert play.result()[0] == 0
        times = [frame.t for frame in gradmidi.read(folder / "run").frames()]
        found: dict[str, Any] = {
            "steps a second": int(out) / seconds,
            "said": err.strip(),
            "samples": samples,
            "late": {"training": drift(ears, times), "play": drift(follower, times)},
            "sounding": dict(ears.sounding) | dict(follower.sounding),
            "frames": len(times),
            "steps": int(out),
            "messages": len(ears.messages),
        }
        if midi:
            from studio import dumped, sounding, wait_until

            wait_until(lambda: not sounding(dumped(midi[1])), "the ends of all notes over MIDI")
            found["midi messages"] = len(dumped(midi[1]))
    return found


def drift(ears: Receiver, times: Sequence[float]) -> tuple[float, float]:
    """Return how much later after its step a slot came in the last tenth than in the first.

    Also return how unevenly they came: the range of what they are off the grid of slots.
    """
    slot = load(PRESET).time.slot_ticks(2) * load(PRESET).time.tick_seconds
    came = [(now, data[0]) for now, address, data in ears.messages if address == "/gradmidi/step"]
    late = [now - times[step - 1] for now, step in came]
    off = [now - came[0][0] - slot * round((now - came[0][0]) / slot) for now, _ in came]
    tenth = max(1, len(late) // 10)
    later = statistics.median(late[-tenth:]) - statistics.median(late[:tenth])
    return later, max(off) - min(off)


def grown(samples: Sequence[Sample]) -> Sample:
    """Return how much more a process used in the last fifth of its samples than in the second."""
    fifth = max(1, len(samples) // 5)
    then, now = samples[fifth : 2 * fifth], samples[-fifth:]
    return Sample(
        *(
            statistics.median(getattr(each, name) for each in now)
            - statistics.median(getattr(each, name) for each in then)
            for name in ("megabytes", "descriptors", "threads")
        )
    )


def judged(found: dict[str, Any]) -> list[str]:
    """Return what is wrong with a live run."""
    wrong = []
    for name, samples in found["samples"].items():
        more = grown(samples)
        if more.megabytes > MORE_MEGABYTES or more.descriptors > 0 or more.threads > 0:
            wrong.append(f"{name} has grown: {more}")
    for name, (later, _) in found["late"].items():
        if abs(later) > MORE_SECONDS:
            wrong.append(f"{name}: the last slots came {later * 1e3:.0f} ms later than the first")
    if found["sounding"]:
        wrong.append(f"notes still sound: {found['sounding']}")
    if found["frames"] != found["steps"]:
        wrong.append(f"{found['steps']} steps, {found['frames']} frames in the log")
    return wrong


# -- a day's log -----------------------------------------------------------------------------------


def write_day(path: Path, lines: int) -> None:
    """Write a log of so many steps, 2.9 ms each, with a spike in the middle."""
    rows = [f"{0.4 + 0.1 * (n % 7):.7g}, {1.0 + 0.03 * (n % 11):.7g}" for n in range(77)]
    seconds = DAY_SECONDS / DAY_LINES
    with path.open("wb", buffering=1 << 20) as file:
        file.write(encode_header(Header((Layer("fc1", 10), Layer("fc2", 20)), model="day")))
        for step in range(1, lines + 1):
            row = "900, 1200" if step == lines // 2 else rows[step % 77]
            line = f'{{"step": {step}, "t": {step * seconds:.6g}, "norms": [{row}]}}\n'
            file.write(line.encode())
        file.write(encode_end(End("closed", lines * seconds, lines)))


def play_day(path: str) -> None:
    """Play a log with a clock that jumps to the next thing to do; print the player's counts."""
    from gradmidi.live.session import Session
    from gradmidi.player.outputs import Outputs
    from gradmidi.player.player import Player

    now = 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear, Path(path).open("rb") as file:
        ear.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{ear.getsockname()[1]}"
        session = replace(Session(load(PRESET), osc=(target,)), parent=os.getppid())
        decoder = Decoder(path)
        item: Any = decoder.decode(file.readline())

        def sleep(seconds: float) -> None:
            nonlocal now, item
            now += max(seconds, 1e-5)
            while item is not None and getattr(item, "t", 0.0) <= now:
                player.inbox.put((getattr(item, "t", 0.0), item))
                line = file.readline()
                item = decoder.decode(line) if line else None

        player = Player(session, Outputs(session), print, clock=lambda: now, sleep=sleep)
        sleep(0.0)
        player.run()
        print(player.counts())


def peak(*command: object) -> tuple[float, float, str]:
    """Run a command; return its processor seconds, its most megabytes and what it printed."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"{command} ended with {process.returncode}"
        out.seek(0)
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()


def day(lines: int) -> dict[str, Any]:
    """Render and play a log of so many lines, and one of a tenth; return what was measured."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "run.jsonl"
        for count in (lines // 10, lines):
            write_day(log, count)
            render = [sys.executable, "-m", "gradmidi", "render", log]
            files = ["-o", log.with_suffix(".mid"), "-o", log.with_suffix(".wav")]
            found[f"render {count}"] = peak(*render, *files)[:2]
            seconds, megabytes, printed = peak(sys.executable, HERE, "--play", log)
            found[f"play {count}"] = seconds, megabytes
            assert f"'frames': {count}," in printed, printed[-500:]
    return found


def flat(found: dict[str, Any], lines: int) -> list[str]:
    """Return what is wrong with a day's log."""
    return [
        f"{what} takes {more - less:.1f} MB more for a log ten times as long"
        for what in ("render", "play")
        for less, more in [(found[f"{what} {lines // 10}"][1], found[f"{what} {lines}"][1])]
        if more - less > MORE_MEGABYTES
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--lines", type=int, default=DAY_LINES)
    given = parser.parse_args()
    wrong = []
    if given.minutes:
        found = live(given.minutes)
        for name, samples in found.pop("samples").items():
            print(f"{name}: {samples[-1]}, more than at first: {grown(samples)}")
        for name, value in found.items():
            print(f"{name}: {value}")
        wrong += judged({**found, "samples": {}})
    if given.lines:
        measured = day(given.lines)
        for name, (seconds, megabytes) in measured.items():
            print(f"{name}: {seconds:.1f} s of a processor, {megabytes:.1f} MB")
        wrong += flat(measured, given.lines)
    for each in wrong:
        print(each)
    return int(bool(wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(*sys.argv[2:5], float(sys.argv[5]))
    elif sys.argv[1:2] == ["--play"]:
        play_day(sys.argv[2])
    else:
        sys.exit(main())
