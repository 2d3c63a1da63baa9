"""Speech by the program espeak-ng, and a sound file in which texts are spoken."""

import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gradmidi.music.preset import Preset
from gradmidi.sound.mixdown import AudioFile
from gradmidi.sound.timbre import Samples

__all__ = ["PROGRAM", "SpokenFile", "speech"]

PROGRAM = "espeak-ng"

WORDS_PER_MINUTE, FASTEST = 170, 350
"""Speed of speech; it is spoken faster, up to the second one, if the time is short."""

LOUDNESS = 0.5
"""Share of the program's own amplitude."""

RATE = 44100


def speech(text: str, seconds: float) -> Samples | None:
    """Return a spoken text as samples at 44.1 kHz, at most `seconds` long; None without espeak-ng.

    Parameters
    ----------
    text : str
        English text.
    seconds : float
        Time for it; a longer text is spoken faster, then cut.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return None
    spoken = _spoken(program, text, WORDS_PER_MINUTE)
    if spoken is not None and len(spoken) > seconds * RATE:
        faster = round(WORDS_PER_MINUTE * 1.1 * len(spoken) / (seconds * RATE))
        spoken = _spoken(program, text, min(faster, FASTEST))
    return None if spoken is None else spoken[: round(seconds * RATE)]


def _spoken(program: str, text: str, speed: int) -> Samples | None:
    import soundfile

    done = subprocess.run(
        [program, "-v", "en", "-s", str(speed), "--stdout", "--", text],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    places = np.arange(round(len(samples) * RATE / rate)) * rate / RATE
    mono = np.interp(places, np.arange(len(samples)), samples.mean(axis=1))
    spoken: Samples = (LOUDNESS * mono).astype(np.float32)
    return spoken


class SpokenFile(AudioFile):
    """Sink that writes one sound file, and adds speech to the sound.

    Parameters
    ----------
    path, preset, voices, values
        See `AudioFile`.
    spoken : sequence of (float, ndarray of float32)
        When each speech starts, in seconds, and its samples at 44.1 kHz.
    """

    def __init__(
        self,
        path: str | Path,
        preset: Preset,
        voices: int,
        *,
        values: int = 0,
        spoken: Sequence[tuple[float, Samples]] = (),
    ) -> None:
        super().__init__(path, preset, voices, rate=RATE, values=values)
        self._spoken = [(round(start * RATE), samples) for start, samples in spoken]
        self._position = 0

    def _write(self, blocks: Iterator[tuple[Samples, ...]]) -> None:
        super()._write(map(self._with_speech, blocks))

    def _with_speech(self, block: tuple[Samples, ...]) -> tuple[Samples, ...]:
        (samples,) = block
        begin, end = self._position, self._position + len(samples)
        self._position = end
        for start, spoken in self._spoken:
            first, last = max(begin, start), min(end, start + len(spoken))
            if first < last:
                part = spoken[first - start : last - start]
                samples[first - begin : last - begin] += part[:, None]
        return (np.clip(samples, -1.0, 1.0),)
