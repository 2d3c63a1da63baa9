"""Turn the tables that a training prints into lines of names and numbers (`PrintedTables`)."""

import re

__all__ = ["PrintedTables"]

BORDERS = "|│┃║"

_CELLS = re.compile(
    rf"\s*[{BORDERS}]\s*([A-Za-z_][^{BORDERS}=:\"]{{0,59}}?)\s*[{BORDERS}]"
    rf"\s*([-+]?[\d.][\d.,]*(?:[eE][-+]?\d+)?|[-+]?nan|[-+]?inf)\s*[{BORDERS}]?\s*",
    re.IGNORECASE,
)
"""A row with a name and a number, as in ``| ep_rew_mean | 21.3 |``."""

_SECTION = re.compile(rf"\s*[{BORDERS}]\s*([\w.\-]+/)\s*[{BORDERS}]\s*[{BORDERS}]\s*")
"""A row with the start of the names below it, as in ``| rollout/ | |``."""

_BAR = re.compile(r":?\s*\d+%\|.*$")

_SPLIT = re.compile(rf"\s*[{BORDERS}\t]\s*|\s{{2,}}")

_NAME = re.compile(r"[A-Za-z#%][^=:\d]*(?:\d[^=:]*)?")

_METRIC = re.compile(r"loss|acc|err|score|map|auc|reward|return|learn|f1", re.IGNORECASE)

_NUMBER = re.compile(
    r"[-+]?[\d.][\d.,]*(?:[eE][-+]?\d+)?(?:/\d+|%|[kKMG]|m?s|[\d:]+)?|[-+]?nan|[-+]?inf", re.I
)

_SHORT = {"#": "step", "E": "epoch"}
"""Names of columns in spaCy's tables."""

LEAST_COLUMNS, MOST_COLUMNS, MOST_ROWS = 3, 64, 200


class PrintedTables:
    """Reads two kinds of tables: with a name and a number in each row, and with a line of names.

    Examples
    --------
    >>> tables = PrintedTables()
    >>> lines = ["epoch   train_loss   acc", "0       0.5          0.25"]
    >>> lines += ["| rollout/ | |", "| ep_rew_mean | 21.3 |", "| time_steps | 64 |", "-----"]
    >>> for line in lines:
    ...     for text in tables.read(line):
    ...         print(text)
    epoch   train_loss   acc
    "epoch": 0, "train_loss": 0.5, "acc": 0.25
    "rollout/ep_rew_mean": 21.3, "rollout/time_steps": 64
    -----
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[str] = []
        self._section = ""

    def read(self, line: str) -> list[str]:
        """Return the texts that are complete with this line: itself if it is of no table."""
        if line.lstrip()[:1] in BORDERS and len(self._rows) < MOST_ROWS:
            if (section := _SECTION.fullmatch(line)) is not None:
                self._section = section[1]
                return []
            if (cells := _CELLS.fullmatch(line)) is not None:
                self._rows.append(f'"{self._section}{cells[1]}": {cells[2]}')
                return []
        return [*self.rest(), self._of_columns(line)]

    def rest(self) -> list[str]:
        """Return what is left of a table of names and numbers, which is one text."""
        rows, self._rows, self._section = self._rows, [], ""
        return [", ".join(rows)] if rows else []

    def _of_columns(self, line: str) -> str:
        bare = _BAR.sub("", line) if "%|" in line else line
        bare = bare.strip(f"{BORDERS} \t")
        if self._names:
            cells = [cell for cell in _SPLIT.sub(" ", bare).rstrip(":").split() if cell]
            if len(cells) == len(self._names) and all(map(_NUMBER.fullmatch, cells[1:])):
                pairs = zip(self._names, cells, strict=True)
                return ", ".join(f'"{name}": {cell}' for name, cell in pairs)
        names = [_SHORT.get(name, name) for name in _SPLIT.split(bare)]
        if (
            LEAST_COLUMNS <= len(names) <= MOST_COLUMNS
            and all(map(_NAME.fullmatch, names))
            and any(map(_METRIC.search, names))
        ):
            self._names = [name.strip("():") for name in names]
        return line
