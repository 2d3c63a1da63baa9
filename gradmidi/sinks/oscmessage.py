"""Encode events as OSC messages, with values that every receiver accepts.

Only the tags i, f and s are used, floats are finite, strings are ASCII, and a datagram fits one
Ethernet frame, because not all receivers accept more (Pure Data drops other tags).

The three tags are encoded here, because python-osc takes about four times as long for a note, which
would delay a chord of fifteen voices (`benchmarks/osc.py`). Tests compare the bytes with it.

Source: Open Sound Control 1.0 (opensoundcontrol.org/spec-1_0).
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gradmidi.midi.numbers import ascii_text
from gradmidi.music.events import Alarm, End, On, Step

__all__ = [
    "PENTATONIC",
    "Pace",
    "alive_message",
    "bundle",
    "bundles",
    "desk_messages",
    "fault_message",
    "mark_message",
    "note_message",
    "preset_message",
    "start_message",
    "step_messages",
    "stop_message",
    "voice_message",
]

LARGEST_DATAGRAM = 1472
"""Bytes that fit into an Ethernet frame with the headers of IPv4 and UDP."""

LARGEST_INT = 2**31 - 1

LARGEST_FLOAT = float.fromhex("0x1.fffffep+127")
"""The largest 32-bit float."""

LONGEST_TEXT = 256

MOST_FLOATS = 256
"""Most values in one message; larger vectors exceed the frame, and Max cuts lists at 256."""

UNIX_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 868)."""

BUNDLE_HEAD, BUNDLE_ITEM = 16, 4
"""Bytes that a bundle adds, in total and for each message (OSC 1.0)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Quarter notes per minute, seconds in a slot, and the preset's name."""

    tempo: float
    slot: float
    preset: str


PENTATONIC = Pace(120.0, 0.125, "pentatonic")
"""The pace of the default preset."""


def start_message(run: str, voices: int, layers: int) -> bytes:
    """Encode the start of a run: its name, and its numbers of voices and layers."""
    return _message("/gradmidi/start", "sii", ascii_text(run, "run"), voices, layers)


def preset_message(pace: Pace) -> bytes:
    """Encode a preset: its name, quarter notes per minute, seconds in a slot."""
    preset = ascii_text(pace.preset, "preset")
    return _message("/gradmidi/preset", "sff", preset, pace.tempo, pace.slot)


def desk_messages(
    names: Sequence[str],
    muted: Sequence[bool],
    soloed: int | None,
    level: float,
    levels: Sequence[float],
) -> list[bytes]:
    """Encode the state of a mixer: mute and level of each voice, the soloed voice or -1, level."""
    found = []
    for voice, name in enumerate(names):
        text = ascii_text(name, f"voice {voice + 1}")
        found.append(_message("/gradmidi/mute", "isi", voice, text, int(muted[voice])))
        found.append(_message("/gradmidi/level", "isf", voice, text, levels[voice]))
    found.append(_message("/gradmidi/solo", "i", -1 if soloed is None else soloed))
    return [*found, _message("/gradmidi/level", "f", level)]


def voice_message(voice: int, name: str, channel: int, layers: int) -> bytes:
    """Encode a voice: index, name, MIDI channel (1–16), number of layers (0: a logged value)."""
    text = ascii_text(name, f"voice {voice + 1}")
    return _message("/gradmidi/voice", "isii", voice, text, channel, layers)


def step_messages(step: Step) -> Iterator[bytes]:
    """Encode the numbers of a slot: step and seconds, loss, values, norms and levels.

    Floats must be finite: a loss or value that is nan or infinite is sent as a text instead.
    """
    yield _message("/gradmidi/step", "if", step.step, step.seconds)
    loss = step.loss
    odd = {name: number for name, number in step.values if not math.isfinite(number)}
    if loss is not None and math.isfinite(loss):
        yield _message("/gradmidi/loss", "f", loss)
    elif loss is not None:
        odd["loss"] = loss
    for name, number in step.values:
        if name in odd:
            continue
        yield _message("/gradmidi/value", "sif", ascii_text(name, "value"), step.step, number)
    for address, values in (("/gradmidi/norms", step.norms), ("/gradmidi/level", step.levels)):
        sent = values[:MOST_FLOATS]
        yield _message(address, "f" * len(sent), *sent)
    for name, number in odd.items():
        yield _message("/gradmidi/notfinite", "ss", ascii_text(name, "value"), str(number))


