"""Measure the timing of live output during training, and its effect on the time of a step.

    python benchmarks/live.py [--quick]

The script measures three things, in about two minutes:

- How late messages are sent, at about 1,000 a second, while the trainer works: by the player's
  process, and by the same player on a thread of the trainer.
- The time from the hook to a receiver in another process: over OSC on this machine and, if jackd is
  installed, over JACK, with the jitter of the MIDI clock. It includes the wait for the slot.
- The time of a training step without live output, with it, with a player that a signal has
  stopped, and again without it, which shows the size of random differences. The four trainers
  alternate. Read the ratios.
"""

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from gradmidi.live.feed import Live
from gradmidi.live.session import Session
from gradmidi.log import End, Frame, Header, Layer, encode
from gradmidi.midi.rig import Rig
from gradmidi.music.preset import Preset, load
from gradmidi.player.metronome import TICKS_A_QUARTER
from gradmidi.player.outputs import Outputs
from gradmidi.player.player import Player

VOICES = 15
QUICK = "--quick" in sys.argv
SECONDS = 2.0 if QUICK else 10.0
FRAME_SECONDS = 0.01
TURN = 10
"""Training steps of one trainer before the next trainer."""

HEADER = Header(tuple(Layer(f"layer{index}", 100) for index in range(VOICES)))
PENTATONIC = load("pentatonic")

EAR = "gradmidi benchmark"
"""The name of the receiver in JACK."""


def busy() -> Preset:
    """Return a preset of 32 slots a second: about 1,000 OSC messages a second with 15 voices."""
    return replace(PENTATONIC, time=replace(PENTATONIC.time, tempo=240.0, slot="1/32", rate=100.0))


def percentiles(name: str, seconds: "list[float] | np.ndarray") -> str:
    if not len(seconds):
        return f"{name}: nothing was measured"
    p50, p99, most = np.percentile(np.asarray(seconds) * 1e3, [50, 99, 100])
    return f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.2f} ms ({len(seconds)})"


# -- the receiver, a separate process --------------------------------------------------------------


@dataclass
class Heard:
    """Received messages with their times."""

    steps: list[tuple[float, int]] = field(default_factory=list)
    notes: list[float] = field(default_factory=list)
    midi_notes: list[float] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)
    messages: int = 0


def receive(pipe: Connection, jack: bool) -> None:
    """Run the receiver: send the UDP port, then, on request by the pipe, the received messages."""
    import socket

    from pythonosc.osc_message import OscMessage

    heard = Heard()
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    ear.bind(("127.0.0.1", 0))
    ear.settimeout(0.1)
    midi = _midi_ear(heard) if jack else None
    pipe.send(ear.getsockname()[1])
    while not pipe.poll():
        with contextlib.suppress(TimeoutError):
            data = ear.recv(4096)
            now = time.perf_counter()
            heard.messages += 1
            if data.startswith(b"/gradmidi/step\0"):
                heard.steps.append((now, OscMessage(data).params[0]))
            elif data.startswith(b"/gradmidi/note\0"):
                voice, _, _, velocity, _ = OscMessage(data).params
                if voice == 0 and velocity:
                    heard.notes.append(now)
    pipe.send(heard)
    if midi is not None:
        midi.close_port()


def _midi_ear(heard: Heard) -> Any:
    import rtmidi

    midi = rtmidi.MidiIn(rtmidi.API_UNIX_JACK, name=EAR)
    midi.ignore_types(timing=False)

    def take(event: tuple[list[int], float], _: object) -> None:
        now = time.perf_counter()
        message = event[0]
        if message[0] == 0xF8:
            heard.ticks.append(now)
        elif message[0] == 0x90 and message[2]:
            heard.midi_notes.append(now)

    midi.set_callback(take)
    midi.open_virtual_port("in")
    return midi


@contextlib.contextmanager
def receiver(*, jack: bool = False) -> Iterator[tuple[str, Callable[[], Heard]]]:
    """Start the receiver; yield its address and a function that ends it and returns messages."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=receive, args=(theirs, jack), daemon=True)
    process.start()

    def stop() -> Heard:
        ours.send("stop")
        heard = ours.recv()
        process.join(5.0)
        return heard

    try:
        yield f"127.0.0.1:{ours.recv()}", stop
    finally:
        process.kill()


# -- lateness -------------------------------------------------------------------------------------


def count() -> None:
    """Hold the interpreter's lock for about a millisecond by a loop in Python."""
    total = 0
    for number in range(20_000):
        total += number


