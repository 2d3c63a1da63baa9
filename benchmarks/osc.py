"""Measure the time for OSC messages by gradmidi and python-osc, and for a second of a live run.

    python benchmarks/osc.py

The script checks that both build the same bytes. A second of a run is fifteen voices in eight
slots, sent to a socket on this machine. Figures are medians of rounds in shuffled order; read the
ratios.
"""

import random
import socket
import statistics
import time
from collections.abc import Callable

from pythonosc.osc_message_builder import OscMessageBuilder

from gradmidi.midi.rig import Rig
from gradmidi.music.events import Event, Off, On, Step
from gradmidi.music.voices import Voice
from gradmidi.sinks.osc import Osc
from gradmidi.sinks.oscmessage import note_message, step_messages

VOICES, SLOTS = 15, 8
ROUNDS = 9

NORMS = tuple(0.1 * (index + 1) for index in range(VOICES))
STEP = Step(0, 7, 1.5, NORMS, NORMS, 2.3)
NOTE = On(0, 3, 60, 80, 60.25, 0.5)


def slot() -> list[bytes]:
    return list(step_messages(STEP))


def slot_by_python_osc() -> list[bytes]:
    return [
        by_python_osc("/gradmidi/step", "if", 7, 1.5),
        by_python_osc("/gradmidi/loss", "f", 2.3),
        by_python_osc("/gradmidi/norms", "f" * VOICES, *NORMS),
        by_python_osc("/gradmidi/level", "f" * VOICES, *NORMS),
    ]


def note() -> bytes:
    return note_message(NOTE, 80)


def note_by_python_osc() -> bytes:
    return by_python_osc("/gradmidi/note", "iffif", 3, 60.25, 0.0, 80, 0.5)


def by_python_osc(address: str, tags: str, *values: float) -> bytes:
    builder = OscMessageBuilder(address)
    for tag, value in zip(tags, values, strict=True):
        builder.add_arg(value, tag)
    return builder.build().dgram


def second() -> list[list[Event]]:
    """Return the events of one second, a list for each slot."""
    ons = [On(0, voice, 48 + voice, 80, 48.0 + voice, 1.0) for voice in range(VOICES)]
    offs = [Off(9, voice, 48 + voice) for voice in range(VOICES)]
    return [[STEP, *ons, *offs] for _ in range(SLOTS)]


def timed(job: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        job()
    return (time.perf_counter() - start) / times


def main() -> None:
    if slot() != slot_by_python_osc() or note() != note_by_python_osc():
        raise SystemExit("the two do not build the same bytes")
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind(("127.0.0.1", 0))
    voices = [Voice(index, f"layer{index}", (index,)) for index in range(VOICES)]
    sink = Osc(str(ear.getsockname()[1]), Rig(), "benchmark", voices, VOICES)
    slots = second()
    jobs: dict[str, tuple[Callable[[], object], int]] = {
        "a note": (note, 5000),
        "a note, python-osc": (note_by_python_osc, 5000),
        "the numbers of a slot": (slot, 2000),
        "the numbers of a slot, python-osc": (slot_by_python_osc, 2000),
        "a second of a run, built and sent": (lambda: [sink.send(events) for events in slots], 20),
    }
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(ROUNDS):
        for name in random.sample(list(jobs), len(jobs)):
            taken[name].append(timed(*jobs[name]))
    for name, seconds in taken.items():
        print(f"{name}: {statistics.median(seconds) * 1e6:.1f} µs")
    print(f"sent {sink.counters.sent}, dropped {sink.counters.dropped}")
    sink.close()
    ear.close()


if __name__ == "__main__":
    main()
