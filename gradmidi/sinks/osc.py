"""The sink that sends Open Sound Control over UDP: a datagram for each message, at once.

`docs/osc.md` lists every address with its type tags, units and ranges.
"""

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradmidi.base.messages import Warnings
from gradmidi.errors import PortError
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    FAULT_VOICE,
    Alarm,
    End,
    Event,
    Joined,
    Mark,
    Off,
    On,
    Sounding,
    Step,
)
from gradmidi.music.voices import Voice
from gradmidi.sinks.oscmessage import (
    PENTATONIC,
    Pace,
    alive_message,
    bundle,
    bundles,
    fault_message,
    mark_message,
    note_message,
    preset_message,
    start_message,
    step_messages,
    stop_message,
    voice_message,
)
from gradmidi.sinks.registry import Counters

__all__ = ["Address", "Osc", "greeting", "resolve"]

HOST = "127.0.0.1"
"""The default host; not `localhost`, which may mean IPv6 while receivers use IPv4."""

Address = tuple[int, tuple[Any, ...]]
"""A socket's family and numeric address."""

ANNOUNCE_SECONDS = 5.0
"""How often preset and voices are sent again, for receivers that started late."""

ALIVE_SECONDS = 0.5
"""How often ``/gradmidi/alive`` is sent, so that a receiver can end its notes without it."""


class Osc:
    """Sends the events that it receives as OSC messages, at once.

    `send`, `silence` and `close` never raise: datagrams that the system refuses are counted, and
    the user is warned once. A missing receiver is usually reported if it is on this machine, but
    not on another machine.

    Parameters
    ----------
    target : str
        ``HOST:PORT``, ``[IPV6]:PORT`` or ``PORT`` on this machine; looked up once.
    rig : Rig
        Provides the voices' MIDI channels.
    run : str
        The run's name.
    voices : sequence of Voice
        The voices that play.
    layers : int
        Number of layers of the run.
    pace : Pace
        Tempo, slot and preset.
    timetags : float, optional
        Send bundles with a time tag this many seconds ahead; needs synchronised clocks.
    clock : callable
        Returns monotonic seconds.
    wall : callable
        Returns seconds since 1970, for time tags.
    find : callable
        Looks up `target`.

    Attributes
    ----------
    counters : Counters

    Raises
    ------
    PortError
        If `target` is not an address, or the host does not exist.
    """

    def __init__(
        self,
        target: str,
        rig: Rig,
        run: str,
        voices: Sequence[Voice],
        layers: int,
        *,
        pace: Pace = PENTATONIC,
        timetags: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        find: Callable[[str], Address] | None = None,
    ) -> None:
        family, self._address = (find or resolve)(target)
        self.counters = Counters()
        self._target = target
        self._warnings = Warnings()
        self._timetags = timetags
        self._clock, self._wall = clock, wall
        self._step, self._seconds = 0, 0.0
        self._stopped = self._closed = self._connected = False
        self._sounding: Sounding[tuple[int, int], On] = Sounding()
        self._takes: dict[type, Callable[[Any], Iterable[bytes]]] = {
            Joined: self._join,
            Step: self._numbers,
            On: self._on,
            Off: self._off,
            Alarm: self._fault,
            Mark: self._mark,
            End: self._stop,
        }
        self._rig = rig
        self._again: list[bytes] = []
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # Without this option the system refuses broadcast addresses.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.begin(run, voices, layers, pace)
        # The first sign of life comes at once.
        self._alive = self._announced - ALIVE_SECONDS

    def begin(self, run: str, voices: Sequence[Voice], layers: int, pace: Pace) -> None:
        """Send the start of a run, its preset and its voices; again if the preset changes."""
        self.silence()
        start, *self._again = greeting(run, voices, layers, pace, self._rig)
        self._post([start, *self._again])
        self._announced = self._clock()

    def send(self, events: Sequence[Event]) -> None:
        """Send events now; after `close` they are dropped.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks. Controllers, bends and the notes of fault sounds are not sent, since
            OSC carries the norms and faults themselves.
        """
        messages: list[bytes] = []
        now = self._clock()
        if now - self._announced >= ANNOUNCE_SECONDS:
            self._announced = now
            messages += self._again
        for event in events:
            take = self._takes.get(type(event))
            if take is not None:
                messages += take(event)
        self._post(messages)

    def silence(self) -> None:
        """End every note that sounds."""
        self._post([note_message(note, 0) for note in self._sounding.end_all()])

    def keep_time(self, pace: Pace) -> None:
        """Send another tempo, also when the preset is sent again."""
        self._again[0] = preset_message(pace)
        self._post(self._again[:1])

    def keep_alive(self) -> None:
        """Send ``/gradmidi/alive`` if it is due, until the end of the run."""
        now = self._clock()
        if now - self._alive >= ALIVE_SECONDS and not self._stopped:
            self._alive = now
            self._post([alive_message(len(self._sounding))])

    def close(self) -> None:
        """End every note, send the end of the run and close. May be called twice."""
        if self._closed:
            return
        self.silence()
        if not self._stopped:
            self._post(self._stop(End(0, self._step, self._seconds)))
        self._closed = True
        self._socket.close()

    # -- events to messages -------------------------------------------------------------------

    def _numbers(self, step: Step) -> Iterable[bytes]:
        self._step, self._seconds = step.step, step.seconds
        return step_messages(step)

    def _join(self, joined: Joined) -> Iterable[bytes]:
        channel = self._rig.place(joined.voice)[1]
        self._again.append(voice_message(joined.voice, joined.name, channel, 0))
        return self._again[-1:]

    def _on(self, on: On) -> Iterable[bytes]:
        if on.voice == FAULT_VOICE:
            return ()
        self._sounding.start((on.voice, on.note), on)
        return (note_message(on, on.velocity),)

    def _off(self, off: Off) -> Iterable[bytes]:
        on = self._sounding.end((off.voice, off.note))
        return (note_message(on, 0),) if on is not None else ()

    def _fault(self, fault: Alarm) -> Iterable[bytes]:
        return (fault_message(fault),)

    def _mark(self, mark: Mark) -> Iterable[bytes]:
        return (mark_message(mark.text),) if mark.voice is None else ()

    def _stop(self, end: End) -> tuple[bytes]:
        self._stopped = True
        return (stop_message(end),)

    # -- messages to datagrams ----------------------------------------------------------------

    def _post(self, messages: Sequence[bytes]) -> None:
        if self._closed:
            self.counters.dropped += len(messages)
        elif self._timetags is None:
            for message in messages:
                self._put(message, 1)
        else:
            for held in bundles(messages):
                self._put(bundle(held, self._wall() + self._timetags), len(held))

    def _put(self, datagram: bytes, messages: int) -> None:
        for _ in range(2):
            try:
                if not self._connected:
                    # With a connected socket, the system reports that no program listens.
                    self._socket.connect(self._address)
                    self._connected = True
                self._socket.send(datagram)
            except BlockingIOError:
                self.counters.dropped += messages
                self._warn("its buffer is full, messages are left out")
                return
            except (ConnectionRefusedError, ConnectionResetError):
                # The error belongs to an earlier datagram; this one has not been sent yet.
                self.counters.errors += 1
                self._warn("no program listens there yet")
            except OSError as error:
                self.counters.errors += 1
                self._warn(error.strerror or str(error))
                return
            else:
                self.counters.sent += messages
                return

    def _warn(self, what: str) -> None:
        self._warnings.note(f"OSC to {self._target}", what, "everything else continues")


