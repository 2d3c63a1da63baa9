"""The hook on an optimizer: when to look at the gradients, and whom to hand the norms to.

An update is looked at once: before its gradients are clipped, where they are, and else before
the optimizer steps. What is seen before clipping is held until the step, so that a step that
never comes makes no frame.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradmidi.capture.compiled import apart
from gradmidi.capture.gathering import Gathering, in_backward
from gradmidi.capture.plan import UNFIT, Norms, Plan, Row
from gradmidi.capture.readout import Readout, capturing
from gradmidi.capture.stride import Stride
from gradmidi.capture.taker import Taker

__all__ = ["StepHook", "Tap", "held_by"]


class StepHook:
    """What an optimizer calls before it steps. A copy of the optimizer takes along a deaf one.

    Parameters
    ----------
    tap : Tap or None
        What listens; None in a copy.
    """

    def __init__(self, tap: "Tap | None" = None) -> None:
        self.tap = tap
        self._apart = None if tap is None else apart(tap.before_step)

    def __call__(self, _optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Look at the gradients; return other arguments where a closure is among them."""
        return None if self._apart is None else self._apart(args, kwargs)

    def __reduce__(self) -> tuple[type["StepHook"], tuple[()]]:
        return StepHook, ()


@dataclass(slots=True)
class _Held:
    """What is known of gradients whose step has not come yet.

    Parameters
    ----------
    seen : (Norms, Row) or None
        The norms and what makes a row of them; None where the step is not to be looked at.
    seconds : float
        What it took to see them.
    given : bool
        Whether the norms were handed over already.
    gradient : Tensor or None
        One of the gradients.
    version : int
        How often that one had been changed.
    """

    seen: tuple[Norms, Row] | None = None
    seconds: float = 0.0
    given: bool = False
    gradient: Tensor | None = None
    version: int = 0


