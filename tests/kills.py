"""Random kills of every process of a live run: ``python tests/kills.py --count 500 --seed 1``.

Each kill has a seed, which decides the command, the victims, the signal and the moment. A failure
prints its seed; ``python tests/kills.py --seed SEED --count 1`` repeats it.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from listening import SOON_SECONDS, TRAINER, Program, Receiver, until
from logs import write_log

import gradmidi

STEPS = 120
"""Steps of a run, of 10 ms each."""

ALIVE_SECONDS = 1.5
"""A receiver that knows `/gradmidi/alive` ends its notes after this long without it."""

ROLES = {"player": "gradmidi.player.process", "guard": "guard.py", "renderer": " render "}
"""Words in the command line of each process that the command starts."""

VICTIMS: tuple[tuple[str, ...], ...] = (
    ("main",),
    ("player",),
    ("guard",),
    ("renderer",),
    ("main", "player"),
    ("main", "guard"),
    ("player", "guard"),
    ("main", "player", "guard"),
    ("group",),
    ("receiver",),
)

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGSTOP")
"""A process that gets SIGSTOP is continued after a second."""

PHASES = {"start": (0.0, 0.6), "middle": (0.6, 1.6), "end": (1.6, 3.0)}
"""When a process is killed, in seconds after the first message came."""

ENDS_PLAYER = {"SIGKILL", "SIGTERM", "SIGHUP"}
"""The signals that end a player. It ignores SIGINT, which a terminal sends to every process."""


@dataclass(frozen=True)
class Trial:
    """One kill, as its seed decides it."""

    seed: int
    command: str
    victims: tuple[str, ...]
    how: str
    phase: str
    seconds: float

    @classmethod
    def of(cls, seed: int) -> "Trial":
        chance = random.Random(seed)
        command = chance.choice(tuple(COMMANDS))
        victims = chance.choice(VICTIMS)
        how = chance.choice(SIGNALS)
        phase = chance.choice(tuple(PHASES))
        return cls(seed, command, victims, how, phase, chance.uniform(*PHASES[phase]))

    @property
    def ends_sound(self) -> bool:
        """Whether the kill ends the sound, so that it must be silent soon after."""
        if self.how == "SIGSTOP" or self.victims == ("receiver",):
            return False
        main = bool({"main", "group"} & set(self.victims))
        return main or ("player" in self.victims and self.how in ENDS_PLAYER)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.how} to {' and '.join(self.victims)} of {self.command}, "
            f"{self.seconds:.2f} s after the first message"
        )


class Careful(Receiver):
    """A receiver that ends its notes as the documentation asks: at stop, and without alive."""

    def silence(self, since: float) -> tuple[float, str]:
        """Wait for silence; return how many seconds it took after `since`, and its cause."""
        while True:
            now = time.monotonic()
            if not self.sounding:
                return max(self._ended - since, 0.0), "note ends"
            stops = [at for at, address, _ in self.messages if address == "/gradmidi/stop"]
            if stops:
                return max(stops[-1] - since, 0.0), "stop"
            alive = [at for at, address, _ in self.messages if address == "/gradmidi/alive"]
            if alive and now - alive[-1] > ALIVE_SECONDS:
                return alive[-1] + ALIVE_SECONDS - since, "no alive"
            assert now - since < 60.0, f"notes sound: {dict(self.sounding)}"
            time.sleep(0.02)


def record(folder: Path, target: str) -> list[object]:
    words = [f"osc={target}", f"steps={STEPS}", "files=mid,wav"]
    return [sys.executable, TRAINER, "record", folder / "run", *words]


def listen(folder: Path, target: str) -> list[object]:
    return [sys.executable, TRAINER, "model", folder / "run", f"osc={target}", f"steps={STEPS}"]


def written(folder: Path) -> Path:
    rows = [[1.0 + step % 7, 2.0, 3.0 + step % 3] for step in range(20)]
    return write_log(folder / "run", rows, names=("conv", "fc1", "fc2"))


PLAY = [sys.executable, "-m", "gradmidi", "play"]


def play(folder: Path, target: str) -> list[object]:
    return [*PLAY, written(folder), "--osc", target, "--time", "step", "--preset", "hold"]


def pipe(folder: Path, target: str) -> list[object]:
    log = written(folder) / "run.jsonl"
    player = " ".join(map(str, [*PLAY, "-", "--osc", target, "--preset", "hold"]))
    return ["sh", "-c", f"(cat {log}; sleep 2) | {player}"]


def demo(folder: Path, target: str) -> list[object]:
    options = ["--out", folder / "run", "--steps", "40", "--osc", target]
    return [sys.executable, "-m", "gradmidi", "demo", *options]


COMMANDS = {"record": record, "play": play, "pipe": pipe}
if find_spec("torch") is not None:
    COMMANDS |= {"listen": listen, "demo": demo}


def strike(trial: Trial, program: Program, receiver: Careful) -> None:
    """Send the signal to every victim at once; continue what was stopped a second later."""
    if trial.victims == ("receiver",):
        receiver.close()
        return
    how = getattr(signal, trial.how)
    found = program.family()
    if trial.victims == ("group",):
        pids = [-program.pid]
    else:
        pids = [program.pid] if "main" in trial.victims else []
        for role, words in ROLES.items():
            if role in trial.victims:
                pids += [pid for pid, line in found.items() if words in line]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how) if pid > 0 else os.killpg(-pid, how)
    if how == signal.SIGSTOP:
        time.sleep(1.0)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT) if pid > 0 else os.killpg(-pid, signal.SIGCONT)


def run(trial: Trial) -> str:
    """Carry out a trial; return how silence came, or raise AssertionError."""
    with tempfile.TemporaryDirectory() as folder, Careful() as receiver:
        place = Path(folder)
        with Program(*COMMANDS[trial.command](place, receiver.target)) as program:
            until(lambda: receiver.messages or program.process.poll() is not None, "a message")
            time.sleep(trial.seconds)
            struck = time.monotonic()
            strike(trial, program, receiver)
            program.result()
            ended = time.monotonic()
            cause = "the receiver was gone"
            if trial.victims != ("receiver",):
                since = struck if trial.ends_sound else ended
                seconds, cause = receiver.silence(since)
                assert seconds < SOON_SECONDS, f"silent only after {seconds:.1f} s"
            until(lambda: not program.family(), f"the end of {program.family()}")
        assert (place / "run" / "run.jsonl").exists(), "no log"
        steps = [at for at, address, _ in receiver.messages if address == "/gradmidi/step"]
        # The log of a model is empty until its first step.
        if steps or (place / "run" / "run.jsonl").stat().st_size:
            for _ in gradmidi.read(place / "run").frames():
                pass
        left = [path.name for path in place.rglob("*") if path.name.startswith(".")]
        assert not left or trial.how == "SIGKILL", f"left behind: {left}"
    return cause


def outcomes(seeds: range, workers: int = 4) -> Iterator[tuple[Trial, str, str]]:
    """Carry out trials; yield each with the cause of silence, and the failure or ''."""

    def carry_out(seed: int) -> tuple[Trial, str, str]:
        trial = Trial.of(seed)
        try:
            return trial, run(trial), ""
        except (AssertionError, gradmidi.GradmidiError) as error:
            return trial, "", str(error)

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(carry_out, seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args()
    # A shell starts its background jobs, and they their children, with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    by_victim: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    causes: Counter[str] = Counter()
    for trial, cause, failure in outcomes(
        range(given.seed, given.seed + given.count), given.workers
    ):
        for key in (trial.command, " and ".join(trial.victims), trial.how, trial.phase):
            by_victim[key] += 1
            failed[key] += bool(failure)
        causes[cause] += not failure
        if failure:
            print(f"{trial}: {failure}", flush=True)
    print("| kills of | number | failed |\n|---|---|---|")
    for key, number in by_victim.items():
        print(f"| {key} | {number} | {failed[key]} |")
    print("silence came by:", ", ".join(f"{cause} {n}" for cause, n in causes.items() if n))
    return int(any(failed.values()))


if __name__ == "__main__":
    sys.exit(main())
