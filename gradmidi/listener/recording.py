"""Check the norms of each step and write them to the run log."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradmidi.base.checks import steps_made
from gradmidi.base.messages import Warnings, say
from gradmidi.errors import CaptureError, GradmidiError
from gradmidi.log import ABSENT, Layer
from gradmidi.log.values import Clipping
from gradmidi.log.writer import LogWriter
from gradmidi.text.words import count

__all__ = ["Norms", "Recording", "Row", "Rows"]

Norms = Mapping[str, float | None] | Sequence[float | None]

Row = Callable[[Any], np.ndarray]
"""Makes a row of norms from what capture measured."""


class Recording:
    """Writes a frame for each step to the run log; a `gradmidi.capture.steps.Consumer`.

    Parameters
    ----------
    writer : LogWriter
        The writer of the log.
    layers : sequence of Layer
        The layers that are measured.
    warnings : Warnings
        Counts the run-time errors.
    step : int
        The last step before this recording.
    resumed : bool
        Whether the log holds an earlier segment of the run.
    fold : callable, optional
        Combines a row of layers to a row of voices.
    clipping : Clipping, optional
        Tracks whether the run clips its gradients.

    Attributes
    ----------
    step : int
        The last step.
    offset : int
        By how much the number of a step exceeds that of the updates of this recording.
    resumed : bool
        Whether the log holds an earlier segment of the run.
    measured : bool
        Whether the last step has a frame.
    layers : tuple of Layer
        The layers, in the order of the log.
    waits_for_order : bool
        Whether the log begins with `arrange`.
    place : str
        The run's folder, for messages.
    on_replace : callable
        Called when another listener is attached to the same optimizer.
    on_arrange : callable
        Called with the layers when they are put in another order.
    """

    def __init__(
        self,
        writer: LogWriter,
        layers: Sequence[Layer],
        warnings: Warnings,
        *,
        step: int = 0,
        resumed: bool = False,
        fold: Row | None = None,
        clipping: Clipping | None = None,
    ) -> None:
        self.step = self.offset = step
        self.resumed = resumed
        self.measured = False
        self.waits_for_order = False
        self.on_replace: Callable[[], None] = lambda: None
        self.on_arrange: Callable[[tuple[Layer, ...]], None] = lambda _: None
        self.place = "the run"
        self._writer = writer
        self.layers = tuple(layers)
        self._rows = Rows(layers)
        self._warnings = warnings
        self._fold = self._fold_captured = fold
        self._clipping = clipping
        self._frames_given = 0
        self._newest = 0  # The last step with a frame in this segment; 0 if none.

    @property
    def is_open(self) -> bool:
        """Whether steps are recorded."""
        return self._writer.is_open

    def frame(self, norms: Norms, step: int | None = None) -> bool:
        """Write a frame of the user's norms; return whether they are valid.

        Raises
        ------
        CaptureError
            If the first frame is invalid; later invalid frames are left out and counted.
        """
        self._frames_given += 1
        try:
            row = self._rows.row(norms)
            following = self.step + 1 if step is None else _whole(step)
        except CaptureError as error:
            if self._frames_given == 1:
                raise
            self.skip()
            self._warnings.note("frame()", error, "this step is left out")
            return False
        self.step = self._newest = following
        self.measured = True
        self._writer.frame(self.step, row, self._fold)
        return True

    def go_to(self, step: Any) -> None:
        """Set the last step, as after loading a checkpoint; never raise.

        Steps that are made again replace the earlier ones, in a new segment of the log.
        """
        try:
            made = steps_made(step)
        except GradmidiError as error:
            self._warnings.note("ears.step", error, "the steps are numbered as before")
            return
        if made < self._newest:
            self._newest = 0
            self.resumed = True
            self._writer.begin_segment()
        self.offset += made - self.step
        self.step = made

    def arrange(self, order: Sequence[int]) -> None:
        """Put the layers in another order; call it before the first frame.

        `order` has the indices of the layers that capture gives, as they are to stand in the log.
        """
        if list(order) != list(range(len(order))):
            self.layers = tuple(self.layers[index] for index in order)
            self._rows = Rows(self.layers)
            self._fold_captured = partial(np.take, indices=np.array(order))
            self.on_arrange(self.layers)
        self._writer.arrange(self.layers)

    # -- what capture calls --------------------------------------------------------------------

    def take(self, norms: Any, row: Row, skipped: Any = None) -> None:
        """Write a frame of norms measured by capture; `row` converts them to a row later."""
        self.step += 1
        self._newest = self.step
        self.measured = True
        fold = self._fold_captured
        read = row if fold is None else lambda n: fold(row(n))
        self._writer.frame(self.step, norms, read, None, skipped)

    def update(self, norms: Any, row: Row) -> None:
        """Write the size of the last step's update, as `row` gives it later."""
        self._writer.update(self.step, norms, partial(_ratios, row=row, fold=self._fold_captured))

    def skip(self) -> None:
        """Count a step that was not measured."""
        self.step += 1
        self.measured = False

    def fail(self, error: Exception) -> None:
        """Count a step that could not be measured, and warn about the first."""
        self.skip()
        self._warnings.note("capture", error, "this step is left out, training continues")

    def see_clipping(self) -> None:
        """Note that the norms are measured before clipping."""
        if self._clipping is not None:
            self._clipping.seen = True

    def miss_clipping(self, text: str) -> None:
        """Note that norms may be from after clipping, and warn once."""
        if self._clipping is not None and not self._clipping.missed:
            self._clipping.missed = True
            say(text)

    def replace(self) -> None:
        """End the run, because another listener is attached to the same optimizer; say so."""
        if self.is_open:
            say(f"{self.place} ends: another listen() hears the same model and optimizer")
        self.on_replace()


