"""Measure how each preset sounds: loudness, sharpness, roughness, and how far faults stand out.

    python benchmarks/sound.py [--quick] [PRESET ...]

Two networks, of 4 and of 15 layers, learn the digits that come with gradmidi; each preset renders
both. ffmpeg's ebur128 measures loudness (LUFS), loudness range (LU) and true peak (dBTP). mosqito
measures sharpness (acum, 95th percentile), roughness (asper, mean) and loudness that is exceeded
5 % of the time (N5, sone) of five seconds that are played at 60 dB SPL, both channels as one.

"alarm" is the faintest pulse of any fault over what else sounds during it, in dB: in the pulse's
own third of an octave, then over all frequencies; "at the rail" the same while all voices are at
the highest note. The second table shows how much louder all voices at the highest note are than
the run before, in LU, for each number of layers, and how loud they are (LUFS).

PyTorch, SciPy, pytest, mosqito and ffmpeg are needed. With --quick, without mosqito and with fewer
numbers of layers.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from beds import RATE, alarms_over_bed, calm, calm_then_rail
from ears import felt, measured

from gradmidi.music.preset import Preset, load, names

LAYERS = (4, 15)
UNISON = (1, 2, 3, 4, 5, 6, 8, 10, 15)


def row(preset: Preset, layers: int, *, quick: bool) -> str:
    """Return a row of the first table."""
    samples = calm(preset, layers)
    found = measured(samples, RATE)
    ears = "| | | "
    if not quick:
        heard = felt(samples[4 * RATE : 9 * RATE], RATE)
        ears = f"| {heard['sharpness']:.2f} | {heard['roughness']:.2f} | {heard['n5']:.1f} "
    alarms = ["-", "-"]
    if preset.faults.sound:
        for at, rail in enumerate((False, True)):
            heard = list(alarms_over_bed(preset, layers, rail=rail))
            own, broad = (min(heard, key=lambda each, by=by: each[by]) for by in (1, 2))
            alarms[at] = f"{own[1]:+.0f} {own[0]}, {broad[2]:+.0f} {broad[0]}"
    return (
        f"| {preset.name} | {layers} | {found['lufs']:.1f} | {found['lra']:.1f} "
        f"| {found['peak']:.1f} {ears}| {alarms[0]} | {alarms[1]} |"
    )


def unison(preset: Preset, counts: tuple[int, ...]) -> str:
    """Return a row of the second table."""
    cells = []
    for layers in counts:
        samples, turn = calm_then_rail(preset, layers)
        at = round(turn * RATE)
        bed, rail = (measured(part, RATE)["lufs"] for part in (samples[:at], samples[at:]))
        cells.append(f"{rail - bed:+.1f} ({rail:.0f})")
    return f"| {preset.name} | {' | '.join(cells)} |"


def main(only: list[str], *, quick: bool) -> None:
    presets = [load(name) for name in only or names()]
    print(
        "| preset | layers | LUFS | LRA | true peak | sharpness | roughness | N5 | alarm | "
        "at the rail |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for preset in presets:
        for layers in LAYERS:
            print(row(preset, layers, quick=quick), flush=True)
    counts = UNISON[::4] if quick else UNISON
    print(f"\n| preset | {' | '.join(map(str, counts))} |\n|---|{'---|' * len(counts)}")
    for preset in presets:
        print(unison(preset, counts), flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main([name for name in given if name != "--quick"], quick="--quick" in given)
