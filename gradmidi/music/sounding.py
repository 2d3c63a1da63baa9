"""Pairs the starts and the ends of notes: which notes sound now."""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["Sounding"]

Key = TypeVar("Key", bound=Hashable)
Note = TypeVar("Note")


class Sounding(Generic[Key, Note]):
    """The notes that sound now, by key.

    A key is whatever an end names its note by: mostly ``(voice, note)``, for a MIDI port
    ``(channel, note)``. A key may sound several times at once; an end is that of its oldest note.
    What is kept of a note is up to the caller: its `On`, its first tick, its place in a table.

    Examples
    --------
    >>> sounding = Sounding()
    >>> sounding.start((0, 60), "first"), sounding.start((0, 60), "second")
    (1, 2)
    >>> sounding.end((0, 60)), (0, 60) in sounding, len(sounding), list(sounding)
    ('first', True, 1, ['second'])
    >>> sounding.end_all(), sounding.end((0, 60)), len(sounding)
    (['second'], None, 0)
    """

    def __init__(self) -> None:
        self._notes: dict[Key, deque[Note]] = {}

    def start(self, key: Key, note: Note) -> int:
        """Add a note; return how many notes of its key sound now, this one included."""
        notes = self._notes.get(key)
        if notes is None:
            notes = self._notes[key] = deque()
        notes.append(note)
        return len(notes)

    def end(self, key: Key) -> Note | None:
        """Remove the oldest note of a key and return it; None where the key does not sound."""
        notes = self._notes.get(key)
        if notes is None:
            return None
        note = notes.popleft()
        if not notes:
            del self._notes[key]
        return note

    def end_all(self) -> list[Note]:
        """Remove every note and return them, those of a key together."""
        notes = list(self)
        self._notes.clear()
        return notes

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that sound, each once, in the order in which they began to."""
        return tuple(self._notes)

    def of(self, key: Key) -> tuple[Note, ...]:
        """Return the notes of one key, the oldest first."""
        return tuple(self._notes.get(key, ()))

    def __contains__(self, key: object) -> bool:
        return key in self._notes

    def __iter__(self) -> Iterator[Note]:
        return (note for notes in self._notes.values() for note in notes)

    def __len__(self) -> int:
        return sum(map(len, self._notes.values()))
