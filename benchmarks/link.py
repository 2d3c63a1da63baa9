"""Measure how exactly live slots lie on the beats of an Ableton Link session.

    python benchmarks/link.py [--quick]

The other program in the session is aalink, which is by other authors than the library that
gradmidi uses. It changes the tempo twice, receives the notes by OSC, and reads its own beat at
each. The error of a note is its distance from the nearest sixteenth, in milliseconds; it includes
the way of the message. Needs gradmidi[link] and aalink. The last line is JSON.
"""

import asyncio
import json
import math
import socket
import subprocess
import sys
import time

import numpy as np

from gradmidi.live.feed import Live
from gradmidi.live.session import Session
from gradmidi.log import End, Frame, Header, Layer, encode, row
from gradmidi.midi.rig import Rig
from gradmidi.music.preset import load
from gradmidi.player.process import real_time

QUICK = "--quick" in sys.argv
TEMPOS = (126.0, 150.0, 95.0)
"""The other program's tempo at first, and after each change."""

SECONDS = 5.0 if QUICK else 20.0
"""How long each tempo lasts."""

FRAME_SECONDS = 0.03
SIXTEENTH = 0.25
BAR = 4.0

NOTE = b"/gradmidi/note\0\0,iffif\0\0"
VELOCITY = slice(len(NOTE) + 12, len(NOTE) + 16)
STOP = b"/gradmidi/stop"


async def peer() -> None:
    """Be the other program: print its port, then each note's time, beat and tempo."""
    from aalink import Link

    # As programs that make sound do, where the system allows it.
    real_time(0)
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind(("127.0.0.1", 0))
    ear.setblocking(False)
    link = Link(TEMPOS[0])
    link.quantum = BAR
    link.enabled = True
    loop = asyncio.get_running_loop()
    heard: list[tuple[float, float, float]] = []
    over = asyncio.Event()

    def read() -> None:
        data = ear.recv(2048)
        now, beat = time.monotonic(), link.beat
        if data.startswith(NOTE) and any(data[VELOCITY]):
            heard.append((now, beat, link.tempo))
        elif data.startswith(STOP):
            over.set()

    loop.add_reader(ear, read)
    print(ear.getsockname()[1], flush=True)
    while not link.num_peers:
        await asyncio.sleep(0.05)
    print("joined", flush=True)
    changes = []
    for tempo in TEMPOS[1:]:
        await asyncio.sleep(SECONDS)
        link.tempo = tempo
        changes.append(time.monotonic())
    await over.wait()
    print(json.dumps({"heard": heard, "changes": changes}))


def measure() -> dict[str, float]:
    other = subprocess.Popen(
        [sys.executable, __file__, "--peer", *sys.argv[1:]], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    try:
        port = other.stdout.readline().strip()
        if not port:
            raise SystemExit("the other program did not start; it needs: pip install aalink")
        header = Header((Layer("fc1", 10),))
        live = Live(Session(load("pentatonic"), Rig(link=True), osc=(f"127.0.0.1:{port}",)))
        assert other.stdout.readline().strip() == "joined"
        live.send(header, encode(header))
        began = time.perf_counter()
        step = 0
        while (t := time.perf_counter() - began) < len(TEMPOS) * SECONDS:
            step += 1
            frame = Frame(step, t, row([1.0 + step % 7]))
            live.send(frame, encode(frame))
            time.sleep(FRAME_SECONDS)
        end = End("closed", t, step)
        live.send(end, encode(end))
        live.do("end")
        live.close(10.0)
        found = json.loads(other.stdout.readline())
    finally:
        other.kill()
        other.wait()
    return figures(found["heard"], found["changes"], live.counts["late"])


def figures(
    heard: list[tuple[float, float, float]], changes: list[float], late: int
) -> dict[str, float]:
    errors = [abs(math.remainder(beat, SIXTEENTH)) * 60_000.0 / tempo for _, beat, tempo in heard]
    fresh = [
        error
        for error, (at, _, _) in zip(errors, heard, strict=True)
        if any(0.0 <= at - change < 2.0 for change in changes)
    ]
    first = math.remainder(heard[0][1], BAR) * 60_000.0 / heard[0][2]
    found = {"notes": len(errors), "late_frames": late, "first_off_bar_ms": round(first, 3)}
    for name, group in (("", errors), ("_after_change", fresh)):
        p50, p99, most = np.percentile(group, [50, 99, 100])
        found |= {f"p50{name}": p50, f"p99{name}": p99, f"max{name}": most}
    return {name: round(float(value), 3) for name, value in found.items()}


if __name__ == "__main__":
    if "--peer" in sys.argv:
        asyncio.run(peer())
    else:
        found = measure()
        print(f"notes on the beats of a session, tempo {' to '.join(f'{t:g}' for t in TEMPOS)}:")
        print(
            f"  all {found['notes']:.0f}: p50 {found['p50']} ms, p99 {found['p99']} ms, "
            f"max {found['max']} ms"
        )
        print(
            f"  within 2 s of a change: p50 {found['p50_after_change']} ms, "
            f"p99 {found['p99_after_change']} ms, max {found['max_after_change']} ms"
        )
        print(f"  the first note: {found['first_off_bar_ms']} ms from a bar")
        print(json.dumps(found))
