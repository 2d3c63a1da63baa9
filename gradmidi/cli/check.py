"""List the voices for setting up a DAW, and play cues with their texts in real time."""

import time
from collections.abc import Callable, Iterator, Sequence

from gradmidi.base.messages import printable
from gradmidi.midi.rig import Rig
from gradmidi.music.lesson import Cue
from gradmidi.sinks.sink import Sink
from gradmidi.text.words import timeline

__all__ = ["layout", "perform"]


def layout(rig: Rig, names: Sequence[str]) -> Iterator[str]:
    """List the voices for setting up a DAW: number, port, channel and name.

    Parameters
    ----------
    rig : Rig
        Ports and channels of the voices.
    names : sequence of str
        Names of the voices, first to last.

    Yields
    ------
    str
        A line that makes sense on its own.

    Examples
    --------
    >>> for line in layout(Rig(), ["conv1", "fc1"]):
    ...     print(line)
    voice 1: channel 1, conv1
    voice 2: channel 2, fc1
    faults: channel 10
    """
    for index, name in enumerate(names):
        yield f"voice {index + 1}: {_where(rig, rig.place(index))}, {printable(name)}"
    place = rig.fault_place
    yield "faults: off" if place is None else f"faults: {_where(rig, place)}"


def perform(
    sounds: Iterator[Cue],
    sink: Sink,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Play cues in real time, and print the text of each with its time.

    Parameters
    ----------
    sounds : iterator of Cue
        The sounds to play.
    sink : Sink
        The output, which is not closed.
    tell : callable
        Called with a line for each cue.
    clock, sleep : callable
        Return monotonic seconds, and wait for a number of seconds.
    """
    start = clock()
    for cue in sounds:
        sleep(max(0.0, start + cue.tick * cue.seconds - clock()))
        tell(printable(timeline(cue.tick * cue.seconds, cue.text)))
        for event in cue.events:
            sleep(max(0.0, start + event.tick * cue.seconds - clock()))
            sink.send((event,))


def _where(rig: Rig, place: tuple[int, int]) -> str:
    port, channel = place
    return f"port {rig.ports[port]!r}, channel {channel}" if port else f"channel {channel}"
