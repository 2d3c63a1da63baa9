"""One model on several processes: what each rank sees of the gradients, put together.

A rank takes the norms of its own shards. On a thread, by a process group of their own, the
ranks add up their squares: one `all_reduce` a step that is looked at, which carries beside the
squares how each rank is, the step it is at, and the stride it wants. No rank's training waits
for another's look. The first thing that is not well ends it for all of them at the same step:
every rank takes part in that one sum, and none in any later one. A rank that closes its run
takes part once more, to say so.
"""

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from functools import partial
from hashlib import sha256
from time import monotonic, sleep
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from gradmidi.base.messages import say
from gradmidi.capture.steps import Consumer, Stride
from gradmidi.errors import CaptureError
from gradmidi.log import ABSENT

__all__ = ["Shards", "is_sharded", "local", "meet", "part", "shards_of", "share"]

MEET_SECONDS = 60.0
"""How long the ranks wait for each other at the start."""

LAG = 4
"""Looks after which what the ranks agreed on is put to use; it is there by then."""

POLL_SECONDS = 0.05

PATIENCE_SECONDS = 10.0
"""How long training waits, once, for a rank that does not look at the same steps."""

LEAVE_SECONDS, PART_SECONDS = 2.0, 0.5
"""How long leaving waits for looks under way, and then for the others to leave."""

FINE, FAILED, CLOSED = 0.0, 1.0, 2.0
"""How a rank is."""

OFF = "the ranks have stopped listening"


def is_sharded(parameters: Sequence[Tensor]) -> bool:
    """Tell whether some of these are spread over processes, as FSDP2 and tensor parallel do."""
    return any(hasattr(parameter, "placements") for parameter in parameters)


def shards_of(model: nn.Module) -> dict[int, Tensor]:
    """Return the shards of the whole parameters that FSDP2 computes with, by their identity."""
    own: list[Any] = [each for each in model.modules() if hasattr(each, "_get_fsdp_state")]
    groups = [group for each in own for group in each._get_fsdp_state()._fsdp_param_groups]
    return {
        id(each._unsharded_param): each.sharded_param
        for group in groups
        for each in group.fsdp_params
        if hasattr(each, "_unsharded_param")
    }


def local(gradient: Any) -> Tensor:
    """Take this rank's part of a gradient that is spread over processes.

    Raises
    ------
    CaptureError
        If it is a sum that has not been made yet: no part of it tells anything.
    """
    if any(placement.is_partial() for placement in gradient.placements):
        raise CaptureError(
            f"a gradient is placed {gradient.placements}, a sum that its optimizer will make; "
            "leave such layers out by layers="
        )
    part: Tensor = gradient.to_local()
    return part


def part(tensor: Any) -> Any:
    """Return this rank's part of a tensor, which is all of it unless it is spread."""
    return local(tensor) if hasattr(tensor, "placements") else tensor


def share(parameter: Any) -> float:
    """Tell how much of a gradient's squares is this rank's to add, that each counts once."""
    world = distributed.get_world_size()
    gradient = getattr(parameter, "grad", None)
    gradient = parameter if gradient is None else gradient
    if not hasattr(gradient, "placements"):
        return 1.0 / world
    mesh = gradient.device_mesh
    copies = math.prod(
        mesh.size(dim)
        for dim, placement in enumerate(gradient.placements)
        if placement.is_replicate()
    )
    share: float = mesh.size() / (copies * world)
    return share