A = np.random.default_rng(0).normal(size=(256, 256))


def multiply() -> None:
    """Multiply matrices, which releases the interpreter's lock."""
    A @ A


def train(work: Callable[[], None], send: Callable[[Any], None]) -> None:
    """Work, and send a frame every hundredth of a second."""
    rng = np.random.default_rng(1)
    began = time.perf_counter()
    step = 0
    while (now := time.perf_counter() - began) < SECONDS:
        work()
        if now >= step * FRAME_SECONDS:
            step += 1
            send(Frame(step, now, np.exp(rng.normal(0.0, 1.0, VOICES))))
    send(End("closed", SECONDS, step))


def by_process(session: Session, work: Callable[[], None]) -> dict[str, Any]:
    live = Live(session)
    live.name("benchmark")
    live.send(HEADER, encode(HEADER))
    train(work, lambda item: live.send(item, encode(item)))
    live.close(10.0)
    return live.counts


def by_thread(session: Session, work: Callable[[], None]) -> dict[str, Any]:
    # The player checks that its parent is still this process's parent.
    session = replace(session, parent=os.getppid())
    outputs = Outputs(session)
    player = Player(session, outputs, lambda answer: None)
    thread = threading.Thread(target=player.run)
    thread.start()
    send: Callable[[Any], None] = lambda item: player.inbox.put((time.perf_counter(), item))  # noqa: E731
    send(HEADER)
    train(work, send)
    thread.join(10.0)
    return player.counts()


def lateness() -> None:
    print(f"lateness of sends, {VOICES} voices, while the trainer works:")
    for work, name in ((count, "a loop in plain Python"), (multiply, "matrix products")):
        for way, who in ((by_process, "player process"), (by_thread, "thread of the trainer")):
            with receiver() as (target, stop):
                late = way(Session(busy(), osc=(target,)), work)["lateness_ms"]
                heard = stop()
            print(
                f"  {name}, {who}: p50 {late['p50']:.2f} ms, p99 {late['p99']:.2f} ms, "
                f"max {late['max']:.2f} ms ({heard.messages / SECONDS:.0f} messages a second)"
            )


# -- the way from the hook to a receiver ----------------------------------------------------------


