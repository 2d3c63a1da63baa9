"""Send the lines of a source to a player, no faster than it plays them."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradmidi.base.files import QUIET_SECONDS, is_locked
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.live.feed import Live
from gradmidi.log import Decoder, RunLog, encode
from gradmidi.sources.follow import CAUGHT_UP, END, Line

__all__ = ["Relay", "finished_lines", "is_over", "is_quiet"]

BACKLOG = 2000
"""How many lines may wait in the player."""

WAIT_SECONDS = 0.02

SHOWN = 60
"""How many characters of a line that is no log an error shows."""


def is_over(log: Path, now: float) -> bool:
    """Return whether a run has ended or was interrupted some time ago.

    Parameters
    ----------
    log : Path
        Its `run.jsonl`.
    now : float
        Seconds since 1970.

    Raises
    ------
    RunLogError
        If the log cannot be read.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            tail = file.read()
            quiet = now - os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise RunLogError(f"{log} cannot be read: {error.strerror}") from error
    lines = tail.strip().splitlines()
    ended = bool(lines) and lines[-1].startswith(END)
    return ended or (is_quiet(now - quiet, now) and not is_locked(log))


def is_quiet(changed: float, now: float) -> bool:
    """Return whether a log that last changed at `changed` has not grown for some time."""
    return now - changed > QUIET_SECONDS


def finished_lines(log: RunLog) -> Iterator[Line]:
    """Yield a finished run's lines, without steps that a resumed run repeats."""
    return (Line(encode(item), past=True) for item in log.items())


class Relay:
    """Sends a run's lines to a player, on a separate thread.

    Parameters
    ----------
    source : iterable of Line
        The lines of the run.
    live : Live
        The player.
    paced : bool
        Whether to play the whole run, by its own time.
    stop : threading.Event
        Ends the reading; the source uses the same event.
    name : str, default "the run"
        Name of the source in errors.

    Attributes
    ----------
    error : GradmidiError or None
        The error of the source, if any.
    """

    def __init__(
        self,
        source: Iterable[Line],
        live: Live,
        *,
        paced: bool,
        stop: threading.Event,
        name: str = "the run",
    ) -> None:
        self.error: GradmidiError | None = None
        self._stop = stop
        self._source = source
        self._live = live
        self._paced = paced
        self._past = not paced
        self._sent = 0
        self._name = name
        self._begun = False
        self._heard = False
        self._thread = threading.Thread(target=self._run, name="gradmidi relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading. A thread that waits for a pipe is not joined."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            for line in self._source:
                if self._stop.is_set():
                    return
                if self._past and not line.past:
                    self._past = False
                    self._live.do("live")
                if line == CAUGHT_UP:
                    continue
                over = line.data.startswith(END)
                self._heard = self._heard or not (line.past or over)
                self._check(line.data)
                self._live.write(line.data)
                self._sent += 1
                self._wait()
                if self._paced and not line.past and over:
                    return
            if not self._begun and not self._stop.is_set():
                raise RunLogError(f"{self._name} holds no line of a run log")
            if not (self._heard or self._paced):
                raise RunLogError(
                    "the run is over, and all of it was there before; "
                    "add --from start to hear it from its start"
                )
        except GradmidiError as error:
            self.error = error
        except OSError as error:
            reason = error.strerror or str(error)
            self.error = RunLogError(f"the run cannot be read on: {reason}")
        finally:
            self._live.do("end")

    def _check(self, line: bytes) -> None:
        """Raise RunLogError if the first line is not a header."""
        if not self._begun and line.strip():
            self._begun = True
            try:
                Decoder(self._name).decode(line)
            except RunLogError as error:
                shown = line.decode(errors="replace").strip()[:SHOWN]
                raise RunLogError(f"{error}, but {shown!r}") from None

    def _wait(self) -> None:
        live = self._live
        while live.alive and not self._stop.is_set():
            ahead = self._sent - live.lines if self._paced else live.backlog
            if ahead < BACKLOG:
                return
            time.sleep(WAIT_SECONDS)
