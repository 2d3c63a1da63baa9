"""Files of a run made by a process of their own, which may outlive the one that trained."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Rendering", "command"]


def command(run: Path, files: Sequence[Path], preset: str) -> list[str]:
    """Write the command line that renders a run.

    Examples
    --------
    >>> command(Path("a"), [Path("a/run.mid")], "pentatonic")[1:]
    ['-P', '-m', 'gradmidi', 'render', 'a', '--preset', 'pentatonic', '-o', 'a/run.mid']
    """
    # -P: a file of the user's beside the script must not stand in for one of ours.
    line = [sys.executable, "-P", "-m", "gradmidi", "render", str(run), "--preset", preset]
    for path in files:
        line += ["-o", str(path)]
    return line


class Rendering:
    """A renderer at work, in a session of its own: Ctrl-C does not reach it.

    Parameters
    ----------
    line : sequence of str
        Its command line.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, line: Sequence[str]) -> None:
        # A file and no pipe: whoever is left to finish alone must not write into a broken one.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                line,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,
            )
        except BaseException:
            self._errors.close()
            raise

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; tell whether it has ended."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def error(self) -> str:
        """Tell what went wrong, in a line; empty where nothing did. Only once it has ended."""
        if self._process.returncode == 0:
            return ""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"exit code {self._process.returncode}"
        return said.removeprefix("gradmidi: ")

    def stop(self) -> None:
        """End it, wherever it is."""
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Let go of it: it goes on alone if it has not ended."""
        self._errors.close()
