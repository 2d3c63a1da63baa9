"""The file sink for pages, and the MP3 inside a page.

The page is one file that needs no network and no server. Its MP3 has a constant bit rate, which
makes seeking exact.
"""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from gradmidi.errors import GradmidiError
from gradmidi.log import Item, RunLog
from gradmidi.log.blocks import Block
from gradmidi.music.events import Event, Step
from gradmidi.music.score import Score
from gradmidi.report.curves import Tracer
from gradmidi.report.heatmap import Gatherer
from gradmidi.report.page import Page
from gradmidi.report.played import PlayedRun
from gradmidi.sound.mixdown import Mixdown
from gradmidi.sound.recording import Encoder
from gradmidi.sound.synth import Synth
from gradmidi.sound.timbre import Samples
from gradmidi.text.describe import lines_of
from gradmidi.text.summary import Summarizer

__all__ = ["PageSound", "Report", "check_length"]

RATES = (112, 96, 64, 48)
"""Bit rates in kbit/s; the highest that fits is used."""

MOST_BYTES = 4_600_000
"""Most bytes of MP3 in a page."""

MOST_BLOCKS = 64
"""Blocks of samples that wait to be encoded."""

MOST_SECONDS = MOST_BYTES * 8 / (RATES[-1] * 1000)
"""The longest piece that a page can hold."""


class Report:
    """File sink for ``.html``: writes the events and the items that it receives as a page."""

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        self.path = path
        self._score = score
        self._log = log
        self._played = PlayedRun(log.name, score.preset.time.tick_seconds)
        self._mixdown = Mixdown(Synth(score.preset, len(score.voices), values=score.value_seats))
        preset = score.preset
        self._summary = Summarizer(log, preset.faults, preset.values.which, score.fault_log())
        self._heat = Gatherer([layer.name for layer in log.layers], score.preset.pitch.reference)
        self._tracer = Tracer(score.voices, log.steps)
        slots = log.seconds / score.slot_seconds if score.wall else log.steps
        seconds = slots / score.per_slot * score.slot_seconds
        self._sound = PageSound(score.preset.sound.channels, seconds)

    def read(self, item: Item | Block) -> None:
        """Take the next item of the log, or many frames."""
        self._summary.add(item)
        if isinstance(item, Block):
            self._heat.add(item)
            self._tracer.add(item.frames())

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events, and render their sound.

        Raises GradmidiError if the piece is longer than a page can hold.
        """
        if events:
            check_length(self.path, self._played.seconds(events[-1].tick))
            self._played.send(events)
            for event in events:
                if isinstance(event, Step):
                    self._tracer.slot(event)
            self._write(self._mixdown.send((events,), events[-1].tick))

    def close(self) -> None:
        """Write the page."""
        self._write(self._mixdown.finish())
        self._sound.close()
        voices, log = self._score.voices, self._log
        summary = self._summary.finish()
        Page(
            log.name,
            self._score.preset,
            log.layers,
            voices,
            [(self._played, self._tracer.finish())],
            [summary],
            tuple(lines_of(summary)),
            self._sound.data,
            self._played.end,
            self._heat.finish(voices, summary.faults),
            values=[voice.name for voice in self._score.all_voices[len(voices) :]],
        ).write(self.path)

    def abort(self) -> None:
        """Write no file."""
        self._sound.abort()

    def _write(self, blocks: Iterator[tuple[Samples, ...]]) -> None:
        for (samples,) in blocks:
            self._sound.write(samples)


def check_length(path: Path, seconds: float) -> None:
    """Raise GradmidiError if a piece is longer than a page can hold."""
    if seconds > MOST_SECONDS:
        raise GradmidiError(
            f"{path.name} would be too large: a page holds at most {MOST_SECONDS // 60:.0f} "
            "minutes of sound; give a --length, or write a .wav"
        )


class PageSound(Encoder):
    """Encodes samples as MP3 in memory, at a bit rate that fits a piece of this length.

    It encodes on a thread: three minutes take seconds, in which the caller reads and detects.

    Raises GradmidiError if the installed libsndfile cannot write MP3.
    """

    def __init__(self, channels: int, seconds: float) -> None:
        import soundfile

        if "MP3" not in soundfile.available_formats():
            raise GradmidiError(
                f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, and a page's sound "
                "is one; update it with: pip install --upgrade soundfile"
            )
        fitting = [rate for rate in RATES if seconds * rate * 1000 / 8 <= MOST_BYTES]
        self._memory = io.BytesIO()
        super().__init__(
            self._memory, ".mp3", channels, kilobits=fitting[0] if fitting else RATES[-1]
        )
        self._thread = ThreadPoolExecutor(1, "gradmidi page sound")
        self._blocks: deque[Future[None]] = deque()

    def write(self, samples: Samples) -> None:
        """Write the next samples, later; they must not change. Raise what an earlier one raised."""
        if len(self._blocks) == MOST_BLOCKS:
            self._blocks.popleft().result()
        self._blocks.append(self._thread.submit(super().write, samples))

    def close(self) -> None:
        """Write all samples."""
        while self._blocks:
            self._blocks.popleft().result()
        self._thread.shutdown()
        super().close()

    def abort(self) -> None:
        """Release the encoder and the thread."""
        self._thread.shutdown(cancel_futures=True)
        super().abort()

    @property
    def data(self) -> bytes:
        """The bytes written so far; the whole sound after `close`."""
        return self._memory.getvalue()
