"""The order of the layers: that of the forward pass, where modules were registered otherwise."""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from loops import norm_of  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import gradmidi  # noqa: E402

REGISTERED = ("inlet", "down.0", "down.1", "up.0", "up.1", "outlet", "mid", "norm")
USED = ("inlet", "norm", "down.0", "down.1", "mid", "up.0", "up.1", "outlet")


class Unet(nn.Module):
    """Its middle block and its norm are registered last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inlet = nn.Linear(4, 8)
        self.down = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.outlet = nn.Linear(8, 1)
        self.mid = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x, kept = self.norm(self.inlet(x)), []
        for block in self.down:
            x = torch.tanh(block(x))
            kept.append(x)
        x = torch.tanh(self.mid(x))
        for block in self.up:
            x = torch.tanh(block(x) + kept.pop())
        return self.outlet(x)


class Checkpointed(Unet):
    """Its forward pass is done again during backward."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(super().forward, x, use_reentrant=False)
        return found


def train(model: Any, out: Path, steps: int = 3, **options: Any) -> list[dict[str, float]]:
    """Train; return the norms of each step by hand, by name."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    rows = []
    with gradmidi.listen(model, optimizer, out=out, files=(), **options) as ears:
        ears.mark("epoch 1")
        for step in range(steps):
            optimizer.zero_grad()
            model(torch.full((3, 4), 1.0 + step)).square().mean().backward()
            rows.append(
                {name: norm_of(list(own.parameters(recurse=False))) for name, own in owners(model)}
            )
            optimizer.step()
            ears.log(loss=step)
    assert tuple(layer.name for layer in ears.layers) == names(out)
    return rows


def owners(model: nn.Module) -> list[tuple[str, nn.Module]]:
    model = getattr(model, "_orig_mod", model)
    return [(n, m) for n, m in model.named_modules() if list(m.parameters(recurse=False))]


def names(out: Path) -> tuple[str, ...]:
    return tuple(layer.name for layer in gradmidi.read(out).layers)


def check(out: Path, rows: list[dict[str, float]]) -> None:
    known = names(out)
    found = [dict(zip(known, f.norms, strict=True)) for f in gradmidi.read(out).frames()]
    by_hand = [{name: row[name] for name in known} for row in rows]
    assert found == [pytest.approx(row, rel=1e-5) for row in by_hand]


@pytest.mark.parametrize("kind", [Unet, Checkpointed])
def test_layers_are_in_the_order_of_the_forward_pass(tmp_path: Path, kind: Any) -> None:
    backward = torch.autograd.backward
    model = kind()
    rows = train(model, tmp_path / "a")
    assert tuple(name for name, _ in owners(model)) == REGISTERED
    assert names(tmp_path / "a") == USED
    check(tmp_path / "a", rows)
    lines = [json.loads(line) for line in (tmp_path / "a" / "run.jsonl").read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["gradmidi", "mark", *["step"] * 3, "end"]
    assert torch.autograd.backward is backward


@pytest.mark.slow
def test_a_compiled_model_has_the_same_order(tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    try:
        rows = train(torch.compile(Unet(), backend="aot_eager"), tmp_path / "a")
        assert names(tmp_path / "a") == USED
        check(tmp_path / "a", rows)
        assert counters["stats"]["unique_graphs"] == 1
        assert not counters["graph_break"]
    finally:
        torch._dynamo.reset()


def test_clipping_updates_and_own_layers_follow_the_order(tmp_path: Path) -> None:
    model = Unet()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    chosen = ["up.*", "mid", "norm"]
    with gradmidi.listen(
        model, optimizer, out=tmp_path / "a", files=(), layers=chosen, updates=1
    ) as ears:
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(3, 4)).square().mean().backward()
            rows = [norm_of(list(dict(owners(model))[n].parameters())) for n in USED]
            ears.clip_grad_norm_(1e-3)
            before = [parameter.detach().clone() for parameter in model.mid.parameters()]
            optimizer.step()
    assert names(tmp_path / "a") == ("norm", "mid", "up.0", "up.1")
    frame = list(gradmidi.read(tmp_path / "a").frames())[-1]
    assert list(frame.norms) == pytest.approx([rows[i] for i in (1, 4, 5, 6)], rel=1e-5)
    moved = [p.detach() - b for p, b in zip(model.mid.parameters(), before, strict=True)]
    size = sum(float(b.square().sum()) for b in before) ** 0.5
    way = sum(float(m.square().sum()) for m in moved) ** 0.5
    assert frame.updates is not None
    assert frame.updates[1] == pytest.approx(way / size, rel=1e-3)


class Tied(nn.Module):
    """A head with the weight of the embedding, and parts that are never used or used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.spare, self.head = nn.Linear(2, 2), nn.Linear(8, 6, bias=False)
        self.embed = nn.Embedding(6, 8)
        self.head.weight = self.embed.weight
        self.twice, self.unused, self.once = nn.Linear(8, 8), nn.Linear(3, 3), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x.long().clamp(0, 5))
        y = self.twice(torch.tanh(self.once(torch.tanh(self.twice(y)))))
        return self.head(y)


def test_the_first_use_counts_and_an_unused_layer_stays_behind_its_neighbour(
    tmp_path: Path,
) -> None:
    check(tmp_path / "a", train(Tied(), tmp_path / "a"))
    # The tied weight is the head's, which comes first in the model, and is used by the embedding.
    assert names(tmp_path / "a") == ("spare", "head", "twice", "unused", "once")


def test_the_order_of_the_modules_stays_where_it_is_the_same(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Linear(8, 1))
    check(tmp_path / "a", train(net, tmp_path / "a"))
    assert names(tmp_path / "a") == ("0", "2", "3")


def test_a_run_that_is_continued_keeps_the_order_of_its_log(tmp_path: Path) -> None:
    model = Unet()
    rows = train(model, tmp_path / "a")
    more = train(model, tmp_path / "a", resume=True)
    assert names(tmp_path / "a") == USED
    check(tmp_path / "a", [*rows, *more])


def test_grouped_voices_are_of_the_models_neighbours(tmp_path: Path) -> None:
    train(Unet(), tmp_path / "a", keep="voices")
    assert names(tmp_path / "a") == REGISTERED


def test_nothing_is_put_on_the_model(tmp_path: Path) -> None:
    model = Unet()
    with gradmidi.listen(model, torch.optim.SGD(model.parameters(), 0.1), out=tmp_path / "a"):
        copy.deepcopy(model)
        torch.save(model, io.BytesIO())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.nn.modules.module._has_any_global_hook()


def test_a_graph_that_cannot_be_read_leaves_the_order_of_the_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: nn.Module) -> Any:
        raise RuntimeError("no such graph")

    monkeypatch.setattr("gradmidi.capture.order.shards_of", fail)
    check(tmp_path / "a", train(Unet(), tmp_path / "a"))
    assert names(tmp_path / "a") == REGISTERED


def test_a_run_without_a_step_has_its_header_and_marks(tmp_path: Path) -> None:
    model = Unet()
    with gradmidi.listen(
        model, torch.optim.SGD(model.parameters(), 0.1), out=tmp_path / "a", files=()
    ) as ears:
        ears.mark("epoch 1")
        log = tmp_path / "a" / "run.jsonl"
        assert log.read_bytes() == b""
        with pytest.raises(gradmidi.RunLogError, match="run waits for its first step"):
            gradmidi.read(tmp_path / "a")
    assert names(tmp_path / "a") == REGISTERED
    assert '"epoch 1"' in log.read_text()
