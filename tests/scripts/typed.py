"""A program of a user who checks types: `mypy --strict` accepts it, and it runs without PyTorch."""

import sys
from pathlib import Path

import gradmidi


def main(folder: Path) -> list[str]:
    """Record a run, and use each public function on it."""
    with gradmidi.record(folder / "a", layers=["fc1", "fc2"], files=("mid",)) as ears:
        for step in range(40):
            ears.frame({"fc1": 0.5 + step % 3, "fc2": 0.0 if step > 20 else 1.0}, loss=2.0)
            if step == 9:
                ears.mark("epoch 2")
    listener: gradmidi.Listener = ears
    run: gradmidi.Run = gradmidi.read(listener.folder)
    found: tuple[gradmidi.Fault, ...] = gradmidi.faults(run)
    gradmidi.render(run, folder / "a.wav", preset="hold")
    notes = [event for event in gradmidi.compose(run) if isinstance(event, gradmidi.On)]
    decoded = gradmidi.decode(folder / "a" / "run.mid")
    names = [layer.name for layer in run.layers]
    lines = list(gradmidi.describe(run.path))
    assert notes
    assert len(decoded.rows) == 40
    return [*names, *(f"{fault.kind} {fault.steps[0]}" for fault in found), lines[1]]


if __name__ == "__main__":
    print(*main(Path(sys.argv[1])), sep="\n")
