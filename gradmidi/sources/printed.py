"""Find names, numbers and the step in the lines and tables that a training prints."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from gradmidi.sources.selection import is_progress

__all__ = [
    "PrintedStep",
    "PrintedTables",
    "clean",
    "epoch_in",
    "loss_of_phase",
    "numbers_in",
    "step_in",
]

LONGEST_NAME, MOST_DIGITS = 100, 15
"""Letters of the longest name of a value; digits of the largest step."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Escape sequences of ECMA-48: colours, movements of the cursor, titles of windows."""

_NUMBER = (
    r"[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eED][-+]?\d+)?"
    r"|nan|inf(?:inity)?)"
)

_WORD = r"[A-Za-z_][\w/@.\-]*?"

_OF = (
    r"(?:(?:train|training|val|valid|validation|eval|evaluation|test|dev|average|avg|mean|total|grad"
    r"|gradient|learning|policy|value|critic|actor|top|valid_\d+)(?:'s)?[ ]+)?"
)
"""A word before a name that belongs to it, as in ``val loss`` and ``training's auc``."""

_PART = re.compile(
    r"\b(conf|loc|cls|class|b?box|reg|obj|rpn|mask|recon(?:struction)?|kl|adv|gen(?:erator)?"
    r"|disc(?:riminator)?|aux|style|content|meta|inner|outer) $",
    re.IGNORECASE,
)
"""A word before ``loss`` that says which part of the loss it is."""

_FIELD = r"(?<=[|;\t])[ ]*(?:[A-Za-z]\w*[ ]+){1,6}"
"""Words before a name in a field of its own, as in ``| loss scale: 1.0 | lm loss: 2.3 |``."""

_METRIC = (
    r"(?:\w+[_/-])?(?:loss(?:es)?|acc(?:uracy)?|lr|ppl|perplexity|gnorm|grad_?norm|norm|reward|returns?|f1"
    r"|auc|bleu|rouge|err(?:or)?|mae|mse|rmse|nll|bpb|kl|entropy|score|map|iou|dice|recall|precision"
    r"|mfu|time|acc@\d+|rate|cost)"
)
"""A name that a number may follow with only a space, a dash or an arrow between."""

_CALL = r"(?:(?:(?:np|numpy|jnp|torch)\.)?(?:tensor|array|float(?:16|32|64)|bfloat16)\()?"
"""What PyTorch, NumPy and JAX print before a number, as in ``tensor(0.5, device='cuda:0')``."""

_STEP_WORD = (
    r"(?:global[_ ]?step|(?:time)?steps?|iter(?:ation)?s?|it|batch(?:es|_id)?|num_updates|updates?"
    r"|ticks?)"
)

_AT = rf"(?:[ ]at[ ](?:{_STEP_WORD}|epoch)[ ]\d+|[ ]so[ ]far)?"
"""Words between a name and its number, as in ``loss at step 10: 2.3``, ``loss so far is 2.3``."""

_PAIR = re.compile(
    rf"""(?:
      (?P<quote>["'])(?P<quoted>[A-Za-z_][^"'=:\[\]{{}}]{{0,79}})(?P=quote)[ ]*[:=]\s*["']?
    | (?<![\w/@.\-?&])(?P<name>(?:{_FIELD}|{_OF}){_WORD}(?:[ ]?\([A-Za-z/%_ ]+\))?)
      {_AT}[ ]*(?:[:=]|is[ ])\s*["']?
    | (?<![\w/@.\-])(?P<plain>{_OF}{_METRIC})[ ]+(?:(?:-|->|→)[ ]+)?
    )
    {_CALL}(?P<list>\[|\((?=[^(),]*,\)))?
    (?P<number>{_NUMBER})
    (?:[ ]?/[ ]?(?P<of>\d+)(?![\d/:.]))?
    (?P<scale>(?-i:[kKMGB])(?=[\s/,|)\]]|tok|it|$))?
    (?P<unit>(?:[ ]?(?:[num]s|µs|s|secs?|seconds?)|[mh]|mins?|hours?|(?-i:[KMGT]i?[Bb]))(?![\w/.]))?
    (?![:]\d|\.\d|[A-Za-z\d_]|/\d|-\d|%\||[ ]*-+>)(?(list)|(?!,\d))
    """,
    re.VERBOSE | re.IGNORECASE,
)

_RATE = re.compile(
    rf"(?<![\w.:])(?P<number>{_NUMBER})(?P<scale>[kKMG])?[ ]?"
    r"(?P<unit>(?:it|tok|tokens?|samples?|steps?|ex|img|images?|batch|ms|s|sec)"
    r"/(?:s|sec|it|step|iter|batch)|(?:avg loss|rate)(?=,))\b"
)
"""A number before its name, as in ``12.5k tok/s``, ``207ms/step``, darknet's ``0.04 avg loss,``."""

_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}

_STEP_NUMBER = r"[\"']?(\d[\d,]*)(?![\d.]*[eE\d]|\.\d|\w)"

