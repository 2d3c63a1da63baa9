"""The run log: JSON lines that training appends and all other commands read.

A log is `run.jsonl`: a header, a line for each step, marks and pauses between them, and an end.
Values that were logged after their step was written have their own line. A further header
with ``"resumed": true`` starts a segment, whose steps may go back: they replace those of the
segment before. A line that cannot be read is left out and counted. See docs/run-log.md.
"""

from gradmidi.log.decoding import Decoder
from gradmidi.log.encoding import (
    encode,
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
    encode_pause,
    encode_values,
)
from gradmidi.log.items import (
    ABSENT,
    FILE_NAME,
    FRAME_KEYS,
    VERSION,
    End,
    Frame,
    Header,
    Item,
    Layer,
    Mark,
    Pause,
    Record,
    Scalar,
    Values,
    combine,
    numbers_of,
    row,
)
from gradmidi.log.reader import RunLog, locate

__all__ = [
    "ABSENT",
    "FILE_NAME",
    "FRAME_KEYS",
    "VERSION",
    "Decoder",
    "End",
    "Frame",
    "Header",
    "Item",
    "Layer",
    "Mark",
    "Pause",
    "Record",
    "RunLog",
    "Scalar",
    "Values",
    "combine",
    "encode",
    "encode_end",
    "encode_frame",
    "encode_header",
    "encode_mark",
    "encode_pause",
    "encode_values",
    "locate",
    "numbers_of",
    "row",
]
