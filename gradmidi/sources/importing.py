"""Import a log that another tool wrote into a run log (`import_log`)."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmidi.base.files import WholeFile, beside
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Item, encode
from gradmidi.sources.converting import convert
from gradmidi.sources.follow import remote
from gradmidi.sources.following import follow_log
from gradmidi.sources.kinds import FoundLog, find_log, text_of
from gradmidi.sources.selection import Selection
from gradmidi.sources.textreader import GivenText, TextReader

__all__ = ["Imported", "import_growing", "import_log"]


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of importing a log.

    Parameters
    ----------
    path : Path
        The run log.
    lines : tuple of str
        Numbers of layers and steps; the columns of each layer; and what was left out or changed,
        with counts. Each line makes sense on its own.
    """

    path: Path
    lines: tuple[str, ...]


def import_log(
    log: str | Path,
    out: str | Path,
    *,
    columns: Sequence[str] = (),
    values: Sequence[str] = (),
    step: str | None = None,
    kind: str | None = None,
    force: bool = False,
) -> Imported:
    r"""Convert a log of another tool to a run log.

    Parameters
    ----------
    log : str or Path
        A TensorBoard folder or event file, an offline run of W&B, a run of MLflow's file store,
        a ``trainer_state.json`` of Transformers, a CSV file (exported from W&B or MLflow, written
        by Lightning or Keras, or any other), a file of JSON lines, a file of text that a training
        printed, or a folder that holds one of them; ``-`` for such text on stdin.
    out : str or Path
        The run's folder, or a ``.jsonl`` file. Missing folders are made.
    columns : sequence of str, optional
        Names of the columns of gradient norms, or patterns such as ``"grad/*"``. By default
        columns with a word for gradients in their names. Without any, the run has values alone.
    values : sequence of str, optional
        Names or patterns of the values to take. By default all but those that count progress or
        measure time, speed or hardware; at most 15, losses first.
    step : str, optional
        The column of a CSV file or JSON lines with the step numbers. By default a column named
        ``step``, ``global_step`` or similar; without one, the rows are counted from 1.
    kind : str, optional
        What the log is: a name in `gradmidi.sources.kinds.KINDS`. By default it is found.
    force : bool, default False
        Replace a run that is already in `out`. By default this one goes to ``out-2``.

    Returns
    -------
    Imported
        The path of the run, and a report.

    Raises
    ------
    RunLogError
        If the log cannot be read or has no column of numbers, or the run cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.csv").write_text("step,grad_norm/fc1,grad_norm/fc2\n1,0.5,0.25\n")
    >>> import_log(folder / "log.csv", folder / "run").lines[0]
    '2 layers, 1 step'
    """
    target = _target(out, force=force)
    selection = Selection(kind, tuple(columns), tuple(values), step)
    if str(log) == "-":
        text = TextReader(GivenText(sys.stdin.buffer.read()))
        done = convert(text_of("stdin"), selection, text)
    else:
        done = convert(_found(log, kind), selection)
    _write(target, done.items)
    return Imported(target, (*_moved(out, target), *done.lines))


def import_growing(
    log: str | Path, out: str | Path, selection: Selection, *, force: bool = False
) -> Iterator[Imported]:
    """Convert a growing log of another tool, until it says that the run has ended.

    Yields the path of the run, and what to tell the user, as soon as the run log has its header.
    Then the caller asks for more until nothing comes; interrupted, the run log has no end line.

    Raises
    ------
    RunLogError
        If the log cannot be read, or the run cannot be written.
    """
    target = _target(out, force=force)
    lines = follow_log(_found(log, selection.kind), selection)
    header = next(lines)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=0) as file:
            file.write(header.data)
            yield Imported(target, _moved(out, target))
            for line in lines:
                file.write(line.data)
    except OSError as error:
        raise _unwritten(target, error) from error


def _found(log: str | Path, kind: str | None) -> FoundLog:
    """Find the log at a path; a run on another machine needs no import."""
    if remote(str(log)) is not None:
        raise RunLogError(
            f"{log} is a run on another machine, and can be used as it is; to copy it: scp -r "
            f"{log} FOLDER"
        )
    return find_log(log, kind)


def _moved(out: str | Path, target: Path) -> tuple[str, ...]:
    """Return the message that the run has another name than `out`."""
    first = _target(out, force=True)
    if target == first:
        return ()
    return (f"{first} is a run already, so this one is {target}; --force replaces it",)


def _target(out: str | Path, *, force: bool) -> Path:
    if str(out) == "-":
        raise RunLogError("a run is a folder, not a stream: in place of -o -, give -o FOLDER")
    path = Path(out)
    number = 1
    while True:
        place = path if number == 1 else beside(path, number)
        target = place if place.suffix == ".jsonl" else place / FILE_NAME
        try:
            if force or not target.exists():
                return target
        except OSError as error:
            raise _unwritten(out, error) from error
        number += 1


def _write(target: Path, items: Sequence[Item]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WholeFile(target) as new:
            new.file.writelines(map(encode, items))
    except OSError as error:
        raise _unwritten(target, error) from error


def _unwritten(target: str | Path, error: OSError) -> RunLogError:
    return RunLogError(f"cannot write {str(target)!r}: {error.strerror or error}; give another -o")
