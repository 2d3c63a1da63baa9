"""Find the step of each line that a training prints, also if another line names it (`Steps`)."""

import re
from dataclasses import dataclass

from gradmidi.sources.printed import epoch_in, step_in

__all__ = ["Printed", "Steps"]

_BAR = re.compile(r"\|\s*(\d+)/(\d+) \[")
"""A progress bar of tqdm: done and total."""

_NAMES_STEP = re.compile(
    r"\W*(?:global[_ ]?)?(?:step|iter(?:ation)?|batch|update)\b", re.IGNORECASE
)
"""The start of a line that is there to name a step."""

MOST_BARS = 50
"""How many progress bars are remembered."""


@dataclass(slots=True)
class Printed:
    """The numbers of one line, or of one table.

    Parameters
    ----------
    line : int
        The number of the line.
    numbers : dict of str to float
        Numbers by name.
    step : int or None
        Its step.
    kind : str
        What the step is: ``"own"``, an ``"epoch"``, ``"inherited"``, or empty.
    epoch : int or None
        The epoch of a step of its own, which this line or one before it names.
    """

    line: int
    numbers: dict[str, float]
    step: int | None = None
    kind: str = ""
    epoch: int | None = None


class Steps:
    """Finds the step of each line.

    A line without a step has that of the progress bar that is drawn around it, or else of the
    newest line with a step. An epoch, also one in a line of its own above the numbers, is a step if
    no line names another, and if no name comes twice in an epoch.

    Examples
    --------
    >>> steps = Steps()
    >>> for text in ("10%| 0/40 [", "{'loss': 0.5}", "12%| 5/40 ["):
    ...     numbers = {"loss": 0.5} if "loss" in text else {}
    ...     print([each.step for each in steps.take(text, Printed(1, numbers))])
    []
    []
    [5]
    """

    def __init__(self) -> None:
        self._bars: dict[str, int] = {}
        self._main = ""
        self._held: list[Printed] = []
        self._newest: int | None = None
        self._epoch: int | None = None
        self._moved = False
        self._has_steps = False
        self._epochs: dict[str, int] = {}
        self._epochs_repeat = False
        self._heading: int | None = None
        self._inherited: dict[str, int] = {}

    def take(self, text: str, line: Printed) -> list[Printed]:
        """Return the lines whose steps are known now; those without a number are left out."""
        epoch = epoch_in(text)
        self._epoch = self._epoch if epoch is None else epoch
        bar = _BAR.search(text)
        if bar is not None:
            return self._take_bar(int(bar[1]), bar[2], line)
        found = step_in(text)
        if found is not None and not found.is_epoch:
            self._has_steps = True
            if line.numbers or _NAMES_STEP.match(text):
                self._moved = self._moved or self._newest not in (None, found.number)
                self._newest = found.number
            self._own(line, found.number)
        elif found is not None and not self._has_steps and not self._main:
            line.step, line.kind = found.number, "epoch"
            self._heading = None if line.numbers else found.number
        if not line.numbers:
            return []
        if self._heading is not None and not (line.kind or self._has_steps or self._bars):
            line.step, line.kind = self._heading, "epoch"
        if line.kind:
            self._count_epochs(line)
            return [*self.rest(), line]
        if self._bars and not self._main:
            # The longest bar that is not complete counts the steps; others load data or evaluate.
            going = [total for total, done in self._bars.items() if done < int(total)]
            self._main = max(going, key=int, default="")
        if self._main and self._bars[self._main] < int(self._main):
            # tqdm draws its bar again, with the step, after it has written a line.
            self._held.append(line)
            return []
        self._inherit(line)
        return [line]

    def rest(self) -> list[Printed]:
        """Return the lines that wait for a progress bar to be drawn again."""
        held, self._held = self._held, []
        for line in held:
            self._own(line, self._bars[self._main])
        return held

    def is_sure(self, line: Printed) -> bool:
        """Return whether the step of a line is one, as far as is known now."""
        if line.kind == "epoch":
            return not (self._epochs_repeat or self._has_steps)
        return line.kind != "inherited" or self._moved

    def _take_bar(self, done: int, total: str, line: Printed) -> list[Printed]:
        if total in self._bars or len(self._bars) < MOST_BARS:
            self._bars[total] = done
        held = self.rest() if total == self._main else []
        if not line.numbers or not done:
            # A bar at zero still shows the numbers of the epoch before.
            return held
        self._own(line, done)
        return [*held, line]

    def _own(self, line: Printed, step: int) -> None:
        line.step, line.kind, line.epoch = step, "own", self._epoch

    def _inherit(self, line: Printed) -> None:
        step = self._bars[self._main] if self._main else self._newest
        if step is None:
            return
        used = any(self._inherited.get(name) == step for name in line.numbers)
        if self._main or not used:
            line.step, line.kind = step, "own" if self._main else "inherited"
            self._inherited.update(dict.fromkeys(line.numbers, step))

    def _count_epochs(self, line: Printed) -> None:
        if line.kind == "epoch" and line.step is not None:
            repeated = any(self._epochs.get(name) == line.step for name in line.numbers)
            self._epochs_repeat = self._epochs_repeat or repeated
            self._epochs.update(dict.fromkeys(line.numbers, line.step))
