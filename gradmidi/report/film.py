"""The file sink for films: the picture of a run with a moving cursor, and the sound."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError
from gradmidi.log import Item, RunLog
from gradmidi.music.events import Event
from gradmidi.music.score import Score
from gradmidi.report.look import Look
from gradmidi.report.picture import Picture
from gradmidi.report.played import PlayedRun
from gradmidi.sound.mixdown import AudioFile

__all__ = ["Film"]

FILM_INCHES = (16.0, 9.0)
"""Width and height of a film; at 120 dots an inch it has 1920 by 1080 pixels."""

FRAME_RATE = 30
"""Frames per second of a film."""

CURSOR = "0x1b1f24", 4
"""Colour of a film's cursor, and its width in pixels."""


class Film:
    """File sink for ``.mp4``: writes the events that it receives as a film.

    The film has 1920 by 1080 pixels, H.264 and AAC, and is encoded by the program ffmpeg. Raises
    GradmidiError if ffmpeg or Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog, look: Look | None = None) -> None:
        if shutil.which("ffmpeg") is None:
            raise GradmidiError(
                f"{path.name} needs the program ffmpeg, which is not on the PATH; install it from "
                "your system's packages (apt, brew, winget) or from ffmpeg.org"
            )
        self.path = path
        self._new = WholeFile(path)
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        try:
            self._still = self._folder / "picture.png"
            self._picture = Picture(self._still, score, log, look)
            self._played = PlayedRun(log.name, score.preset.time.tick_seconds)
            self._wav = self._folder / "sound.wav"
            self._sound = AudioFile.of_run(self._wav, score, log)
        except BaseException:
            self._clean()
            raise

    def read(self, item: Item) -> None:
        """Take the next item of the log, for the picture."""
        self._picture.read(item)

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events for the picture, and render their sound."""
        self._played.send(events)
        self._sound.send(events)

    def close(self) -> None:
        """Draw the picture, and combine picture, cursor and sound by ffmpeg.

        Raises GradmidiError with ffmpeg's last line if it fails.
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
        """Write no file."""
        self._sound.abort()
        self._clean()

    def _clean(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._new.discard()

    def _draw(self) -> tuple[float, float, int, int]:
        """Draw the picture; return the first and last x, the top and the height of the cursor."""
        drawing = self._picture.draw(FILM_INCHES)
        drawing.figure.savefig(self._still, format="png")
        place = drawing.map.get_window_extent()
        top = round(drawing.figure.bbox.height - place.y1)
        return place.x0, place.x1, top, round(place.height)

    def _command(self, place: tuple[float, float, int, int]) -> list[str]:
        begin, end, top, height = place
        colour, width = CURSOR
        seconds = max(self._played.end, 1.0 / FRAME_RATE)
        cursor = f"color=c={colour}:s={width}x{height}:r={FRAME_RATE}"
        across = f"{begin - width / 2:.2f}+{end - begin:.2f}*min(1,t/{seconds:.6f})"
        # Decode and convert the picture once, not once for each frame.
        timing = f"setpts=N/{FRAME_RATE}/TB,fps={FRAME_RATE}"
        still = f"[0:v]format=yuv420p,loop=loop=-1:size=1,{timing}[still]"
        return [
            *("ffmpeg", "-nostdin", "-y", "-loglevel", "error"),
            *("-i", str(self._still), "-f", "lavfi", "-i", cursor, "-i", str(self._wav)),
            *("-filter_complex", f"{still};[still][1:v]overlay=x='{across}':y={top}[v]"),
            *("-map", "[v]", "-map", "2:a", "-t", f"{seconds:.6f}"),
            *("-c:v", "libx264", "-preset", "veryfast", "-tune", "stillimage", "-crf", "20"),
            *("-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"),
            *("-f", "mp4", str(self._new.part)),
        ]
