"""Norms from before clipping, by any code that clips; what is known of it, and what it leaves."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradmidi.log import ABSENT, Frame
from gradmidi.log.values import TIMES, Clipping
from gradmidi.text.describe import describe

torch = pytest.importorskip("torch")

from loops import batches, end_of, heard, loss_of, row_of, small, train  # noqa: E402
from torch import nn  # noqa: E402
from torch.amp.grad_scaler import GradScaler  # noqa: E402
from torch.nn import utils  # noqa: E402
from torch.nn.utils import (  # noqa: E402
    clip_grad,
    clip_grad_norm_,
    clip_grad_value_,
)
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import gradmidi  # noqa: E402
from gradmidi.capture.clipping import watch  # noqa: E402

LR = 0.01
STEPS = 4
LOW = 0.5


def alike(rows: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, rel=1e-5, nan_ok=True) for row in rows]


def ours(folder: Path, model: nn.Module, optimizer: Any = None, **options: Any) -> Any:
    return gradmidi.listen(model, optimizer, out=folder, files=(), **options)


class Calls(TorchDispatchMode):
    """Counts the passes over gradients that sum them."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = 0

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None):
        self.norms += "_foreach_norm" in str(function)
        return function(*args, **(kwargs or {}))


# Found when this file was imported, long before anything listens, as a script may do it.
BY_USERS: dict[str, Callable[[nn.Module], Any]] = {
    "norm": lambda model: clip_grad_norm_(model.parameters(), LOW),
    "norm of a list": lambda model: clip_grad_norm_(list(model.parameters()), max_norm=LOW),
    "norm by keyword": lambda model: clip_grad_norm_(parameters=model.parameters(), max_norm=LOW),
    "norm, looked up": lambda model: utils.clip_grad_norm_(model.parameters(), LOW),
    "norm in its module": lambda model: clip_grad.clip_grad_norm_(model.parameters(), LOW),
    "value": lambda model: clip_grad_value_(model.parameters(), 0.01),
    "value, looked up": lambda model: utils.clip_grad_value_(model.parameters(), 0.01),
    "each parameter": lambda model: [clip_grad_norm_(p, 0.01) for p in model.parameters()],
    "value, then norm": lambda model: (
        clip_grad_value_(model.parameters(), 0.1),
        clip_grad_norm_(model.parameters(), 0.01),
    ),
    "by a total": lambda model: utils.clip_grads_with_norm_(
        model.parameters(),
        LOW,
        utils.get_total_norm([p.grad for p in model.parameters()]),
    ),
}


@pytest.mark.parametrize("how", BY_USERS)
@pytest.mark.parametrize("by_hand", [False, True], ids=["optimizer", "capture"])
def test_norms_are_from_before_the_users_own_clipping(
    tmp_path: Path, how: str, by_hand: bool
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, None if by_hand else optimizer) as ears:

        def clip() -> None:
            before = row_of(model)
            BY_USERS[how](model)
            assert row_of(model) != before, "the example does not clip: it would show nothing"
            if by_hand:
                ears.capture()

        rows = train(model, optimizer, batches(STEPS), clip)
    assert heard(tmp_path / "a") == alike(rows)
    assert end_of(tmp_path / "a").clipping == "before"


@pytest.mark.parametrize("mine", [True, False], ids=["ears", "torch"])
def test_a_nan_that_clipping_spreads_over_all_layers_is_told_of_the_one_it_came_from(
    tmp_path: Path, mine: bool
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer) as ears:
        for number, x in enumerate(batches(STEPS)):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            if number == STEPS - 1:
                model[0].weight.grad[0, 0] = math.nan
            if mine:
                ears.clip_grad_norm_(LOW)
            else:
                clip_grad_norm_(model.parameters(), LOW)
            optimizer.step()
    # It did spread: of every gradient nothing else is left.
    assert all(p.grad.isnan().all() for p in model.parameters())
    assert list(describe(gradmidi.read(tmp_path / "a")))[1:3] == [
        "1 fault",
        f"step {STEPS} to the end: 0 nan",
    ]


