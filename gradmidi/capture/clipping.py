"""Clipping: torch's functions (and scalers' steps) reported, and clipping that gives the norms."""

import contextlib
import functools
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.compiler import is_dynamo_compiling
from torch.nn import utils
from torch.nn.utils import clip_grad
from torch.optim import Optimizer

from gradmidi.capture.norms import UNFIT, Norms, Plan, Row, layer_norms
from gradmidi.capture.steps import may_break, outside_compile
from gradmidi.capture.tap import Tap
from gradmidi.log import ABSENT

__all__ = ["OnePass", "Watcher", "join", "watch"]

CLIPPERS = ("_clip_grads_with_norm_", "clip_grad_norm_", "clip_grad_value_")
"""Torch's clipping functions: the second calls the first, where torch has that."""

_MARK = "_gradmidi"


class Watcher(Protocol):
    """What is called back. None of these may raise."""

    def clipping(self, parameters: Sequence[Tensor]) -> None:
        """Note that the gradients of these are about to be clipped."""

    def clipped(self, parameters: Sequence[Tensor]) -> None:
        """Note that they were."""

    def miss_clipping(self) -> None:
        """Note that clipping has become part of a compiled graph, where it is not reported."""

    def scaling(self, optimizer: Optimizer) -> None:
        """Note that a scaler is about to call the `step` of `optimizer`, or to skip it."""

    def scaled(self, optimizer: Optimizer, *, failed: bool) -> None:
        """Note that it did one of the two, or raised."""


def watch(watcher: Watcher, scaler: Any = None) -> Callable[[], None]:
    """Report all clipping by torch's functions, and scalers' steps, to `watcher`.

    It makes no difference how, or how early, a script imported torch's clipping functions.
    Inside a compiled function it is kept out of the graph, unless that has to be a single one.

    Parameters
    ----------
    watcher : Watcher
        What is called back.
    scaler : object, optional
        A scaler with a `step` of its own, beside torch's `GradScaler`.

    Returns
    -------
    callable
        Ends it. With the last watcher gone, torch's functions are what they were.

    Examples
    --------
    >>> import torch
    >>> from torch.nn.utils import clip_grad_norm_
    >>> class Printer:
    ...     def clipping(self, parameters):
    ...         print([p.grad.item() for p in parameters])
    ...     def clipped(self, parameters):
    ...         print([round(p.grad.item(), 3) for p in parameters])
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> weight.grad = torch.full((1,), 8.0)
    >>> leave = watch(Printer())
    >>> _ = clip_grad_norm_([weight], 1.0)
    [8.0]
    [1.0]
    >>> leave()
    >>> _ = clip_grad_norm_([weight], 0.5)
    """
    clippers = CLIPPERS[::2] if hasattr(clip_grad, CLIPPERS[0]) else CLIPPERS[1:]
    places = [(place, _announced_clipping) for name in clippers for place in _insides(name)]
    places += [((owner, name), _announced_method) for owner, name in _fsdp1()]
    owners = {_owner(each) for each in (GradScaler, type(scaler)) if hasattr(each, "step")}
    places += [((owner, "step"), _announced_step) for owner in owners]
    undo = [join(place, announced, watcher) for place, announced in places]

    def leave() -> None:
        while undo:
            undo.pop()()

    return leave


def _insides(name: str) -> list[tuple[Any, str]]:
    """Find where a clipping function can be replaced also where it was imported already."""
    function = getattr(clip_grad, name)
    code = getattr(function, "__code__", None)
    names = code.co_freevars if code is not None else ()
    # Each is wrapped to run without autograd: what is wrapped stands in a cell called `func`.
    cells = zip(names, getattr(function, "__closure__", None) or (), strict=False)
    found: list[tuple[Any, str]] = [(cell, "cell_contents") for own, cell in cells if own == "func"]
    return found or [
        (module, own)
        for module in (clip_grad, utils)
        for own, value in vars(module).items()
        if value is function
    ]


