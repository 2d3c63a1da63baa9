"""The memory that a process has used, for the other benchmarks."""

import re
from pathlib import Path


def megabytes(process: int | str = "self") -> float:
    """Return the peak resident memory of a process (0 if the system does not report it)."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
