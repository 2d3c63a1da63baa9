"""TensorBoard's event files: scalars, and histograms, which know the sum of their squares."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradmidi.base.versions import framework
from gradmidi.errors import CaptureError, RunLogError
from gradmidi.sources.points import Point

__all__ = ["read"]

NEEDED = "2.10"
ALL = {"scalars": 0, "histograms": 0, "tensors": 0, "images": 1, "audio": 1}
"""How many events of a kind are kept; 0: every one."""


def read(path: Path) -> Iterator[Point]:
    """Read an event file, or a folder of event files that are one run.

    A histogram's norm is exact: the file holds the sum of the squares beside the counts.

    Raises
    ------
    RunLogError
        If there is no TensorBoard of version 2.10 or newer to read it with.
    """
    package = "tensorboard.backend.event_processing.event_accumulator"
    try:
        accumulators = framework(package, "tensorboard", NEEDED)
    except CaptureError as error:
        raise RunLogError(f"{path} is an event file of TensorBoard: {error}") from error
    events = accumulators.EventAccumulator(str(path), size_guidance=ALL)
    events.Reload()
    return _points(events)


def _points(events: Any) -> Iterator[Point]:
    tags = events.Tags()
    for tag in tags["scalars"]:
        for event in events.Scalars(tag):
            yield Point(tag, event.step, event.wall_time, float(event.value))
    for tag in tags["histograms"]:
        for event in events.Histograms(tag):
            norm = math.sqrt(event.histogram_value.sum_squares)
            yield Point(tag, event.step, event.wall_time, norm)
    # TensorFlow writes a scalar as a tensor of one number, and texts as tensors too.
    arrays = framework("tensorboard.util.tensor_util", "tensorboard", NEEDED)
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            for event in events.Tensors(tag):
                value = float(arrays.make_ndarray(event.tensor_proto))
                yield Point(tag, event.step, event.wall_time, value)