def _ratios(norms: Any, *, row: Row, fold: Row | None) -> np.ndarray:
    """Divide how far each layer moved by the size of its weights; `ABSENT` for a layer of zeros."""
    moved, sizes = np.split(row(norms), 2)
    if fold is not None:
        moved, sizes = fold(moved), fold(sizes)
    known = (moved != ABSENT) & (sizes > 0.0) | np.isnan(moved) | np.isnan(sizes)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.where(known, moved / sizes, ABSENT)


class Rows:
    """Makes rows from a user's norms, which are given by name or in order.

    Parameters
    ----------
    layers : sequence of Layer
        The layers.

    Examples
    --------
    >>> Rows([Layer("fc1", 0), Layer("fc2", 0)]).row({"fc2": 0.5})
    array([-1. ,  0.5])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._places = {layer.name: index for index, layer in enumerate(layers)}

    def row(self, norms: Norms) -> np.ndarray:
        """Make a row of one step's norms.

        Raises
        ------
        CaptureError
            If a name is not a layer's, a sequence has another length, or a norm is not a number or
            is below zero.
        """
        expected = len(self._places)
        if isinstance(norms, Mapping):
            row = np.full(expected, ABSENT)
            pairs = [(self._place(name), norm) for name, norm in norms.items()]
        else:
            if not isinstance(norms, Iterable):
                raise CaptureError(
                    f"frame() was given {norms!r}; allowed is a mapping of layers to norms, or a "
                    "norm for each layer in order"
                )
            values = list(norms)
            if len(values) != expected:
                raise CaptureError(
                    f"frame() was given {count(len(values), 'norm')}; there are "
                    f"{count(expected, 'layer')}: {_some(self._places)}"
                )
            row = np.empty(expected)
            pairs = list(enumerate(values))
        for index, norm in pairs:
            row[index] = ABSENT if norm is None else self._norm(index, norm)
        return row

    def _place(self, name: str) -> int:
        if name not in self._places:
            raise CaptureError(f"no layer is called {name!r}; there are: {_some(self._places)}")
        return self._places[name]

    def _norm(self, index: int, norm: Any) -> float:
        try:
            value = float(norm.detach() if hasattr(norm, "detach") else norm)
        except (TypeError, ValueError, RuntimeError):
            value = ABSENT
        if value < 0.0:
            raise CaptureError(
                f"{norm!r} is not a norm (layer {list(self._places)[index]!r}); allowed is a "
                "number of 0 or more, nan, inf, or None for no gradient"
            )
        return value


def _whole(step: Any) -> int:
    try:
        return int(step)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise CaptureError(f"step={step!r}; allowed is a whole number") from None


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
