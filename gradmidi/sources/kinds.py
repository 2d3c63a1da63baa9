"""The kinds of logs that can be read, and how to find which one a path is (`find_log`).

Another kind is a row of `KINDS`: its name, what it is, how its logs are found, and its reader.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME
from gradmidi.sources.csvfile import CsvReader, is_table
from gradmidi.sources.jsonfiles import JsonLinesReader, JsonReader, TrainerReader
from gradmidi.sources.jsonshapes import entries_of
from gradmidi.sources.mlflowstore import MlflowReader
from gradmidi.sources.reader import Reader
from gradmidi.sources.tensorboard import PARTS, PATTERN, TensorBoardReader
from gradmidi.sources.textreader import TextReader
from gradmidi.sources.wandbfile import WandbReader

__all__ = ["KINDS", "FoundLog", "Kind", "find_log", "logs_at", "text_of"]

Find = Callable[[Path], Iterable[Path]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of log.

    Parameters
    ----------
    name : str
        Its name for ``--as``.
    about : str
        What it is, with an article.
    files : str
        Names of its files, for messages.
    find : callable
        Returns the logs of this kind at a path: itself, or those in a folder.
    open : callable
        Opens the reader of a log; the second argument is the name of the column of step numbers,
        or None.
    has_step : bool
        Whether that column can be chosen.
    """

    name: str
    about: str
    files: str
    find: Find
    open: Callable[[Path, str | None], Reader]
    has_step: bool = False


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log, and its kind.

    Parameters
    ----------
    path : Path
        The log: a file or a folder.
    kind : Kind
        What it is.
    notes : tuple of str
        Messages to the user.
    """

    path: Path
    kind: Kind
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the run: that of the folder or file, without its ending."""
        path = self.path.absolute()
        return path.name if path.is_dir() else path.stem

    @property
    def changed(self) -> float:
        """When the log last changed, in seconds since 1970."""
        files = [self.path, *(self.path.rglob("*") if self.path.is_dir() else ())]
        return float(max(file.stat().st_mtime for file in files if file.exists()))

    def open(self, step: str | None = None) -> Reader:
        """Open the reader.

        Raises
        ------
        RunLogError
            If the log cannot be opened, or its column of step numbers cannot be chosen.
        """
        if step is not None and not self.kind.has_step:
            raise RunLogError(f"{self.path} counts its steps itself; --step is for CSV files")
        return self.kind.open(self.path, step)


def text_of(name: str) -> FoundLog:
    """Return what stands for text that is no file."""
    return FoundLog(Path(name), _wanted("text")[0])


def find_log(source: str | Path, kind: str | None = None) -> FoundLog:
    """Find the log at a path, and what it is.

    Parameters
    ----------
    source : str or Path
        A file, or a folder that holds one log.
    kind : str, optional
        The name of its kind; by default it is found.

    Raises
    ------
    RunLogError
        If there is no log or several, or `kind` is unknown.
    """
    path = Path(source)
    wanted = _wanted(kind)
    found = logs_at(path, kind)
    is_run = path.name == FILE_NAME and kind is None
    if len(found) == 1 and not is_run:
        return found[0]
    if is_run or (not found and (path / FILE_NAME).is_file()):
        raise RunLogError(f"{path} is a run of gradmidi already, and can be used as it is")
    files = " ".join(each.files for each in wanted)
    if path.is_file():
        raise RunLogError(
            f"nothing reads {path.name!r}; there are readers for: {files}; "
            "--as KIND says what it is"
        )
    what = "; give one of: " + ", ".join(str(log.path) for log in found) if found else ""
    if len({log.kind.name for log in found}) > 1:
        what += "; or say which with --as KIND"
    raise RunLogError(f"{path} holds {len(found)} logs that can be read ({files}){what}")


def logs_at(path: Path, kind: str | None = None) -> list[FoundLog]:
    """Return the logs at a path, see `find_log`."""
    wanted = _wanted(kind)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        if not is_file and not is_folder:
            raise RunLogError(f"no log at {str(path)!r}; give a file or a folder")
        if kind is not None and is_file:
            return [FoundLog(path, wanted[0])]
        found = [FoundLog(log, each) for each in wanted for log in sorted(each.find(path))]
    except OSError as error:
        raise RunLogError(
            f"{path} cannot be read: {error.strerror}; change its permissions, or give another"
        ) from error
    return _without_copies(found)


def _wanted(kind: str | None) -> list["Kind"]:
    wanted = [each for each in KINDS if kind in (None, each.name)]
    if not wanted:
        names = ", ".join(each.name for each in KINDS)
        raise RunLogError(f"there is no kind of log {kind!r}; there are: {names}")
    return wanted


