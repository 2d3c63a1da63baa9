"""The sink that records what was played live, with its timing, as a MIDI file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gradmidi.base.messages import Warnings
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.midifile import MidiFile
from gradmidi.sinks.registry import Counters

__all__ = ["LiveRecording"]


class LiveRecording:
    """Writes the events that it receives to one MIDI file, at `close`.

    `send`, `silence` and `close` never raise.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    preset : Preset
        Provides tempo, programs and pan.
    voices : sequence of Voice
        The voices; each has a track.
    title : str
        Title of the piece.
    from_first : bool, default False
        Start the file at the first event instead of tick 0.
    rig : Rig, optional
        Its channels, bend range, controllers and whether there are notes.

    Attributes
    ----------
    counters : Counters

    Raises
    ------
    OSError
        If the folder does not exist, or `path` is a folder.

    Examples
    --------
    >>> import mido, tempfile
    >>> from gradmidi.music.events import Off, On
    >>> from gradmidi.music.preset import load
    >>> path = Path(tempfile.mkdtemp()) / "live.mid"
    >>> voices = [Voice(0, "fc1", (0,))]
    >>> recording = LiveRecording(path, load("pentatonic"), voices, "a", from_first=True)
    >>> recording.send([On(4800, 0, 60, 80, pitch=60.0), Off(4908, 0, 60)])
    >>> recording.close()
    >>> [message.time for message in mido.MidiFile(path).tracks[1] if "note" in message.type]
    [0, 108]
    """

    def __init__(
        self,
        path: str | Path,
        preset: Preset,
        voices: Sequence[Voice],
        title: str,
        *,
        from_first: bool = False,
        rig: Rig | None = None,
    ) -> None:
        self.counters = Counters()
        self._file = MidiFile(path, preset, voices, title=title, rig=rig)
        self._warnings = Warnings()
        self._base: int | None = None if from_first else 0
        self._closed = False

    def send(self, events: Sequence[Event]) -> None:
        """Record the next events."""
        for event in events:
            if self._base is None:
                self._base = event.tick
            try:
                self._file.send([replace(event, tick=event.tick - self._base)])
            except ValueError as error:
                self.counters.errors += 1
                self._warnings.note(f"{self._file.path}", error, "the rest is recorded")
            else:
                self.counters.sent += 1

    def silence(self) -> None:
        """Do nothing; notes that still sound end at the end of the file."""

    def keep_alive(self) -> None:
        """Do nothing: a file needs no sign of life."""

    def close(self) -> None:
        """Write the file. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._file.close()
        except OSError as error:
            self.counters.errors += 1
            self._warnings.note(f"{self._file.path}", error.strerror, "the recording is lost")
