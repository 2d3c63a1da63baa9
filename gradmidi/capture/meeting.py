"""Where rank 0 records the run, for the other processes: a note in the store of the job.

`torch.distributed` has a store of keys and values for each job. Rank 0 sets a key; the others ask
whether it is there, and do not wait for it.
"""

from typing import Any

from torch import distributed

__all__ = ["Note", "note_of_job"]


def note_of_job() -> "Note | None":
    """Return the note of the next run; None where one process trains, or the store is gone."""
    there = distributed.is_available() and distributed.is_initialized()
    if not there or distributed.get_world_size() == 1:
        return None
    try:
        return Note()
    except Exception:
        return None


class Note:
    """A text that rank 0 leaves for the other processes, a new one for each run.

    Every process makes its notes in the same order.

    Attributes
    ----------
    rank, ranks : int
        This process's rank, and how many there are.

    Raises
    ------
    RuntimeError
        If the store is gone.
    """

    def __init__(self) -> None:
        self.rank, self.ranks = distributed.get_rank(), distributed.get_world_size()
        c10d: Any = distributed.distributed_c10d
        self._store = c10d.PrefixStore("gradmidi", c10d._get_default_store())
        number = self._store.add(f"runs of {self.rank}", 1)
        self._key = f"run {number}"

    def leave(self, text: str) -> None:
        """Leave the text, on rank 0."""
        self._store.set(self._key, text)

    def found(self) -> str | None:
        """Return the text; None if it is not there yet."""
        if not self._store.check([self._key]):
            return None
        text: bytes = self._store.get(self._key)
        return text.decode()
