"""What is made of a run beside its log: files at its end, and live output."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradmidi.errors import GradmidiError
from gradmidi.listener.trackers import Tracker, Writer, tracker
from gradmidi.live.feed import Live
from gradmidi.live.session import Session
from gradmidi.midi.rig import Rig
from gradmidi.midi.rig import load as load_rig
from gradmidi.music.preset import Preset, load
from gradmidi.sinks.endings import ENDINGS

__all__ = ["Wanted", "wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is made of a run beside its log.

    Parameters
    ----------
    preset : str
        Its name, or the full path of its file.
    values : Preset
        What it says.
    files : tuple of str
        Endings of the files that are made at the end, with the dot.
    feeds : tuple of Live
        Live output.
    tracker : Tracker or None
        Who is given the run at its end.
    """

    preset: str
    values: Preset
    files: tuple[str, ...]
    feeds: tuple[Live, ...]
    tracker: Tracker | None


def wanted(
    preset: str | Path,
    files: Sequence[str],
    *,
    rig: str | Path | Rig | None,
    midi: str | Sequence[str] | None,
    osc: str | Sequence[str] | None,
    audio: bool | str | None,
    take: str | os.PathLike[str] | None,
    log_to: str | Writer | None,
    patterns: Mapping[str, str],
) -> Wanted:
    """Check what was asked for, and open what is live.

    Parameters
    ----------
    preset, files, rig, midi, osc, audio, take, log_to
        As for `gradmidi.listen`.
    patterns : mapping of str to str
        The user's own voices.

    Raises
    ------
    GradmidiError
        If one of them is not there, or not allowed.
    """
    values = load(preset)
    if isinstance(files, str):
        files = (files,)
    endings = tuple(dict.fromkeys(f".{file.lower().removeprefix('.')}" for file in files))
    for ending in endings:
        if ending not in ENDINGS:
            known = " ".join(each.removeprefix(".") for each in ENDINGS)
            raise GradmidiError(f"files={ending.removeprefix('.')!r}; allowed is: {known}")
    # The script may change its folder before the files are made.
    name = str(Path(preset).absolute()) if Path(preset).suffix == ".toml" else str(preset)
    ports = [midi] if isinstance(midi, str) else list(midi or ())
    session = Session(
        values,
        load_rig(rig, {"ports": [port for port in ports if port] or None}),
        osc=(osc,) if isinstance(osc, str) else tuple(osc or ()),
        audio=None if not audio else audio if isinstance(audio, str) else "",
        take=None if take is None else str(Path(take).absolute()),
        patterns=dict(patterns),
    )
    # Last is what opens something.
    given = tracker(log_to)
    return Wanted(name, values, endings, (Live(session),) if session.sounds else (), given)
