"""What sounds right now, written where it outlives the player: in a file both processes map.

A player that is killed, or that a native call never lets go of, cannot end its notes. Its
parent reads here which they are.
"""

import contextlib
import errno
import mmap
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from gradmidi.music.events import Event, Off, On

__all__ = ["Ledger"]

VOICES, KEYS = 64, 128
FLOAT_BYTES = 4


class Ledger:
    """A table of every voice's keys: 0, or the pitch that sounds, plus 1.

    Parameters
    ----------
    path : str or Path, optional
        The file that another process made; without it, one is made.

    Attributes
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If the file cannot be made or opened.

    Examples
    --------
    >>> ours = Ledger()
    >>> theirs = Ledger(ours.path)
    >>> theirs.enter([On(0, 2, 60, 80, pitch=60.5), On(0, 3, 62, 80, pitch=62.0), Off(9, 3, 62)])
    >>> ours.sounding()
    [On(tick=0, voice=2, note=60, velocity=1, pitch=60.5, norm=0.0, sound='')]
    >>> theirs.close(), ours.close()
    (None, None)
    """

    def __init__(self, path: str | Path | None = None) -> None:
        size = VOICES * KEYS * FLOAT_BYTES
        if path is None:
            descriptor, name = tempfile.mkstemp(prefix="gradmidi-")
            # Written, not just made that long: on a full disk this fails, and nothing later.
            try:
                if os.write(descriptor, bytes(size)) < size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            except OSError:
                os.close(descriptor)
                os.unlink(name)
                raise
        else:
            name = str(path)
            descriptor = os.open(name, os.O_RDWR | getattr(os, "O_BINARY", 0))
        self.path = Path(name)
        try:
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._table = memoryview(self._map).cast("f")

    def enter(self, events: Iterable[Event]) -> None:
        """Write down the notes that start and end among the next events."""
        # Of each key the last alone: whoever reads meanwhile must not find it let go of.
        last = {(e.voice, e.note): e for e in events if isinstance(e, (On, Off))}
        for (voice, note), event in last.items():
            # Voices are -1 (faults) to 59.
            place = (voice + 1) % VOICES * KEYS + note
            self._table[place] = event.pitch + 1.0 if isinstance(event, On) else 0.0

    def sounding(self) -> list[On]:
        """Tell what sounds: the notes, as far as an end needs them."""
        return [
            On(0, index // KEYS - 1, index % KEYS, 1, pitch=pitch - 1.0)
            for index, pitch in enumerate(self._table)
            if pitch
        ]

    def unlink(self) -> None:
        """Remove the file's name, where the system lets an open file go on without one."""
        with contextlib.suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Let go of it. May be called twice."""
        self._table.release()
        self._map.close()
        self.unlink()
