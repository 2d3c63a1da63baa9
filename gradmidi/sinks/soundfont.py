"""Sound files that FluidSynth plays with a SoundFont, in place of the built-in synthesiser.

The events of each sound file go into a `.mid`, or into one for each MIDI port, since FluidSynth has
sixteen channels. FluidSynth renders it without reverb and chorus.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradmidi.errors import GradmidiError
from gradmidi.midi.numbers import VOICE_CHANNELS
from gradmidi.music.events import FAULT_VOICE, Alarm, Bend, Control, End, Event, Off, On, Step
from gradmidi.music.voices import Voice
from gradmidi.sinks.midifile import MidiFile
from gradmidi.sound.mixdown import Mixdown, stem_paths
from gradmidi.sound.recording import Recording
from gradmidi.sound.synth import Synth

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.score import Score

__all__ = ["FontFiles", "check_font", "font_file", "font_stems"]

RATE = 44100

GAIN = 1.0
"""FluidSynth's gain: four voices are about as loud as with the built-in synthesiser."""

PEAK = 0.77
"""The highest sample of a mix, as of the built-in synthesiser; a louder mix is scaled down."""

FADE_SECONDS = 0.02
"""The fade at the end, where a sound of the font may be longer than the piece."""

HINTS = {"linux": "apt install fluidsynth", "darwin": "brew install fluid-synth"}
"""How to install FluidSynth, by platform."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A `.mid` for one run of FluidSynth, and the voices in it."""

    midi: MidiFile
    voices: frozenset[int]

    def send(self, events: Sequence[Event]) -> None:
        self.midi.send([event for event in events if self._takes(event)])

    def _takes(self, event: Event) -> bool:
        if isinstance(event, (On, Off, Control, Bend)):
            return event.voice in self.voices
        return isinstance(event, End)


