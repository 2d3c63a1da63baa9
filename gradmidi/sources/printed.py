"""Find the numbers and the step in a line that a training prints (`numbers_in`, `step_in`)."""

import math
import re

__all__ = ["clean", "numbers_in", "step_in"]

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
"""Escape sequences of ECMA-48: colours, movements of the cursor, titles of windows."""

_NUMBER = (
    r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
)

_WORD = r"[A-Za-z_][\w/@.\-]*?"

_OF = (
    r"(?:(?:train|training|val|valid|validation|eval|evaluation|test|dev|average|avg|mean|total|grad"
    r"|gradient|learning|policy|value|critic|actor|top|valid_\d+)(?:'s)?[ ]+)?"
)
"""A word before a name that belongs to it, as in ``val loss`` and ``training's auc``."""

_METRIC = (
    r"(?:\w+[_/-])?(?:loss(?:es)?|acc(?:uracy)?|lr|ppl|perplexity|gnorm|grad_?norm|norm|reward|returns?|f1"
    r"|auc|bleu|rouge|err(?:or)?|mae|mse|rmse|nll|bpb|kl|entropy|score|map|iou|dice|recall|precision"
    r"|mfu|time|acc@\d+|rate)"
)
"""A name that a number may follow with only a space between."""

_PAIR = re.compile(
    rf"""(?<![\w/@.\-])(?P<quote>["']?)
    (?:
      (?P<name>{_OF}{_WORD})(?P=quote)[ ]*(?:[:=]|is[ ])\s*["']?
    | (?P<plain>{_OF}{_METRIC})[ ]+
    )
    (?P<number>{_NUMBER})
    (?:[ ]?/[ ]?(?P<of>\d+)(?![\d/:.]))?
    (?P<scale>[kKMGB](?=[\s/,|)\]]|tok|it|$))?
    (?![:]\d|\.\d|[\d_]|/\d|-\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)

_RATE = re.compile(
    rf"(?<![\w.:])(?P<number>{_NUMBER})(?P<scale>[kKMG])?[ ]?"
    r"(?P<unit>(?:it|tok|tokens?|samples?|steps?|ex|img|images?|ms|s|sec)/(?:s|sec|it|step|iter|batch))\b"
)
"""A number before its name, as in ``12.5k tok/s`` and ``207ms/step``."""

_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}

_STEP_WORD = r"(?:global[_ ]?step|steps?|iter(?:ation)?s?|it|batch(?:es)?|num_updates|updates?)"

_STEPS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\w/@.\-'])(?:\w+[/_])?{_STEP_WORD}[\"']?\s*(?:[:=#]|\[)?\s*\[?\s*(\d[\d,]*)(?![\d.]*[eE\d]|\.\d|\w)",
        r"^\s*\[\s*(\d+)\s*\]",
        r"\[\s*\d+\s*\]\[\s*(\d+)\s*/\s*\d+\s*\]",
        r"(?:^|[|\[(\s])\s*(\d+)\s*/\s*\d+\s+(?:batches|steps|it)\b",
        r"\|\s*(\d+)/\d+ \[",
        r"\[\s*(\d+)\s*/\s*\d+(?:\s*\(|\s*\])",
        r"^\s*(?:epoch\s*\S+\s+)?(\d+)\s*/\s*\d+(?=\s)",
        r"^\s*\[\s*\d+\s*,\s*(\d+)\s*\]",
    )
)
"""How steps are printed: ``step 120``; ``[120]``; ``[0][120/2000]``; ``120/2000``."""

_EPOCH = re.compile(r"(?<![\w/])epoch[\"']?\s*[:=]?\s*\[?\s*(\d+)(?![\d.]*\.\d|\d*[eE])", re.I)

_COUNTS = re.compile(rf"(?:\w+[/_])?{_STEP_WORD}|epochs?|rank|device|gpu|cuda|seed|pid|port", re.I)
"""Names whose numbers are no values."""

_FILES = (".py", ".cc", ".cpp", ".cu", ".rs")
"""Endings of names of files, which a line's number follows."""


def clean(text: str) -> str:
    r"""Remove escape sequences from a text.

    Examples
    --------
    >>> clean("\x1b[32mloss\x1b[0m 2.31")
    'loss 2.31'
    """
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def numbers_in(line: str) -> dict[str, float]:
    """Return the numbers in a line by name.

    Examples
    --------
    >>> numbers_in("step 120/2000 | loss: 2.31, lr=1e-3 | val loss nan | 12.5k tok/s")
    {'loss': 2.31, 'lr': 0.001, 'val_loss': nan, 'tok/s': 12500.0}
    >>> numbers_in("{'loss': 2.31, 'grad_norm': 0.5} Accuracy: 98/100 (98%) at 12:30:01")
    {'loss': 2.31, 'grad_norm': 0.5, 'Accuracy': 0.98}
    """
    found: dict[str, float] = {}
    for match in _PAIR.finditer(line):
        name = (match["name"] or match["plain"]).replace("'s ", " ").strip()
        if _COUNTS.fullmatch(name.split()[-1]) or name.endswith(_FILES):
            continue
        number = _value(match["number"], match["scale"])
        if match["of"] is not None:
            number = number / float(match["of"]) if float(match["of"]) else math.nan
        found[re.sub(r"\s+", "_", name)] = number
    for match in _RATE.finditer(line):
        found.setdefault(match["unit"], _value(match["number"], match["scale"]))
    return found


def step_in(line: str) -> int | None:
    """Return the step that a line names; None if it names none.

    Examples
    --------
    >>> [step_in(line) for line in ("iter 7: loss 2", "[12] auc:0.5", " 30%|###  | 3/10 [00:01")]
    [7, 12, 3]
    >>> step_in("Accuracy: 98/100"), step_in("Epoch 3: val_loss 2.5")
    (None, 3)
    """
    for pattern in (*_STEPS, _EPOCH):
        match = pattern.search(line)
        if match is not None:
            return int(match[1].replace(",", ""))
    return None


def _value(text: str, scale: str | None) -> float:
    return float(text.replace(",", "")) * (_SCALES[scale] if scale else 1.0)
