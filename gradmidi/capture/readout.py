"""Numbers from a device to the host, with nothing of the training thread waiting for the device.

The thread that trains asks for a copy to pinned memory and for an event behind it, and goes on. The
thread that needs the numbers waits until the event has come, a step or two later. An event may not
be asked for while another thread begins to capture a CUDA graph in CUDA's strictest mode; PyTorch
waits for the device before a capture, but not for that thread, so let a hundredth of a second pass
between the last step that is heard and a capture. Sparse gradients are coalesced, for which PyTorch
itself waits. All that is said to CUDA is said by `Cuda`; numbers that are on the host, and those of
devices that know no events, pass through as they are.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Any, Protocol

import torch
from torch import Tensor

from gradmidi.errors import CaptureError

__all__ = ["Cuda", "Device", "Event", "Later", "Readout", "capturing"]

SLOTS = 256
"""Looks under way at one time; the log's thread comes by every few hundredths of a second."""

POLL_SECONDS = 0.001


class Event(Protocol):
    """A place in a device's work."""

    def query(self) -> bool:
        """Tell whether the device is past it."""


class Device(Protocol):
    """What a copy needs of a device."""

    def buffer(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """Make memory of the host's that the device writes to by itself, of shape (rows, width)."""

    def event(self) -> Event:
        """Make an event."""

    def send(self, values: Tensor, host: Tensor, event: Any) -> None:
        """Ask for a copy and for the event behind it, in the order of the work at hand."""


class Cuda:
    """CUDA, and ROCm, which goes by its name: the one place where something is said to them."""

    def buffer(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        """Make pinned memory: into any other a copy is waited for."""
        return torch.empty((rows, width), dtype=dtype, pin_memory=True)

    def event(self) -> Event:
        """Make an event that takes no time."""
        new: Any = torch.cuda.Event
        event: Event = new()
        return event

    def send(self, values: Tensor, host: Tensor, event: Any) -> None:
        """Ask for a copy on the stream that the values come from."""
        host.copy_(values, non_blocking=True)
        event.record(torch.cuda.current_stream(values.device))


_initialized: Callable[[], bool] = torch.cuda.is_initialized


def capturing() -> bool:
    """Tell whether work is only being recorded as a CUDA graph, where nothing may be read."""
    return _initialized() and torch.cuda.is_current_stream_capturing()


class Later:
    """Numbers on their way from a device; for any thread but that which trains.

    Parameters
    ----------
    host : Tensor
        Where they go.
    event : Event
        What comes behind them.
    """

    __slots__ = ("__weakref__", "_event", "_host", "_read")

    def __init__(self, host: Tensor, event: Event) -> None:
        self._host = host
        self._event = event
        self._read: Tensor | None = None

    @property
    def is_read(self) -> bool:
        """Whether its place may be used again."""
        return self._read is not None

    @property
    def has_arrived(self) -> bool:
        """Whether they can be read without waiting."""
        return self._read is not None or self._event.query()

    def cpu(self) -> Tensor:
        """Wait for them, and give them."""
        if self._read is None:
            while not self._event.query():
                sleep(POLL_SECONDS)
            self._read = self._host.clone()
        return self._read

    def item(self) -> Any:
        """Wait for the one number, and give it."""
        return self.cpu().item()

    def __bool__(self) -> bool:
        return bool(self.item())


@dataclass(slots=True)
class _Slot:
    host: Tensor
    event: Event
    taken: "weakref.ref[Later] | None" = None

    @property
    def is_free(self) -> bool:
        """Whether no thread waits for what it holds, and no copy to it is under way."""
        if self.taken is None:
            return True
        later = self.taken()
        return later.is_read if later is not None else self.event.query()


class _Ring:
    """Places for copies of up to `width` numbers, used in turn."""

    def __init__(self, device: Device, width: int, dtype: torch.dtype) -> None:
        self.width = width
        self._device = device
        self._slots = [_Slot(host, device.event()) for host in device.buffer(SLOTS, width, dtype)]
        self._next = 0

    def send(self, values: Tensor) -> Later:
        slot = self._slots[self._next]
        if not slot.is_free:
            raise CaptureError(f"the device or the run log is {SLOTS} looks behind")
        self._next = (self._next + 1) % SLOTS
        host = slot.host[: values.numel()]
        self._device.send(values.detach().reshape(-1), host, slot.event)
        later = Later(host, slot.event)
        slot.taken = weakref.ref(later)
        return later


class Readout:
    """Gives numbers of a device as `Later`, each kind by a ring of its own.

    Parameters
    ----------
    devices : mapping of str to Device, optional
        By the device's type; by default CUDA alone.

    Attributes
    ----------
    host_alone : bool
        Whether what is on the host passes through as it is.

    Examples
    --------
    >>> Readout().later(torch.ones(2)).cpu()
    tensor([1., 1.])
    """

    def __init__(self, devices: dict[str, Device] | None = None) -> None:
        self._devices = {"cuda": Cuda()} if devices is None else devices
        self.host_alone = "cpu" not in self._devices
        self._rings: dict[tuple[torch.device, torch.dtype], _Ring] = {}

    def later(self, values: Any) -> Any:
        """Have numbers copied to the host.

        Parameters
        ----------
        values : Tensor, list of float, or anything else
            On a device or not.

        Returns
        -------
        Later, or what was given
            A `Later` if they are on a device that has events.

        Raises
        ------
        CaptureError
            If so many are under way that there is no place, or a graph is being captured.
        """
        if self.host_alone and getattr(values, "is_cpu", False):
            # The usual case; to ask for a tensor's device takes longer.
            return values
        if isinstance(values, list):
            # Norms that were on the host.
            if self.host_alone:
                return values
            values = torch.tensor(values, dtype=torch.float64)
        device = self._devices.get(values.device.type) if isinstance(values, Tensor) else None
        if device is None:
            return values
        if hasattr(values, "to_local"):
            values = values.to_local()
        if capturing():
            raise CaptureError("a CUDA graph is being captured: nothing can be read")
        kind = values.device, values.dtype
        ring = self._rings.get(kind)
        if ring is None or ring.width < values.numel():
            ring = self._rings[kind] = _Ring(device, values.numel(), values.dtype)
        return ring.send(values)
