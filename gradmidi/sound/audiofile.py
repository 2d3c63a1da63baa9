"""The sink that writes sound: WAV, FLAC, Ogg Vorbis or MP3, rendered as the events come."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradmidi.music.events import End, Event
from gradmidi.music.preset import Preset
from gradmidi.sound.recording import Recording
from gradmidi.sound.synth import Synth

__all__ = ["AudioFile"]

BLOCK = 16384
"""Samples rendered at a time: long enough that few notes are cut in two."""


class AudioFile:
    """Writes the events it is sent as one sound file, whole, at `close`.

    It is as long as the tick of its `End` says, and then as long as notes still ring. Without
    an `End`, everything is let go of at the newest event.

    Parameters
    ----------
    path : str or Path
        The file, ending in ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``; its folder must be there.
    preset : Preset
        Says how it sounds; its ``[sound] format`` is that of a WAV.
    voices : int
        How many voices there are.
    rate : int, default 44100
        Samples a second.
    start : int, default 0
        The tick that the file begins at; what comes before is placed there.

    Raises
    ------
    GradmidiError
        If nothing writes such an ending.
    OSError
        If the folder is not there or cannot be written to, or `path` is a folder.

    Examples
    --------
    >>> import soundfile, tempfile
    >>> from gradmidi.music.events import Off, On
    >>> from gradmidi.music.preset import load
    >>> path = Path(tempfile.mkdtemp()) / "run.wav"
    >>> sink = AudioFile(path, load("pentatonic"), voices=4)
    >>> sink.send([On(0, 0, 60, 80, pitch=60.0), Off(108, 0, 60), End(960, 8, 1.0)])
    >>> sink.close()
    >>> soundfile.info(path).frames
    44100
    """

    def __init__(
        self,
        path: str | Path,
        preset: Preset,
        voices: int,
        *,
        rate: int = 44100,
        start: int = 0,
    ) -> None:
        self.path = Path(path)
        self._synth = Synth(preset, voices, rate=rate)
        self._start = start
        self._newest = 0
        self._closed = False
        self._recording = Recording(
            path, preset.sound.channels, rate=rate, samples=preset.sound.format
        )

    def send(self, events: Sequence[Event]) -> None:
        """Take the next events, and write what lies before them.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks.

        Raises
        ------
        OSError
            If it cannot be written; `filename` is the path, and no part of it is left.
        ValueError
            If it is closed.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed: it takes no more events")
        if not events:
            return
        if self._start:
            events = [
                dataclasses.replace(event, tick=max(0, event.tick - self._start))
                for event in events
            ]
        self._synth.send(events)
        self._newest = max(self._newest, events[-1].tick)
        known = self._synth.sample_of(self._newest) - self._synth.position
        with self._or_nothing():
            self._write(known - known % BLOCK)

    def close(self) -> None:
        """Write the rest, let every note ring out and give the file its name.

        Raises
        ------
        OSError
            If it cannot be written; `filename` is the path, and no part of it is left.
        """
        if self._closed:
            return
        with self._or_nothing():
            self._synth.send([End(self._newest, 0, 0.0)])
            self._write(self._synth.sample_of(self._newest) - self._synth.position)
            self._write(self._synth.tail)
            self._recording.close()
        self._closed = True

    def abort(self) -> None:
        """Give up before `close`: leave neither the file nor a temporary one."""
        self._closed = True
        self._recording.abort()

    def _write(self, frames: int) -> None:
        """Render and write the next `frames` samples."""
        while frames > 0:
            samples = self._synth.render(min(frames, BLOCK))
            frames -= len(samples)
            self._recording.write(samples)

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Leave nothing where something goes wrong."""
        try:
            yield
        except BaseException:
            self.abort()
            raise
