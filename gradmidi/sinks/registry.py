"""What sinks do, and file sinks by ending: built in, registered, or from installed packages.

To add one, write a class with `send`, `close` and `abort` (`FileSink`) whose constructor takes a
path, the score and the run's log. Then add a row to `BUILT_IN`, or call `register`. A package can
also list it as an entry point in the group ``gradmidi.files``, which works in every process:
``csv = "package.module:Class"`` for the ending ``.csv``.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gradmidi.base.environment import offered
from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError
from gradmidi.music.events import Event

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from gradmidi.log import Item, RunLog
    from gradmidi.log.blocks import Block
    from gradmidi.music.preset import Preset
    from gradmidi.music.score import Score
    from gradmidi.report.look import Look

__all__ = [
    "BUILT_IN",
    "DRAWN",
    "FILES",
    "SOUNDS",
    "Counters",
    "FileSink",
    "LiveSink",
    "Memory",
    "Reader",
    "Sink",
    "TextFile",
    "begin_of",
    "check_endings",
    "file_sink",
    "register",
]


class Sink(Protocol):
    """An output that receives events in order of ticks."""

    def send(self, events: Sequence[Event]) -> None:
        """Process the next events; ticks never decrease."""

    def close(self) -> None:
        """End every note, complete the output and close it. May be called twice."""


class FileSink(Sink, Protocol):
    """A sink that writes one file, complete at `close` or not at all."""

    def abort(self) -> None:
        """Write no file, and leave no temporary file."""


@runtime_checkable
class Reader(Protocol):
    """A file sink that also takes the items of the log, each before the events that follow it."""

    def read(self, item: "Item | Block") -> None:
        """Take the next item of the log, or a block of frames."""


class LiveSink(Sink, Protocol):
    """A sink that plays events when it receives them. Its methods never raise."""

    counters: "Counters"

    def silence(self) -> None:
        """End every note that sounds."""

    def keep_alive(self) -> None:
        """Tell the receiver that the player still runs, if that is due; called often."""


@dataclass(slots=True)
class Counters:
    """Counts of a live sink's messages.

    Parameters
    ----------
    sent : int
        Messages passed to the system.
    dropped : int
        Messages left out: over the rig's limit, replaced by a newer value, after the end, or
        because the system's buffer was full.
    errors : int
        Messages that the system refused.
    """

    sent: int = 0
    dropped: int = 0
    errors: int = 0


class Memory:
    """Stores all events in `events`, and sets `closed` when it is closed.

    Examples
    --------
    >>> from gradmidi.music.events import Off
    >>> sink = Memory()
    >>> sink.send([Off(0, 0, 60)])
    >>> sink.events
    [Off(tick=0, voice=0, note=60)]
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def send(self, events: Sequence[Event]) -> None:
        """Store events."""
        self.events.extend(events)

    def close(self) -> None:
        """Set `closed` to True."""
        self.closed = True


class TextFile:
    """Writes the description of a run as text, complete at `close` or not at all."""

    def __init__(self, path: Path, score: "Score", log: "RunLog") -> None:
        self.path = path
        self._preset = score.preset
        self._log = log

    def send(self, events: Sequence[Event]) -> None:
        """Do nothing, since the text describes the run and not the notes."""

    def close(self) -> None:
        """Write the text."""
        from gradmidi.text.describe import describe

        lines = describe(self._log, self._preset.faults, self._preset.values.which)
        with WholeFile(self.path) as new:
            new.file.write("".join(f"{line}\n" for line in lines).encode())

    def abort(self) -> None:
        """Write no file."""


FileMaker = Callable[..., FileSink]
"""Makes a file sink from a path (`pathlib.Path`), the score and the run's log."""

BUILT_IN: Mapping[str, str] = {
    ".mid": "gradmidi.sinks.midifile:MidiFile.of_run",
    ".wav": "gradmidi.sound.mixdown:AudioFile.of_run",
    ".flac": "gradmidi.sound.mixdown:AudioFile.of_run",
    ".ogg": "gradmidi.sound.mixdown:AudioFile.of_run",
    ".mp3": "gradmidi.sound.mixdown:AudioFile.of_run",
    ".png": "gradmidi.report.picture:Picture",
    ".svg": "gradmidi.report.picture:Picture",
    ".pdf": "gradmidi.report.picture:Picture",
    ".html": "gradmidi.report.report:Report",
    ".mp4": "gradmidi.report.picture:Film",
    ".txt": "gradmidi.sinks.registry:TextFile",
}
"""Maps an ending to ``module:callable``, which is imported when a file is written."""

