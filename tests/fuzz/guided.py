"""Fuzz one format, guided by coverage: ``python tests/fuzz/guided.py mid --seconds 600``.

Needs atheris (``pip install atheris``). Inputs that reach new code are added to the corpus
(``--corpus``), from which the next run starts. The first input that is not handled ends the run; it
is written beside the corpus, and the exit code is not 0. ``tests/fuzz/corpus`` has such inputs,
which CI reads.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

LONGEST = 20_000
"""Bytes of an input. Longer ones reach the same code, slowly."""

with atheris.instrument_imports(include=["gradmidi", "mido"]):
    from fuzzing import LIMIT_BYTES, TARGETS, failure_of, limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path("runs/corpus"))
    given = parser.parse_args()
    target = TARGETS[given.format]
    corpus = given.corpus / given.format
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (corpus / "seed").write_bytes(target.seed(folder))
        path = folder / "input" / target.file
        path.parent.mkdir()
        path.write_bytes((corpus / "seed").read_bytes())
        with atheris.instrument_imports(include=["gradmidi", "mido"]):
            target.read(path)  # Imports the modules that it needs.

        def read(data: bytes) -> None:
            path.write_bytes(data)
            with limits():
                failure = failure_of(given.format, target.read, path, 0)
            if failure is not None:
                raise AssertionError(f"{failure.error} at {failure.place}")

        options = {
            "max_total_time": given.seconds,
            "max_len": LONGEST,
            "rss_limit_mb": LIMIT_BYTES >> 20,
            "artifact_prefix": f"{given.corpus}/{given.format}-",
            "print_final_stats": 1,
            "verbosity": 0,
        }
        words = [f"-{name}={value}" for name, value in options.items()]
        atheris.Setup([sys.argv[0], *words, str(corpus)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
