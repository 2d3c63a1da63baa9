"""Names of the columns that say what a row of a table is: its step, time, metric, run and layer."""

import json
from collections.abc import Mapping, Sequence

from gradmidi.sources.normnames import RUN, is_norm

__all__ = ["STEPS", "TIMES", "Naming", "in_a_line", "places"]

STEPS = (
    "trainer/global_step",
    "train/global_step",
    "global_step",
    "global step",
    "step",
    "_step",
    "iteration",
    "iter",
    "time/total_timesteps",
    "total_timesteps",
    "timesteps",
    "num_updates",
    "updates",
    "train_step",
    "training_step",
    "optimizer_step",
    "iterations",
    "iter_num",
    "n_iter",
)
"""Names of columns of step numbers, in lower case, best first."""

TIMES = (
    "_runtime",
    "relative time (process)",
    "relative time (wall)",
    "_timestamp",
    "timestamp",
    "wall time",
    "wall_time",
    "time",
    "walltime",
    "datetime",
    "elapsed",
    "elapsed_time",
    "seconds",
    "t",
    "date",
    "datum",
)
"""Names of columns of times."""

KEYS = ("key", "metric", "variable", "tag", "metric_name", "metricname", "metric.name", "name")
VALUES = ("value", "metric_value", "metricvalue", "metric.value")
"""Columns of files in which a row holds a metric's name and one number, as MLflow's and pandas'."""

VARIANTS = ("variant", "series")
"""Columns of such files with the second part of the name, as ClearML's."""

CONTEXTS = ("context", "metric.context")
"""Columns of such files with an object of the first parts of the name, as Aim's."""

RUNS = ("run_id", "run id", "run", "run.hash", "run_name")

LAYERS = ("layer", "layer_name", "module", "param", "param_name", "parameter", "parameter_name")
"""Columns of files in which a row holds a layer's name, and its norm."""


class Naming:
    """Which columns of a table name what stands in a row.

    Parameters
    ----------
    header : sequence of str
        The names of all columns.

    Attributes
    ----------
    value : int or None
        The column of numbers, where a row holds a metric's name and one number.
    layer : int or None
        The column of the layers' names, where a row holds the norm of one layer.
    run : int or None
        The column of the runs' names.

    Examples
    --------
    >>> naming = Naming(["metric", "variant", "value"])
    >>> naming.series(["grad_norm", "fc1", "0.5"])
    'grad_norm/fc1'
    """

    def __init__(self, header: Sequence[str]) -> None:
        small = [name.lower() for name in header]
        key, value, variant, context, run, layer = (
            next(iter(places(small, names)), None)
            for names in (KEYS, VALUES, VARIANTS, CONTEXTS, RUNS, LAYERS)
        )
        if key == value or key is None:
            value = None
        self.value = value
        self.run = run
        self.layer = layer if value is None and any(map(is_norm, header)) else None
        self._key, self._variant, self._context, self._part = key, variant, context, layer

    def series(self, cells: Sequence[str]) -> str:
        """Return the name of a row's metric."""
        assert self._key is not None
        parts = [] if self._context is None else _values(cells[self._context])
        parts.append(cells[self._key])
        parts += [cells[at] for at in (self._variant, self._part) if at is not None]
        name = in_a_line("/".join(filter(None, parts)))
        return name if self.run is None else f"{cells[self.run]}{RUN}{name}"


def _values(context: str) -> list[str]:
    """Return the values of an object that is written as JSON or as Python prints it."""
    try:
        found = json.loads(context.replace("'", '"'))
    except ValueError:
        return [context]
    return list(map(str, found.values())) if isinstance(found, Mapping) else [context]


def in_a_line(name: str) -> str:
    """Join the lines of a name."""
    return " ".join(name.splitlines())


def places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return where names stand, in the order in which they are wanted.

    Examples
    --------
    >>> places(["time", "step"], ["step", "iter", "time"])
    [1, 0]
    """
    return [names.index(name) for name in wanted if name in names]
