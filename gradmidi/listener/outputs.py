"""Live output and tracker of a run, as its options ask for them."""

from dataclasses import dataclass

from gradmidi.base.messages import warn
from gradmidi.listener.trackers import Tracker, tracker
from gradmidi.live.feed import Live, NoPlayerError
from gradmidi.options import Options

__all__ = ["FEED_SECONDS", "Outputs"]

FEED_SECONDS = 2.0
"""How long live output may take to end."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Live output and tracker of a run.

    Parameters
    ----------
    feeds : tuple of Live
        Live outputs.
    tracker : Tracker or None
        The tracker to which the run is uploaded at its end.
    """

    feeds: tuple[Live, ...] = ()
    tracker: Tracker | None = None

    @classmethod
    def of(cls, options: Options) -> "Outputs":
        """Find the tracker and open live output.

        Raises
        ------
        GradmidiError
            If a port, an address or a tracker is not available.
        """
        found = tracker(options.log_to)
        session = options.session()
        try:
            return cls((Live(session),) if session.sounds else (), found)
        except NoPlayerError as error:
            warn(f"{error}: no sound, everything else continues")
            return cls((), found)

    def close(self) -> None:
        """Close live output."""
        for feed in self.feeds:
            feed.close(FEED_SECONDS)
