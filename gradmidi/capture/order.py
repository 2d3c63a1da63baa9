"""The order in which a forward pass uses its layers, read from the graph of its operations.

Modules stand in the order in which they were registered, which may be another: the middle block of
a UNet is often registered after the blocks that come later. PyTorch numbers the operations of a
forward pass, and the numbers stay in the graph, also of a compiled or checkpointed model. Nothing
is put on the model: `torch.autograd.backward` is watched until the first update.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from gradmidi.capture.clipping import join
from gradmidi.capture.sharded import shards_of

__all__ = ["Arrangement", "ForwardOrder", "Place", "order_of"]

MOST_NODES = 200_000
"""So many operations are looked at, in all passes together; a larger graph is left alone."""

UNUSED = (-1, -1)

Place = tuple[int, int]
"""Number of the operation that first uses a parameter, and which of its inputs it is."""


class ForwardOrder:
    """Notes where parameters are first used, in each `backward` until `end`.

    Parameters
    ----------
    model : Module, optional
        The model, if it is known; needed where it is sharded.

    Examples
    --------
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first, self.last, self.middle = (nn.Linear(2, 2) for _ in range(3))
    ...     def forward(self, x):
    ...         return self.last(self.middle(self.first(x)))
    >>> net, order = Net(), ForwardOrder()
    >>> net(torch.ones(1, 2)).sum().backward()
    >>> order_of([list(part.parameters()) for part in net.children()], order.end())
    [0, 2, 1]
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self._model = model
        self._found: dict[int, tuple[weakref.ref[Tensor], Place]] = {}
        self._left = MOST_NODES
        self._leave: Callable[[], None] | None = join(
            (torch.autograd, "backward"), _announced, self
        )

    def end(self) -> dict[int, Place]:
        """Watch no more; return the place of each parameter that was used, by its identity."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        self._model = None
        return {key: place for key, (ref, place) in self._found.items() if ref() is not None}

    def look(self, roots: Iterable[Any]) -> None:
        """Look at the graph that `backward` is about to go through; never raise."""
        if self._leave is None or self._left <= 0:
            return
        try:
            self._walk([root.grad_fn for root in roots if root.grad_fn is not None])
        except Exception:
            # The order stays that of the modules.
            self._left = 0

    def _walk(self, nodes: list[Any]) -> None:
        whole = {} if self._model is None else shards_of(self._model)
        seen = set(nodes)
        while nodes and self._left > 0:
            self._left -= 1
            node = nodes.pop()
            number = node._sequence_nr()
            for place, (before, _) in enumerate(node.next_functions):
                if before is None:
                    continue
                parameter = getattr(before, "variable", None)
                if parameter is not None:
                    self._note(whole.get(id(parameter), parameter), (number, place))
                elif before not in seen:
                    seen.add(before)
                    nodes.append(before)

    def _note(self, parameter: Tensor, place: Place) -> None:
        ref, known = self._found.get(id(parameter), (None, place))
        if ref is None or ref() is not parameter:
            self._found[id(parameter)] = weakref.ref(parameter), place
        elif place < known:
            self._found[id(parameter)] = ref, place


class Arrangement:
    """Hands on the order of a model's layers, once, when it is called before the first update.

    Parameters
    ----------
    arrange : callable
        Gets the layers' indices in the order of their first use.
    order : ForwardOrder or sequence of int, optional
        What has watched already, or the order itself.
    """

    def __init__(
        self,
        arrange: Callable[[Sequence[int]], None],
        order: ForwardOrder | Sequence[int] | None = None,
    ) -> None:
        self._arrange = arrange
        self._order = order
        self._layers: Sequence[Sequence[Tensor]] = ()

    def begin(self, model: nn.Module | None, layers: Sequence[Sequence[Tensor]]) -> None:
        """Watch a model, whose layers have these parameters."""
        self._layers = layers
        if self._order is None:
            self._order = ForwardOrder(model)

    def __call__(self) -> None:
        """Hand on the order that is known by now, and watch no more."""
        order, self._order = self._order, None
        if isinstance(order, ForwardOrder):
            order = order_of(self._layers, order.end())
        if order is not None:
            self._arrange(order)

    def leave(self) -> None:
        """Watch no more."""
        order, self._order = self._order, None
        if isinstance(order, ForwardOrder):
            order.end()


def _announced(original: Callable[..., Any], watchers: list[ForwardOrder]) -> Any:
    def look(tensors: Any) -> None:
        roots = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        for watcher in tuple(watchers):
            watcher.look(roots)

    disable: Any = torch.compiler.disable
    aside = disable(look)

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_dynamo_compiling():
            aside(tensors)
        return original(tensors, *args, **kwargs)

    # PyTorch's own function is not compiled either, where a compiled step calls it.
    return disable(backward, recursive=False)


def order_of(layers: Sequence[Sequence[Tensor]], places: dict[int, Place]) -> list[int]:
    """Return the indices of layers in the order of their first use.

    A layer that was not used comes after the one that it comes after in the model.

    Examples
    --------
    >>> a, b, c = (torch.ones(1) for _ in range(3))
    >>> order_of([[a], [b], [c]], {id(a): (7, 0), id(c): (3, 0)})
    [2, 0, 1]
    """
    keys: list[Place] = []
    for own in layers:
        used = [places[id(each)] for each in own if id(each) in places]
        keys.append(min(used, default=keys[-1] if keys else UNUSED))
    return sorted(range(len(layers)), key=keys.__getitem__)