def test_what_was_looked_at_before_it_is_clipped_is_not_looked_at_again(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model) as ears:

        def capture_and_clip() -> None:
            with Calls() as calls:
                ears.capture()
                clip_grad_norm_(model.parameters(), LOW)
            # One by us, one by torch.
            assert calls.norms == 2

        rows = train(model, optimizer, batches(STEPS), capture_and_clip)
    assert heard(tmp_path / "a") == alike(rows)


def test_gradients_that_are_clipped_and_never_used_make_no_frame(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with ours(tmp_path / "a", model, optimizer):
        for number, x in enumerate(batches(6)):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            if number % 3 != 2:
                clip_grad_norm_(model.parameters(), LOW)
            if number % 3 != 0:
                rows.append(row_of(model) if number % 3 == 2 else None)
                optimizer.step()
    found = heard(tmp_path / "a")
    assert len(found) == len(rows) == 4
    # The third was not clipped: what was held of the ones before must not stand for it.
    assert [found[1], found[3]] == alike([rows[1], rows[3]])


def test_clipping_each_of_several_batches_is_heard_before_the_last(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer):
        for x in batches(2):
            loss_of(model, x).backward()
            by_hand = row_of(model)
            clip_grad_norm_(model.parameters(), LOW)
        optimizer.step()
    assert heard(tmp_path / "a") == alike([by_hand])


# -- in compiled functions ------------------------------------------------------------------------


def rows_by_hand(clip: Callable[[nn.Module], Any]) -> list[list[float]]:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    return train(model, optimizer, batches(STEPS), lambda: clip(model))


def train_compiled(
    folder: Path, clip: Callable[[nn.Module, Any], Any], *, before: bool = False, **options: Any
) -> None:
    """Train by a step that is compiled as a whole; first, if so asked, once unheard."""
    torch._dynamo.reset()
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)

    @torch.compile(**options)
    def step(x: torch.Tensor, ears: Any) -> None:
        optimizer.zero_grad()
        loss_of(model, x).backward()
        clip(model, ears)
        optimizer.step()

    if before:
        untrained = copy.deepcopy(model.state_dict())
        step(batches(1)[0], None)
        model.load_state_dict(untrained)
    with ours(folder, model, optimizer) as ears:
        for x in batches(STEPS):
            step(x, ears)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["norm", "norm, looked up", "value", "by a total"])
@pytest.mark.parametrize("before", [False, True], ids=["listen first", "compile first"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_clipping_inside_a_compiled_step_is_seen(tmp_path: Path, how: str, before: bool) -> None:
    clip = BY_USERS[how]
    train_compiled(tmp_path / "a", lambda model, _: clip(model), before=before, backend="eager")
    assert heard(tmp_path / "a") == alike(rows_by_hand(clip))
    assert end_of(tmp_path / "a").clipping == "before"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_clipping_by_us_inside_a_compiled_step(tmp_path: Path, backend: str) -> None:
    by_hand = rows_by_hand(BY_USERS["norm"])
    train_compiled(tmp_path / "a", lambda _, ears: ears.clip_grad_norm_(LOW), backend=backend)
    assert heard(tmp_path / "a") == alike(by_hand)
    assert end_of(tmp_path / "a").clipping == "before"


@pytest.mark.parametrize("whose", ["torch's", "ours"])
def test_clipping_that_has_to_be_in_a_graph_is_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whose: str
) -> None:
    torch._dynamo.reset()
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer) as ears:

        @torch.compile(backend="eager", fullgraph=True)
        def clip() -> None:
            if whose == "ours":
                ears.clip_grad_norm_(LOW)
            else:
                clip_grad_norm_(model.parameters(), LOW)

        after = []
        train(model, optimizer, batches(STEPS), lambda: after.append(clip() or row_of(model)))
    # It is compiled and clips, as without us; and nothing is claimed of it.
    assert heard(tmp_path / "a") == alike(after)
    assert np.linalg.norm(after, axis=1) == pytest.approx([LOW] * STEPS, rel=1e-5)
    assert end_of(tmp_path / "a").clipping == "unknown"
    assert capsys.readouterr().err.count("fullgraph=True is not seen") == 1