def meet(layers: Sequence[str], seconds: float | None = None) -> "Shards":
    """Wait until every rank has come here, each with the same layers.

    Parameters
    ----------
    layers : sequence of str
        Their names.
    seconds : float, optional
        For how long; `MEET_SECONDS` by default.

    Raises
    ------
    CaptureError
        If a rank did not come, or has other layers.
    """
    seconds = MEET_SECONDS if seconds is None else seconds
    own, world = distributed.get_rank(), distributed.get_world_size()
    c10d: Any = distributed.distributed_c10d
    store = c10d.PrefixStore("gradmidi", c10d._get_default_store())
    call = store.add(f"calls of {own}", 1)
    keys = [f"call {call} of {each}" for each in range(world)]
    digest = sha256("\n".join(layers).encode()).hexdigest()
    store.set(keys[own], digest)
    end = monotonic() + seconds
    # Asked for, not waited for: torch complains of a wait that ends in vain.
    while not store.check(keys):
        if monotonic() > end:
            missing = [each for each, key in enumerate(keys) if not store.check([key])]
            store.delete_key(keys[own])
            # A rank that is late meets this rank's next call.
            store.add(f"calls of {own}", -1)
            raise CaptureError(
                f"listen() was not called on {_ranks(missing)} of {world} within {seconds:g} s; a "
                "model that is spread over processes needs the call on every one of them, at the "
                "same place in the script"
            )
        sleep(POLL_SECONDS)
    others = [each for each, key in enumerate(keys) if store.get(key).decode() != digest]
    if others:
        raise CaptureError(
            f"{_ranks(others)} of {world} has other layers than rank {own}; models spread over "
            "processes by layers, as in pipeline parallel, cannot be heard"
        )
    group = distributed.new_group(backend="gloo", group_desc="gradmidi")
    return Shards(group, own, world, len(layers))


def _ranks(ranks: Sequence[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))


class Shards:
    """A rank's part in what the ranks hear together, made by `meet`.

    Parameters
    ----------
    group : ProcessGroup
        Used for nothing else.
    own, world : int
        This rank, and how many there are.
    layers : int
        How many layers a row has.
    """

    def __init__(self, group: Any, own: int, world: int, layers: int) -> None:
        self.step = 0
        self._group = group
        self._own = own
        self._world = world
        self._layers = layers
        self._open = True
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Future[np.ndarray], np.ndarray, _Local, int]] = (
            queue.SimpleQueue()
        )
        self._pending: deque[tuple[Future[np.ndarray], Stride]] = deque()
        self._thread = threading.Thread(target=self._run, name="gradmidi ranks", daemon=True)
        self._thread.start()

    def consumer(self, inner: Consumer, stride: Stride) -> Consumer:
        """Make what takes this rank's norms, and hands those of all of them to `inner`."""
        stride.agree(stride.wanted)
        return _Shard(self, inner, stride)

    def look(
        self, read: "_Local", state: float, stride: Stride, rows: int = 1
    ) -> "Future[np.ndarray] | None":
        """Put what this rank sees on its way; return what all of them see.

        Parameters
        ----------
        read : callable or None
            Gives a row of this rank's norms, each weighed by its `share`.
        state : {FINE, FAILED}
            How this rank is.
        stride : Stride
            Told which stride the ranks agreed on, the largest that one wanted.
        rows : int, default 1
            How many rows of all layers `read` gives, one after another.

        Returns
        -------
        Future of ndarray, or None
            None once the ranks no longer listen.
        """
        if len(self._pending) == LAG:
            self._agree(*self._pending.popleft())
        future: Future[np.ndarray] = Future()
        about = np.zeros((3, self._world))
        about[:, self._own] = state, self.step, stride.wanted
        with self._lock:
            if not self._open:
                return None
            self._queue.put((future, about, read, rows * self._layers))
        self._pending.append((future, stride))
        return future

    def leave(self) -> None:
        """Take part once more, to say that this rank is closed; wait for a moment at the most."""
        about = np.zeros((3, self._world))
        about[:2, self._own] = CLOSED, self.step
        with self._lock:
            if self._open:
                self._open = False
                self._queue.put((Future(), about, None, self._layers))
        wait([future for future, _ in self._pending if not future.done()], LEAVE_SECONDS)
        self._thread.join(PART_SECONDS)
        self._give_up()

    def _agree(self, future: "Future[np.ndarray]", stride: Stride) -> None:
        try:
            _, _, wanted = self._about(future.result(PATIENCE_SECONDS))
        except TimeoutError:
            self._open = False
            self._give_up()
            say(f"rank {self._own} waited in vain for the others: it no longer listens")
        except CancelledError:
            self._open = False
        else:
            stride.agree(int(wanted.max()))

    def _give_up(self) -> None:
        while self._pending:
            self._pending.popleft()[0].cancel()

    def _about(self, summed: np.ndarray) -> np.ndarray:
        return summed[-3 * self._world :].reshape(3, self._world)

    # -- on the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        off = False
        while not off:
            future, about, read, width = self._queue.get()
            mine = about[0, self._own]
            try:
                summed = self._sum(about, read, width)
                state, step, _ = self._about(summed)
                if state.any() or (step != step[0]).any():
                    off = True
                    self._tell(mine, state)
                    future.cancel()
                else:
                    # A caller that has stopped waiting is not told.
                    with suppress(InvalidStateError):
                        future.set_result(summed)
            except Exception as error:
                # The process group is gone, and with it the others.
                off = True
                if mine == FINE:
                    say(f"rank {self._own} no longer listens: {_first_line(error)}")
                future.cancel()
        with self._lock:
            self._open = False
            while not self._queue.empty():
                self._queue.get()[0].cancel()

    def _sum(self, about: np.ndarray, read: "_Local", width: int) -> np.ndarray:
        row = np.full(width, ABSENT)
        if read is not None:
            try:
                row = read()
            except Exception as error:
                say(f"rank {self._own} could not look at a step: {_first_line(error)}")
                about[0, self._own] = FAILED
        there = row != ABSENT
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.where(there, row * row, 0.0)
        vector = torch.from_numpy(np.concatenate([squares, there, about.ravel()]))
        distributed.all_reduce(vector, group=self._group)
        summed: np.ndarray = vector.numpy()
        return summed

    def _tell(self, mine: float, state: np.ndarray) -> None:
        """Say on one rank alone why, unless the ranks are all closed."""
        if mine != FINE or self._own != int(np.flatnonzero(state == FINE)[0]):
            return
        for kind, did in ((FAILED, "could not look at a step"), (CLOSED, "closed its run")):
            if (state == kind).any():
                say(f"{_ranks(np.flatnonzero(state == kind).tolist())} {did}: {OFF}")
                return
        say(f"the ranks do not look at the same steps: {OFF}")


