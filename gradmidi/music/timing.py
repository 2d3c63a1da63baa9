"""The time of a piece: ``[time]`` of a preset, where slots begin, and events in order of ticks."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gradmidi.base.environment import offered
from gradmidi.base.table import key
from gradmidi.errors import PresetError
from gradmidi.music.events import (
    PPQ,
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

__all__ = ["NOTE_VALUES", "PPQ", "STYLES", "Agenda", "SlotGrid", "Time", "ticks_of"]

ENTRY_POINTS = "gradmidi.styles"
"""The group of entry points for styles of installed packages."""

NOTE_VALUES = ("1/1", "1/2", "1/3", "1/4", "1/6", "1/8", "1/12", "1/16", "1/24", "1/32")
"""Lengths of a slot; 1/3, 1/6, 1/12 and 1/24 are triplets."""

METERS = ("2/4", "3/4", "4/4", "5/4", "6/8", "7/8")


def ticks_of(value: str) -> int:
    """Return the ticks of a note value or a meter.

    Examples
    --------
    >>> ticks_of("1/16"), ticks_of("1/12"), ticks_of("5/4")
    (120, 160, 2400)
    """
    count, unit = value.split("/")
    return 4 * PPQ * int(count) // int(unit)


class _Styles(Mapping[str, Any]):
    """All styles by name: registered ones, and ones of installed packages."""

    def __init__(self) -> None:
        self._registered: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        # Looking for entry points takes milliseconds, so do it only for an unknown name.
        if name not in self._registered:
            self._load_installed()
        return self._registered[name]

    def __iter__(self) -> Iterator[str]:
        self._load_installed()
        return iter(self._registered)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _load_installed(self) -> None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS):
            if entry.name not in self._registered:
                self.add(offered(entry, PresetError))

    def add(self, style: type[Any]) -> None:
        """Add a style; only a new version of a class may replace a style of the same name."""
        there = type(self._registered[style.name]) if style.name in self._registered else style
        if (there.__module__, there.__qualname__) != (style.__module__, style.__qualname__):
            raise PresetError(
                f"a style {style.name!r} is registered already, by {there.__module__}."
                f"{there.__qualname__}; give the new one another name"
            )
        self._registered[style.name] = style()


STYLES = _Styles()
"""All styles by name: instances of `gradmidi.music.styles.Style`."""


@dataclass(frozen=True, slots=True)
class Time:
    """``[time]``: tempo, the length of a slot, and the style of its notes."""

    tempo: float = key(120.0, "quarter notes a minute", least=20, most=300)
    slot: str = key(
        "1/16",
        "length of a slot, a note value (chord, hold, drums); 1/3, 1/6, 1/12 and 1/24 are triplets",
        choices=NOTE_VALUES,
    )
    style: str = key("chord", "how the notes of a slot are placed in time", choices=STYLES)
    meter: str = key("4/4", "beats in a bar", choices=METERS)
    swing: float = key(
        0.5,
        "share of two slots that the first of them has (chord, hold): 0.5 is even, 0.667 triplets",
        least=0.5,
        most=0.7,
    )
    gate: float = key(
        0.9,
        "how long a note lasts: share of the slot (chord), or of the time to the next place "
        "for a note (drums)",
        least=0.05,
        most=1.0,
    )
    stagger: float = key(
        25.0,
        "ms between the voices of a slot, at the most (chord, hold); together never more than "
        "half a slot",
        least=0.0,
        most=100.0,
    )
    note: int = key(10, "ticks a note of an arpeggio lasts (480 a quarter)", least=1, most=1920)
    rest: int = key(20, "ticks of silence after an arpeggio", least=0, most=1920)
    rate: float = key(
        10.0,
        "most slots a second in wall time; steps that come faster share a slot",
        least=0.1,
        most=100.0,
    )

    @property
    def tick_seconds(self) -> float:
        """Seconds in one tick."""
        return 60.0 / (self.tempo * PPQ)

    @property
    def bar_ticks(self) -> int:
        """Ticks in one bar."""
        return ticks_of(self.meter)

    def slot_ticks(self, voices: int) -> int:
        """Return the ticks in one slot of `voices` voices."""
        ticks: int = STYLES[self.style].slot_ticks(self, voices)
        return ticks

    def grid(self, voices: int, origin: int = 0) -> "SlotGrid":
        """Return where the slots of `voices` voices begin; the first one at tick `origin`."""
        ticks = self.slot_ticks(voices)
        return SlotGrid(ticks, origin, round((2.0 * self.swing - 1.0) * ticks))


class SlotGrid(NamedTuple):
    """Where slots begin.

    Parameters
    ----------
    ticks : int
        Ticks in a slot; with swing the mean of two slots.
    origin : int
        The tick at which the first slot begins.
    delay : int
        Ticks by which every second slot is late: swing.

    Examples
    --------
    >>> grid = SlotGrid(120, 0, 40)
    >>> [grid.start_of(slot) for slot in range(4)], grid.place_of(285)
    ([0, 160, 240, 400], (2, 45))
    """

    ticks: int
    origin: int = 0
    delay: int = 0

    def start_of(self, slot: int) -> int:
        """Return the tick at which a slot begins."""
        return self.origin + slot * self.ticks + self.delay * (slot % 2)

    def place_of(self, tick: int) -> tuple[int, int]:
        """Return the slot at a tick, as it would be without swing, and the ticks since its start.

        They are below zero if the slot is late and has not begun.
        """
        slot, ticks = divmod(tick - self.origin, self.ticks)
        return slot, ticks - self.delay * (slot % 2)


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
