"""Check on a GPU that gradmidi never makes the training thread wait for the device.

    python benchmarks/gpu.py

Each training loop runs under `torch.cuda.set_sync_debug_mode("error")`, so that PyTorch raises if a
thread would wait for the device. gradmidi leaves out a step whose measurement raises. So every step
must be in the log with its loss, and the norms must equal those measured by hand in the same
training without a listener. Steps in a CUDA graph are measured by `capture()` after each replay. At
the end, the script prints the time of a measurement on the training thread and on the device,
relative to one `torch._foreach_norm`. The exit code is 1 if a check fails or there is no GPU.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

import gradmidi

STEPS, ROUNDS = 50, 200
CLIP = 0.1


def model_on(device: str) -> nn.Module:
    torch.manual_seed(0)
    parts = [part for _ in range(8) for part in (nn.Linear(512, 512), nn.Tanh())]
    return nn.Sequential(*parts, nn.Linear(512, 10)).to(device)


def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().mean()


@contextmanager
def no_waiting(device: str):
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()


def trained(device: str, how: str, out: Path | None) -> tuple[list[list[float]], list[float]]:
    """Train; return norms and losses, from the log, or measured by hand if `out` is None."""
    model = model_on(device)
    scaled = how == "fused optimizer under a GradScaler"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=scaled)
    scaler = torch.amp.GradScaler(device, init_scale=1024.0, enabled=scaled)
    x = torch.randn(STEPS, 64, 512, device=device)
    ears = None if out is None else gradmidi.listen(model, optimizer, out=out, files=())
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    by_hand, losses = [], []
    with no_waiting(device):
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = loss_of(model, x[step])
            scaler.scale(loss).backward()
            if ears is None:
                scale = 1024.0 if scaled else 1.0
                grads = [
                    torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in layers
                ]
                by_hand.append(torch.stack([grad.norm() / scale for grad in grads]))
                losses.append(loss.detach())
            if how == "clipped by ears" and ears is not None:
                ears.clip_grad_norm_(CLIP)
            elif how.startswith("clipped"):
                nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            scaler.step(optimizer)
            scaler.update()
            if ears is not None:
                ears.log(loss=loss)
    if ears is None:
        return torch.stack(by_hand).tolist(), torch.stack(losses).tolist()
    ears.close()
    frames = list(gradmidi.read(out).frames())
    return [frame.norms.tolist() for frame in frames], [frame.loss for frame in frames]


def replayed(device: str, out: Path) -> tuple[list[list[float]], list[list[float]]]:
    """Train by replays of a graph of the whole step; return norms from the log and by hand."""
    model = model_on(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, capturable=True)
    x = torch.randn(64, 512, device=device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    by_hand = []
    # Captured and replayed steps call no hook, so capture() measures them.
    with gradmidi.listen(model, optimizer, out=out, files=()) as ears:
        with torch.cuda.graph(graph):
            loss_of(model, x).backward()
            optimizer.step()
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        with no_waiting(device):
            for _ in range(STEPS):
                graph.replay()
                ears.capture()
                grads = [
                    torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in layers
                ]
                by_hand.append(torch.stack([grad.norm() for grad in grads]))
    heard = [frame.norms.tolist() for frame in gradmidi.read(out).frames()]
    return heard, torch.stack(by_hand).tolist()


def agree(name: str, heard: list, by_hand: list) -> bool:
    """Print and return whether two tables agree to four digits."""
    same = len(heard) == len(by_hand) and torch.allclose(
        torch.tensor(heard), torch.tensor(by_hand), rtol=1e-4, atol=1e-7
    )
    print(f"{'as by hand' if same else 'DIFFERENT '}  {len(heard)} of {len(by_hand)} steps  {name}")
    return same


def cost(device: str, out: Path) -> None:
    """Print the time of a measurement on thread and device, relative to `_foreach_norm`."""
    model = model_on(device)
    loss_of(model, torch.randn(64, 512, device=device)).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    thread: dict[str, list[float]] = {}
    work: dict[str, list[float]] = {}
    with gradmidi.listen(model, out=out, files=()) as ears:
        calls: list[tuple[str, Callable[[], object]]] = [
            ("_foreach_norm", lambda: torch.stack(torch._foreach_norm(gradients))),
            ("a look", ears.capture),
        ]
        for _ in range(ROUNDS):
            random.shuffle(calls)
            for name, call in calls:
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                begin.record()
                start = time.perf_counter()
                call()
                thread.setdefault(name, []).append(time.perf_counter() - start)
                end.record()
                torch.cuda.synchronize()
                work.setdefault(name, []).append(begin.elapsed_time(end) / 1e3)
    for where, found in (("training thread", thread), ("device", work)):
        norms, look = (statistics.median(found[name]) for name in ("_foreach_norm", "a look"))
        print(f"{where}: {look * 1e6:.0f} us a measurement, {look / norms:.2f} times _foreach_norm")


def main() -> int:
    if not torch.cuda.is_available():
        print("PyTorch finds no GPU: nothing was checked", file=sys.stderr)
        return 1
    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__)
    fine = []
    with tempfile.TemporaryDirectory() as folder:
        ways = (
            "plain",
            "clipped by torch",
            "clipped by ears",
            "fused optimizer under a GradScaler",
        )
        for number, how in enumerate(ways):
            heard = trained("cuda", how, Path(folder) / str(number))
            by_hand = trained("cuda", how, None)
            fine += [agree(f"{how}, norms", heard[0], by_hand[0])]
            fine += [agree(f"{how}, losses", heard[1], by_hand[1])]
        fine.append(agree("a CUDA graph, norms", *replayed("cuda", Path(folder) / "graph")))
        cost("cuda", Path(folder) / "cost")
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
