"""Counts, numbers, times, names and faults in words: the one place where they are put into words.

Nothing heavy is imported here, so that every room above may use it.
"""

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gradmidi.detection.kinds import KINDS, Finding
from gradmidi.music.events import Alarm

if TYPE_CHECKING:
    from gradmidi.log import Layer

__all__ = [
    "ago",
    "alarm",
    "clock",
    "count",
    "duration",
    "fault",
    "going_on",
    "layers_of",
    "listed",
    "logged_value",
    "norm",
    "number",
    "share",
    "timeline",
    "times",
    "when",
    "where",
]

NAMED = 3
"""Names that are listed one by one; of more names the first three, and how many more."""

FRACTIONS = {2: "about half", 3: "about a third", 4: "about a quarter", 5: "about a fifth"}


LONGER = (
    (7200.0, 60, 1, "min", "s"),
    (172_800.0, 3600, 60, "h", "min"),
    (math.inf, 86_400, 3600, "days", "h"),
)
"""Below so many seconds, a time is told in units of so many seconds and parts of so many."""


def count(number: int, noun: str, many: str = "") -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> count(1, "step"), count(400_000, "parameter"), count(2, "loss", "losses")
    ('1 step', '400,000 parameters', '2 losses')
    """
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits; with an exponent, one digit fewer.

    Examples
    --------
    >>> number(0.45), number(1234.5), number(2.471e5, 3), number(1e-7), number(math.nan)
    ('0.45', '1234', '2.5e5', '1e-7', 'nan')
    """
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def times(ratio: float) -> str:
    """Return a ratio above zero in words, to be followed by "as large".

    Examples
    --------
    >>> times(5.06), times(1234.0), times(1 / 53.2), times(1 / 4.1)
    ('5.06 times', '1,230 times', '1/53', 'about a quarter')
    """
    if ratio >= 1.0:
        rounded = float(f"{ratio:.3g}")
        if rounded >= 1e6:
            return f"{number(ratio, 3)} times"
        return f"{rounded:,.0f} times" if rounded >= 1000.0 else f"{rounded:g} times"
    inverse = 1.0 / ratio if ratio > 0.0 else math.inf
    whole = round(inverse) if inverse < 1e6 else 0
    if whole in FRACTIONS and abs(inverse - whole) <= 0.2:
        return FRACTIONS[whole]
    if inverse < 10.0:
        return f"{ratio:.2g} times"
    return f"1/{float(f'{inverse:.3g}'):,.0f}" if whole else f"1/{number(inverse, 3)}"


def share(part: float) -> str:
    """Return a share of a whole in percent.

    Examples
    --------
    >>> share(0.0227), share(0.25), share(0.0002)
    ('2.3 %', '25 %', 'less than 0.1 %')
    """
    if part < 0.001:
        return "less than 0.1 %"
    return f"{100.0 * part:.2g} %"


def ago(seconds: float) -> str:
    """Return how long ago something was.

    Examples
    --------
    >>> ago(12.3), ago(400.0), ago(8000.0), ago(3e5)
    ('12 s ago', '7 min ago', '2 h ago', '3 days ago')
    """
    if seconds < 120.0:
        return f"{seconds:.0f} s ago"
    if seconds < 7200.0:
        return f"{seconds / 60.0:.0f} min ago"
    return (
        f"{seconds / 3600.0:.0f} h ago" if seconds < 172800.0 else f"{seconds / 86400:.0f} days ago"
    )