_Local = Callable[[], np.ndarray] | None


class _Shard:
    """Takes this rank's norms: a `gradmidi.capture.steps.Consumer`."""

    def __init__(self, shards: Shards, inner: Consumer, stride: Stride) -> None:
        self._shards = shards
        self._inner = inner
        self._stride = stride

    def take(self, norms: Any, row: Callable[[Any], Any], skipped: Any = None) -> None:
        """Take a step's norms, those of this rank."""
        self._shards.step += 1
        future = self._shards.look(partial(row, norms), FINE, self._stride)
        if future is None:
            self._inner.skip()
        else:
            self._inner.take(future, partial(_whole, layers=self._layers), skipped)

    def update(self, norms: Any, row: Callable[[Any], Any]) -> None:
        """Take the size of an update, of this rank's part."""
        future = self._shards.look(partial(row, norms), FINE, self._stride, rows=2)
        if future is not None:
            self._inner.update(future, partial(_whole, layers=2 * self._layers))

    def skip(self) -> None:
        """Learn of a step that was not looked at, on no rank."""
        self._shards.step += 1
        self._inner.skip()

    def fail(self, error: Exception) -> None:
        """Learn that this rank could not look at a step that the others looked at."""
        self._shards.step += 1
        self._shards.look(None, FAILED, self._stride)
        self._inner.fail(error)

    def see_clipping(self) -> None:
        """Note that the norms that come next are from before clipping."""
        self._inner.see_clipping()

    def miss_clipping(self, text: str) -> None:
        """Note that norms may be from after clipping."""
        self._inner.miss_clipping(text)

    def replace(self) -> None:
        """Learn that another listener takes over."""
        self._inner.replace()

    @property
    def _layers(self) -> int:
        return self._shards._layers


def _whole(future: "Future[np.ndarray]", *, layers: int) -> np.ndarray:
    """Make a row of what the ranks summed, once they have."""
    try:
        summed = future.result()
    except CancelledError:
        raise CaptureError(OFF) from None
    with np.errstate(invalid="ignore"):
        row: np.ndarray = np.sqrt(summed[:layers])
    row[summed[layers : 2 * layers] == 0.0] = ABSENT
    return row


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
