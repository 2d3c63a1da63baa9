"""The sink that parts a piece for a mix: a WAV for each voice, and one for the faults."""

import contextlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gradmidi.errors import GradmidiError
from gradmidi.music.events import FAULT_VOICE, Control, End, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sound.recording import Recording
from gradmidi.sound.synth import Synth

__all__ = ["Stems"]

BLOCK = 16384
"""Samples rendered at a time."""

LONGEST_NAME = 60


class Stems:
    """Writes the events it is sent as one sound file a voice, in a folder, all at `close`.

    All are of one length, each voice at its place and level in the mix. Samples are floats as
    they come from the synth, without the limiter: the sum of all is the mix before it.

    Parameters
    ----------
    folder : str or Path
        Where to; it is made if it is not there.
    preset : Preset
        How it sounds.
    voices : sequence of Voice
        Their names become the files': ``01-conv1.wav`` and on, and ``faults.wav``.

    Attributes
    ----------
    paths : tuple of Path
        The files, voice by voice, the faults last.

    Raises
    ------
    GradmidiError
        If `folder` is a file.
    OSError
        If it cannot be made or written to.

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
        if folder.exists() and not folder.is_dir():
            raise GradmidiError(f"{folder} is a file; stems need a folder, give another --stems")
        self._made = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        dry = replace(preset, sound=replace(preset.sound, limiter=False))
        width = max(2, len(str(len(voices))))
        names = {v.index: f"{v.index + 1:0{width}}-{_file_name(v.name)}" for v in voices}
        names[FAULT_VOICE] = "faults"
        self.paths = tuple(folder / f"{name}.wav" for name in names.values())
        self._synths = {voice: Synth(dry, len(voices)) for voice in names}
        self._newest = 0
        self._closed = False
        self._recordings: list[Recording] = []
        with self._or_nothing():
            for path in self.paths:
                recording = Recording(path, preset.sound.channels, samples="float")
                self._recordings.append(recording)

    def send(self, events: Sequence[Event]) -> None:
        """Take the next events, and write what lies before them."""
        parts: dict[int, list[Event]] = {}
        for event in events:
            self._newest = max(self._newest, event.tick)
            if isinstance(event, (On, Off, Control)):
                parts.setdefault(event.voice, []).append(event)
        for voice, part in parts.items():
            self._synths[voice].send(part)
        known = self._sample - self._position
        with self._or_nothing():
            self._write(known - known % BLOCK)

    def close(self) -> None:
        """Let every note ring out, and give the files their names."""
        if self._closed:
            return
        with self._or_nothing():
            for synth in self._synths.values():
                synth.send([End(self._newest, 0, 0.0)])
            self._write(self._sample - self._position)
            self._write(max(synth.tail for synth in self._synths.values()))
            for recording in self._recordings:
                recording.close()
        self._closed = True

    def abort(self) -> None:
        """Give up before `close`: leave neither a file nor a folder that was not there."""
        if self._closed:
            return
        for recording, path in zip(self._recordings, self.paths, strict=False):
            if recording.closed:
                path.unlink(missing_ok=True)
            recording.abort()
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    @property
    def _position(self) -> int:
        return self._synths[FAULT_VOICE].position

    @property
    def _sample(self) -> int:
        return self._synths[FAULT_VOICE].sample_of(self._newest)

    def _write(self, frames: int) -> None:
        """Render and write the next `frames` samples of all."""
        while frames > 0:
            size = min(frames, BLOCK)
            for synth, recording in zip(self._synths.values(), self._recordings, strict=True):
                recording.write(synth.render(size))
            frames -= size

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Leave nothing where something goes wrong."""
        try:
            yield
        except BaseException:
            self.abort()
            raise


def _file_name(name: str) -> str:
    """Keep of a voice's name what any file system takes."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")
    return kept[:LONGEST_NAME] or "voice"