def _without_copies(found: Sequence[FoundLog]) -> list[FoundLog]:
    """Prefer the TensorBoard folder of a Trainer to its checkpoints: it grows at every step."""
    names = [log.kind.name for log in found]
    if names.count("tensorboard") != 1 or set(names) != {"tensorboard", "trainer"}:
        return list(found)
    board = found[names.index("tensorboard")]
    note = "there is a trainer_state.json too; --as trainer reads it"
    return [FoundLog(board.path, board.kind, (note,))]


# -- where logs are --------------------------------------------------------------------------------


def _files(*patterns: str) -> Find:
    """Find files by their names."""

    def find(path: Path) -> Iterable[Path]:
        if path.is_file():
            lower = Path(path.name.lower())
            return [path] if any(lower.match(pattern) for pattern in patterns) else []
        found = {file for pattern in patterns for file in path.rglob(pattern) if file.is_file()}
        # A run of gradmidi is no log of another tool.
        return {file for file in found if file.name != FILE_NAME}

    return find


def _tensorboard(path: Path) -> Iterable[Path]:
    """Find the folders of runs: those without a run above them; parts of a run are one."""
    if path.is_file():
        return [path] if path.match(PATTERN) else []
    folders = {file.parent for file in path.rglob(PATTERN) if file.is_file()}
    parts = {folder for folder in folders if folder.name.lower() in PARTS and folder != path}
    folders = (folders - parts) | {folder.parent for folder in parts}
    return {folder for folder in folders if not folders & set(folder.parents)}


def _mlflow(path: Path) -> Iterable[Path]:
    """Find the folders of runs in a store."""
    if path.is_file():
        return []
    metas = {*path.glob("meta.yaml"), *path.rglob("meta.yaml")}
    return {meta.parent for meta in metas if (meta.parent / "metrics").is_dir()}


def _trainer(path: Path) -> Iterable[Path]:
    """Find the output folders of Trainers, each with its checkpoints."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" and _has_history(path) else []
    folders = {file.parent for file in path.rglob(TrainerReader.NAME)}
    folders = {
        folder.parent if folder.name.startswith("checkpoint-") and folder != path else folder
        for folder in folders
    }
    return {folder for folder in folders if not folders & set(folder.parents)}


_text = _files("*.log", "*.txt", "*.out")


def _csv(path: Path) -> Iterable[Path]:
    """Find tables; some tools name them as text, as Keras's examples do with ``training.log``."""
    is_named_text = path.is_file() and _text(path) and is_table(path)
    return [path] if is_named_text else _files("*.csv", "*.tsv")(path)


def _json(path: Path) -> Iterable[Path]:
    """Find a JSON file of another content; in folders such files are settings mostly."""
    is_json = path.is_file() and path.suffix.lower() == ".json"
    return [path] if is_json and not _has_history(path) and not _is_json_lines(path) else []


def _json_lines(path: Path) -> Iterable[Path]:
    found = _files("*.jsonl", "*.ndjson")(path)
    if not path.is_file() or path.suffix.lower() != ".json":
        return found
    return [path] if not _has_history(path) and _is_json_lines(path) else []


def _has_history(path: Path) -> bool:
    return path.name == TrainerReader.NAME or b'"log_history"' in path.read_bytes()


def _is_json_lines(path: Path) -> bool:
    """Return whether the first line is an object, of numbers or of a run."""
    with path.open("rb") as file:
        line, more = file.readline(), file.readline().strip()
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    is_row = isinstance(found, dict) and any(map(_is_number, found.values()))
    # One line may also hold the whole table.
    return is_row and (bool(more) or entries_of(found) is None)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


KINDS = (
    Kind(
        "tensorboard",
        "a TensorBoard folder",
        PATTERN,
        _tensorboard,
        lambda path, _: TensorBoardReader(path),
    ),
    Kind(
        "wandb", "an offline run of W&B", "*.wandb", _files("*.wandb"), lambda p, _: WandbReader(p)
    ),
    Kind("mlflow", "a run of MLflow", "meta.yaml", _mlflow, lambda path, _: MlflowReader(path)),
    Kind(
        "trainer",
        "the log of a Trainer",
        TrainerReader.NAME,
        _trainer,
        lambda path, _: TrainerReader(path),
    ),
    Kind("csv", "a CSV file", "*.csv *.tsv", _csv, CsvReader, has_step=True),
    Kind(
        "jsonl",
        "a file of JSON lines",
        "*.jsonl *.ndjson",
        _json_lines,
        JsonLinesReader,
        has_step=True,
    ),
    Kind("json", "a JSON file", "*.json", _json, JsonReader, has_step=True),
    Kind(
        "text",
        "text",
        "*.log *.txt *.out",
        lambda path: _text(path) if path.is_file() and not is_table(path) else [],
        lambda path, _: TextReader(path),
    ),
)
"""All kinds, in the order in which messages list them."""