DRAWN = (".png", ".svg", ".pdf", ".mp4")
"""Endings whose makers also take a `gradmidi.report.look.Look`."""

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
"""Endings of sound files, which FluidSynth can make with a SoundFont."""

ENTRY_POINTS = "gradmidi.files"
"""The group of entry points for file sinks of installed packages."""


class _FileSinks(Mapping[str, FileMaker]):
    """Makers of file sinks, by the ending with its dot, in lower case."""

    def __init__(self) -> None:
        self._makers: dict[str, str | FileMaker] = dict(BUILT_IN)

    def __getitem__(self, ending: str) -> FileMaker:
        if ending not in self:
            raise KeyError(ending)
        maker = self._makers[ending]
        found: FileMaker = pkgutil.resolve_name(maker) if isinstance(maker, str) else maker
        return found

    def __contains__(self, ending: object) -> bool:
        # Looking for entry points takes milliseconds, so do it only for an unknown ending.
        if ending not in self._makers:
            self._load_installed()
        return ending in self._makers

    def __iter__(self) -> Iterator[str]:
        self._load_installed()
        return iter(self._makers)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def add(self, ending: str, maker: FileMaker) -> None:
        """Add an ending; the same maker may be added again."""
        if not ending.startswith(".") or ending != ending.lower():
            raise GradmidiError(f"ending {ending!r}; write it with its dot, in lower case: '.csv'")
        if self._makers.setdefault(ending, maker) is not maker:
            raise GradmidiError(f"files that end in {ending} have a sink already")

    def _load_installed(self) -> None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS):
            self._makers.setdefault(f".{entry.name.lower()}", partial(_make, entry))


def _make(entry: "EntryPoint", path: Path, score: "Score", log: "RunLog") -> FileSink:
    """Make a file sink of an installed package."""
    sink: FileSink = offered(entry)(path, score, log)
    return sink


FILES = _FileSinks()
"""Makers of file sinks, by ending."""


def register(ending: str, maker: FileMaker) -> None:
    """Register a file sink for an ending, in this process.

    Parameters
    ----------
    ending : str
        With its dot, in lower case, such as ``".csv"``.
    maker : callable
        A class or function that takes the path (`pathlib.Path`), the score
        (`gradmidi.music.score.Score`) and the run (`gradmidi.log.RunLog`), and returns an object
        with the methods `send`, `close` and `abort`.

    Raises
    ------
    GradmidiError
        If the ending is not of this form, or has a sink already.

    Examples
    --------
    >>> from gradmidi.sinks.registry import TextFile
    >>> register(".notes", TextFile)  # doctest: +SKIP
    >>> gradmidi.render("runs/a", "a.notes")  # doctest: +SKIP
    """
    FILES.add(ending, maker)


def check_endings(*paths: Path) -> None:
    """Raise GradmidiError for the first path whose ending has no sink."""
    for path in paths:
        if path.suffix.lower() not in FILES:
            raise GradmidiError(
                f"nothing writes {path.suffix or path.name!r}; {path} may end in: {' '.join(FILES)}"
            )


def begin_of(preset: "Preset", paths: Iterable[Path]) -> float:
    """Return the second at which the music begins in files: later in sound files and films."""
    recorded = any(path.suffix.lower() in (*SOUNDS, ".mp4") for path in paths)
    return preset.sound.silence if recorded else 0.0


def file_sink(path: Path, score: "Score", log: "RunLog", look: "Look | None" = None) -> "FileSink":
    """Make the sink for a file, by the file's ending; `look` is for those in `DRAWN`."""
    ending = path.suffix.lower()
    maker = FILES[ending]
    if look is None or ending not in DRAWN:
        return maker(path, score, log)
    return maker(path, score, log, look)
