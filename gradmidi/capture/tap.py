"""The gradients of one optimizer's parameters, read once for each update.

They are read before they are clipped, where they are, and else before the optimizer steps. What
is read before clipping is kept until the step, so that a step that never comes makes no frame;
it is dropped where the gradients were changed in between.
"""

import functools
import operator
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradmidi.capture.gathering import Gathering, in_backward
from gradmidi.capture.norms import UNFIT, Norms, Plan, Row, divided
from gradmidi.capture.optimizers import held_by
from gradmidi.capture.origin import CHANGED, Clipped, Origin, Turn, checked, closure_in, sample
from gradmidi.capture.readout import Readout, capturing
from gradmidi.capture.steps import Consumer, Stride
from gradmidi.capture.updates import Updates

__all__ = ["Tap"]


class Tap:
    """Reads the gradients of one optimizer's parameters, or of all that a model has.

    Parameters
    ----------
    layers : sequence of sequence of Parameter
        The parameters of each layer.
    optimizer : Optimizer or None
        Whose parameters are read; None: all.
    consumer : Consumer
        Takes the norms.
    stride : Stride
        Which updates are read.
    gathering : Gathering, optional
        Where the norms of a step go that is made while `backward` runs.
    share : callable, optional
        Returns how much of a gradient's squares counts, see `gradmidi.capture.sharded.share`.
    check : callable, optional
        Called with the optimizer, when the parameters that it holds are others than before; and
        with None, when a layer has no gradient any more.
    updates : Updates, optional
        Measures the size of updates.
    begin : callable, optional
        Called before gradients are read for the first time, and perhaps later.

    Attributes
    ----------
    stepped : bool
        Set to True by each step of the optimizer.
    waiting : Optimizer or None
        What steps, while its gradients are still to be read during the step.
    ends : bool
        Whether `after_step` has something to do.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[nn.Parameter]],
        optimizer: Optimizer | None,
        consumer: Consumer,
        stride: Stride,
        gathering: Gathering | None = None,
        share: Callable[[Any], float] | None = None,
        check: Callable[[Optimizer | None], None] = lambda _: None,
        updates: Updates | None = None,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.consumer = consumer
        self.stride = stride
        self.stepped = False
        self._layers = layers
        self._optimizer = optimizer
        self._gathering = gathering
        self._share = share
        self._check = check
        self._begin = begin
        self._readout = Readout()
        # Until the first plan says otherwise gradients may be on a device.
        self._remote = True
        self._plan: Plan | None = None
        self._known: list[nn.Parameter] | None = None
        self._own: dict[int, nn.Parameter] = {}
        self._smallest: nn.Parameter | None = None
        self._clipped: Clipped | None = None
        self._seconds = 0.0
        self.waiting: Optimizer | None = None
        self.ends = False
        self._updates = updates
        self._is_measuring = self._is_taken = False
        self._is_read = False
        self._origin = Origin()
        self._turn = Turn()
        self._regroup()

    @property
    def own(self) -> dict[int, nn.Parameter]:
        """The parameters that it reads, or that its optimizer steps, by their identity."""
        self._regroup()
        return self._own

    def reads(self, parameters: Collection[int]) -> bool:
        """Return whether the layers have any of these parameters, given by their identity."""
        return any(id(parameter) in parameters for own in self._layers for parameter in own)

    # -- a step ---------------------------------------------------------------------------------

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Read the gradients; where a closure makes them, after its first evaluation."""
        self.stepped = True
        self.waiting = None
        self.ends = False
        try:
            if self._remote and capturing():
                # Nothing is computed now, and what is recorded will not call this.
                return None
            place = closure_in(args, kwargs) if kwargs or len(args) > 1 else None
            if place is None and self._gathering is not None and in_backward():
                self._gathering.add(self._read_later)
                return None
            if self._updates is not None:
                self._begin_update(self._updates)
            late = place is not None or hasattr(optimizer, "skip_synchronize")
            if not late and self._origin.late is not False:
                late = self._origin.is_late(self._sampled)
                self.ends = True
        except Exception as error:
            self.consumer.fail(error)
            return None
        if not late:
            self.look(optimizer)
            return None
        # Horovod's optimizers add up the gradients of all ranks before they call `super().step`.
        self.waiting = optimizer
        self.ends = True
        return None if place is None else self._with_closure(place, args, kwargs)

    def _with_closure(self, place: int | str, args: Any, kwargs: Any) -> Any:
        closure = args[place] if isinstance(place, int) else kwargs[place]

        @functools.wraps(closure, updated=())
        def evaluated(*given: Any, **named: Any) -> Any:
            if self.waiting is None:
                return self._evaluate_again(closure, *given, **named)
            loss = closure(*given, **named)
            if self._origin.has_come(self._sampled):
                self._look_late()
            return loss

        if isinstance(place, int):
            return (*args[:place], evaluated, *args[place + 1 :]), kwargs
        return args, {**kwargs, place: evaluated}

    def _evaluate_again(self, closure: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Evaluate once more for a step that was read, whatever is clipped on the way."""
        self._is_read = True
        try:
            return closure(*given, **named)
        finally:
            self._is_read = False

    def before_inner_step(self, args: Any, kwargs: Any) -> None:
        """Read the gradients if the step under way calls another that evaluates no closure."""
        waits = self.waiting is not None and closure_in(args, kwargs) is None
        if waits and self._origin.has_come(self._sampled):
            self._look_late()

    def after_step(self) -> None:
        """Read the gradients that are still to be read, and measure the update if it is due."""
        self.ends = False
        if self.waiting is not None:
            self._look_late()
        self._origin.end(self._sampled)
        if self._is_measuring and self._updates is not None:
            self._is_measuring = False
            begin = time.perf_counter()
            measured = self._updates.end()
            if self._is_taken:
                self.consumer.update(*measured)
            self.stride.seconds += time.perf_counter() - begin

    def _begin_update(self, updates: Updates) -> None:
        updates.count()
        self._is_taken = False
        if updates.are_due and self.stride.coming:
            begin = time.perf_counter()
            self._regroup()
            updates.begin(self.members())
            self._is_measuring = self.ends = True
            self.stride.seconds += time.perf_counter() - begin

    def _look_late(self) -> None:
        optimizer, self.waiting = self.waiting, None
        self.look(optimizer)

    def look(self, optimizer: Optimizer | None = None, *, thrown_away: bool = False) -> None:
        """Hand over this update's norms, if it is to be read; never raise.

        Parameters
        ----------
        optimizer : Optimizer, optional
            What steps; None where this is called by hand.
        thrown_away : bool, default False
            Whether a scaler skips the step: then it is always read.
        """
        try:
            if self._remote and capturing():
                return
            clipped, self._clipped = self._clipped, None
            if not (self.stride.always or self.stride.due()) and not thrown_away:
                self.consumer.skip()
                return
            begin = time.perf_counter()
            norms, row = self.read() if clipped is None else self._from_before(clipped)
            skipped: Any = thrown_away or None
            if optimizer is not None:
                scale = getattr(optimizer, "grad_scale", None)
                if scale is not None:
                    # A fused optimizer under a GradScaler divides in its own kernel, after this.
                    norms = tuple(divided(each, scale) for each in norms)
                skipped = skipped or getattr(optimizer, "found_inf", None)
            if self._remote:
                later = self._readout.later
                norms = tuple(map(later, norms))
                skipped = None if skipped is None else later(skipped)
            self.consumer.take(norms, row, skipped)
            self._is_taken = True
            if self._optimizer is None:
                # Should they be clipped now, they have been read.
                gradient = self._sampled()
                self._clipped = None if gradient is None else Clipped.of_given(gradient)
            self.stride.spent(self._seconds + time.perf_counter() - begin)
            self._seconds = 0.0
        except Exception as error:
            self.consumer.fail(error)

    def look_if_new(self) -> None:
        """Hand over the norms, unless the gradients are those of the last time, clipped or not."""
        clipped = self._clipped
        if clipped is None or not clipped.given or self._is_replaced(clipped):
            self.look()

    def _from_before(self, clipped: Clipped) -> tuple[Norms, Row]:
        """Return norms, those from before clipping if the gradients are what it left."""
        if clipped.given or clipped.seen is None:
            return self.read()
        changed = self._is_changed(clipped)
        if changed is True:
            self.consumer.miss_clipping(CHANGED)
            return self.read()
        self.consumer.see_clipping()
        norms, row = clipped.seen
        if changed is not False:
            # On a device nothing is waited for: the log's thread learns of a change.
            row = functools.partial(checked, row=row, missed=self.consumer.miss_clipping)
            norms = (*norms, changed)
        return norms, row

    def read(self) -> tuple[Norms, Row]:
        """Read the gradients there are; return their norms, and what makes a row of them."""
        self._regroup()
        plan = self._plan
        if plan is not None:
            try:
                return plan.norms(), plan.row
            except UNFIT:
                pass
        fresh = self._plan = Plan(self.members(), len(self._layers), self._share)
        self._remote = not (fresh.on_host and self._readout.host_alone)
        self.stride.found |= len(fresh.absent) < len(self._layers)
        if plan is not None and not fresh.absent <= plan.absent:
            self._check(None)
        return fresh.norms(), fresh.row

    def _read_later(self) -> tuple[Norms, Row]:
        norms, row = self.read()
        return tuple(map(self._readout.later, norms)), row

    def members(self) -> list[tuple[int, nn.Parameter]]:
        """Return what it reads: a layer's index and a parameter of it, each."""
        self._begin()
        return [
            (layer, parameter)
            for layer, parameters in enumerate(self._layers)
            for parameter in parameters
            if id(parameter) in self._own
        ]

    # -- clipping -------------------------------------------------------------------------------

    def clipping(self, read: "Callable[[], tuple[Norms, Row]] | None" = None) -> None:
        """Read the gradients before they are clipped, unless they were read as they are.

        Parameters
        ----------
        read : callable, optional
            Returns the norms in place of `read`.
        """
        try:
            if self._is_read or (self._remote and capturing()):
                return
            clipped = self._clipped
            if clipped is not None and not self._is_replaced(clipped):
                if clipped.given:
                    self.consumer.see_clipping()
                return
            self._clipped = fresh = Clipped()
            if self.stride.coming:
                begin = time.perf_counter()
                fresh.seen = self.read() if read is None else read()
                self.stride.found |= read is not None
                self._seconds += time.perf_counter() - begin
            if read is None:
                # What torch calls meanwhile may clip too.
                self._keep(fresh)
        except Exception:
            # The step will tell, should it fail there too.
            self._clipped = None

    def clipped(self) -> None:
        """Note that the gradients were clipped: those that were read, as they are now."""
        clipped = self._clipped
        if clipped is not None:
            self._keep(clipped)
            if clipped.gradient is not None and not clipped.given:
                clipped.sampled = self._turn.next(self._known or (), clipped.gradient)
                clipped.sample = sample(clipped.sampled)

    def _keep(self, clipped: Clipped) -> None:
        gradient = self._sampled()
        if gradient is not None:
            clipped.keep(gradient, self._own.values())
        self._clipped = None if gradient is None else clipped

    def _sampled(self) -> Tensor | None:
        """Return the smallest gradient, which is compared later."""
        smallest = self._smallest
        if smallest is not None and (gradient := smallest.grad) is not None:
            return gradient
        there = [each for each in self._own.values() if each.grad is not None]
        smallest = self._smallest = min(there, key=Tensor.numel, default=None)
        return None if smallest is None else smallest.grad

    def _is_changed(self, clipped: Clipped) -> Any:
        """Return whether the gradients are others by now; on a device, a number that tells it."""
        if self._is_replaced(clipped):
            return True
        before = clipped.sample
        now = None if before is None else sample(clipped.sampled)
        if now is None:
            return False
        if isinstance(now, list):
            # A nan differs from itself, not from its name.
            self._turn.stays |= (changed := before != now and str(before) != str(now))
            return changed
        changed = ((before != now) & ~(before.isnan() & now.isnan())).any()
        return changed.float().reshape(1)

    def _is_replaced(self, clipped: Clipped) -> bool:
        """Return whether a gradient is another tensor by now, or was changed as torch counts it."""
        self._regroup()
        smallest = self._smallest
        return smallest is None or clipped.is_replaced(smallest.grad, self._own.values())

    def _regroup(self) -> None:
        """See whether the optimizer holds other parameters than before."""
        optimizer, known = self._optimizer, self._known
        if optimizer is None:
            if known is None:
                self._known = [each for own in self._layers for each in own]
                self._own = {id(each): each for each in self._known}
            return
        groups = optimizer.param_groups
        held = groups[0]["params"] if len(groups) == 1 else _held(groups)
        if known is not None and len(known) == len(held) and all(map(operator.is_, held, known)):
            return
        self.forget()
        self._known, self._own = list(held), held_by(optimizer)
        if known is not None:
            self._check(optimizer)

    def forget(self) -> None:
        """Make a plan anew: the layers have other parameters."""
        self._known = self._plan = self._smallest = None


def _held(groups: Sequence[Mapping[str, Any]]) -> list[nn.Parameter]:
    return [parameter for group in groups for parameter in group["params"]]
