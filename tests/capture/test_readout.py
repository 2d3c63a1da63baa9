"""Numbers that come from a device late: here by a device that is told when to work."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import gradmidi
from gradmidi.capture import readout, tap
from gradmidi.capture.readout import SLOTS, Later, Readout
from gradmidi.errors import CaptureError

STEPS = 6


class FakeEvent:
    def __init__(self) -> None:
        self.come = threading.Event()

    def query(self) -> bool:
        return self.come.is_set()


class FakeDevice:
    """Copies nothing until it is told to work; what is read before that is nan."""

    def __init__(self) -> None:
        self.asked: list[tuple[torch.Tensor, torch.Tensor, FakeEvent]] = []

    def buffer(self, rows: int, width: int, dtype: torch.dtype) -> torch.Tensor:
        return torch.full((rows, width), torch.nan, dtype=dtype)

    def event(self) -> FakeEvent:
        return FakeEvent()

    def send(self, values: torch.Tensor, host: torch.Tensor, event: FakeEvent) -> None:
        event.come.clear()
        self.asked.append((values, host, event))

    def work(self) -> None:
        for values, host, event in self.asked:
            host.copy_(values)
            event.come.set()
        self.asked.clear()


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def late(device: FakeDevice) -> Readout:
    return Readout({"cpu": device})


def test_nothing_is_read_before_its_event(device: FakeDevice, late: Readout) -> None:
    later = late.later(torch.tensor([1.0, 2.0]))
    read: list[list[float]] = []
    reader = threading.Thread(target=lambda: read.append(later.cpu().tolist()))
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    assert not read
    device.work()
    reader.join(30)
    assert read == [[1.0, 2.0]]


def test_a_place_is_used_again_only_once_it_was_read(device: FakeDevice, late: Readout) -> None:
    first = late.later(torch.tensor(0.0))
    others = [late.later(torch.tensor(float(n))) for n in range(1, SLOTS)]
    device.work()
    with pytest.raises(CaptureError, match=f"{SLOTS} looks behind"):
        late.later(torch.tensor(-1.0))
    assert first.item() == 0.0
    again = late.later(torch.tensor(-1.0))
    device.work()
    assert again.item() == -1.0
    assert first.item() == 0.0, "what was read stays as it was"
    assert [other.item() for other in others] == [float(n) for n in range(1, SLOTS)]


def test_a_place_that_nobody_waits_for_is_used_again(device: FakeDevice, late: Readout) -> None:
    for _ in range(SLOTS):
        late.later(torch.tensor(0.0))
    with pytest.raises(CaptureError, match="looks behind"):
        late.later(torch.tensor(1.0))  # the device may still write there
    device.work()
    assert isinstance(late.later(torch.tensor(1.0)), Later)


def test_rows_of_several_widths_and_dtypes(device: FakeDevice, late: Readout) -> None:
    given = [
        torch.tensor([1.0]),
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([4.0], dtype=torch.float64),
        torch.tensor(True),
        torch.tensor([5.0, 6.0]),
    ]
    later = [late.later(each) for each in given]
    device.work()
    assert [each.cpu().tolist() for each in later] == [[1], [1, 2, 3], [4], [True], [5, 6]]
    assert later[2].cpu().dtype == torch.float64
    assert bool(later[3]) is True


def test_what_is_on_the_host_passes_through() -> None:
    values = torch.ones(2)
    assert Readout().later(values) is values
    assert Readout().later(True) is True
    assert Readout().later(None) is None


def test_a_run_is_the_same_however_late_the_numbers_come(
    tmp_path: Path, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> tuple[list, list]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        ears = gradmidi.listen(model, optimizer, out=tmp_path / name, files=())
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 4)).square().mean()
            loss.backward()
            optimizer.step()
            ears.log(loss=loss)
            assert ears.step == step + 1, "training waits for nothing"
        asked = len(device.asked)
        device.work()
        ears.close()
        assert asked == (2 * STEPS if name == "late" else 0), "the norms and the loss of each"
        frames = list(gradmidi.read(ears.folder).frames())
        return [frame.norms.tolist() for frame in frames], [frame.loss for frame in frames]

    at_once = run("at once")
    for module in (tap, readout):
        monkeypatch.setattr(module, "Readout", lambda: Readout({"cpu": device}))
    assert run("late") == at_once
    assert None not in at_once[1]


def test_a_device_that_is_far_behind_costs_steps_that_are_counted(
    tmp_path: Path,
    device: FakeDevice,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(readout, "SLOTS", 2)
    monkeypatch.setattr(tap, "Readout", lambda: Readout({"cpu": device}))
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ears = gradmidi.listen(model, optimizer, out=tmp_path / "a", files=())
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    device.work()
    ears.close()
    frames = list(gradmidi.read(ears.folder).frames())
    assert [frame.step for frame in frames] == [1, 2]
    assert np.isfinite([frame.norms for frame in frames]).all()
    assert capsys.readouterr().err.count("looks behind") >= 1


def test_nothing_is_done_while_a_graph_is_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradmidi.listen(model, optimizer, out=tmp_path / "a", files=()) as ears:
        model(torch.ones(1, 2)).sum().backward()
        with monkeypatch.context() as graph:
            graph.setattr(readout, "_initialized", lambda: True)
            graph.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
            with torch.autograd.profiler.profile() as seen:
                ears.capture()
                hook = next(iter(optimizer._optimizer_step_pre_hooks.values()))
                hook(optimizer, (optimizer,), {})
        assert not seen.function_events, "something was computed, and recorded with the graph"
        assert ears.step == 0
        optimizer.step()
    assert [frame.step for frame in gradmidi.read(ears.folder).frames()] == [1]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_proof_says_that_there_is_no_gpu() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no GPU" in done.stderr
    assert not done.stdout