# -- clipping by us -------------------------------------------------------------------------------


def gradients(model: nn.Module) -> list[Any]:
    return [None if p.grad is None else p.grad.clone() for p in model.parameters()]


def spoiled(value: float) -> Callable[[nn.Module], None]:
    def spoil(model: nn.Module) -> None:
        model[0].weight.grad[1, 2] = value

    return spoil


def frozen(model: nn.Module) -> None:
    model[0].weight.grad = None


def odd(model: nn.Module) -> None:
    """Half types and float64 beside float32, as torch groups them."""
    kinds = (torch.float32, torch.bfloat16, torch.float64, torch.float32)
    for parameter, dtype in zip(model.parameters(), kinds, strict=True):
        gradient = parameter.grad.to(dtype)
        parameter.data = parameter.data.to(dtype)
        parameter.grad = gradient


@pytest.mark.parametrize(
    "change",
    [lambda _: None, spoiled(math.nan), spoiled(math.inf), frozen, odd],
    ids=["plain", "nan", "inf", "frozen", "mixed"],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"norm_type": 1.0}, {"norm_type": math.inf}, {"foreach": False}, {"foreach": True}],
    ids=str,
)
@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_it_clips_as_torch_does_to_the_last_bit(
    tmp_path: Path, change: Any, options: dict[str, Any], max_norm: float
) -> None:
    model = small()
    loss_of(model, batches(1)[0]).backward()
    change(model)
    other = copy.deepcopy(model)
    for parameter, its in zip(model.parameters(), other.parameters(), strict=True):
        its.grad = None if parameter.grad is None else parameter.grad.clone()
    theirs = clip_grad_norm_(other.parameters(), max_norm, **options)
    optimizer = torch.optim.SGD(model.parameters(), 0.0, foreach=False)
    by_hand = row_of(model)
    with ours(tmp_path / "a", model, optimizer) as ears:
        total = ears.clip_grad_norm_(max_norm, **options)
        for one, another in zip(gradients(model), gradients(other), strict=True):
            assert (one is None) == (another is None)
            assert one is None or torch.equal(one.nan_to_num(7.0), another.nan_to_num(7.0))
        optimizer.step()
    assert total.dtype == theirs.dtype
    assert torch.equal(total.nan_to_num(7.0), theirs.nan_to_num(7.0))
    assert heard(tmp_path / "a") == alike([by_hand])


