"""Each style of training, heard: norms equal to those worked out by hand at each update."""

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from loops import (  # noqa: E402
    alike,
    batches,
    frames,
    heard,
    listen,
    loss_of,
    norm_of,
    row_of,
    small,
    train,
)
from torch import nn  # noqa: E402

import gradmidi  # noqa: E402
from gradmidi.log import ABSENT  # noqa: E402

LR = 0.01
STEPS = 5


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"foreach": False}, {"fused": True}])
def test_a_plain_loop(out: Path, options: dict[str, Any]) -> None:
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), LR, **options)
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)


def test_a_budget_that_no_stride_can_meet_changes_nothing_in_the_training(out: Path) -> None:
    model = small()
    alone = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out, budget=1e-9):
        rows = train(model, optimizer, batches(20))
    assert train(alone, torch.optim.SGD(alone.parameters(), LR), batches(20)) == rows
    assert heard(out) == alike(rows[: len(heard(out))])
    assert 1 <= len(heard(out)) < 10


@pytest.mark.parametrize("parts", [False, True])
def test_layers_that_fit_no_cache(out: Path, parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # 64 MB of gradients each. Norms are those of torch, or exact where parts are summed.
    if parts:
        monkeypatch.setattr("gradmidi.capture.norms.LARGE", 2**22)
    model = nn.Sequential(nn.Linear(4096, 4096, bias=False), nn.Linear(4096, 4096, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    with listen(model, optimizer, out):
        model(torch.randn(2, 4096)).square().sum().backward()
        gradients = [p.grad.double() if parts else p.grad for p in model.parameters()]
        rows = [[float(gradient.norm()) for gradient in gradients]]
        optimizer.step()
    assert heard(out) == alike(rows)


def test_several_batches_an_update_are_one_step(out: Path) -> None:
    model, rows = small(), []
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        for number, x in enumerate(batches(6), 1):
            (loss_of(model, x) / 2).backward()
            if number % 2 == 0:
                rows.append(row_of(model))
                optimizer.step()
                optimizer.zero_grad()
    assert heard(out) == alike(rows)
    assert len(rows) == 3


# -- closures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", [False, True])
def test_a_closure_is_heard_after_it_has_run(out: Path, keyword: bool) -> None:
    model, rows = small(), []
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        for x in batches(STEPS):

            def closure(x: torch.Tensor = x) -> torch.Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                rows.append(row_of(model))
                return loss

            loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
            assert loss.item() > 0.0
    assert heard(out) == alike(rows)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("every", [1, 2])
def test_lbfgs_is_heard_once_a_step_at_its_first_evaluation(
    out: Path, every: int, clip: float | None
) -> None:
    model, rows = small(), []
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    with listen(model, optimizer, out, every=every):
        for x in batches(4):
            evaluations = []

            def closure(x: torch.Tensor = x, evaluations: list[Any] = evaluations) -> torch.Tensor:
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                evaluations.append(row_of(model))
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                return loss

            optimizer.step(closure)
            assert len(evaluations) > 1
            rows.append(evaluations[0])
    assert heard(out) == alike(rows[::every])
    assert [frame.step for frame in frames(out)] == list(range(1, 5, every))


# -- mixed precision -----------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("fused", [False, True])
def test_norms_under_a_scaler_are_unscaled(out: Path, fused: bool, clip: float | None) -> None:
    by_hand = small()
    plain = torch.optim.SGD(by_hand.parameters(), LR)
    rows = train(
        by_hand,
        plain,
        batches(STEPS),
        lambda: clip and nn.utils.clip_grad_norm_(by_hand.parameters(), clip),
    )
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with listen(model, optimizer, out):
        for x in batches(STEPS):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, x)).backward()
            if clip is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(optimizer)
            scaler.update()
    assert heard(out) == alike(rows)
    assert not any(frame.extra for frame in frames(out))


def overflowing(model: nn.Module, optimizer: Any, scaler: Any, clip: float | None = None) -> None:
    """Five updates, of which the third is too large for the scaler."""
    for number, x in enumerate(batches(STEPS)):
        optimizer.zero_grad()
        loss = loss_of(model, x)
        scaler.scale(loss * torch.inf if number == 2 else loss).backward()
        if clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_a_step_that_a_scaler_throws_away_is_skipped(
    out: Path, fused: bool, given: bool, clip: float | None
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with listen(model, optimizer, out, scaler=scaler if given else None):
        overflowing(model, optimizer, scaler, clip)
    found = frames(out)
    assert [frame.step for frame in found] == [1, 2, 3, 4, 5]
    assert [frame.extra.get("skipped", False) for frame in found] == [False] * 2 + [True] + [
        False
    ] * 2
    assert not any(map(torch.isfinite, torch.tensor(found[2].norms)))


def test_a_skipped_step_is_heard_and_told(out: Path) -> None:
    import mido

    from gradmidi.text.describe import describe

    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        overflowing(model, optimizer, torch.amp.GradScaler("cpu", init_scale=1024.0))
    assert '"skipped": true' in (out / "run.jsonl").read_text().splitlines()[3]
    faults = [line for line in describe(gradmidi.read(out)) if line.startswith("step ")]
    assert len(faults) == 1
    assert faults[0].startswith("step 3: update skipped by the gradient scaler")
    gradmidi.render(gradmidi.read(out), out / "a.mid")
    texts = [m.text for m in mido.MidiFile(out / "a.mid").tracks[0] if m.type == "marker"]
    assert any("skipped" in text for text in texts)


def test_a_scaler_of_another_class_is_seen_where_it_is_given(out: Path) -> None:
    class Scaler:
        """Throws every second step away."""

        def __init__(self) -> None:
            self.steps = 0

        def step(self, optimizer: Any) -> None:
            self.steps += 1
            if self.steps % 2:
                optimizer.step()

    model, scaler, rows = small(), Scaler(), []
    optimizer = torch.optim.SGD(model.parameters(), LR)
    original = Scaler.step
    with listen(model, optimizer, out, scaler=scaler):
        for x in batches(4):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            rows.append(row_of(model))
            scaler.step(optimizer)
    assert Scaler.step is original
    assert heard(out) == alike(rows)
    assert [bool(frame.extra) for frame in frames(out)] == [False, True, False, True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_summed_without_overflow(out: Path, dtype: torch.dtype) -> None:
    model = nn.Linear(1000, 1000, bias=False, dtype=dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with listen(model, optimizer, out):
        model.weight.grad = torch.full((1000, 1000), 100.0, dtype=dtype)
        optimizer.step()
        # Each square is below the smallest number that fp16 has.
        model.weight.grad = torch.full((1000, 1000), 1e-5, dtype=dtype)
        by_hand = norm_of(model)
        optimizer.step()
    assert heard(out) == [[pytest.approx(1e5, rel=2e-3)], [pytest.approx(by_hand, rel=2e-3)]]


def test_autocast_to_bfloat16(out: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with listen(model, optimizer, out):
        for x in batches(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, x)
            loss.backward()
            rows.append(row_of(model))
            optimizer.step()
    assert heard(out) == alike(rows)


# -- kinds of parameters -------------------------------------------------------------------------


class Mixed(nn.Module):
    """Sparse, complex, float64, bfloat16 and float32, a layer each; and one that has two."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(20, 4, sparse=True)
        self.turn = nn.Linear(4, 4, dtype=torch.complex64)
        self.wide = nn.Linear(4, 4, dtype=torch.float64)
        self.short = nn.Linear(4, 4, dtype=torch.bfloat16)
        self.both = nn.Linear(4, 1)
        self.both.bias = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        x = self.turn(self.words(index).to(torch.complex64)).abs()
        x = self.short(self.wide(x.double()).bfloat16()).float()
        return (x @ self.both.weight.T).double() + self.both.bias


def test_sparse_complex_wide_and_half_gradients_in_one_model(out: Path) -> None:
    model, rows = Mixed(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    # Words that stand twice in a batch: the gradient is not coalesced.
    index = torch.tensor([3, 3, 7, 11, 3])
    with listen(model, optimizer, out):
        for _ in range(STEPS):
            optimizer.zero_grad()
            model(index).square().mean().backward()
            assert model.words.weight.grad.is_sparse
            rows.append(row_of(model))
            optimizer.step()
    assert heard(out) == alike(rows, rel=1e-4)


def test_tied_weights_count_once_for_their_first_layer(out: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        loss_of(model, batches(1)[0]).backward()
        by_hand = [norm_of(model[0]), norm_of([model[2].bias])]
        optimizer.step()
    assert heard(out) == alike([by_hand])


def test_frozen_unfrozen_unused_and_dead_layers(out: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("frozen", "used", "unused", "dead")})
    model["frozen"].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with listen(model, optimizer, out):
        for number, x in enumerate(batches(4)):
            if number == 2:
                model["frozen"].requires_grad_(True)
            if number == 3:
                model["used"].requires_grad_(False)
            optimizer.zero_grad()
            x = model["used"](model["frozen"](x)) + 0.0 * model["dead"](x)
            x.square().mean().backward()
            rows.append([norm_of(model[name]) for name in model])
            optimizer.step()
    assert heard(out) == alike(rows)
    frozen, used, unused, dead = zip(*heard(out), strict=True)
    assert frozen[:2] == (ABSENT, ABSENT)
    assert min(frozen[2:]) > 0.0
    assert min(used[:3]) > 0.0
    assert used[3] == ABSENT
    assert set(unused) == {ABSENT}
    assert set(dead) == {0.0}
    assert '"norms": [null, ' in (out / "run.jsonl").read_text()


def test_what_is_not_finite_is_kept(out: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with listen(model, optimizer, out):
        for value in (torch.nan, torch.inf):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, value)
            optimizer.step()
    assert heard(out) == alike([[torch.nan] * 2, [torch.inf] * 2])


def test_gradients_that_have_gradients(out: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out) as ears:
        loss = loss_of(model, batches(1)[0])
        with pytest.warns(UserWarning, match="create_graph=True"):
            loss.backward(create_graph=True)
        by_hand = row_of(model)
        ears.clip_grad_norm_(0.5)
        optimizer.step()
    assert heard(out) == alike([by_hand])
    optimizer.zero_grad()


# -- several optimizers --------------------------------------------------------------------------


def test_each_step_of_each_of_two_optimizers_is_a_frame(out: Path) -> None:
    torch.manual_seed(0)
    gan = nn.ModuleDict({"maker": nn.Linear(4, 4), "judge": nn.Linear(4, 1)})
    makers = torch.optim.SGD(gan["maker"].parameters(), LR)
    judges = torch.optim.Adam(gan["judge"].parameters(), LR)
    rows = []
    with listen(gan, [makers, judges], out):
        for x in batches(4):
            judges.zero_grad()
            loss_of(gan["judge"], gan["maker"](x).detach()).backward()
            rows.append([ABSENT, norm_of(gan["judge"])])
            # As some do: what is clipped belongs to both.
            nn.utils.clip_grad_norm_(gan.parameters(), 0.1)
            judges.step()
            makers.zero_grad()
            (-loss_of(gan["judge"], gan["maker"](x))).backward()
            rows.append([norm_of(gan["maker"]), ABSENT])
            nn.utils.clip_grad_norm_(gan["maker"].parameters(), 0.1)
            makers.step()
    assert heard(out) == alike(rows)


@pytest.mark.parametrize("every", [1, 2])
def test_an_optimizer_for_each_parameter_stepped_in_backward(out: Path, every: int) -> None:
    by_hand = small()
    rows = train(by_hand, torch.optim.SGD(by_hand.parameters(), LR), batches(4))
    model = small()
    own = {p: torch.optim.SGD([p], LR) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        own[parameter].step()
        own[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    with listen(model, own.values(), out, every=every):
        for x in batches(4):
            loss_of(model, x).backward()
            assert all(p.grad is None for p in model.parameters())
    assert heard(out) == alike(rows[::every])
    assert [frame.step for frame in frames(out)] == list(range(1, 5, every))


def test_a_backward_that_raises_makes_no_frame(out: Path) -> None:
    model = small()
    own = {p: torch.optim.SGD([p], LR) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        own[parameter].step()
        own[parameter].zero_grad()
        if raising and parameter is model[2].weight:
            raise ArithmeticError("enough")

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    raising = True
    with listen(model, own.values(), out):
        with pytest.raises(ArithmeticError):
            loss_of(model, batches(1)[0]).backward()
        model.zero_grad()
        raising = False
        loss_of(model, batches(1)[0]).backward()
    assert len(heard(out)) == 1
    assert min(heard(out)[0]) > 0.0


def test_parameters_that_come_in_the_middle(out: Path) -> None:
    model, rows = small(), []
    optimizer = torch.optim.SGD(model[2].parameters(), LR)
    with listen(model, optimizer, out):
        for number, x in enumerate(batches(4)):
            if number == 2:
                optimizer.add_param_group({"params": list(model[0].parameters())})
            model.zero_grad()
            loss_of(model, x).backward()
            rows.append([norm_of(model[0]) if number >= 2 else ABSENT, norm_of(model[2])])
            optimizer.step()
    assert heard(out) == alike(rows)


# -- what is wrapped around ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model", "step", "both"])
@pytest.mark.parametrize("first", ["listen", "compile"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled(out: Path, what: str, first: str) -> None:
    by_hand = small()
    rows = train(by_hand, torch.optim.SGD(by_hand.parameters(), LR), batches(STEPS))
    torch._dynamo.reset()
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss_of(run, x).backward()
        optimizer.step()

    ears = listen(model, optimizer, out) if first == "listen" else None
    run = torch.compile(model, backend="eager") if what != "step" else model
    compiled = torch.compile(step, backend="eager") if what != "model" else step
    if ears is None:
        ears = listen(run, optimizer, out)
    with ears:
        for x in batches(STEPS):
            compiled(x)
    assert heard(out) == alike(rows)
    assert [layer.name for layer in gradmidi.read(out).layers] == ["0", "2"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed(out: Path, reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    model, rows = small(), []
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        for x in batches(STEPS):
            optimizer.zero_grad()
            x.requires_grad_()
            found = checkpoint(model, x, use_reentrant=reentrant)
            (10.0 * found - 3.0).square().mean().backward()
            rows.append(row_of(model))
            optimizer.step()
    assert heard(out) == alike(rows)


def test_activations_in_place(out: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        rows = train(
            model, optimizer, [x[:, None, None].repeat(1, 1, 4, 1) for x in batches(STEPS)]
        )
    assert heard(out) == alike(rows)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_of_the_optimizer_trains_unheard(out: Path, how: str) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(2))
        if how == "deepcopy":
            other_model, other = copy.deepcopy((model, optimizer))
        else:
            other_model, other = pickle.loads(pickle.dumps((model, optimizer)))
        train(other_model, other, batches(3))
        rows += train(model, optimizer, batches(1))
    assert heard(out) == alike(rows)


# -- which steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [False, True])
def test_each_third_step_is_looked_at(out: Path, clip: bool) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out, every=3) as ears:
        rows = train(
            model, optimizer, batches(8), lambda: ears.clip_grad_norm_(0.5) if clip else None
        )
    assert heard(out) == alike(rows[::3])
    assert [frame.step for frame in frames(out)] == [1, 4, 7]


def test_a_small_budget_leaves_steps_out_and_the_end_tells_its_share(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with listen(model, optimizer, out, budget=0.001):
        train(model, optimizer, batches(1) * 300)
    steps = [frame.step for frame in frames(out)]
    assert steps[0] == 1
    # A look takes far more than a thousandth of so small a step.
    assert len(steps) < 150
    share = r"gradmidi used (less than )?[\d.]+ % of the training time"
    assert re.search(share, capsys.readouterr().err)
