"""File sinks by ending: built in, registered, or from installed packages.

To add one, write a class with `send`, `close` and `abort` (`gradmidi.sinks.sink.FileSink`) whose
constructor takes a path, the score and the run's log. Then add a row to `BUILT_IN`, or call
`register`. A package can also list it as an entry point in the group ``gradmidi.files``, which
works in every process: ``csv = "package.module:Class"`` for the ending ``.csv``.
"""

import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.preset import Preset
    from gradmidi.music.score import Score
    from gradmidi.report.look import Look
    from gradmidi.sinks.sink import FileSink

__all__ = [
    "BUILT_IN",
    "DRAWN",
    "FILES",
    "SOUNDS",
    "begin_of",
    "check_endings",
    "file_sink",
    "register",
]

FileMaker = Callable[..., "FileSink"]
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
    ".txt": "gradmidi.sinks.sink:TextFile",
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
            self._makers.setdefault(f".{entry.name.lower()}", entry.value)


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
    >>> from gradmidi.sinks.sink import TextFile
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