def _fsdp1() -> list[tuple[Any, str]]:
    """Find the method of FSDP1 that clips, if FSDP1 is used."""
    module = sys.modules.get("torch.distributed.fsdp.fully_sharded_data_parallel")
    wrapper = getattr(module, "FullyShardedDataParallel", None)
    return [] if wrapper is None else [(wrapper, "clip_grad_norm_")]


def _owner(scaler: type) -> type:
    return next(each for each in scaler.__mro__ if "step" in vars(each))


def join(place: tuple[Any, str], announced: Callable[..., Any], watcher: Any) -> Callable[[], None]:
    """Add a watcher to the function at a place, which is ours from the first watcher on.

    Returns what removes it again; after the last watcher the function is what it was.
    """
    holder, name = place
    found = getattr(holder, name)
    own, original, watchers = found, found, list[Any]()
    if (mark := getattr(found, _MARK, None)) is not None:
        own, original, watchers = mark
    if mark is None or own is not found:
        # Not ours, even if it copied what ours has on it.
        original, watchers = found, []
        own = announced(original, watchers)
        setattr(own, _MARK, (own, original, watchers))
        setattr(holder, name, own)
    watchers.append(watcher)

    def leave() -> None:
        watchers.remove(watcher)
        # Where another library replaced it after us that stays; ours then only passes on.
        if not watchers and getattr(holder, name) is own:
            setattr(holder, name, original)

    return leave


def _told(watchers: list[Watcher], given: list[Any], clip: Callable[[], Any]) -> Any:
    """Clip gradients, and tell the watchers before and after it."""
    for watcher in tuple(watchers):
        watcher.clipping(given)
    result = clip()
    for watcher in tuple(watchers):
        watcher.clipped(given)
    return result


