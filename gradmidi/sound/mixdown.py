"""Render events to sound files: the mix in one file, or one file for each voice."""

import contextlib
import dataclasses
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gradmidi.errors import GradmidiError
from gradmidi.music.events import FAULT_VOICE, Control, End, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sound.recording import Recording
from gradmidi.sound.synth import Synth
from gradmidi.sound.timbre import Samples

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.score import Score

__all__ = ["BLOCK", "AudioFile", "Mixdown", "Stems", "stem_paths"]

BLOCK = 16384
"""Samples rendered at a time; long blocks split few notes."""

LONGEST_NAME = 60


class Mixdown:
    """Renders one or more streams of events to blocks of samples of equal length.

    Parameters
    ----------
    *synths : Synth
        One for each stream, with the same preset and rate.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> mix = Mixdown(Synth(load("pentatonic"), 4))
    >>> events = [On(0, 0, 60, 80, pitch=60.0), Off(108, 0, 60), End(960, 8, 1.0)]
    >>> sum(len(block) for (block,) in [*mix.send([events], 960), *mix.finish()])
    44100
    """

    def __init__(self, *synths: Synth) -> None:
        self._synths = synths
        self._newest = 0

    def send(self, streams: Sequence[Sequence[Event]], until: int) -> Iterator[tuple[Samples, ...]]:
        """Add the next events of each stream, and render the time before them.

        Parameters
        ----------
        streams : sequence of sequences of Event
            As many as there are synths, each in order of ticks.
        until : int
            No event before this tick comes later, in any stream.

        Yields
        ------
        tuple of ndarrays of float32, shape (`BLOCK`, channels)
            A block of each stream.
        """
        for synth, events in zip(self._synths, streams, strict=True):
            synth.send(events)
            if events:
                self._newest = max(self._newest, events[-1].tick)
        self._newest = max(self._newest, until)
        known = self._frames_to(until)
        return self._render(known - known % BLOCK)

    def finish(self) -> Iterator[tuple[Samples, ...]]:
        """End every note at the newest event, and render until nothing sounds."""
        for synth in self._synths:
            synth.send([End(self._newest, 0, 0.0)])
        yield from self._render(self._frames_to(self._newest))
        yield from self._render(max(synth.tail for synth in self._synths))

    def _frames_to(self, tick: int) -> int:
        return self._synths[0].sample_of(tick) - self._synths[0].position

    def _render(self, frames: int) -> Iterator[tuple[Samples, ...]]:
        while frames > 0:
            size = min(frames, BLOCK)
            yield tuple(synth.render(size) for synth in self._synths)
            frames -= size


class _SoundFiles:
    """Sink for sound files, rendered as events arrive and completed by `close`."""

    def __init__(
        self, preset: Preset, synths: Sequence[Synth], recordings: Sequence[Recording]
    ) -> None:
        self._mixdown = Mixdown(*synths)
        self._recordings = recordings
        self._silence = preset.sound.silence
        self._begun = self._closed = False

    def send(self, events: Sequence[Event]) -> None:
        """Add the next events, and write the time before them.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks.

        Raises
        ------
        OSError
            If a file cannot be written; `filename` is its path, and nothing is left of it.
        ValueError
            If the sink is closed.
        """
        if self._closed:
            raise ValueError(f"{self._recordings[0].path} is closed: it takes no more events")
        if events:
            self._write(self._mixdown.send(self._streams(events), events[-1].tick))

    def close(self) -> None:
        """Write the rest until the last note has faded, and rename each file to its name.

        Raises
        ------
        OSError
            If a file cannot be written; `filename` is its path, and nothing is left of it.
        """
        if self._closed:
            return
        self._write(self._mixdown.finish())
        with self._or_nothing():
            for recording in self._recordings:
                recording.pause(self._silence)
                recording.close()
        self._closed = True

    def abort(self) -> None:
        """Write no file. Does nothing after `close`."""
        if self._closed:
            return
        self._closed = True
        for recording in self._recordings:
            recording.discard()

    def _streams(self, events: Sequence[Event]) -> Sequence[Sequence[Event]]:
        return (events,)

    def _write(self, blocks: Iterator[tuple[Samples, ...]]) -> None:
        with self._or_nothing():
            for recording in () if self._begun else self._recordings:
                recording.pause(self._silence)
            self._begun = True
            for parts in blocks:
                for recording, samples in zip(self._recordings, parts, strict=True):
                    recording.write(samples)

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise


class AudioFile(_SoundFiles):
    """Sink that writes one sound file: ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``.

    The file begins with the silence of ``[sound] silence``, lasts until the tick of `End` and then
    until the last note has faded, and ends with the same silence. Without an `End`, every note ends
    at the newest event.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    preset : Preset
        How the piece sounds; ``[sound] format`` applies to WAV.
    voices : int
        Number of voices of layers.
    rate : int, default 44100
        Samples per second.
    values : int, default 0
        Number of voices of logged values.

    Raises
    ------
    GradmidiError
        If the ending is not one of these.
    OSError
        If the folder does not exist or cannot be written to, or `path` is a folder.

    Examples
    --------
    >>> import soundfile, tempfile
    >>> from gradmidi.music.preset import load
    >>> path = Path(tempfile.mkdtemp()) / "run.wav"
    >>> sink = AudioFile(path, load("pentatonic"), voices=4)
    >>> sink.send([On(0, 0, 60, 80, pitch=60.0), Off(108, 0, 60), End(960, 8, 1.0)])
    >>> sink.close()
    >>> soundfile.info(path).duration
    2.0
    """

    def __init__(
        self,
        path: str | Path,
        preset: Preset,
        voices: int,
        *,
        rate: int = 44100,
        values: int = 0,
    ) -> None:
        synth = Synth(preset, voices, rate=rate, values=values)
        channels, samples = preset.sound.channels, preset.sound.format
        super().__init__(preset, (synth,), (Recording(path, channels, rate=rate, samples=samples),))

    @classmethod
    def of_run(cls, path: Path, score: "Score", _log: "RunLog") -> Self:
        """Make the sink for a run's score."""
        return cls(path, score.preset, len(score.voices), values=score.value_seats)


class Stems(_SoundFiles):
    """Sink that writes a WAV for each voice and one for the fault sounds, in a folder.

    All files have the same length, and each voice keeps its pan and level of the mix. Samples are
    floats without the limiter: the sum of all files is the mix before the limiter.

    Parameters
    ----------
    folder : str or Path
        The folder; it is created if it does not exist.
    preset : Preset
        How the piece sounds.
    voices : sequence of Voice
        Their names give the file names: ``01-conv1.wav`` and so on, and ``faults.wav``.

    Attributes
    ----------
    paths : tuple of Path
        The files, one for each voice, then the one for faults.

    Raises
    ------
    GradmidiError
        If `folder` is a file.
    OSError
        If the folder cannot be created or written to.

    Examples
    --------
    >>> import tempfile
    >>> from gradmidi.music.preset import load
    >>> stems = Stems(tempfile.mkdtemp(), load("pentatonic"), [Voice(0, "fc1", (0,))])
    >>> stems.send([On(0, 0, 60, 80, pitch=60.0), Off(108, 0, 60), End(960, 8, 1.0)])
    >>> stems.close()
    >>> [path.name for path in stems.paths]
    ['01-fc1.wav', 'faults.wav']
    """

    def __init__(self, folder: str | Path, preset: Preset, voices: Sequence[Voice]) -> None:
        folder = Path(folder)
        self.paths = stem_paths(folder, voices)
        self._new_folders = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        dry = dataclasses.replace(preset, sound=dataclasses.replace(preset.sound, limiter=False))
        self._voices = (*(voice.index for voice in voices), FAULT_VOICE)
        recordings: list[Recording] = []
        layers = sum(bool(voice.layers) for voice in voices)
        values = len(voices) - layers
        synths = [Synth(dry, layers, values=values, only=voice) for voice in self._voices]
        super().__init__(preset, synths, recordings)
        with self._or_nothing():
            for path in self.paths:
                recordings.append(Recording(path, preset.sound.channels, samples="float"))

    def abort(self) -> None:
        """Write no file, and remove the folders that were created."""
        super().abort()
        for folder in self._new_folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _streams(self, events: Sequence[Event]) -> Sequence[Sequence[Event]]:
        streams: dict[int, list[Event]] = {voice: [] for voice in self._voices}
        for event in events:
            if isinstance(event, (On, Off, Control)):
                # A fault's pulses make the notes of every voice softer.
                to_all = event.voice == FAULT_VOICE
                for stream in streams.values() if to_all else (streams[event.voice],):
                    stream.append(event)
        return tuple(streams.values())


def stem_paths(folder: Path, voices: Sequence[Voice]) -> tuple[Path, ...]:
    """Return the files of stems: one for each voice, then the one of faults.

    Raises
    ------
    GradmidiError
        If `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise GradmidiError(f"{folder} is a file; stems need a folder, give another --stems")
    width = max(2, len(str(len(voices))))
    names = [f"{voice.index + 1:0{width}}-{_file_name(voice.name)}" for voice in voices]
    return tuple(folder / f"{name}.wav" for name in (*names, "faults"))


def _file_name(name: str) -> str:
    """Replace the characters of a voice's name that some file systems do not allow."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")
    return kept[:LONGEST_NAME] or "voice"
