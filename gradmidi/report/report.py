"""The file sink that writes a run as a page, and the MP3 inside a page.

The page is one file that needs no network and no server. Its MP3 has a constant bit rate, so
that seeking in it is exact.
"""

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import Event
from gradmidi.music.score import Score
from gradmidi.report.curves import trace
from gradmidi.report.page import Page
from gradmidi.report.played import PlayedRun
from gradmidi.sound.audiofile import AudioFile
from gradmidi.text.describe import describe

__all__ = ["Report", "check_length", "mp3"]

RATES = (112, 96, 64, 48)
"""Kilobits a second; the highest that fits is taken."""

MOST_BYTES = 4_600_000
"""Bytes of MP3 in a page."""

MOST_SECONDS = MOST_BYTES * 8 / (RATES[-1] * 1000)
"""The longest piece that a page can hold."""

BLOCK = 1 << 16


class Report:
    """Writes the events it is sent as a page: a file sink for ``.html``.

    The run is read again at `close`, for the curves and the text.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        self.path = path
        self._score = score
        self._log = log
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        self._played = PlayedRun(log.name, score.preset.time.tick_seconds)
        try:
            self._sound = AudioFile(self._folder / "sound.wav", score.preset, len(score.voices))
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events, and write their sound.

        Raises GradmidiError if the piece is longer than a page can hold.
        """
        if events:
            check_length(self.path, self._played.seconds(events[-1].tick))
        self._played.send(events)
        self._sound.send(events)

    def close(self) -> None:
        """Write the page."""
        try:
            self._sound.close()
            voices, log = self._score.voices, self._log
            curves = trace(log.frames(), self._played.slots, voices, log.steps)
            Page(
                log.name,
                self._score.preset,
                log.layers,
                voices,
                [(self._played, curves)],
                tuple(describe(log, self._score.preset.faults)),
                mp3(self._sound.path, self._played.end),
                self._played.end,
            ).write(self.path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Write no file."""
        self._sound.abort()
        shutil.rmtree(self._folder, ignore_errors=True)


def check_length(path: Path, seconds: float) -> None:
    """Raise GradmidiError if a piece is longer than a page can hold."""
    if seconds > MOST_SECONDS:
        raise GradmidiError(
            f"{path.name} would be too large: a page holds at most {MOST_SECONDS // 60:.0f} "
            "minutes of sound; give a --length, or write a .wav"
        )


def mp3(wav: Path, seconds: float) -> bytes:
    """Encode a WAV file as MP3, at a rate that fits its length.

    Raises GradmidiError if this libsndfile writes no MP3.
    """
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise GradmidiError(
            f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, and a page's sound is "
            "one; update it with: pip install --upgrade soundfile"
        )
    fitting = [rate for rate in RATES if seconds * rate * 1000 / 8 <= MOST_BYTES]
    rate = fitting[0] if fitting else RATES[-1]
    target = io.BytesIO()
    with (
        soundfile.SoundFile(wav) as source,
        soundfile.SoundFile(
            target,
            "w",
            source.samplerate,
            source.channels,
            "MPEG_LAYER_III",
            format="MP3",
            bitrate_mode="CONSTANT",
            # libsndfile spreads its levels from 320 down to 32 kilobits a second.
            compression_level=(320 - rate) / (320 - 32),
        ) as coded,
    ):
        for block in source.blocks(BLOCK, dtype="float32"):
            coded.write(block)
    return target.getvalue()
