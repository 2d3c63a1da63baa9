"""What a tracker of experiments is given of a run, once, at its end: made and sent beside it."""

import contextlib
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from gradmidi.base.messages import Warnings, say
from gradmidi.errors import GradmidiError
from gradmidi.listener.patience import Patience
from gradmidi.listener.rendering import Rendering, command
from gradmidi.listener.trackers import Give, Shown, Tracker

__all__ = ["Giving"]

SOUND_SECONDS = 10
"""The sound is no longer."""

RENDER_SECONDS = 120.0
"""A renderer that takes longer is ended."""


class Giving:
    """Makes a short sound, the picture and the text of a run, and gives them to a tracker.

    A thread does it: a tracker may wait for its server as long as it likes.

    Parameters
    ----------
    folder : Path
        The run's folder.
    preset : str
        How it sounds: a preset's name, or the full path of its file.
    tracker : Tracker
        Who gets it.
    warnings : Warnings
        Where run-time trouble is counted.
    """

    def __init__(self, folder: Path, preset: str, tracker: Tracker, warnings: Warnings) -> None:
        # The script may be in another folder by the time it is given.
        self._folder = folder.absolute()
        self._preset = preset
        self._tracker = tracker
        self._warnings = warnings
        self._error: Exception | None = None
        self._give: Give | None = None
        if tracker.lasting:
            # What trains may end its run before this one is closed, as Transformers' Trainer does.
            with contextlib.suppress(Exception):
                self._give = tracker.active()
        self._decided = threading.Event()
        # Started now: some Pythons start no thread any more once the program exits.
        self._thread = threading.Thread(target=self._work, name="gradmidi log_to", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Begin, if the tracker has a run that is active, or had one at first that lasts."""
        try:
            self._give = self._tracker.active()
        except Exception as error:
            if self._give is None:
                self._error = error
        self._decided.set()

    def leave(self, why: str) -> None:
        """Give nothing, and say why."""
        self._give = None
        self._decided.set()
        say(f"log_to: nothing is given, as {why}")

    def finish(self, patience: Patience, seconds: float) -> None:
        """Wait for it, at most so many seconds, and tell what became of it."""
        if not patience.wait(self._done, seconds):
            say(f"{self._tracker.name} is still being given the run")
        elif self._error is None:
            say(f"gave sound, picture and faults to {self._tracker.name}")
        else:
            self._warnings.note("log_to", self._error, "the run itself is whole")

    def _done(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        self._decided.wait()
        if self._give is None:
            return
        try:
            with TemporaryDirectory(prefix="gradmidi-", ignore_cleanup_errors=True) as folder:
                paths = [Path(folder) / f"run.{ending}" for ending in ("wav", "png", "txt")]
                self._render(paths)
                self._give(Shown(*paths))
        except Exception as error:
            self._error = error

    def _render(self, paths: list[Path]) -> None:
        line = command(self._folder, paths, self._preset)
        rendering = Rendering([*line, "--length", f"{SOUND_SECONDS}s"])
        try:
            if not rendering.wait(RENDER_SECONDS):
                rendering.stop()
                raise GradmidiError(f"nothing was made of the run in {RENDER_SECONDS:.0f} s")
            if error := rendering.error():
                raise GradmidiError(error)
        finally:
            rendering.leave()
        _cut(paths[0])


def _cut(path: Path) -> None:
    """Fade out the sound of a last note where it rings on after the piece."""
    import numpy as np
    import soundfile

    there = soundfile.info(path)
    most = SOUND_SECONDS * there.samplerate
    if there.frames <= most:
        return
    samples, rate = soundfile.read(path, most, dtype="float32", always_2d=True)
    fade = rate // 50
    samples[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)[:, None]
    soundfile.write(path, samples, rate, there.subtype)