@contextlib.contextmanager
def jack_server() -> Iterator[bool]:
    """Run a JACK server without a sound card, if jackd and python-rtmidi are installed."""
    missing = "" if shutil.which("jackd") and shutil.which("jack_lsp") else "jackd"
    try:
        import rtmidi  # noqa: F401
    except ImportError:
        missing = missing or "python-rtmidi"
    if missing:
        print(f"  over JACK, and the jitter of the clock: left out, {missing} is not installed")
        yield False
        return
    name = f"gradmidi{os.getpid()}"
    os.environ.update(
        JACK_DEFAULT_SERVER=name, JACK_NO_START_SERVER="1", JACK_NO_AUDIO_RESERVATION="1"
    )
    argv = ["jackd", "-r", "-S", "-n", name, "-d", "dummy", "-r", "44100", "-p", "64"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(argv, **quiet)
    try:
        while subprocess.run(["jack_lsp"], check=False, **quiet).returncode:
            if server.poll() is not None:
                raise SystemExit("jackd did not start")
            time.sleep(0.1)
        yield True
    finally:
        server.terminate()
        server.wait(10.0)


def rest() -> None:
    time.sleep(0.001)


def way() -> None:
    slot = PENTATONIC.time.slot_ticks(VOICES) * PENTATONIC.time.tick_seconds
    print(f"from the hook to the first note, a slot being {slot * 1e3:.0f} ms:")
    hooks: dict[int, float] = {}
    with jack_server() as jack, receiver(jack=jack) as (target, stop):
        rig = Rig(ports=(EAR,)) if jack else Rig()
        live = Live(Session(PENTATONIC, rig, osc=(target,)))

        def send(item: Any) -> None:
            if isinstance(item, Frame):
                hooks[item.step] = time.perf_counter()
            live.send(item, encode(item))

        live.send(HEADER, encode(HEADER))
        train(rest, send)
        live.close(10.0)
        heard = stop()
        firsts = {"OSC": heard.notes, "JACK": heard.midi_notes}
        for name in firsts if jack else ("OSC",):
            print("  " + percentiles(f"over {name}", _waits(hooks, heard.steps, firsts[name])))
        if jack:
            _clock()


def _waits(hooks: dict[int, float], steps: list[tuple[float, int]], notes: list[float]) -> Any:
    """Return the time from each frame's hook to the first voice's note in its slot."""
    if len(notes) != len(steps):
        raise SystemExit(f"{len(notes)} notes arrived for {len(steps)} slots")
    newest = [step for _, step in steps]
    places = np.searchsorted(newest, sorted(hooks))
    return [
        notes[place] - hooks[step]
        for step, place in zip(sorted(hooks), places, strict=True)
        if place < len(notes)
    ]


def _clock() -> None:
    """Measure the MIDI clock at the receiver."""
    with receiver(jack=True) as (_, stop):
        live = Live(Session(PENTATONIC, Rig(ports=(EAR,), clock=True)))
        live.send(HEADER, encode(HEADER))
        train(rest, lambda item: live.send(item, encode(item)))
        live.close(10.0)
        ticks = np.array(stop().ticks)
    nominal = 60.0 / (PENTATONIC.time.tempo * TICKS_A_QUARTER)
    off = np.abs(np.diff(ticks) - nominal)
    print("  " + percentiles("jitter of the MIDI clock over JACK, tick to tick", off))


# -- the time of a training step ------------------------------------------------------------------


def step_times() -> None:
    try:
        import torch
    except ImportError:
        print("time of a training step: left out, torch is not installed")
        return
    import gradmidi

    torch.set_num_threads(1)
    batch = torch.randn(64, 256)

    def trainer(ears: contextlib.ExitStack, out: str, osc: str | None) -> tuple[Any, Any]:
        widths = [256] * VOICES
        layers = [torch.nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], 1], strict=True)]
        net = torch.nn.Sequential(*layers)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
        listener = ears.enter_context(gradmidi.listen(net, optimizer, out=out, osc=osc, files=()))

        def step() -> float:
            began = time.perf_counter()
            optimizer.zero_grad()
            net(batch).square().mean().backward()
            optimizer.step()
            return time.perf_counter() - began

        return step, listener.live

    print("time of a training step, against the first:")
    with receiver() as (target, _), contextlib.ExitStack() as ears:
        folder = ears.enter_context(tempfile.TemporaryDirectory())
        arms = {
            "without live output": None,
            "with it": target,
            "with a player that is stopped": target,
            "without live output again": None,
        }
        if not hasattr(signal, "SIGSTOP"):
            del arms["with a player that is stopped"]
        steps: dict[str, Callable[[], float]] = {}
        for name, osc in arms.items():
            steps[name], live = trainer(ears, f"{folder}/{len(steps)}", osc)
            if "stopped" in name:
                os.kill(live._process.pid, signal.SIGSTOP)
                ears.callback(os.kill, live._process.pid, signal.SIGCONT)
        taken: dict[str, list[float]] = {name: [] for name in steps}
        end = time.perf_counter() + len(steps) * SECONDS
        while time.perf_counter() < end:
            # Alternate in random order, so that a busy machine affects all trainers.
            for name in random.sample(list(steps), len(steps)):
                taken[name] += [steps[name]() for _ in range(TURN)]
                time.sleep(0.002)
        first = next(iter(taken.values()))
        for name, seconds in taken.items():
            p50, p99 = (np.percentile(seconds, p) / np.percentile(first, p) for p in (50, 99))
            print(
                f"  {name}: {np.median(seconds) * 1e3:.2f} ms, p50 × {p50:.3f}, p99 × {p99:.3f} "
                f"({len(seconds)} steps)"
            )


def main() -> None:
    lateness()
    way()
    step_times()


if __name__ == "__main__":
    main()