def duration(seconds: float) -> str:
    """Return how long something took.

    Examples
    --------
    >>> duration(3.814), duration(1050.0), duration(18_720.0), duration(2e5)
    ('3.81 s', '17 min 30 s', '5 h 12 min', '2 days 8 h')
    """
    if not 120.0 <= seconds < math.inf:
        return f"{number(seconds, 3)} s"
    _, large, part, unit, small = next(row for row in LONGER if seconds < row[0])
    whole, rest = divmod(round(seconds / part), large // part)
    return f"{whole} {unit}" + (f" {rest} {small}" if rest else "")


def norm(value: float, digits: int = 4) -> str:
    """Return a layer's norm in words; `gradmidi.log.ABSENT` is no gradient.

    Examples
    --------
    >>> norm(0.5), norm(0.0), norm(-1.0), norm(math.nan)
    ('norm 0.5', 'norm exactly zero', 'no gradient', 'norm nan')
    """
    if value == 0.0:
        return "norm exactly zero"
    return "no gradient" if value < 0.0 else f"norm {number(value, digits)}"


def clock(seconds: float) -> str:
    """Return a place in a piece: seconds below a minute, else minutes and seconds.

    Examples
    --------
    >>> clock(2.5), clock(185.0)
    ('2.5 s', '3:05')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = math.floor(seconds + 0.05)
    return f"{whole // 60}:{whole % 60:02d}"


def timeline(seconds: float, text: str) -> str:
    """Return a line of a timeline: when a sound is heard, and what it is.

    Examples
    --------
    >>> timeline(2.5, "conv1: home, C3")
    '2.5 s: conv1: home, C3'
    """
    return f"{clock(seconds)}: {text}"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence; of many the first few, and how many more.

    Examples
    --------
    >>> listed(["fc1"]), listed(["conv1", "conv2", "fc1"])
    ('fc1', 'conv1, conv2 and fc1')
    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(names) > NAMED + 1:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED:,} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def layers_of(names: Sequence[str], present: int, below: str = "") -> tuple[str, str]:
    """Return which layers these are, and beside it how many of how many.

    Parameters
    ----------
    names : sequence of str
        The layers, in the model's order.
    present : int
        How many layers had a gradient.
    below : str, default ""
        The layer after the last of them, if they are a row of neighbours.

    Examples
    --------
    >>> layers_of(["fc1"], 4), layers_of(["fc1", "fc2"], 2)
    (('fc1', ''), ('all layers', ''))
    >>> layers_of(["conv1", "conv2", "fc1"], 4)
    ('conv1, conv2 and fc1', '3 of 4 layers')
    >>> layers_of([f"blocks.3.{name}" for name in ("q", "k", "v", "o", "up")], 40)
    ('blocks.3.q, blocks.3.k, blocks.3.v and 2 more', '5 of 40 layers, blocks.3.*')
    >>> layers_of(["a", "b", "c", "d", "e"], 7, "f")
    ('a, b, c and 2 more', '5 of 7 layers, up to e, below f')
    """
    if len(names) == 1:
        return names[0], ""
    if len(names) >= present:
        return "all layers", ""
    beside = f"{len(names):,} of {present:,} layers"
    if len(names) > NAMED + 1:
        common = _common(names)
        beside += f", {common}" if common else ""
        if below and not (common and not fnmatchcase(below, common)):
            beside += f", up to {names[-1]}, below {below}"
    return listed(names), beside


def alarm(event: Alarm) -> str:
    """Return one report of a fault as a line.

    Examples
    --------
    >>> alarm(Alarm(960, "spike", "fc1", 312, 57.5))
    'step 312: spike in fc1 (norm 57.5)'
    """
    layers = _layers(event)
    what = fault(event.kind, layers, event.value, event.present, event.logged, event.below)
    return f"step {event.step}: {what}"


def going_on(finding: Finding, layers: "Sequence[Layer]") -> str:
    """Return a fault that goes on as a line.

    Examples
    --------
    >>> from gradmidi.log import Layer
    >>> going_on(Finding("dead", 0, 12, 0.0, (0,), 4), [Layer("fc1", 10)])
    'fc1 dead, since step 12'
    """
    names = [layers[index].name for index in finding.layers]
    what = fault(finding.kind, names, finding.value, finding.present, finding.logged)
    return f"{what}, since step {finding.step}"


def where(event: Alarm) -> str:
    """Return the layers that a fault is reported of, or that it is a logged value or the run.

    Examples
    --------
    >>> where(Alarm(960, "spike", "fc1", 312, 57.5)), where(Alarm(960, "died", "", 312, 3.1))
    ('fc1', 'the run')
    """
    layers = _layers(event)
    if event.logged:
        return logged_value(event.logged)
    if not layers:
        return "the run"
    return layers_of(layers, event.present or len(layers) + 1)[0]


def _layers(event: Alarm) -> tuple[str, ...]:
    return event.layers or ((event.layer,) if event.layer else ())


def logged_value(name: str) -> str:
    """Return what a logged value is called in a sentence."""
    return "the loss" if name == "loss" else f"the logged {name}"


def _common(names: Iterable[str]) -> str:
    """Return the part before a dot that all names begin with, as a pattern; or nothing."""
    parts = [name.split(".") for name in names]
    common = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return ".".join([*common, "*"]) if common else ""


def unread(lines: int, first: int) -> str:
    """Return how many lines of a log could not be read.

    Examples
    --------
    >>> unread(2, 17)
    '2 lines could not be read, the first is line 17'
    """
    return f"{count(lines, 'line')} could not be read, the first is line {first}"


def when(first: int, last: int | None) -> str:
    """Return the steps that something lasted; `last` is None where that is to the end.

    Examples
    --------
    >>> when(16, 16), when(12, 40), when(12, None)
    ('step 16', 'steps 12 to 40', 'step 12 to the end')
    """
    if last is None:
        return f"step {first} to the end"
    return f"step {first}" if last <= first else f"steps {first} to {last}"


def fault(
    kind: str,
    layers: Sequence[str],
    value: float,
    present: int = 0,
    logged: str = "",
    below: str = "",
    first: Sequence[str] = (),
) -> str:
    """Return what is wrong, and where, without its step.

    Parameters
    ----------
    kind : str
        One of `gradmidi.detection.kinds.KINDS`.
    layers : sequence of str
        The layers that have it; none where it is a logged value or the run itself.
    value : float
        The norm over these layers; the logged value; of a stalled run the seconds without a step;
        of an update its share of the weights.
    present : int, default 0
        How many layers had a gradient; 0 where that is not known.
    logged : str, default ""
        The name of the logged value that has it.
    below : str, default ""
        The layer after the last of them, or of the first ones, if they are a row of neighbours.
    first : sequence of str, default ()
        The layers that had it first.

    Examples
    --------
    >>> fault("exploding", ["conv1", "fc1"], 2.471e5, 2)
    'all layers exploding (total norm 2.5e5)'
    >>> fault("dead", ["conv1", "conv2", "fc1"], 0.0, 4)
    'conv1, conv2 and fc1 dead (3 of 4 layers)'
    >>> fault("missing", ["fc1"], 0.0, 4)
    'fc1 missing (no gradient any more)'
    >>> fault("nan", ["conv1", "fc1"], math.nan, 2, first=["conv1"])
    'all layers nan (first in conv1)'
    >>> fault("spike", ["fc1"], 57.5, 4), fault("died", [], 12.0)
    ('spike in fc1 (norm 57.5)', 'the run died')
    >>> fault("nan", [], math.nan, 0, "loss"), fault("inf", [], -math.inf, 0, "val/acc")
    ('the loss nan', 'the logged val/acc inf')
    >>> fault("spike", [], 9.0, 0, "loss")
    'spike in the loss (9)'
    """
    if logged:
        amount = f" ({number(value, 3)})" if math.isfinite(value) else ""
        if not KINDS[kind].lasting:
            return f"{kind} in {logged_value(logged)}{amount}"
        return f"{logged_value(logged)} {kind}{amount}"
    if not layers:
        if kind == "stalled":
            return f"the run stalled (no step for {number(value, 3)} s)"
        if kind == "overshooting":
            share = f"an update changed the weights by {number(100.0 * value, 2)} %"
            return f"the learning rate is too high ({share})"
        if kind == "skipped":
            return "update skipped by the gradient scaler"
        return f"the run {kind}"
    who, beside = layers_of(layers, present or len(layers) + 1, "" if first else below)
    total = "total norm" if len(layers) > 1 else "norm"
    norm = f"{total} {number(value, 3)}" if 0.0 < value < math.inf else ""
    if kind == "missing":
        norm = "no gradient any more"
    begun = ", ".join(filter(None, layers_of(first, present, below))) if first else ""
    origin = f"first in {begun}" if first else ""
    details = ", ".join(filter(None, (beside if present else "", norm, origin)))
    what = f"{who} {kind}" if KINDS[kind].lasting else f"{kind} in {who}"
    return f"{what} ({details})" if details else what
