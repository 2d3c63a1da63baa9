"""Measure whether a simple listener program can name the fault of a run and its voice.

    python benchmarks/listening.py [--quick]

Seeded training runs with one fault or none are rendered. One listener gets only the notes of the
.mid, without texts and markers, the other only the samples of the .wav; both also listen to the
preset classic, the sound of the blog post. For each, the script prints a table with a row for each
real fault and a column for each answer, how often kind and voice were right, and every false alarm
and wrong answer.

There are two sets: other seeds of the models on which thresholds were chosen, and models on which
no threshold was chosen. With --quick, one seed of one model of each set is used. The listeners are
in tests/test_hearing.py; PyTorch, SciPy and pytest are needed.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from examination import by_notes, by_sound, examine, runs_of
from families import HELD_OUT, TUNED
from seeded import FIRST_HELD_OUT

SEEDS = (FIRST_HELD_OUT + 4, FIRST_HELD_OUT + 5)

LISTENERS = {
    "from the notes": ("pentatonic", by_notes),
    "from the sound": ("pentatonic", by_sound),
    "from the notes of classic": ("classic", by_notes),
    "from the sound of classic": ("classic", by_sound),
}


def main(*, quick: bool) -> None:
    sets = {
        "models that thresholds were chosen on, other seeds": ("sigmoid",) if quick else TUNED,
        "models that no threshold was chosen on": ("lstm",) if quick else HELD_OUT,
    }
    for title, families in sets.items():
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            runs = runs_of(families, SEEDS[:1] if quick else SEEDS)
            marks = examine(runs, LISTENERS, Path(folder))
        print(f"\n== {title}: {', '.join(families)}")
        for each in marks.values():
            print("", *each.lines(), sep="\n")
        for each in marks.values():
            print("", f"{each.title}, false alarms:", *(each.false or ["none"]), sep="\n  ")
            print("", f"{each.title}, wrong:", *(each.wrong or ["none"]), sep="\n  ")
        print(f"\ntrained, rendered and heard in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
