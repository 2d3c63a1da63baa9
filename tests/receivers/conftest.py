"""One JACK server for all tests of real programs, and one of its own for those that kill it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from studio import Jack, Program, fluidsynth, jack_server, midi_dump


@pytest.fixture(scope="session")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jack]:
    """A JACK server that loses nothing; this process, too, finds it."""
    log = tmp_path_factory.mktemp("jack") / "jackd.log"
    with jack_server(f"gm{os.getpid()}", log) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def own_jack(tmp_path: Path) -> Iterator[Jack]:
    """A JACK server that a test may end, or end the clients of; only its `env` leads there."""
    name = f"gm{os.getpid()}x"
    with jack_server(name, tmp_path / "jackd.log", sync=False) as server:
        yield server


@pytest.fixture
def new_jack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jack]:
    """A JACK server for one test, which loses nothing; this process, too, finds it."""
    with jack_server(f"gm{os.getpid()}n", tmp_path / "jackd.log") as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def dump(jack: Jack, tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    """Start jack_midi_dump under a name."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(midi_dump(jack, name, tmp_path / f"{name}.txt"))


@pytest.fixture
def synth(jack: Jack, tmp_path: Path) -> Iterator[Program]:
    """FluidSynth, at `fs:midi_00`, `fs:left` and `fs:right`."""
    with fluidsynth(jack, "fs", tmp_path / "fluidsynth.txt") as program:
        yield program
