"""Send a log's lines to the disk and to live outputs, after a header that may come late."""

from collections.abc import Sequence
from dataclasses import replace

from gradmidi.base.messages import Warnings
from gradmidi.log import Frame, Header, Layer, Record, encode, encode_header
from gradmidi.log.disk import Disk, LogFile
from gradmidi.log.feed import Feed

__all__ = ["Lines"]


class Lines:
    """Sends records to the disk and to live outputs, in order.

    Parameters
    ----------
    header : Header
        The first record.
    file : LogFile
        The log.
    feeds : sequence of Feed
        Live outputs.
    warnings : Warnings
        Counts the errors of live outputs.
    held : bool
        Keep back the header, and all that follows, until `arrange` or the first frame.

    Attributes
    ----------
    disk : Disk
        Writes the lines of the log; set before the first record is sent.
    """

    disk: Disk

    def __init__(
        self,
        header: Header,
        file: LogFile,
        feeds: Sequence[Feed],
        warnings: Warnings,
        *,
        held: bool,
    ) -> None:
        self._header = header
        self._file = file
        self._feeds = feeds
        self._warnings = warnings
        self._early: list[Record] | None = [] if held else None

    def begin(self, line: bytes) -> None:
        """Write the header's line, or raise OSError; a header that is kept back is only tried."""
        held = self._early is not None
        self._file.begin(line, held=held)
        if not held:
            self.feed(self._header, line)

    def arrange(self, layers: tuple[Layer, ...] = ()) -> None:
        """Send the header if it was kept back, with its layers in this order, and what followed."""
        if self._early is None:
            return
        early, self._early = self._early, None
        self._header = replace(self._header, layers=layers or self._header.layers)
        line = encode_header(self._header)
        self._file.head(line)
        self.feed(self._header, line)
        for record in early:
            self.send(record)

    def rewind(self) -> None:
        """Send the header of a further segment, in which the run goes back to an earlier step."""
        other = {**self._header.other, "rewound": True}
        self.send(replace(self._header, resumed=True, other=other))

    def send(self, record: Record) -> None:
        """Send a record."""
        if self._early is not None:
            if not isinstance(record, Frame):
                self._early.append(record)
                return
            self.arrange()
        line = encode(record)
        self.feed(record, line)
        self.disk.put(record, line)

    def feed(self, record: Record, line: bytes) -> None:
        """Send a line to live outputs alone."""
        for feed in self._feeds:
            try:
                feed.send(record, line)
            except Exception as error:
                self._warnings.note("live output", error, "training and the log continue")