def greeting(run: str, voices: Sequence[Voice], layers: int, pace: Pace, rig: Rig) -> list[bytes]:
    """Return the messages for the start of a run, its preset and each of its voices."""
    places = [
        voice_message(voice.index, voice.name, rig.place(voice.index)[1], len(voice.layers))
        for voice in voices
    ]
    return [start_message(run, len(voices), layers), preset_message(pace), *places]


def resolve(target: str) -> Address:
    """Parse an OSC address and look up its host, IPv4 before IPv6.

    Parameters
    ----------
    target : str
        ``HOST:PORT``, ``[IPV6]:PORT`` or ``PORT`` on this machine.

    Returns
    -------
    family : int
        Family of the socket.
    address : tuple
        Numeric address for the socket.

    Raises
    ------
    PortError
        If it is not an address, or the host does not exist.

    Examples
    --------
    >>> resolve("127.0.0.1:57120")[1], resolve("9000")[1]
    (('127.0.0.1', 57120), ('127.0.0.1', 9000))
    """
    host, _, port = target.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not digits or not 1 <= int(port) <= 65535 or (":" in host and not bracketed):
        raise PortError(
            f"{target!r} is not an OSC address; write HOST:PORT, as {HOST}:57120 or [::1]:57120, "
            "with a port from 1 to 65535"
        )
    host = (host[1:-1] if bracketed else host) or HOST
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found = socket.getaddrinfo(host, int(port), family, socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            continue
        return family, found[0][4]
    raise PortError(f"no host {host!r} was found for OSC; give its IP address, as {HOST}:{port}")