def test_norms_come_from_the_same_pass(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    passes = []
    with ours(tmp_path / "a", model, optimizer) as ears:

        def clip() -> None:
            with Calls() as calls:
                ears.clip_grad_norm_(LOW)
            passes.append(calls.norms)

        rows = train(model, optimizer, batches(STEPS), clip)
        with Calls() as calls:
            optimizer.step()
    assert passes == [1] * STEPS
    assert calls.norms == 1
    assert heard(tmp_path / "a")[:-1] == alike(rows)


def test_the_gradients_of_some_parameters_alone(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer) as ears:
        rows = train(
            model,
            optimizer,
            batches(STEPS),
            lambda: ears.clip_grad_norm_(LOW, parameters=model[2].parameters()),
        )
    assert heard(tmp_path / "a") == alike(rows)


def test_layers_and_weights_that_are_chosen_come_from_the_same_pass(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with ours(tmp_path / "a", model, optimizer, layers="2", parameters="weights") as ears:

        def clip() -> None:
            rows.append([model[2].weight.grad.norm().item()])
            ears.clip_grad_norm_(LOW)

        train(model, optimizer, batches(STEPS), clip)
    assert heard(tmp_path / "a") == alike(rows)


def test_each_of_two_optimizers_hears_its_own(tmp_path: Path) -> None:
    model = small()
    first = torch.optim.SGD(model[0].parameters(), LR)
    second = torch.optim.SGD(model[2].parameters(), LR)
    with ours(tmp_path / "a", model, [first, second]) as ears:
        loss_of(model, batches(1)[0]).backward()
        one, two = row_of(model)
        ears.clip_grad_norm_(LOW)
        first.step()
        second.step()
    assert heard(tmp_path / "a") == alike([[one, ABSENT], [ABSENT, two]])


def test_a_norm_that_is_not_finite_is_an_error_where_that_is_asked_for(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer) as ears:
        loss_of(model, batches(1)[0]).backward()
        spoiled(math.inf)(model)
        before = gradients(model)
        with pytest.raises(RuntimeError, match="non-finite, so it cannot be clipped"):
            ears.clip_grad_norm_(LOW, error_if_nonfinite=True)
        assert all(map(torch.equal, before, gradients(model)))
        model[0].weight.grad.zero_()
        assert ears.clip_grad_norm_(LOW, error_if_nonfinite=True).isfinite()


def test_a_run_of_plain_numbers_has_nothing_to_clip(tmp_path: Path) -> None:
    with (
        gradmidi.record(tmp_path / "a", layers=["fc"], files=()) as ears,
        pytest.raises(gradmidi.CaptureError, match="no model"),
    ):
        ears.clip_grad_norm_(1.0)


# -- clipping that is not seen --------------------------------------------------------------------


def by_own_hand(model: nn.Module, most: float = LOW) -> float:
    """Clip as a loop of one's own may: through no function of torch's."""
    total = float(sum(p.grad.double().square().sum() for p in model.parameters()) ** 0.5)
    for parameter in model.parameters():
        parameter.grad.mul_(min(1.0, most / total))
    return total


@pytest.mark.parametrize("keep", ["layers", "voices"])
@pytest.mark.parametrize("when", ["before the step", "after the step"])
def test_a_total_that_is_logged_restores_the_norms(tmp_path: Path, when: str, keep: str) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with ours(tmp_path / "a", model, optimizer, keep=keep) as ears:
        for x in batches(3):
            optimizer.zero_grad()
            loss_of(model, x).backward()
            rows.append(row_of(model))
            total = by_own_hand(model)
            if when == "before the step":
                ears.log(total_norm=total)
            optimizer.step()
            if when == "after the step":
                ears.log(total_norm=torch.tensor(total))
    assert heard(tmp_path / "a") == alike(rows)
    assert end_of(tmp_path / "a").clipping == "before"


def test_a_total_changes_nothing_where_clipping_was_seen_or_did_not_bite(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer) as ears:
        rows = train(
            model,
            optimizer,
            batches(STEPS),
            lambda: ears.log(total_norm=clip_grad_norm_(model.parameters(), LOW)),
        )
    assert heard(tmp_path / "a") == alike(rows)
    with ours(tmp_path / "b", model, optimizer) as ears:
        rows = train(
            model, optimizer, batches(STEPS), lambda: ears.log(total_norm=by_own_hand(model, 1e9))
        )
    assert heard(tmp_path / "b") == alike(rows)
    assert end_of(tmp_path / "b").clipping == "none"


def test_a_total_of_more_than_is_listened_to_restores_nothing(tmp_path: Path) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    rows = []
    with ours(tmp_path / "a", model, optimizer, layers="0") as ears:

        def clip() -> None:
            total = by_own_hand(model)
            rows.append(row_of(model)[:1])
            ears.log(total_norm=total)

        train(model, optimizer, batches(STEPS), clip)
    assert heard(tmp_path / "a") == alike(rows)


def test_gradients_that_look_clipped_are_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer):
        train(model, optimizer, batches(1) * 30, lambda: by_own_hand(model, 0.25))
    assert capsys.readouterr().err.count("seem to be clipped to a total norm of 0.25 before") == 1
    assert end_of(tmp_path / "a").clipping == "after"


def test_gradients_that_are_not_clipped_do_not_look_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with ours(tmp_path / "a", model, optimizer):
        train(model, optimizer, batches(1) * 30)
    assert "seem to be clipped" not in capsys.readouterr().err
    header, *_, end = (tmp_path / "a" / "run.jsonl").read_text().splitlines()
    assert '"clipping": "unknown"' in header
    assert '"clipping": "none"' in end


@pytest.mark.parametrize(
    ("totals", "looks"),
    [
        ([1.0] * TIMES, True),
        ([0.3, 1.0] * TIMES, True),
        ([1.0] * (TIMES - 1), False),
        ([1.00003, 0.99998] * TIMES, True),
        ([1.0, 1.002] * TIMES, False),
        ([1.0] * TIMES + [1.5] * 3, True),
        ([1.234] * TIMES, False),
        ([0.0, math.nan, math.inf] * TIMES, False),
    ],
)
def test_what_looks_clipped(totals: list[float], looks: bool, said: list[str]) -> None:
    clipping = Clipping(whole=True)
    for step, total in enumerate(totals, 1):
        clipping.observe(Frame(step, 0.1 * step, np.array([0.6 * total, ABSENT, 0.8 * total])))
    assert len(said) == looks
    assert clipping.word == ("after" if looks else "none")


@pytest.mark.parametrize("total", [math.nan, math.inf, "5.0", None, 0.0])
def test_a_total_that_is_no_number_restores_nothing(total: Any) -> None:
    frame = Frame(1, 0.1, np.array([0.6, 0.8]), {"total_norm": total})
    assert Clipping(whole=True).restored(frame) is frame


# -- what is left behind --------------------------------------------------------------------------


def functions() -> list[Any]:
    cells = [
        cell.cell_contents
        for name in vars(clip_grad)
        if "clip" in name
        for cell in getattr(getattr(clip_grad, name), "__closure__", None) or ()
    ]
    found = [vars(module)[name] for module in (utils, clip_grad) for name in vars(module)]
    return [*cells, *found, GradScaler.step]


def test_closing_leaves_no_hook_and_no_function_behind(tmp_path: Path) -> None:
    model, before = small(), functions()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    ears = ours(tmp_path / "a", model, optimizer)
    assert functions() != before
    assert optimizer._optimizer_step_pre_hooks
    ears.close()
    assert functions() == before
    assert not optimizer._optimizer_step_pre_hooks
    assert not any(module._backward_hooks or module._forward_hooks for module in model.modules())
    train(model, optimizer, batches(1), lambda: clip_grad_norm_(model.parameters(), LOW))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_listeners_end_in_either_order(tmp_path: Path, order: tuple[int, int]) -> None:
    before = functions()
    models = [small(1), small(2)]
    optimizers = [torch.optim.SGD(model.parameters(), LR) for model in models]
    ears = [ours(tmp_path / str(n), models[n], optimizers[n]) for n in (0, 1)]

    def clip(model: nn.Module) -> Callable[[], Any]:
        return lambda: clip_grad_norm_(model.parameters(), LOW)

    rows = [train(models[n], optimizers[n], batches(2), clip(models[n])) for n in (0, 1)]
    first, last = order
    ears[first].close()
    rows[last] += train(models[last], optimizers[last], batches(2), clip(models[last]))
    ears[last].close()
    assert functions() == before
    assert [heard(tmp_path / str(n)) for n in (0, 1)] == [alike(row) for row in rows]


def test_whoever_replaced_a_function_after_us_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        def scaling(self, _optimizer: Any) -> None: ...
        def scaled(self, _optimizer: Any, *, failed: bool) -> None: ...

    original = GradScaler.step
    monkeypatch.setattr(GradScaler, "step", original)
    leave = watch(Nobody())
    inner = GradScaler.step

    def theirs(self: Any, *args: Any) -> Any:
        return inner(self, *args)

    vars(theirs).update(vars(inner))
    GradScaler.step = theirs
    again = watch(Nobody())
    leave()
    again()
    assert GradScaler.step is theirs
