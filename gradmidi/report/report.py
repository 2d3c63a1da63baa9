"""The report of a run: one page that plays it, shows it and tells it.

It needs nothing but its own file: no network, no server.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gradmidi.log import RunLog
from gradmidi.music.events import Event
from gradmidi.music.score import Score
from gradmidi.report.curves import trace
from gradmidi.report.page import Page
from gradmidi.report.sound import check_length, mp3
from gradmidi.report.take import Take
from gradmidi.sound.audiofile import AudioFile
from gradmidi.text.describe import describe

__all__ = ["Report"]


class Report:
    """Writes the events it is sent as a page: a file sink for ``.html``.

    Parameters
    ----------
    path : Path
        The file.
    score : Score
        What the events come from.
    log : RunLog
        The run; it is read again at `close`, for the curves and the text.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        self.path = path
        self._score = score
        self._log = log
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        self._take = Take(log.name, score.preset.time.tick_seconds)
        try:
            self._sound = AudioFile(self._folder / "sound.wav", score.preset, len(score.voices))
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events, and write what they sound as.

        Raises
        ------
        GradmidiError
            If the piece is longer than a page holds.
        """
        if events:
            check_length(self.path, self._take.seconds(events[-1].tick))
        self._take.send(events)
        self._sound.send(events)

    def close(self) -> None:
        """Write the page."""
        try:
            self._sound.close()
            voices, log = self._score.voices, self._log
            curves = trace(log.frames(), self._take.slots, voices, log.steps)
            Page(
                log.name,
                self._score.preset,
                log.layers,
                voices,
                [(self._take, curves)],
                tuple(describe(log, self._score.preset.faults)),
                mp3(self._sound.path, self._take.end),
                self._take.end,
            ).write(self.path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._sound.abort()
        shutil.rmtree(self._folder, ignore_errors=True)
