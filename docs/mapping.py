"""Draw how a norm becomes notes, docs/mapping.png: ``python docs/mapping.py``."""

import math
import tempfile
from pathlib import Path

from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import gradmidi
from gradmidi.music.pitch import note_name

NORMS = (
    *[2.0 ** (0.25 * math.sin(0.9 * step)) for step in range(12)],
    *[2.0 ** (step / 3) for step in range(13)],
    *[2.0 ** (4 - 2 * (step / 6)) for step in range(1, 13)],
    *[0.0] * 4,
    *[2.0**-0.2, 2.0**0.1, 2.0**4.0, 2.0**0.2, 1.0],
)
"""A layer's norms: at home, four doublings up and down again, exactly zero, a spike."""

INK, ORANGE, BLUE = "#1b1f24", "#b45309", "#0a56b8"


def main() -> None:
    """Record the norms, compose them, and draw both on one axis of doublings."""
    with tempfile.TemporaryDirectory() as folder:
        with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as ears:
            for norm in NORMS:
                ears.frame({"fc1": norm})
        events = list(gradmidi.compose(folder + "/a"))
    slots = [each.tick for each in events if isinstance(each, gradmidi.Step)]
    slot = slots[1] - slots[0]
    notes = [each for each in events if isinstance(each, gradmidi.On) and each.norm]
    home = notes[0].note
    scale = sorted({note.note for note in notes})
    figure = Figure(figsize=(9.0, 3.6), dpi=110, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    level = {note.note: round(math.log2(NORMS[note.tick // slot])) for note in notes}
    boxes = [
        Rectangle((note.tick / slot + 0.55, level[note.note] - 0.42), 0.9, 0.84) for note in notes
    ]
    axes.add_collection(PatchCollection(boxes, facecolor="#fdba74", edgecolor="none"))
    steps = range(1, len(NORMS) + 1)
    heights = [math.log2(norm) if norm else math.nan for norm in NORMS]
    axes.plot(steps, heights, color=INK, marker="o", markersize=3, linewidth=1.2)
    silent = [step for step, norm in zip(steps, NORMS, strict=True) if not norm]
    axes.text(
        sum(silent) / len(silent), 0.0, "exactly\nzero:\nsilence", ha="center", va="center",
        color=BLUE, fontsize=9,
    )  # fmt: skip
    axes.axhline(0.0, color=INK, linewidth=0.6, linestyle=":")
    axes.set_yticks(
        list(level.values()),
        [f"{'home' if each == home else ''} {note_name(each)}" for each in level],
    )
    axes.set_ylabel("note that sounds", color=ORANGE)
    axes.tick_params(axis="y", colors=ORANGE)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(-1, 6), ["1/2", *(f"{2**n} ×" for n in range(6))])
    right.set_ylabel("norm: times the first")
    axes.set_xlim(0.5, len(NORMS) + 0.5)
    axes.set_ylim(-1.0, 5.3)
    axes.set_xlabel("step: one slot, an eighth of a second")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    assert len(scale) == len(level)
    figure.savefig(Path(__file__).parent / "mapping.png", metadata={"Software": None})


if __name__ == "__main__":
    main()
