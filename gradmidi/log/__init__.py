"""The run log: JSON lines that training appends and everything else reads.

One log is `run.jsonl`: a header, then a line a step, marks and pauses between, and an end.
A further header with ``"resumed": true`` opens a segment whose steps may go back; of a step
that stands twice the later line wins, within a segment too: what was logged too late to stand
on its step's line is written with that line again. Whatever cannot be read is skipped and
counted.
"""

from gradmidi.log.combine import combine
from gradmidi.log.encode import (
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
    encode_pause,
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
    Scalar,
    row,
)
from gradmidi.log.reader import Decoder, RunLog, locate

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
    "RunLog",
    "Scalar",
    "combine",
    "encode_end",
    "encode_frame",
    "encode_header",
    "encode_mark",
    "encode_pause",
    "locate",
    "row",
]