class Tap:
    """Reads the gradients of one optimizer's parameters, or of all that a model has.

    Parameters
    ----------
    layers : sequence of sequence of Parameter
        The parameters of each layer.
    optimizer : Optimizer or None
        Whose parameters count; None: all.
    taker : Taker
        Who gets the norms.
    stride : Stride
        Which steps are looked at.
    gathering : Gathering, optional
        Where the norms of a step go that is made while `backward` runs.
    share : callable, optional
        Tells how much of a gradient's squares counts, see `gradmidi.capture.sharded.share`.

    Attributes
    ----------
    stepped : bool
        Set to True by each step of the optimizer.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[nn.Parameter]],
        optimizer: Optimizer | None,
        taker: Taker,
        stride: Stride,
        gathering: Gathering | None = None,
        share: Callable[[Any], float] | None = None,
    ) -> None:
        self.taker = taker
        self.stride = stride
        self.stepped = False
        self._layers = layers
        self._optimizer = optimizer
        self._gathering = gathering
        self._share = share
        self._readout = Readout()
        # Until a plan tells: whether gradients may be on a device.
        self._remote = True
        self._plan: Plan | None = None
        self._groups: list[int] | None = None
        self._own: dict[int, nn.Parameter] = {}
        self._witness: nn.Parameter | None = None
        self._held: _Held | None = None
        self._deaf = False

    @property
    def own(self) -> dict[int, nn.Parameter]:
        """The parameters that it reads or whose optimizer it hears, by their identity."""
        self._regroup()
        return self._own

    # -- a step ---------------------------------------------------------------------------------

    def before_step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look at the gradients; where a closure makes them, after its first evaluation."""
        self.stepped = True
        # The arguments begin with the optimizer itself.
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        try:
            if self._remote and capturing():
                # Nothing is computed now, and what is recorded will not call this.
                return None
            gathering = self._gathering if closure is None and in_backward() else None
        except Exception as error:
            self.taker.fail(error)
            return None
        if closure is None:
            if gathering is not None:
                gathering.add(self._read_later)
            else:
                self.look()
            return None
        pending = True

        def evaluated() -> Any:
            nonlocal pending
            if not pending:
                return self._unheard(closure)
            loss = closure()
            pending = False
            self.look()
            return loss

        if len(args) > 1:
            return (args[0], evaluated, *args[2:]), kwargs
        return args, {**kwargs, "closure": evaluated}

    def _unheard(self, closure: Callable[[], Any]) -> Any:
        """Evaluate once more for a step that was looked at, whatever is clipped on the way."""
        self._deaf = True
        try:
            return closure()
        finally:
            self._deaf = False

    def look(self, *, thrown_away: bool = False) -> None:
        """Hand over this step's norms, if it is to be looked at; never raise.

        Parameters
        ----------
        thrown_away : bool, default False
            Whether there will be no step: then it is always looked at.
        """
        try:
            if self._remote and capturing():
                return
            held = None if self._held is None else self._still_held()
            stride = self.stride
            due = stride.always or stride.due() if held is None else held.seen is not None
            if not due and not thrown_away:
                self.taker.skip()
                return
            begin = time.perf_counter()
            if held is None or held.seen is None:
                (norms, row), before = self.read(), 0.0
            else:
                (norms, row), before = held.seen, held.seconds
            lost: Any = thrown_away or None
            optimizer = self._optimizer
            if optimizer is not None:
                norms = self._unscaled(norms)
                lost = lost or getattr(optimizer, "found_inf", None)
            if self._remote:
                later = self._readout.later
                norms, lost = tuple(map(later, norms)), None if lost is None else later(lost)
            self.taker.take(norms, row, lost)
            if optimizer is None:
                # Should they be clipped now, they have been looked at.
                self._hold(_Held(given=True))
            stride.spent(before + time.perf_counter() - begin)
        except Exception as error:
            self.taker.fail(error)

    def read(self) -> tuple[Norms, Row]:
        """Read the gradients there are; return their norms, as they are, and what makes a row."""
        self._regroup()
        plan = self._plan
        if plan is not None:
            try:
                return plan.norms(), plan.row
            except UNFIT:
                pass
        plan = self._plan = Plan(self.members(), len(self._layers), self._share)
        self._remote = not (plan.on_host and self._readout.host_alone)
        return plan.norms(), plan.row

    def _read_later(self) -> tuple[Norms, Row]:
        norms, row = self.read()
        return tuple(map(self._readout.later, norms)), row

    def members(self) -> list[tuple[int, nn.Parameter]]:
        """Tell what it reads: a layer's index and a parameter of it, each."""
        own = self.own
        return [
            (layer, parameter)
            for layer, parameters in enumerate(self._layers)
            for parameter in parameters
            if id(parameter) in own
        ]

    def _unscaled(self, norms: Norms) -> Norms:
        scale = getattr(self._optimizer, "grad_scale", None)
        if scale is None:
            return norms
        # A fused optimizer under a GradScaler divides in its own kernel, after this.
        return tuple(each / scale.to(each.device, non_blocking=True) for each in norms)

    # -- clipping -------------------------------------------------------------------------------

    def clipping(self, read: "Callable[[], tuple[Norms, Row]] | None" = None) -> None:
        """Look before the gradients are clipped, unless they were looked at as they are.

        Parameters
        ----------
        read : callable, optional
            Gives the norms in place of `read`.
        """
        try:
            if (
                self._deaf
                or (self._remote and capturing())
                or (self._held is not None and self._is_of_now(self._held))
            ):
                return
            self._held = None
            held = _Held()
            if self.stride.due():
                begin = time.perf_counter()
                held.seen = self.read() if read is None else read()
                held.seconds = time.perf_counter() - begin
            self._hold(held)
        except Exception:
            # The step will tell, should it fail there too.
            self._held = None

    def clipped(self) -> None:
        """Learn that the gradients were clipped, and are still those that were looked at."""
        if self._held is not None:
            self._hold(self._held)

    def _hold(self, held: _Held) -> None:
        if self._witness is None or self._witness.grad is None:
            there = [each for each in self.own.values() if each.grad is not None]
            self._witness = min(there, key=Tensor.numel, default=None)
        held.gradient = None if self._witness is None else self._witness.grad
        if held.gradient is not None:
            # Counts every change in place: by clipping, by backward, by being set to zero.
            held.version = held.gradient._version
        self._held = held

    def _is_of_now(self, held: _Held) -> bool:
        return (
            held.gradient is not None
            and self._witness is not None
            and self._witness.grad is held.gradient
            and held.gradient._version == held.version
        )

    def _still_held(self) -> _Held | None:
        """Let go of what is held; return it if it is still to be handed over."""
        held, self._held = self._held, None
        if held is None or held.given or not self._is_of_now(held):
            return None
        return held

    def _regroup(self) -> None:
        """See whether the optimizer holds other parameters than before."""
        optimizer = self._optimizer
        if optimizer is None and self._groups is not None:
            return
        groups = [] if optimizer is None else [len(g["params"]) for g in optimizer.param_groups]
        if self._groups == groups:
            return
        self._groups, self._plan, self._witness = groups, None, None
        listened = {id(parameter): parameter for own in self._layers for parameter in own}
        self._own = listened if optimizer is None else held_by(optimizer)


def held_by(optimizer: Optimizer) -> dict[int, nn.Parameter]:
    """Tell the parameters that an optimizer holds, by their identity."""
    return {
        id(parameter): parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
