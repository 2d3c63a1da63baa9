"""Which sink writes a file, by the file's ending."""

from collections.abc import Callable, Mapping
from pathlib import Path

from gradmidi.log import RunLog
from gradmidi.music.score import Score
from gradmidi.sinks import FileSink
from gradmidi.text.describe import describe

__all__ = ["ENDINGS"]


def _midi(path: Path, score: Score, log: RunLog) -> FileSink:
    from gradmidi.sinks.midifile import MidiFile

    return MidiFile(path, score.preset, score.voices, title=log.name)


def _audio(path: Path, score: Score, _log: RunLog) -> FileSink:
    from gradmidi.sound.mixdown import AudioFile

    return AudioFile(path, score.preset, len(score.voices))


def _picture(path: Path, score: Score, log: RunLog) -> FileSink:
    from gradmidi.report.picture import Picture

    return Picture(path, score, log)


def _page(path: Path, score: Score, log: RunLog) -> FileSink:
    from gradmidi.report.report import Report

    return Report(path, score, log)


def _film(path: Path, score: Score, log: RunLog) -> FileSink:
    from gradmidi.report.picture import Film

    return Film(path, score, log)


def _text(path: Path, score: Score, log: RunLog) -> FileSink:
    from gradmidi.sinks.textfile import TextFile

    return TextFile(path, describe(log, score.preset.faults))


ENDINGS: Mapping[str, Callable[[Path, Score, RunLog], FileSink]] = {
    ".mid": _midi,
    ".wav": _audio,
    ".flac": _audio,
    ".ogg": _audio,
    ".mp3": _audio,
    ".png": _picture,
    ".svg": _picture,
    ".html": _page,
    ".mp4": _film,
    ".txt": _text,
}
"""What writes a file, by its ending."""
