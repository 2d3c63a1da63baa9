"""The file sinks for pictures and films: the heat map of a run, as a whole or as it plays.

In a film, step and loss are counted, and each fault is named when it begins.
"""

import contextlib
import io
import shutil
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradmidi.base.files import WholeFile
from gradmidi.detection.history import FaultLog
from gradmidi.errors import GradmidiError
from gradmidi.log import Item, RunLog
from gradmidi.log.blocks import Block
from gradmidi.music.events import Event
from gradmidi.music.score import Score
from gradmidi.report.drawing import Drawing, Texts, draw
from gradmidi.report.heatmap import Gatherer, HeatMap
from gradmidi.report.look import Look
from gradmidi.report.played import PlayedRun
from gradmidi.sound.mixdown import AudioFile
from gradmidi.text.faults import short, verdict
from gradmidi.text.words import count, duration, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Film", "Picture", "need_matplotlib", "save_figure"]

WIDTH, LOWEST, HIGHEST = 12.0, 5.4, 10.0
"""Inches of a picture by default; the height depends on the number of layers."""


class Picture:
    """File sink for ``.png``, ``.svg`` and ``.pdf``: draws the run's heat map at the end.

    Raises GradmidiError if Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog, look: Look | None = None) -> None:
        need_matplotlib(path)
        self.path = path
        self._score = score
        self._log = log
        self._look = look or Look()
        preset = score.preset
        # With a grid of seconds the score finds a stalled run at other times.
        found = score.fault_log()
        self._own = found is None
        self._faults = found or FaultLog(log.layers, preset.faults, preset.values.which)
        self._running = log.running
        self._heat = Gatherer([layer.name for layer in log.layers], preset.pitch.reference)

    def read(self, item: Item | Block) -> None:
        """Take the next item of the log, or many frames."""
        if self._own:
            self._faults.take(item)
        if isinstance(item, Block):
            self._heat.add(item)

    def send(self, events: Sequence[Event]) -> None:
        """Take events; the picture is drawn from the items of the log."""

    def close(self) -> None:
        """Draw the picture, and write the file."""
        tall = min(HIGHEST, max(LOWEST, 4.4 + 0.12 * len(self._log.layers)))
        save_figure(self.draw((WIDTH, tall)).figure, self.path)

    def abort(self) -> None:
        """Write no file."""

    def draw(self, usual: tuple[float, float], *, film: bool = False) -> Drawing:
        """Draw the items so far; `usual` is the width and height in inches if none was given.

        A film does not say at its start how the run ends.
        """
        faults = self._faults.finish(running=self._running)
        heat = self._heat.finish(self._score.voices, faults)
        look = self._look
        return draw(heat, self._texts(heat, film=film), look.inches(usual), look.dpi, look.theme)

    def _texts(self, heat: HeatMap, *, film: bool) -> Texts:
        log = self._log
        model = f"{log.header.model}, " if log.header.model else ""
        about = (
            f"{model}{count(len(log.layers), 'layer')}, {count(log.steps, 'step')} in "
            f"{duration(log.seconds)}, preset {self._score.preset.name}"
        )
        return Texts(log.name, "" if film else verdict(heat.faults), about)


def need_matplotlib(path: Path) -> None:
    """Raise GradmidiError if Matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise GradmidiError(
            f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
        ) from error


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` or ``.pdf``, with reproducible bytes."""
    import matplotlib

    kind = path.suffix.lower().removeprefix(".")
    metadata = {
        "png": {"Software": None},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[kind]
    # Matplotlib's PDF writer does not report a full disk as such, so it writes to memory.
    memory = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "gradmidi", "svg.fonttype": "none", "pdf.fonttype": 42}
    ):
        figure.savefig(memory, format=kind, metadata=metadata)
    with WholeFile(path) as new:
        new.file.write(memory.getvalue())


FILM_INCHES = (16.0, 9.0)
"""Width and height of a film; at 120 dots an inch it has 1920 by 1080 pixels."""

FRAME_RATE = 30
"""Frames per second of a film."""

CURSOR = 3
"""Width of the cursor in pixels."""

Pixels = NDArray[np.uint8]


class Film:
    """File sink for ``.mp4``: writes the events that it receives as a film.

    The film has H.264 and AAC, and is encoded by the program ffmpeg. Raises GradmidiError if ffmpeg
    or Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog, look: Look | None = None) -> None:
        self._program = _ffmpeg(path)
        self.path = path
        self._new = WholeFile(path)
        self._folder = Path(tempfile.mkdtemp(prefix="gradmidi-"))
        try:
            self._picture = Picture(self._folder / "never.png", score, log, look)
            self._silence = score.preset.sound.silence
            self._played = PlayedRun(log.name, score.preset.time.tick_seconds, start=self._silence)
            self._slot = score.slot_seconds
            self._wav = self._folder / "sound.wav"
            self._sound = AudioFile.of_run(self._wav, score, log)
        except BaseException:
            self._clean()
            raise

    def read(self, item: Item | Block) -> None:
        """Take the next item of the log, or many frames, for the picture."""
        self._picture.read(item)

    def send(self, events: Sequence[Event]) -> None:
        """Keep the events for the frames, and render their sound."""
        self._played.send(events)
        self._sound.send(events)

    def close(self) -> None:
        """Draw the frames, and combine them with the sound by ffmpeg.

        Raises GradmidiError with ffmpeg's last line if it fails.
        """
        try:
            self._sound.close()
            drawing = self._picture.draw(FILM_INCHES, film=True)
            self._encode(_Frames(drawing, self._played, self._slot, self._silence))
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

    def _encode(self, frames: "_Frames") -> None:
        errors = self._folder / "errors"
        with errors.open("wb") as told:
            encoder = subprocess.Popen(
                self._command(frames), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=told
            )
            assert encoder.stdin is not None
            try:
                for frame in frames:
                    encoder.stdin.write(frame.data)
            except BrokenPipeError:
                pass  # Its exit code says what happened.
            except BaseException:
                encoder.kill()
                raise
            finally:
                with contextlib.suppress(BrokenPipeError):
                    encoder.stdin.close()
                code = encoder.wait()
        if code:
            said = errors.read_text(errors="replace").strip().splitlines() or [f"exit code {code}"]
            raise GradmidiError(f"{self.path} could not be written by ffmpeg: {said[-1]}")

    def _command(self, frames: "_Frames") -> list[str]:
        return [
            *(self._program, "-y", "-loglevel", "error"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{frames.wide}x{frames.tall}"),
            *("-r", str(FRAME_RATE), "-i", "pipe:0", "-i", str(self._wav)),
            *("-map", "0:v", "-map", "1:a", "-t", f"{frames.seconds:.6f}"),
            *("-c:v", "libx264", "-preset", "superfast", "-tune", "stillimage", "-crf", "20"),
            *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"),
            *("-f", "mp4", str(self._new.part)),
        ]


class _Frames:
    """The frames of a film, made one after another from the whole drawing.

    `slot` is the length of a slot, and `silence` that of the silence after the music, in seconds.
    """

    def __init__(self, drawing: Drawing, played: PlayedRun, slot: float, silence: float) -> None:
        self._drawing, self._played = drawing, played
        drawing.figure.canvas.draw()
        image = np.asarray(drawing.figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        # The encoder needs even sizes.
        self.tall, self.wide = (size - size % 2 for size in image.shape[:2])
        self._whole: Pixels = np.ascontiguousarray(image[: self.tall, : self.wide])
        self.seconds = max(played.end + silence, 1.0 / FRAME_RATE)
        height = drawing.figure.bbox.height
        box = drawing.map.get_window_extent()
        self._left, self._right = round(box.x0), min(self.wide, round(box.x1))
        self._top = round(height - drawing.top * drawing.figure.dpi)
        self._bottom = min(self.tall, round(height - box.y0))
        begins = [played.seconds(each.tick) for each in played.slots]
        self._times = [*begins, begins[-1] + slot] if begins else []
        self._steps = [drawing.heat.first - 0.5, *(each.step + 0.5 for each in played.slots)]

    def __iter__(self) -> Iterator[Pixels]:
        frame = self._whole.copy()
        hidden = frame[self._top : self._bottom, self._left :]
        whole = self._whole[self._top : self._bottom, self._left :]
        # What is right of the map, such as the voices' names, is there from the start.
        hidden[:, : self._right - self._left] = self._whole[0, 0]
        status = _Status(self._drawing, self._whole)
        done = 0
        for index in range(max(1, round(self.seconds * FRAME_RATE))):
            time = index / FRAME_RATE
            x = round(self._place(time)) - self._left
            hidden[:, done : x + CURSOR] = whole[:, done : x + CURSOR]
            done = x
            line = slice(max(0, x - 1), max(0, x - 1) + CURSOR)
            hidden[:, line] = 255 - self._whole[0, 0]
            status.draw(frame, *self._told(time))
            yield frame
            hidden[:, line] = whole[:, line]
            done = max(0, x - 1)
            if x + CURSOR < self._right - self._left:
                hidden[:, x : x + CURSOR] = self._whole[0, 0]

    def _place(self, time: float) -> float:
        """Return the x of the cursor: at the end of a slot it is at the end of the slot's step."""
        if len(self._times) < 2:
            return float(self._left)
        step = float(np.interp(time, self._times, self._steps))
        (x, _) = self._drawing.map.transData.transform((step, 0.0))
        return float(min(max(x, self._left), self._right))

    def _told(self, time: float) -> tuple[str, str]:
        """Return the texts at a time: step and loss, and the newest fault."""
        at = bisect_right(self._times, time) - 1
        if at < 0 or not self._played.slots:
            return "", ""
        slot = self._played.slots[min(at, len(self._played.slots) - 1)]
        loss = "" if slot.loss is None else f"   loss {number(slot.loss, 3)}"
        begun = [fault for fault in self._drawing.heat.faults if fault.steps[0] <= slot.step]
        newest = f"step {begun[-1].steps[0]:,}: {short(begun[-1])}" if begun else ""
        return f"step {slot.step:,}{loss}", newest


class _Status:
    """Writes the step, the loss and the newest fault into the upper right corner."""

    def __init__(self, drawing: Drawing, whole: Pixels) -> None:
        import matplotlib
        from PIL import ImageFont

        self._paper = tuple(whole[0, 0].tolist())
        self._theme = drawing.theme
        self._labels = drawing.labels
        tall, wide = whole.shape[:2]
        size = max(10, round(tall / 38))
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._fonts = [
            ImageFont.truetype(fonts / name, scale)
            for name, scale in (
                ("DejaVuSans-Bold.ttf", round(1.3 * size)),
                ("DejaVuSans.ttf", size),
            )
        ]
        self._box = (wide // 2, round(0.5 * size), wide - size, round(4.1 * size))
        self._told: tuple[str, str] | None = None

    def draw(self, frame: Pixels, *texts: str) -> None:
        """Write the texts, if they are new."""
        from PIL import Image, ImageDraw

        if texts == self._told:
            return
        self._told = (texts[0], texts[1])
        left, top, right, bottom = self._box
        patch = Image.new("RGB", (right - left, bottom - top), self._paper)
        pen = ImageDraw.Draw(patch)
        y = 0
        for text, font, colour in zip(
            texts, self._fonts, (self._theme.ink, self._theme.fault), strict=True
        ):
            shown = self._labels(text, 200).replace(r"\$", "$")
            while len(shown) > 2 and pen.textlength(shown, font=font) > right - left:
                shown = shown[:-2] + "…"
            pen.text((right - left, y), shown, font=font, fill=colour, anchor="ra")
            y += round(1.5 * font.size)
        frame[top:bottom, left:right] = np.asarray(patch)


def _ffmpeg(path: Path) -> str:
    """Return the program ffmpeg: the system's, or that of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise GradmidiError(
            f"{path.name} needs the program ffmpeg, which is not on the PATH; install it with: "
            "pip install 'gradmidi[film]', or from your system's packages (apt, brew, winget)"
        ) from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())
