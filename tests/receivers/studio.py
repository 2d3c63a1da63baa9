"""Real programs at the other end: started, read and always ended."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from gradmidi.errors import PortError
from gradmidi.midi.backends import library

SOUND_FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")

RECEIVERS = Path(__file__).parents[2] / "docs" / "receivers"
"""The small receivers that docs/osc.md offers."""

PATIENCE_SECONDS = 30.0
"""How long anything may take before a test gives up; nothing is expected to."""


def needs(*programs: str) -> None:
    """Skip the test where a program is not installed, by its name."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def needs_live_midi() -> None:
    """Skip a module where neither library for MIDI outputs is installed."""
    try:
        library()
    except PortError:
        pytest.skip("neither python-rtmidi nor rtmidi2 is installed", allow_module_level=True)


def wait_until(done, what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `done()` is true, or fail saying what did not come."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


class Program:
    """A program that runs until it is stopped, and what it has written so far."""

    def __init__(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._file = log.open("wb")
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until so many of its lines match; return them."""
        try:
            wait_until(lambda: len(self._matching(pattern)) >= count, f"{count} of {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error} from {self.argv[0]}; it wrote:\n{self.text}") from None
        return self._matching(pattern)

    def _matching(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def write(self, text: str) -> None:
        """Type `text` into it."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()

    def stop(self, how: signal.Signals | None = signal.SIGTERM) -> None:
        """End it, by a signal or (None) by itself, and then whatever it left behind."""
        try:
            if how is not None and self.process.poll() is None:
                self._signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        finally:
            self._signal(signal.SIGKILL)
            self.process.wait(10)
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            self._file.close()

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, which)


@contextlib.contextmanager
def running(argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator:
    program = Program(argv, log, env)
    try:
        yield program
    finally:
        program.stop()


class Jack:
    """A JACK server without a sound card, and who is connected to it."""

    def __init__(self, name: str, log: Path, *, sync: bool) -> None:
        self.name = name
        self.env = {
            "JACK_DEFAULT_SERVER": name,
            "JACK_NO_START_SERVER": "1",
            "JACK_NO_AUDIO_RESERVATION": "1",
        }
        # -S loses nothing, but stands still for seconds when a client is killed; without -S it
        # is the other way round.
        argv = ["jackd", "-r", *(["-S"] if sync else []), "-n", name, "-d", "dummy"]
        self.program = Program([*argv, "-r", "44100", "-p", "64"], log, self.env)

    def ready(self) -> None:
        wait_until(lambda: self._lsp() is not None, f"jackd {self.name}; {self.program.text}")

    def ports(self) -> list[str]:
        return self._lsp() or []

    def wait_for(self, port: str) -> None:
        wait_until(lambda: port in self.ports(), f"{port} at JACK, which has {self.ports()}")

    def connect(self, source: str, target: str) -> None:
        subprocess.run(
            ["jack_connect", source, target],
            env={**os.environ, **self.env},
            check=True,
            capture_output=True,
            timeout=10,
        )

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.program.stop(how)
        # A server that was killed leaves its name behind, and JACK has room for few.
        for path in Path("/dev/shm").glob(f"jack*_{self.name}_*"):
            path.unlink(missing_ok=True)

    def _lsp(self) -> list[str] | None:
        assert self.program.process.poll() is None, f"jackd ended:\n{self.program.text}"
        listed = subprocess.run(
            ["jack_lsp"],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else None


@contextlib.contextmanager
def jack_server(name: str, log: Path, *, sync: bool = True) -> Iterator[Jack]:
    needs("jackd", "jack_lsp", "jack_connect")
    server = Jack(name, log, sync=sync)
    try:
        server.ready()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def midi_dump(jack: Jack, name: str, log: Path) -> Iterator[Program]:
    """Run jack_midi_dump: a line of bytes for every message that arrives at `NAME:input`."""
    needs("jack_midi_dump", "stdbuf")
    argv = ["stdbuf", "-oL", "jack_midi_dump", name]
    with running(argv, log, jack.env) as program:
        jack.wait_for(f"{name}:input")
        yield program
        # Its own way out: a client that is killed makes the graph stand still for five seconds.
        program.stop(signal.SIGINT)


def dumped(program: Program) -> list[tuple[int, ...]]:
    """Read what jack_midi_dump has written: each message's bytes, in order of arrival."""
    found = []
    for line in program.lines:
        match = re.match(r"\s*\d+:((?: [0-9a-f]{2})+)", line)
        if match:
            found.append(tuple(bytes.fromhex(match[1].replace(" ", ""))))
    return found


def sounding(messages: Sequence[tuple[int, ...]]) -> set[tuple[int, int]]:
    """Find the notes that are on after all messages, as channel and key."""
    notes: set[tuple[int, int]] = set()
    for status, *data in messages:
        kind, channel = status & 0xF0, status & 0x0F
        if kind == 0x90 and data[1]:
            notes.add((channel, data[0]))
        elif kind in (0x80, 0x90):
            notes.discard((channel, data[0]))
        elif kind == 0xB0 and data[0] in (120, 123):
            notes = {note for note in notes if note[0] != channel}
    return notes


@contextlib.contextmanager
def fluidsynth(jack: Jack, name: str, log: Path) -> Iterator[Program]:
    """Run FluidSynth at `NAME:midi_00`, `NAME:left` and `NAME:right`; it tells each event."""
    needs("fluidsynth", "stdbuf")
    if not SOUND_FONT.exists():
        pytest.skip(f"{SOUND_FONT} (timgm6mb-soundfont) is not installed")
    options = ["-o", f"audio.jack.id={name}", "-o", f"midi.jack.id={name}", "-R", "0", "-C", "0"]
    argv = [
        "stdbuf",
        "-oL",
        "fluidsynth",
        "-d",
        "-a",
        "jack",
        "-m",
        "jack",
        "-r",
        "44100",
        "-g",
        "2",
    ]
    with running([*argv, *options, str(SOUND_FONT)], log, jack.env) as program:
        jack.wait_for(f"{name}:midi_00")
        jack.wait_for(f"{name}:left")
        # It has its ports before it is active: what comes in between is lost.
        program.wait_for("Type 'help' for help topics")
        yield program
        program.write("quit\n")
        program.stop(None)


@contextlib.contextmanager
def recording(jack: Jack, seconds: int, path: Path, *ports: str) -> Iterator[None]:
    """Record JACK ports to a file while the block runs, and until `seconds` are over."""
    needs("jack_rec")
    argv = ["jack_rec", "-f", str(path), "-d", str(seconds), "-b", "16", *ports]
    with running(argv, path.with_suffix(".log"), jack.env) as program:
        wait_until(lambda: any("jackrec" in port for port in jack.ports()), "jack_rec at JACK")
        yield
        program.process.wait(seconds + PATIENCE_SECONDS)


@contextlib.contextmanager
def sclang(jack: Jack, tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """Run the receiver that docs/osc.md has for SuperCollider; at which UDP port it listens."""
    needs("sclang", "scsynth")
    env = {
        "QT_QPA_PLATFORM": "offscreen",
        # Without these two sclang does not start for root.
        "QTWEBENGINE_CHROMIUM_FLAGS": "--no-sandbox",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "HOME": str(tmp_path),
    }
    # Its own way out: a client of JACK that is killed makes the graph stand still for seconds.
    script = tmp_path / "loader.scd"
    script.write_text(
        f'"{RECEIVERS / "gradmidi.scd"}".load; '
        "OSCdef(\\leave, { s.quit({ 0.exit }) }, '/leave');"
    )
    argv = ["sclang", str(script)]
    with running(argv, tmp_path / "sclang.txt", {**jack.env, **env}) as program:
        (line,) = program.wait_for(r"gradmidi: listening on \d+")
        program.wait_for("gradmidi: ready to play")
        jack.wait_for("SuperCollider:out_1")
        port = int(line.split()[-1])
        yield program, port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as leave:
            leave.sendto(b"/leave\0\0,\0\0\0", ("127.0.0.1", port))
        program.stop(None)


def free_port() -> int:
    """Find a UDP port that nothing has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_listener(port: int) -> None:
    """Wait until a program has a UDP port."""

    def taken() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return True
            return False

    wait_until(taken, f"a listener on UDP port {port}")
