"""Whether a plain listener can name what is wrong with a run, and which voice has it.

    python benchmarks/listening.py [--quick]

Seeded training runs, in which nothing or one thing is wrong, are rendered. One listener is given
only the notes of the .mid, stripped of every text and marker, one only the samples of the .wav;
both also hear the preset classic, the blog post's own sound. For each the whole table is printed:
a row for what was done to the run, a column for what was named, and how often kind and voice
were right; then every false alarm and every wrong answer.

Two sets are told apart: seeds that no threshold was chosen on, of models that thresholds were
chosen on; and models that none was chosen on. With --quick one seed of one model of each is
heard. The listeners are those of tests/test_hearing.py; PyTorch, SciPy and pytest are needed.
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
