"""The end of a run: render its files in another process, and report on the run."""

import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from gradmidi.base.environment import python
from gradmidi.base.messages import Warnings, say
from gradmidi.detection.history import Fault
from gradmidi.log import FILE_NAME
from gradmidi.log.writer import LogWriter
from gradmidi.options import Options
from gradmidi.text.describe import faults_line
from gradmidi.text.words import count, share

__all__ = ["DeferredInterrupt", "Files", "Rendering", "command", "report"]

SLICE_SECONDS = 0.05


class DeferredInterrupt:
    """Defers KeyboardInterrupt until the block is done.

    While the block runs, Ctrl-C is counted; KeyboardInterrupt is raised once, at its end. A SIGINT
    handler that the program has set is not replaced.

    Attributes
    ----------
    interrupts : int
        How often Ctrl-C was pressed.

    Examples
    --------
    >>> with DeferredInterrupt() as interrupt:
    ...     interrupt.wait(lambda seconds: True, 2.0)
    True
    """

    def __init__(self) -> None:
        self.interrupts = 0
        self._installed = False

    def __enter__(self) -> "DeferredInterrupt":
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._installed = True
            signal.signal(signal.SIGINT, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self.interrupts:
                raise KeyboardInterrupt

    def _count(self, _signal: int, _frame: FrameType | None) -> None:
        self.interrupts += 1

    def wait(self, done: Callable[[float], bool], seconds: float, interrupts: int = 1) -> bool:
        """Wait until `done` returns True, the time is over, or Ctrl-C was pressed.

        Parameters
        ----------
        done : callable
            Takes seconds, waits for at most that long, and returns whether it is done.
        seconds : float
            The longest wait.
        interrupts : int, default 1
            Number of interrupts that end the wait.

        Returns
        -------
        bool
            Whether it was done in time.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if done(min(SLICE_SECONDS, max(left, 0.0))):
                return True
            if left <= 0.0 or self.interrupts >= interrupts:
                return False


def command(run: Path, files: Sequence[Path], options: Options) -> list[str]:
    """Return the command line that renders a run.

    Examples
    --------
    >>> command(Path("a"), [Path("a/run.mid")], Options())[1:]
    ['-P', '-m', 'gradmidi', 'render', 'a', '--preset', 'pentatonic', '-o', 'a/run.mid']
    """
    # -P: do not import a file next to the user's script instead of a library.
    line = [python(), "-P", "-m", "gradmidi", "render", str(run)]
    line += ["--preset", str(options.preset)]
    for setting in options.preset_settings:
        line += ["--set", setting]
    for path in files:
        line += ["-o", str(path)]
    return line


class Rendering:
    """A rendering process in a new session, so that Ctrl-C does not reach it.

    Parameters
    ----------
    line : sequence of str
        The command line.

    Raises
    ------
    OSError
        If the process cannot be started.
    """

    def __init__(self, line: Sequence[str]) -> None:
        # Use files, since a process that outlives this one must not write into a broken pipe.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._errors,
                start_new_session=True,
            )
        except BaseException:
            self.leave()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; return whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def output(self) -> bytes:
        """Return the stdout of the process; call it after the process has ended."""
        self._output.seek(0)
        return self._output.read()

    def error(self) -> str:
        """Return the error of the ended process in one line; empty if there was none."""
        if self._process.returncode == 0:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"exit code {self._process.returncode}"
        return said.removeprefix("gradmidi: ")

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Let the process continue without waiting for it."""
        self._errors.close()
        self._output.close()


class Files:
    """The files that are rendered at the end of a run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    options : Options
        Which files, and the preset.
    warnings : Warnings
        Counts the run-time errors.
    """

    def __init__(self, folder: Path, options: Options, warnings: Warnings) -> None:
        self._folder = folder
        # Make the path absolute, since the script may change its folder.
        self._absolute = folder.absolute()
        self._endings = options.endings
        self._options = options
        self._warnings = warnings

    def start(self) -> Rendering | None:
        """Start rendering in another process; return None if there are no files to render."""
        if not self._endings:
            return None
        files = self._in(self._absolute)
        try:
            return Rendering([*command(self._absolute, files, self._options), "--json"])
        except OSError as error:
            self._warnings.note("files", error, self._again())
            return None

    def finish(self, rendering: Rendering, interrupt: DeferredInterrupt, seconds: float) -> None:
        """Wait at most `seconds` for the files, and report the result."""
        files = ", ".join(map(str, self._in(self._folder)))
        try:
            if not interrupt.wait(rendering.wait, seconds):
                say(f"{files}: still being written by another process")
            elif error := rendering.error():
                say(f"{files} could not be written: {error}; {self._again()}")
            else:
                say(f"wrote {files}")
                self._say_faults(rendering)
        finally:
            rendering.leave()

    def _say_faults(self, rendering: Rendering) -> None:
        """Report the number of faults and the first one, from the renderer's summary."""
        faults = json.loads(rendering.output().decode("utf-8", "replace"))["faults"]
        if faults:
            say(faults_line([Fault(**each | {"value": float(each["value"])}) for each in faults]))

    def _in(self, folder: Path) -> list[Path]:
        return [folder / f"run{ending}" for ending in self._endings]

    def _again(self) -> str:
        return f"try `gradmidi render {self._folder} -o FILE`"


def report(
    writer: LogWriter, folder: Path, warnings: Warnings, *, seconds: float, cost: float
) -> None:
    """Report the number of steps, the cost of capture, and errors.

    Parameters
    ----------
    writer : LogWriter
        The log's writer, closed.
    folder : Path
        The run's folder.
    warnings : Warnings
        The counted errors.
    seconds : float
        Duration of the run.
    cost : float
        Seconds that capture and `log` took, and processor time of the log's thread.
    """
    cost_text = ""
    if cost and seconds:
        cost_text = f"; gradmidi used {share(cost / seconds)} of the training time"
    if writer.is_there:
        say(
            f"{count(writer.steps, 'step')} in {folder / FILE_NAME}, "
            f"{writer.bytes_per_step:.0f} bytes a step{cost_text}"
        )
    else:
        say(
            f"{folder / FILE_NAME} was removed or replaced during the run: "
            f"{count(writer.steps, 'step')} lost{cost_text}"
        )
    if writer.unwritten:
        say(
            f"the disk is too slow: {count(writer.unwritten, 'step')} and the end are not in the "
            "run log yet; they are lost if the program ends first"
        )
    if not writer.steps:
        say("no step was recorded, so no files are made")
    if writer.dropped:
        say(f"{count(writer.dropped, 'line')} of the run log could not be written")
    for kind, times in warnings.counts.items():
        say(f"{kind}: {count(times, 'error')} in all")
