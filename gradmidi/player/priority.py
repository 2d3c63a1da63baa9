"""Asks the system to let this process run as soon as it wakes, before those that compute.

Where training keeps every core busy, an ordinary process that wakes waits for the end of a
time slice, some milliseconds. A sound server asks to be spared that, and so does the player:
it sleeps nearly always. Who may ask is the system's to say: root and, on most music systems, the
group `audio` (`rtprio` in limits.conf(5)).
"""

import os

__all__ = ["real_time"]

PRIORITY = 1
"""The lowest of the real-time priorities: a sound server's own threads still come first."""


def real_time() -> bool:
    """Make this process a real-time one, with all threads and processes it starts from now on.

    Returns
    -------
    bool
        Whether the system allowed it. Where it does not, or knows no such thing, all is as before.

    Notes
    -----
    `SCHED_RR` of sched(7), POSIX.1-2008, section 2.8.4.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    except OSError:
        return False
    return True