def _announced_clipping(original: Callable[..., Any], watchers: list[Watcher]) -> Any:
    def told(given: list[Tensor], args: Any, kwargs: Any) -> Any:
        return _told(watchers, given, functools.partial(original, given, *args, **kwargs))

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def missed() -> None:
        for watcher in tuple(watchers):
            watcher.miss_clipping()

    aside = outside_compile(told)

    @functools.wraps(original)
    def announced(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        # They may be a generator, which can be gone through once.
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if is_dynamo_compiling() and not may_break():
            missed()
            return original(given, *args, **kwargs)
        return aside(given, args, kwargs)

    return announced


def _announced_method(original: Callable[..., Any], watchers: list[Watcher]) -> Any:
    def told(model: nn.Module, args: Any, kwargs: Any) -> Any:
        return _told(
            watchers, list(model.parameters()), functools.partial(original, model, *args, **kwargs)
        )

    aside = outside_compile(told)

    @functools.wraps(original)
    def clip_grad_norm_(self: Any, *args: Any, **kwargs: Any) -> Any:
        return aside(self, args, kwargs)

    return clip_grad_norm_


def _announced_step(original: Callable[..., Any], watchers: list[Watcher]) -> Any:
    def scaling(optimizer: Any) -> None:
        for watcher in tuple(watchers):
            watcher.scaling(optimizer)

    def scaled(optimizer: Any, failed: bool) -> None:
        for watcher in tuple(watchers):
            watcher.scaled(optimizer, failed=failed)

    before, after = outside_compile(scaling), outside_compile(scaled)

    @functools.wraps(original)
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        before(optimizer)
        failed = True
        try:
            result = original(self, optimizer, *args, **kwargs)
            failed = False
        finally:
            after(optimizer, failed)
        return result

    return step


# -- clipping in one pass with the norms ---------------------------------------------------------

FOREACH = ("cpu", "cuda")
"""Where torch takes all norms in one call, as a plan does."""

# Private to torch, and one call where the public function is one for each tensor.
_scale: Any = getattr(torch, "_foreach_mul_", None)

SMALLEST = 1e-6
"""What torch adds to the total norm before it divides by it."""

CERTAINLY = 1.0001
"""A limit so many times the total norm is above it, however both are rounded."""


class OnePass:
    """Clips, and gives the norms to the taps that would have read the same gradients.

    Parameters
    ----------
    layers : int
        How many layers a row has.
    """

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._parameters: list[Any] = []
        self._plan: Plan | None = None
        self._rows: dict[int, tuple[dict[int, nn.Parameter], Row | None]] = {}

    def clip_grad_norm_(
        self,
        parameters: Sequence[Tensor],
        max_norm: float,
        norm_type: float,
        error_if_nonfinite: bool,
        foreach: bool | None,
        *,
        taps: Sequence[Tap],
    ) -> Tensor:
        """Do what `torch.nn.utils.clip_grad_norm_` does, to the last bit.

        Where torch sums in another way than capture does (half types, sparse or mixed
        gradients, another order of norm), the norms take a pass of their own.
        """
        norms = self._norms(parameters) if norm_type == 2 and foreach is None else None
        total: Tensor | None = None if norms is None else torch.linalg.vector_norm(norms, 2.0)
        if norms is None or total is None or (error_if_nonfinite and not total.isfinite()):
            theirs: Callable[..., Tensor] = utils.clip_grad_norm_
            return theirs(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
        for tap in taps:
            row = self._row_of(tap)
            tap.clipping(None if row is None else functools.partial(self._read, norms, row))
        assert self._plan is not None
        # To multiply by one changes nothing; a device would have to be waited for to know it.
        if not (self._plan.on_host and max_norm > total.item() * CERTAINLY + SMALLEST):
            with torch.no_grad():
                scale = torch.clamp(max_norm / (total + SMALLEST), max=1.0)
                _scale(self._plan.gradients(), scale)
        for tap in taps:
            tap.clipped()
        return total

    def _read(self, norms: Tensor, row: Row) -> tuple[Norms, Row]:
        assert self._plan is not None
        return self._plan.rescued(norms), row

    def _norms(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Take the norm of each, if torch takes it just so."""
        same = len(parameters) == len(self._parameters) and all(
            map(operator.is_, parameters, self._parameters)
        )
        if not same:
            self._parameters, self._plan = list(parameters), None
        if self._plan is not None:
            with contextlib.suppress(*UNFIT):
                return self._plan.raw_norms()
        if not all(map(_is_usual, self._parameters)):
            self._plan = None
            return None
        plan = Plan(list(enumerate(self._parameters)), len(self._parameters), wide=False)
        usual = _scale is not None and plan.single
        self._plan = plan if usual else None
        self._rows.clear()
        return plan.raw_norms() if usual else None

    def _row_of(self, tap: Tap) -> Row | None:
        """Find what makes a tap's row of these norms; None where it reads others too."""
        (known, row), own = self._rows.get(id(tap), (None, None)), tap.own
        if known is not own and self._plan is not None:
            given = {id(parameter) for parameter in self._parameters}
            members = tap.members()
            row = None
            if all(id(parameter) in given for _, parameter in members):
                places = self._plan.places
                read = [(i, places[id(p)]) for i, p in members if id(p) in places]
                row = functools.partial(
                    _layered,
                    self._plan.values,
                    index=np.array([layer for layer, _ in read], np.intp),
                    taken=np.array([place for _, place in read], np.intp),
                    layers=self._layers,
                )
            self._rows[id(tap)] = own, row
        return row


def _is_usual(parameter: Tensor) -> bool:
    gradient = parameter.grad
    return gradient is None or (type(gradient) is Tensor and gradient.device.type in FOREACH)


def _layered(
    values: Callable[[Norms], np.ndarray],
    norms: Norms,
    *,
    index: np.ndarray,
    taken: np.ndarray,
    layers: int,
) -> np.ndarray:
    """Combine norms of parameters to a row of layers."""
    combined = layer_norms(values(norms)[taken], index, layers)
    combined[np.setdiff1d(np.arange(layers), index)] = ABSENT
    return combined