class FontFiles:
    """Sink that writes sound files with FluidSynth and a SoundFont, complete at `close`.

    The files are as long as those of the built-in synthesiser.

    Parameters
    ----------
    font : Path
        The SoundFont, ``.sf2`` or ``.sf3``.
    files : mapping of Path to sequence of collection of int
        For each file the voices that it holds, in groups that each have a channel of their own.
    score : Score
        The preset, and the voices.
    log : RunLog
        The run.
    samples : {"pcm16", "float"}
        Encoding of a WAV.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    """

    def __init__(
        self,
        font: Path,
        files: "dict[Path, Sequence[Collection[int]]]",
        score: "Score",
        log: "RunLog",
        *,
        samples: str,
    ) -> None:
        self.paths = tuple(files)
        self._font, self._program = font, check_font(font)
        self._channels = score.preset.sound.channels
        self._mixes = samples != "float"
        self._silence = score.preset.sound.silence
        self._clock = Mixdown(Synth(score.preset, len(score.voices), values=score.value_seats))
        self._frames = 0
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        self._closed = False
        self._recordings: list[Recording] = []
        self._parts: list[list[_Part]] = []
        try:
            for path, groups in files.items():
                self._recordings.append(Recording(path, self._channels, rate=RATE, samples=samples))
                self._parts.append([self._part(score, log, group) for group in groups])
        except BaseException:
            self.abort()
            raise

    def _part(self, score: "Score", log: "RunLog", voices: Collection[int]) -> _Part:
        path = self._folder / f"{sum(map(len, self._parts))}-{min(voices)}.mid"
        every = score.all_voices
        midi = MidiFile(path, score.preset, every, title=log.name, only=voices)
        return _Part(midi, frozenset(voices))

    def send(self, events: Sequence[Event]) -> None:
        """Add the next events."""
        for part in (part for parts in self._parts for part in parts):
            part.send(events)
        if events:
            heard = [event for event in events if not isinstance(event, (Step, Alarm))]
            blocks = self._clock.send([heard], events[-1].tick)
            self._frames += sum(len(block) for (block,) in blocks)

    def close(self) -> None:
        """Let FluidSynth play, and write every file whole.

        Raises
        ------
        GradmidiError
            If FluidSynth does not play the font.
        OSError
            If a file cannot be written.
        """
        if self._closed:
            return
        self._frames += sum(len(block) for (block,) in self._clock.finish())
        try:
            for recording, parts in zip(self._recordings, self._parts, strict=True):
                recording.pause(self._silence)
                recording.write(self._mixed(parts))
                recording.pause(self._silence)
            for recording in self._recordings:
                recording.close()
        except BaseException:
            self.abort()
            raise
        self._closed = True
        shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Write no file."""
        if self._closed:
            return
        self._closed = True
        for recording in self._recordings:
            recording.discard()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _mixed(self, parts: Sequence[_Part]) -> NDArray[np.float32]:
        """Return the sum of what FluidSynth makes of the parts, as long as the piece."""
        mix = np.zeros((self._frames, 2), np.float32)
        for part in parts:
            part.midi.close()
            played = self._played(part.midi.path)[: self._frames]
            mix[: len(played)] += played
        fade = min(round(FADE_SECONDS * RATE), len(mix))
        mix[len(mix) - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)[:, None]
        peak = float(np.abs(mix).max(initial=0.0))
        if self._mixes and peak > PEAK:
            mix *= np.float32(PEAK / peak)
        return mix if self._channels == 2 else mix.mean(axis=1, keepdims=True, dtype=np.float32)

    def _played(self, midi: Path) -> NDArray[np.float32]:
        import soundfile

        wav = midi.with_suffix(".wav")
        sets = {"audio.file.type": "wav", "audio.file.format": "float", "synth.polyphony": "1024"}
        options = [word for pair in sets.items() for word in ("-o", "=".join(pair))]
        done = subprocess.run(
            [
                *(self._program, "-n", "-i", "-q", *options, "-R", "0", "-C", "0"),
                *("-g", str(GAIN), "-r", str(RATE), "-F", wav, self._font.absolute(), midi),
            ],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        told = done.stderr.decode(errors="replace").strip().splitlines()
        wrong = [line for line in told if "error" in line.lower()]
        if done.returncode or wrong or not wav.exists():
            why = (wrong or told or [f"it ended with code {done.returncode}"])[0]
            raise GradmidiError(f"FluidSynth does not play {self._font}: {why}; give another font")
        with contextlib.suppress(OSError):
            midi.unlink()
        samples: NDArray[np.float32] = soundfile.read(wav, dtype="float32", always_2d=True)[0]
        wav.unlink()
        return samples


def check_font(font: Path) -> str:
    """Return the path of FluidSynth; raise GradmidiError if it or the font is missing.

    A SoundFont begins with RIFF and sfbk (SoundFont 2.04, 4.1).
    """
    try:
        with font.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise GradmidiError(f"SoundFont {font} cannot be read: {error.strerror}") from error
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise GradmidiError(f"{font} is no SoundFont; give a file that ends in .sf2 or .sf3")
    program = shutil.which("fluidsynth")
    if program is None:
        hint = HINTS.get(sys.platform, "see fluidsynth.org")
        raise GradmidiError(f"a SoundFont needs FluidSynth, which is not installed: {hint}")
    return program


def font_file(path: Path, font: Path, score: "Score", log: "RunLog") -> FontFiles:
    """Make the sink for one sound file with all voices."""
    seats = len(score.voices) + score.value_seats
    indices = range(max(seats, len(score.all_voices)))
    groups = [
        list(indices[first : first + len(VOICE_CHANNELS)])
        for first in range(0, max(1, len(indices)), len(VOICE_CHANNELS))
    ]
    groups[0].append(FAULT_VOICE)
    return FontFiles(font, {path: groups}, score, log, samples=score.preset.sound.format)


def font_stems(folder: Path, font: Path, score: "Score", log: "RunLog") -> FontFiles:
    """Make the sink for a WAV of each voice and one of the fault sounds."""
    check_font(font)
    voices: tuple[Voice, ...] = score.all_voices
    paths = stem_paths(folder, voices)
    folder.mkdir(parents=True, exist_ok=True)
    indices = (*(voice.index for voice in voices), FAULT_VOICE)
    files: dict[Path, Sequence[Collection[int]]] = {
        path: [(voice,)] for path, voice in zip(paths, indices, strict=True)
    }
    return FontFiles(font, files, score, log, samples="float")