def note_message(on: On, velocity: int) -> bytes:
    """Encode the start of a note or, with velocity 0, the end of the note that `on` started.

    Its duration is 0, which means until its end: live output does not know the future.
    """
    return _message("/gradmidi/note", "iffif", on.voice, on.pitch, 0.0, velocity, on.norm)


def fault_message(fault: Alarm) -> bytes:
    """Encode a fault: kind, name of the layer or of the logged value, step and value."""
    name = ascii_text(fault.layer or fault.logged)
    return _message("/gradmidi/fault", "ssif", fault.kind, name, fault.step, fault.value)


def mark_message(text: str) -> bytes:
    """Encode a mark of the user."""
    return _message("/gradmidi/mark", "s", ascii_text(text))


def alive_message(notes: int) -> bytes:
    """Encode that the player still runs, and how many notes sound."""
    return _message("/gradmidi/alive", "i", notes)


def stop_message(end: End) -> bytes:
    """Encode the end of a run: steps and seconds."""
    return _message("/gradmidi/stop", "if", end.steps, end.seconds)


def bundles(messages: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Divide messages, in order, into groups that each fit into a datagram as a bundle.

    Examples
    --------
    >>> [len(run) for run in bundles([mark_message("x" * 200)] * 10)]
    [6, 4]
    """
    held: list[bytes] = []
    room = 0
    for message in messages:
        size = BUNDLE_ITEM + len(message)
        if held and size > room:
            yield held
            held = []
        if not held:
            room = LARGEST_DATAGRAM - BUNDLE_HEAD
        held.append(message)
        room -= size
    if held:
        yield held


def bundle(messages: Sequence[bytes], seconds: float) -> bytes:
    """Put messages in one datagram with a time tag.

    Parameters
    ----------
    messages : sequence of bytes
        Encoded messages.
    seconds : float
        When the messages take effect, in seconds since 1970.

    Examples
    --------
    >>> bundle([mark_message("x")], 0.5)[:16].hex(" ", 8)
    '2362756e646c6500 83aa7e8080000000'
    """
    # A time tag counts units of 2^-32 s from 1900, and starts again in 2036 (RFC 5905).
    tag = int((seconds + UNIX_EPOCH) * 2**32) & (1 << 64) - 1
    parts = [struct.pack(">8sQ", b"#bundle", tag)]
    for message in messages:
        parts += (struct.pack(">i", len(message)), message)
    return b"".join(parts)


def _message(address: str, tags: str, *values: float | str) -> bytes:
    parts = [_head(address, tags)]
    parts += [_ENCODED[tag](value) for tag, value in zip(tags, values, strict=True)]
    return b"".join(parts)


@lru_cache(maxsize=64)
def _head(address: str, tags: str) -> bytes:
    return _string(address) + _string("," + tags)


def _string(text: str) -> bytes:
    """Encode ASCII text with one to four zero bytes, to a multiple of four bytes."""
    data = text.encode("ascii")
    return data + bytes(4 - len(data) % 4)


def _text(value: Any) -> bytes:
    return _string(value[:LONGEST_TEXT])


def _int(value: Any) -> bytes:
    return _INT(min(max(value, -LARGEST_INT - 1), LARGEST_INT))


def _float(value: Any) -> bytes:
    if not -LARGEST_FLOAT <= value <= LARGEST_FLOAT:
        value = math.copysign(LARGEST_FLOAT, value) if math.isfinite(value) else 0.0
    return _FLOAT(value)


_INT, _FLOAT = struct.Struct(">i").pack, struct.Struct(">f").pack

_ENCODED: dict[str, Callable[[Any], bytes]] = {"i": _int, "f": _float, "s": _text}
"""Encoders by type tag; values are clamped to the range of the type."""
