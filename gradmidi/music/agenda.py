"""The agenda: a queue that puts events in order of ticks."""

import heapq

from gradmidi.music.events import (
    Alarm,
    Bend,
    Control,
    End,
    Event,
    Joined,
    Mark,
    Number,
    Off,
    On,
    Step,
)

__all__ = ["Agenda"]

_RANK: dict[type, int] = {
    Joined: -1,
    Step: 0,
    Off: 1,
    Mark: 2,
    Alarm: 3,
    Control: 4,
    Number: 4,
    Bend: 5,
    On: 6,
    End: 7,
}


class Agenda:
    """A queue of events in order of ticks; at equal ticks by type, then in the order added.

    Examples
    --------
    >>> agenda = Agenda()
    >>> agenda.add(Off(20, 0, 60), On(10, 0, 60, 80, 60.0), Off(10, 0, 62))
    >>> [type(event).__name__ for event in agenda.until(20)]
    ['Off', 'On']
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int, Event]] = []
        self._count = 0

    def add(self, *events: Event) -> None:
        """Add events."""
        for event in events:
            self._count += 1
            heapq.heappush(self._heap, (event.tick, _RANK[type(event)], self._count, event))

    def until(self, tick: int) -> list[Event]:
        """Remove and return the events before `tick`, in order."""
        due: list[Event] = []
        while self._heap and self._heap[0][0] < tick:
            due.append(heapq.heappop(self._heap)[3])
        return due

    def rest(self) -> list[Event]:
        """Remove and return every event, in order."""
        return self.until(1 << 62)