_NAMED_STEPS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![A-Za-z])(?:global|total)[_ ]?(?:(?:time)?steps?|env_?interacts)[\"']?\s*[:=]?\s*"
        rf"{_STEP_NUMBER}",
        r"^s:(\d+) ",
        rf"(?<![\w/@.\-'])(?:\w+[/_])?{_STEP_WORD}[\"']?\s*(?:[:=#]|\[)?\s*\[?\s*{_STEP_NUMBER}",
    )
)
"""How steps are printed by name: ``step 120``, ``iter: 120``."""

_STEPS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:^|\]\s)\s*\[\s*(\d+)\s*\](?!\s*\[)",
        r"\[\s*\d+\s*(?:/\s*\d+\s*)?\]\s*\[\s*(\d+)\s*/\s*\d+\s*\]",
        r"(?:^|[|\[(\s])\s*(\d+)\s*/\s*\d+\s+(?:batches|steps|it)\b",
        r"\|\s*(\d+)/\d+ \[",
        r"\[\s*(\d+)\s*/\s*\d+(?:\s*\(|\s*\])",
        r"^\s*(?:epoch\s*\S+\s+)?(\d+)\s*/\s*\d+(?=\s)",
        r"^\s*\[\s*\d+\s*,\s*(\d+)\s*\]",
        r"^\s*(\d+)it \[",
        r"^\s*(\d+):(?:\t| [\d.]+, )",
        r"\bUp\. (\d+) :",
    )
)
"""How steps are printed without a name: ``[120]``; ``[0/9][120/2000]``; ``120/2000``; ``120:``."""

_TEST = re.compile(
    r"(?<![\w/.])(?:test|testing|val|valid|validation|eval|evaluation)\s*:\s*\[\s*\d", re.IGNORECASE
)
"""A line that counts the batches of a test, as in ``Test: [  10/157]``."""

_EPOCH = re.compile(
    r"(?<![\w/])(?<!best )epoch[\"']?\s*[:=]?\s*\[?\s*(\d+)(?![\d.]*\.\d|\d*[eE])", re.I
)

_COUNTS = re.compile(
    rf"(?:[\w/]+[/_])?(?:{_STEP_WORD}|episodes?|epochs?)|rank|device|gpu|cuda|seed|pid|port", re.I
)
"""Names whose numbers are no values."""

_JUDGED = re.compile(r"(?:\w+[_/-])?(?:loss|grad_?norm)", re.IGNORECASE)
"""What a warning may say of the training itself."""

_NO_VALUES = re.compile(
    r"(?i:train|training|val|valid|validation|eval|test) *[:=] *\d+ +\["
    r"|[\w./]+@0?\.\d+:0?\.\d+"
    r"|[\w./\-]+\.(?:py|cc|cpp|cu|rs):\d|[\w.]+:\d+(?:[)\]]| (?:-|>>))"
    r"|[\w./\-]+:\d+\s[^=|]{0,60}\b(?:DEBUG|INFO|WARN(?:ING)?|ERROR|CRITICAL)\b"
)
"""Numbers that are no values: a phase's epoch, as in ``Train: 0 [  50/1251 (  4%)]``, a range of
thresholds, as in ``mAP@.5:.95``, and a place in code, as in ``train.py:42]``, ``trainer:261 -`` and
``host:0 trainer:261 INFO``."""


_PHASE = re.compile(
    r"(?<![\w/.\-])(val|valid|validation|validating|eval|evaluation|evaluating|test|testing|dev)"
    r"(?:[ ](?:set|results?|(?:epoch|step|iter)[ ]\d+))?[ ]*[:|\]]",
    re.IGNORECASE,
)
"""A phase that is no training, before its numbers: ``validation:``, ``[eval]``, ``| valid |``."""

_ANY_PHASE = re.compile(r"val|test|dev", re.IGNORECASE)

_PHASE_OF_ALL = re.compile(
    r"(?:^|[\]>:\-][ ])[ ]*(val|valid|validation|test|eval|dev)[ ](?=(?:loss|acc)\w*\b)",
    re.IGNORECASE,
)
"""A phase at the start of a line, which all its numbers are of: ``val loss: 0.5 acc: 0.8``."""

_PLAIN = re.compile(
    r"(?:loss(?:es)?|nll(?:_loss)?|ppl|perplexity|(?:acc(?:uracy)?|prec|top)(?:[@-]?\d+)?)", re.I
)
"""What is measured in training and in a test alike."""


class PrintedStep(NamedTuple):
    """The step that a line names.

    Parameters
    ----------
    number : int
        Its number.
    is_epoch : bool
        Whether the line names only an epoch.
    """

    number: int
    is_epoch: bool = False


