"""`Session`: the settings of a player, as one frozen value and one line of JSON."""

import dataclasses
import json
import os
from dataclasses import dataclass, field

from gradmidi.errors import GradmidiError
from gradmidi.midi.rig import Rig
from gradmidi.music.preset import Preset, parse

__all__ = ["Session"]


@dataclass(frozen=True, slots=True)
class Session:
    """The settings of a player: what it plays, and its outputs.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    rig : Rig
        MIDI ports and settings of the devices; without a port there is no MIDI.
    osc : tuple of str
        Addresses to send OSC to, each ``HOST:PORT``.
    osc_in : str or None
        Where commands by OSC are received, ``PORT`` or ``HOST:PORT``.
    midi_in : str or None
        MIDI input where commands are received; the rig's `midi_in` says which.
    timetags : float or None
        Send OSC bundles with time tags this many seconds ahead.
    audio : str or None
        Name of a sound card; "" is the system's default; None: no sound card.
    take : str or None
        A ``.mid`` file that records what is played live.
    notify : tuple of str
        Addresses of apprise that faults are sent to.
    time : {"wall", "step"}
        The run's own timing, or one slot for each step.
    per_slot : int
        Steps that share a slot, if `time` is ``"step"``.
    of : {"gradients", "updates"}
        What the voices of layers play.
    paced : bool
        Whether to play a run from its start by its own time; otherwise play it as it happens.
    history : bool
        Whether the first lines are older than the player; they make no sound.
    delay : float
        Delay of all sound in seconds, 0 to 600.
    level : float
        dB added to every note, -60 to 12.
    parent : int
        Process id of the player's parent; when the parent is gone, the player ends.

    Raises
    ------
    GradmidiError
        If `delay`, `level` or `timetags` is out of range, or the rig has no commands for `midi_in`.
    """

    preset: Preset
    rig: Rig = field(default_factory=Rig)
    osc: tuple[str, ...] = ()
    osc_in: str | None = None
    midi_in: str | None = None
    timetags: float | None = None
    audio: str | None = None
    take: str | None = None
    notify: tuple[str, ...] = ()
    time: str = "wall"
    per_slot: int = 1
    of: str = "gradients"
    paced: bool = False
    history: bool = False
    delay: float = 0.0
    level: float = 0.0
    parent: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        _within("delay", self.delay, 0.0, 600.0, "seconds")
        _within("level", self.level, -60.0, 12.0, "dB")
        if self.timetags is not None:
            _within("osc-timetags", self.timetags, 0.0, 60.0, "seconds")
        if self.midi_in is not None and not self.rig.midi_in:
            raise GradmidiError(
                f"midi-in {self.midi_in}: the rig has no midi_in, which says what knobs do; "
                "gradmidi check --learn PORT prints lines for it"
            )

    @property
    def sounds(self) -> bool:
        """Whether there is any output."""
        return self.audio is not None or not self.only_audio

    @property
    def only_audio(self) -> bool:
        """Whether there is no other output than the sound card."""
        return not (self.rig.ports or self.osc or self.take or self.notify)

    @property
    def plays_log(self) -> bool:
        """Whether it plays a log, finished or growing, and not a training in this process."""
        return self.paced or self.history

    def to_line(self) -> bytes:
        r"""Return the session as a line of JSON.

        Examples
        --------
        >>> from gradmidi.music.preset import load
        >>> session = Session(load("pentatonic"), osc=("127.0.0.1:57120",))
        >>> Session.from_line(session.to_line()) == session
        True
        """
        # Unlike orjson, json writes paths that are no UTF-8.
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Session":
        """Read a line that `to_line` returned."""
        fields = json.loads(line)
        table = fields.pop("preset")
        name = table.pop("name")
        rig = fields.pop("rig")
        return cls(
            preset=parse(table, name, f"preset {name}"),
            rig=Rig.of_fields(rig),
            **{**fields, "osc": tuple(fields["osc"]), "notify": tuple(fields["notify"])},
        )


def _within(name: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise GradmidiError(f"{name} = {value:g}; allowed is {least:g} to {most:g} {unit}")
