"""Functions of torch that report clipping and scalers' steps while a watcher is there."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.compiler import is_dynamo_compiling
from torch.nn import utils
from torch.nn.utils import clip_grad
from torch.optim import Optimizer

from gradmidi.capture.steps import may_break, outside_compile

__all__ = ["Watcher", "watch"]

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
    owners = {_owner(each) for each in (GradScaler, type(scaler)) if hasattr(each, "step")}
    places += [((owner, "step"), _announced_step) for owner in owners]
    undo = [_join(place, announced, watcher) for place, announced in places]

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


def _owner(scaler: type) -> type:
    return next(each for each in scaler.__mro__ if "step" in vars(each))


def _join(
    place: tuple[Any, str], announced: Callable[..., Any], watcher: Watcher
) -> Callable[[], None]:
    """Add a watcher to the function at a place, which is ours from the first watcher on."""
    holder, name = place
    found = getattr(holder, name)
    own, original, watchers = found, found, list[Watcher]()
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


def _announced_clipping(original: Callable[..., Any], watchers: list[Watcher]) -> Any:
    def told(given: list[Tensor], args: Any, kwargs: Any) -> Any:
        for watcher in tuple(watchers):
            watcher.clipping(given)
        result = original(given, *args, **kwargs)
        for watcher in tuple(watchers):
            watcher.clipped(given)
        return result

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