def clean(text: str) -> str:
    r"""Remove escape sequences from a text.

    Examples
    --------
    >>> clean("\x1b[32mloss\x1b[0m 2.31")
    'loss 2.31'
    """
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def numbers_in(line: str) -> dict[str, float]:
    """Return the numbers in a line by name; of two with one name the first.

    A number with a unit of time or memory has the unit in its name.

    Examples
    --------
    >>> numbers_in("step 120/2000 | loss: 2.31, lr=1e-3 | val loss nan | 12.5k tok/s")
    {'loss': 2.31, 'lr': 0.001, 'val_loss': nan, 'tok/s': 12500.0}
    >>> numbers_in("{'loss': 2.31, 'grad_norm': 0.5} Accuracy: 98/100 (98%) at 12:30:01")
    {'loss': 2.31, 'grad_norm': 0.5, 'Accuracy': 0.98}
    >>> numbers_in("loss(val): tensor(0.5, device='cuda:0') | lm loss: 2.3E+00 | dt: 12ms")
    {'loss_val': 0.5, 'lm_loss': 2.3, 'dt_ms': 12.0}
    """
    found: dict[str, float] = {}
    for match in _PAIR.finditer(line):
        name = _name(match["quoted"] or match["name"] or match["plain"])
        if name.lower() == "loss" and (part := _PART.search(line, 0, match.start())):
            name = f"{part[1]}_{name}"
        if len(name) > LONGEST_NAME or _COUNTS.fullmatch(name):
            continue
        if _NO_VALUES.match(line, match.start()):
            continue
        if match["of"] is not None and match["list"]:
            continue
        number = _value(match["number"], match["scale"])
        if match["of"] is not None:
            number = number / float(match["of"]) if float(match["of"]) else math.nan
        if match["unit"] and not is_progress(name):
            name = f"{name}_{match['unit'].strip()}"
        found.setdefault(name, number)
    if "warning" in line.lower():
        found = {name: number for name, number in found.items() if _JUDGED.fullmatch(name)}
    for match in _RATE.finditer(line):
        found.setdefault(_name(match["unit"]), _value(match["number"], match["scale"]))
    return found


def step_in(line: str) -> PrintedStep | None:
    """Return the step that a line names; None if it names none.

    Examples
    --------
    >>> lines = ("iter 7: loss 2", "[12] auc:0.5", " 30%|###  | 3/10 [00:01")
    >>> [step_in(line).number for line in lines]
    [7, 12, 3]
    >>> step_in("Accuracy: 98/100"), step_in("Epoch 3: val_loss 2.5")
    (None, PrintedStep(number=3, is_epoch=True))
    """
    number = _first(_NAMED_STEPS, line)
    if number is None and not _TEST.search(line):
        number = _first(_STEPS, line)
    if number is not None:
        return PrintedStep(number)
    epoch = epoch_in(line)
    return None if epoch is None else PrintedStep(epoch, is_epoch=True)


def _first(patterns: Sequence[re.Pattern[str]], line: str) -> int | None:
    """Return the number that the first of these patterns finds."""
    for pattern in patterns:
        match = pattern.search(line)
        if match is not None and len(match[1]) <= MOST_DIGITS:
            return int(match[1].replace(",", ""))
    return None


def epoch_in(line: str) -> int | None:
    """Return the epoch that a line names, if it is a whole number; else None.

    Examples
    --------
    >>> epoch_in("Epoch 2/5"), epoch_in("epoch 3 step 20 loss 2.5"), epoch_in("{'epoch': 0.1}")
    (2, 3, None)
    """
    match = _EPOCH.search(line)
    return int(match[1]) if match is not None and len(match[1]) <= MOST_DIGITS else None


def loss_of_phase(name: str, line: str) -> str:
    """Return another name for a loss or an accuracy of a line that is not of the training.

    Examples
    --------
    >>> loss_of_phase("loss", "validation: loss 2.2"), loss_of_phase("loss", "step 3 loss 2.2")
    ('validation_loss', 'loss')
    >>> loss_of_phase("acc", "[eval] step 30 acc 0.2"), loss_of_phase("f1", "eval: f1 0.5")
    ('eval_acc', 'f1')
    >>> loss_of_phase("Acc", "val Loss: 0.5 Acc: 0.8")
    'val_Acc'
    """
    if not _PLAIN.fullmatch(name) or not _ANY_PHASE.search(line):
        return name
    match = _PHASE.search(line) or _PHASE_OF_ALL.search(line)
    return name if match is None else f"{match[1].lower()}_{name}"


_REMARK = re.compile(r"\(\w+ [^)]*\)")
"""Several words in brackets, as in ``loss (for one batch)``."""


def _name(text: str) -> str:
    text = _REMARK.sub("", text).replace("'s ", " ").replace("(", " ").replace(")", " ")
    return "_".join(text.split())


def _value(text: str, scale: str | None) -> float:
    number = float(text.replace(",", "").replace("D", "e").replace("d", "e"))
    return number * (_SCALES[scale] if scale else 1.0)


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

_HEADING = re.compile(r"loss|acc|err|score|map|auc|reward|return|learn|f1|^epoch$", re.IGNORECASE)

_CELL = re.compile(
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
            if len(cells) == len(self._names) and all(map(_CELL.fullmatch, cells[1:])):
                pairs = zip(self._names, cells, strict=True)
                return ", ".join(f'"{name}": {cell}' for name, cell in pairs)
        names = [_SHORT.get(name, name) for name in _SPLIT.split(bare)]
        if (
            LEAST_COLUMNS <= len(names) <= MOST_COLUMNS
            and all(map(_NAME.fullmatch, names))
            and any(map(_HEADING.search, names))
        ):
            self._names = [name.strip("():") for name in names]
        return line
