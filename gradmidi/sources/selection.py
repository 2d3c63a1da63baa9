"""What to take from a log of another tool, as the user chose it."""

from dataclasses import dataclass

__all__ = ["Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take from a log of another tool.

    Parameters
    ----------
    kind : str or None
        What the log is: a name in `gradmidi.sources.kinds.KINDS`. None: it is found.
    columns : tuple of str
        Names or patterns of the columns of gradient norms; if empty, columns with a word for
        gradients in their names.
    values : tuple of str
        Names or patterns of values, see `gradmidi.sources.metrics.choose_values`.
    step : str or None
        The column of step numbers. None: it is found by its name.
    """

    kind: str | None = None
    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    step: str | None = None
