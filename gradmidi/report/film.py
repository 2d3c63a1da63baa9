"""A run as a film: its picture with a cursor that moves through it, and its sound."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import End, Event
from gradmidi.music.score import Score
from gradmidi.report.picture import Picture
from gradmidi.sound.audiofile import AudioFile

__all__ = ["Film"]

INCHES = (16.0, 9.0)
"""At the picture's 120 pixels an inch: 1920 by 1080."""

RATE = 30
"""Pictures a second."""

CURSOR = "0x1b1f24", 4
"""Colour, and width in pixels."""


class Film:
    """Writes the events it is sent as a film: a file sink for ``.mp4``.

    1920 by 1080 pixels, H.264 and AAC, by the program ffmpeg.

    Parameters
    ----------
    path : Path
        The file.
    score : Score
        What the events come from.
    log : RunLog
        The run, for the picture.

    Raises
    ------
    GradmidiError
        If ffmpeg is not there, or Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        if shutil.which("ffmpeg") is None:
            raise GradmidiError(
                f"{path.name} needs the program ffmpeg, which is not on the PATH; install it from "
                "your system's packages (apt, brew, winget) or from ffmpeg.org"
            )
        self.path = path
        self._new = WholeFile(path)
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        self._tick = score.preset.time.tick_seconds
        self._seconds = 0.0
        try:
            self._still = self._folder / "picture.png"
            self._picture = Picture(self._still, score, log)
            self._sound = AudioFile(self._folder / "sound.wav", score.preset, len(score.voices))
        except BaseException:
            self._clean()
            raise

    def send(self, events: Sequence[Event]) -> None:
        """Keep what is drawn, and write what sounds."""
        self._picture.send(events)
        self._sound.send(events)
        if events and isinstance(events[-1], End):
            self._seconds = events[-1].tick * self._tick

    def close(self) -> None:
        """Draw, and let ffmpeg put picture, cursor and sound together.

        Raises
        ------
        GradmidiError
            If ffmpeg fails, with the last thing it said.
        """
        try:
            self._sound.close()
            place = self._draw()
            done = subprocess.run(
                self._command(place), stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if done.returncode:
                said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
                raise GradmidiError(f"{self.path} could not be written by ffmpeg: {said[-1]}")
            self._new.save()
        finally:
            self._clean()

    def abort(self) -> None:
        """Leave nothing behind."""
        self._sound.abort()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._new.discard()

    def _draw(self) -> tuple[float, float, int, int]:
        """Draw the still; find where the cursor begins and ends, its top and its height."""
        figure = self._picture.draw(INCHES)
        figure.savefig(self._still, format="png")
        above, below = figure.axes[:2]
        (begin, _), (end, _) = below.transData.transform(((0.0, 60.0), (self._seconds, 60.0)))
        height = round(figure.bbox.height)
        top = height - round(above.get_window_extent().y1)
        return begin, end, top, height - top - round(below.get_window_extent().y0)

    def _command(self, place: tuple[float, float, int, int]) -> list[str]:
        begin, end, top, height = place
        colour, width = CURSOR
        seconds = max(self._seconds, 1.0 / RATE)
        cursor = f"color=c={colour}:s={width}x{height}:r={RATE}"
        across = f"{begin - width / 2:.2f}+{end - begin:.2f}*min(1,t/{seconds:.6f})"
        # The still is decoded and converted once, not once a picture.
        still = f"[0:v]format=yuv420p,loop=loop=-1:size=1,setpts=N/{RATE}/TB,fps={RATE}[still]"
        return [
            *("ffmpeg", "-nostdin", "-y", "-loglevel", "error"),
            *("-i", str(self._still), "-f", "lavfi", "-i", cursor, "-i", str(self._sound.path)),
            *("-filter_complex", f"{still};[still][1:v]overlay=x='{across}':y={top}[v]"),
            *("-map", "[v]", "-map", "2:a", "-t", f"{seconds:.6f}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-tune", "stillimage", "-crf", "20"),
            *("-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"),
            *("-f", "mp4", str(self._new.part)),
        ]
