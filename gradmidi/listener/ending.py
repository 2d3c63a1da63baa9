"""The end of a run: its files made by another process, and a few lines on how it went."""

from pathlib import Path

from gradmidi.base.messages import Warnings, say
from gradmidi.listener.patience import Patience
from gradmidi.listener.rendering import Rendering, command
from gradmidi.log import FILE_NAME
from gradmidi.log.writer import LogWriter
from gradmidi.options import Options

__all__ = ["Files", "tell"]


class Files:
    """The files that are made of a run at its end.

    Parameters
    ----------
    folder : Path
        The run's folder.
    options : Options
        Which, and by which preset.
    warnings : Warnings
        Where run-time trouble is counted.
    """

    def __init__(self, folder: Path, options: Options, warnings: Warnings) -> None:
        self._folder = folder
        # The script may be in another folder by the time the files are made.
        self._absolute = folder.absolute()
        self._endings = options.endings
        self._preset = str(options.preset)
        self._warnings = warnings

    def start(self) -> Rendering | None:
        """Begin to make them, in a process of its own; None where there are none to make."""
        if not self._endings:
            return None
        line = command(self._absolute, self._in(self._absolute), self._preset)
        try:
            return Rendering(line)
        except OSError as error:
            self._warnings.note("files", error, self._again())
            return None

    def finish(self, rendering: Rendering, patience: Patience, seconds: float) -> None:
        """Wait for them, at most so many seconds, and tell what became of them."""
        files = ", ".join(map(str, self._in(self._folder)))
        try:
            if not patience.wait(rendering.wait, seconds):
                say(f"{files}: still being made, by a process of its own")
            elif error := rendering.error():
                say(f"{files} could not be made: {error}; {self._again()}")
            else:
                say(f"wrote {files}")
                self._tell_faults()
        finally:
            rendering.leave()

    def _tell_faults(self) -> None:
        """Say how many faults there were and which came first, as the text beside the log has it.

        The text is made by the process that was waited for: nobody looks for faults here.
        """
        text = self._absolute / "run.txt"
        if ".txt" not in self._endings or not text.is_file():
            return
        lines = text.read_text(encoding="utf-8").splitlines()
        at = next((i for i, line in enumerate(lines) if line.startswith("faults: ")), None)
        if at is not None:
            say(f"{lines[at]}; the first: {lines[at + 1]}")

    def _in(self, folder: Path) -> list[Path]:
        return [folder / f"run{ending}" for ending in self._endings]

    def _again(self) -> str:
        return f"try `gradmidi render {self._folder} -o FILE`"


def tell(
    writer: LogWriter, folder: Path, warnings: Warnings, *, seconds: float, looking: float
) -> None:
    """Tell how a run went.

    Parameters
    ----------
    writer : LogWriter
        Who wrote its log.
    folder : Path
        The run's folder.
    warnings : Warnings
        What went wrong.
    seconds : float
        How long the run took.
    looking : float
        Seconds of the training thread that went into looking.
    """
    took = f"; looking took {looking / seconds:.2%} of the time" if looking and seconds else ""
    say(
        f"{_count(writer.steps, 'step')} in {folder / FILE_NAME}, "
        f"{writer.bytes_per_step:.0f} bytes a step{took}"
    )
    if not writer.steps:
        say("no step was seen, so there are no files to make")
    if writer.dropped:
        say(f"{_count(writer.dropped, 'line')} of the run log could not be written")
    for kind, times in warnings.counts.items():
        say(f"{kind}: trouble, {_count(times, 'time')} in all")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
