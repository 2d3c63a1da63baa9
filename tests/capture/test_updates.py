"""One update, one frame: nested steps, odd steps, strides, and parameters that are exchanged."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from loops import (  # noqa: E402
    alike,
    batches,
    end_of,
    frames,
    heard,
    listen,
    loss_of,
    norm_of,
    of,
    row_of,
    small,
    train,
)
from torch import nn  # noqa: E402
from torch.nn.utils import clip_grad_norm_  # noqa: E402

import gradmidi  # noqa: E402
from gradmidi.capture.origin import OFTEN  # noqa: E402
from gradmidi.log import ABSENT  # noqa: E402

LR = 0.01
STEPS = 3
LOW = 0.5

SGD = torch.optim.SGD


# -- nested steps ---------------------------------------------------------------------------------


class Subclass(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class Around(torch.optim.Optimizer):
    """Steps another optimizer, as Lookahead does."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner.param_groups, {})
        self.inner = inner

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


class Halves(Around):
    """Changes the gradients before the other one steps, as OrthoGrad does."""

    def step(self, closure: Any = None) -> Any:
        for parameter in of(self):
            parameter.grad.mul_(0.5)
        return self.inner.step(closure)


class Shard(torch.optim.Optimizer):
    """Holds all parameters, and steps a part of them, as ZeroRedundancyOptimizer does."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})
        self.optim = SGD(of(self)[:2], LR)

    def step(self, closure: Any = None) -> Any:
        return self.optim.step()


class Unmade:
    """Wraps several, and is no optimizer of torch's."""

    def __init__(self, params: Any) -> None:
        self.several = [SGD(list(params), LR)]

    def zero_grad(self) -> None:
        self.several[0].zero_grad()

    def step(self) -> None:
        self.several[0].step()


class Unconstructed(torch.optim.Optimizer):
    """Never calls its base's constructor, as Accelerate's."""

    def __init__(self, inner: Any) -> None:
        self.base = inner

    def zero_grad(self) -> None:
        self.base.zero_grad()

    def step(self, closure: Any = None) -> Any:
        return self.base.step(closure)


class Hidden(torch.optim.Optimizer):
    """Keeps its inner optimizer where no attribute shows it."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})
        inner = SGD(of(self), LR)
        self.inner = lambda: inner

    def step(self, closure: Any = None) -> Any:
        return self.inner().step(closure)


def _step(self: Any, closure: Any = None) -> Any:
    """As `Subclass.step`, for a class that is made at run time, as Horovod does."""
    return SGD.step(self, closure)


NESTED: dict[str, Callable[[Any], Any]] = {
    "subclass": lambda params: Subclass(params, LR),
    "made-up subclass": lambda params: type("SGD", (SGD,), {"step": _step})(params, LR),
    "around": lambda params: Around(SGD(params, LR)),
    "around around": lambda params: Around(Around(Subclass(params, LR))),
    "changes gradients": lambda params: Halves(SGD(params, LR)),
    "a shard": Shard,
    "no optimizer": Unmade,
    "unconstructed": lambda params: Unconstructed(SGD(params, LR)),
    "hidden": Hidden,
}


WITHOUT_CLOSURE = ("no optimizer", "a shard")
"""Kinds whose step takes no closure."""


@pytest.mark.parametrize(
    ("kind", "closure"),
    [
        *((kind, False) for kind in NESTED),
        *((kind, True) for kind in NESTED if kind not in WITHOUT_CLOSURE),
    ],
)
def test_nested_steps_are_one_update(out: Path, kind: str, closure: bool, said: list[str]) -> None:
    SGD(small().parameters(), LR)  # from here on torch calls hooks for SGD itself too
    model = small()
    optimizer = NESTED[kind](model.parameters())
    rows = []
    with listen(model, optimizer, out):
        for x in batches(STEPS):

            def evaluate(x: torch.Tensor = x) -> Any:
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                rows.append(row_of(model))
                return loss

            if closure and kind != "changes gradients":
                optimizer.step(evaluate)
            else:
                evaluate()
                optimizer.step()
    assert heard(out) == alike(rows)
    assert [frame.step for frame in frames(out)] == [1, 2, 3]
    assert not any("was not" in line for line in said)


def test_a_step_that_raises_is_not_taken_for_the_outermost_of_the_next(out: Path) -> None:
    class Fails(Around):
        fail = False

        def step(self, closure: Any = None) -> Any:
            self.inner.step(closure)
            if self.fail:
                raise RuntimeError("no")

    model = small()
    optimizer = Fails(SGD(model.parameters(), LR))
    with listen(model, optimizer, out):
        train(model, optimizer, batches(1))
        optimizer.fail = True
        with pytest.raises(RuntimeError, match="no"):
            train(model, optimizer, batches(1))
        optimizer.fail = False
        train(model, optimizer, batches(2))
        train(model, optimizer.inner, batches(1))
    assert [frame.step for frame in frames(out)] == [1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["subclass", "around"])
def test_nested_steps_in_a_compiled_function_are_one_update(out: Path, kind: str) -> None:
    torch._dynamo.reset()
    SGD(small().parameters(), LR)
    model = small()
    optimizer = NESTED[kind](model.parameters())
    rows = []

    @torch.compile(backend="eager")
    def update(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss_of(model, x).backward()
        torch.compiler.disable(lambda: rows.append(row_of(model)))()
        optimizer.step()

    with listen(model, optimizer, out):
        for x in batches(STEPS):
            update(x)
    assert heard(out) == alike(rows)


class Scaler(torch.amp.GradScaler):
    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        return super().step(optimizer, *args, **kwargs)


class ScalerAround:
    def __init__(self) -> None:
        self.inner = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.scale, self.update = self.inner.scale, self.inner.update

    def step(self, optimizer: Any) -> Any:
        return self.inner.step(optimizer)


@pytest.mark.parametrize(
    "make", [lambda: Scaler("cpu", init_scale=1024.0), ScalerAround], ids=["subclass", "around"]
)
def test_an_update_that_nested_scalers_skip_is_told_once(out: Path, make: Any) -> None:
    model = small()
    optimizer, scaler = SGD(model.parameters(), LR), make()
    with listen(model, optimizer, out, scaler=scaler):
        for number, x in enumerate(batches(4)):
            optimizer.zero_grad()
            loss = loss_of(model, x) * (math.inf if number == 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert [frame.extra.get("skipped", False) for frame in frames(out)] == [
        False,
        False,
        True,
        False,
    ]


def test_two_optimizers_of_one_model_are_told_apart_by_what_they_hold(out: Path) -> None:
    model = small()
    one, two = SGD([model[0].weight, model[2].weight], LR), SGD([model[0].bias], LR)
    rows = []
    with listen(model, [one, two], out):
        for x in batches(2):
            model.zero_grad()
            loss_of(model, x).backward()
            rows += [
                [norm_of([model[0].weight]), norm_of([model[2].weight])],
                [norm_of([model[0].bias]), ABSENT],
            ]
            one.step()
            two.step()
    assert heard(out) == alike(rows)


# -- odd steps ------------------------------------------------------------------------------------


def test_a_first_argument_that_is_no_closure_goes_through_untouched(out: Path) -> None:
    class TakesLoss(SGD):
        def step(self, loss: Any, closure: Any = None) -> Any:
            self.given.append(loss)
            return super().step(closure)

    model = small()
    optimizer = TakesLoss(model.parameters(), LR)
    optimizer.given = []
    rows = []
    criterion = nn.MSELoss()
    with listen(model, optimizer, out):
        for x, second in zip(batches(4), ("number", "loss", "module", "beside"), strict=True):

            def evaluate(x: torch.Tensor = x) -> Any:
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                rows.append(row_of(model))
                return loss

            if second == "beside":
                optimizer.step(2.5, evaluate)
                continue
            loss = evaluate()
            given = {"number": loss.item(), "loss": loss, "module": criterion}[second]
            optimizer.step(given)
            assert optimizer.given[-1] is given
    assert optimizer.given[-1] == 2.5
    assert heard(out) == alike(rows)


def test_a_closure_that_is_never_called_is_heard(out: Path) -> None:
    class Ignores(SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step()

    class Alone(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for parameter in of(self):
                parameter.sub_(parameter.grad, alpha=LR)

    for number, kind in enumerate((Ignores, Alone)):
        model = small()
        optimizer = kind(model.parameters(), {}) if kind is Alone else kind(model.parameters(), LR)
        rows = []
        folder = out.with_name(str(number))
        with listen(model, optimizer, folder):
            for x in batches(STEPS):
                optimizer.zero_grad()
                loss_of(model, x).backward()
                rows.append(row_of(model))
                optimizer.step(lambda: None)
        assert heard(folder) == alike(rows)


class Sam(torch.optim.Optimizer):
    """Sharpness-aware minimisation, in two phases or by a closure."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})
        self.base_optimizer = SGD(self.param_groups, LR)
        self.param_groups = self.base_optimizer.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        self.moved = [(p, 0.05 * p.grad) for p in of(self)]
        for parameter, by in self.moved:
            parameter.add_(by)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for parameter, by in self.moved:
            parameter.sub_(by)
        self.base_optimizer.step()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


@pytest.mark.parametrize("phases", [True, False], ids=["phases", "closure"])
@pytest.mark.parametrize("clip", [False, True], ids=["", "clip"])
def test_sharpness_aware_minimisation_is_heard_once_an_update(
    out: Path, phases: bool, clip: bool
) -> None:
    model = small()
    optimizer = Sam(model.parameters())
    rows = []
    with listen(model, optimizer, out):
        for x in batches(STEPS):

            def evaluate(x: torch.Tensor = x) -> None:
                loss_of(model, x).backward()
                rows.append(row_of(model))
                if clip:
                    clip_grad_norm_(model.parameters(), LOW)

            optimizer.zero_grad()
            loss_of(model, x).backward()
            if phases:
                optimizer.first_step()
                evaluate()
                optimizer.second_step()
            else:
                optimizer.step(evaluate)
    # The gradient that the update is made with: the one at the moved weights.
    assert heard(out) == alike(rows)
    assert end_of(out).clipping == ("before" if clip else "none")


def test_horovods_optimizer_is_heard_after_it_has_added_up_all_ranks(out: Path) -> None:
    class Distributed(SGD):
        def skip_synchronize(self) -> None: ...

        def step(self, closure: Any = None) -> Any:
            for parameter in of(self):
                parameter.grad.mul_(2.0)
            return super().step(closure)

    SGD(small().parameters(), LR)
    model = small()
    optimizer = Distributed(model.parameters(), LR)
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike([[2.0 * norm for norm in row] for row in rows])


def test_what_calls_no_hooks_is_refused_by_name(out: Path) -> None:
    class Bare(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            self.param_groups = [{"params": list(params)}]

    model = small()
    with pytest.raises(gradmidi.CaptureError, match=r"Bare.__init__ does not call super"):
        listen(model, Bare(model.parameters()), out)


def test_an_update_by_another_method_is_told(out: Path, said: list[str]) -> None:
    model = small()
    with listen(model, SGD(model.parameters(), LR), out):
        loss_of(model, batches(1)[0]).backward()
    assert [line for line in said if "was not called" in line] == [
        "step() of SGD was not called; where another method updates the parameters, call "
        "ears.capture() before it"
    ]


def test_an_exception_before_the_first_step_is_not_told_as_a_missing_step(
    out: Path, said: list[str]
) -> None:
    model = small()
    with (
        pytest.raises(ValueError, match="no data"),
        listen(model, SGD(model.parameters(), LR), out),
    ):
        raise ValueError("no data")
    assert not any("was not called" in line for line in said)


def test_an_optimizer_that_was_not_given_is_told_once(out: Path, said: list[str]) -> None:
    model = small()
    with listen(model, SGD(model.parameters(), LR), out):
        train(model, torch.optim.Adam(model.parameters(), LR), batches(STEPS))
    assert len([line for line in said if line.startswith("Adam steps parameters of Seq")]) == 1


def test_an_optimizer_of_others_is_not_told(out: Path, said: list[str]) -> None:
    model, other = small(), small(1)
    with listen(model, SGD(model[0].parameters(), LR), out):
        train(model, SGD(model[2].parameters(), LR), batches(STEPS))
        train(other, SGD(other.parameters(), LR), batches(STEPS))
    assert not any("steps parameters of" in line for line in said)


# -- every nth update -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "every", "expected"),
    [
        ("each of four batches", 2, [1, 3, 5, 7, 9, 11]),
        ("after the step", 4, [1, 5, 9]),
        ("thrown away", 3, [1, 4, 7]),
        ("twice", 5, [1, 6, 11]),
    ],
)
def test_every_counts_updates_however_often_is_clipped(
    out: Path, how: str, every: int, expected: list[int]
) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)

    def clip() -> None:
        clip_grad_norm_(model.parameters(), LOW)

    with listen(model, optimizer, out, every=every):
        for number in range(12):
            optimizer.zero_grad()
            for x in batches(4 if how == "each of four batches" else 1):
                loss_of(model, x).backward()
                if how != "after the step":
                    clip()
            if how == "twice":
                clip()
            if how != "thrown away" or number % 3:
                optimizer.step()
            if how == "after the step":
                clip()
    assert [frame.step for frame in frames(out)] == expected


# -- before means before --------------------------------------------------------------------------


def each(model: nn.Module, change: Callable[[torch.Tensor], Any]) -> None:
    for parameter in model.parameters():
        change(parameter)


CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "another tensor": lambda m: each(m, lambda p: setattr(p, "grad", p.grad * 3.0)),
    "in place": lambda m: each(m, lambda p: p.grad.mul_(3.0)),
    "one weight": lambda m: m[0].weight.grad.mul_(3.0),
    "through .data": lambda m: each(m, lambda p: p.grad.data.mul_(3.0)),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("mine", [False, True], ids=["torch", "ears"])
def test_gradients_changed_between_clipping_and_step_are_those_at_the_step(
    out: Path, how: str, mine: bool, said: list[str]
) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    rows = []
    with listen(model, optimizer, out) as ears:

        def clip() -> None:
            if mine:
                ears.clip_grad_norm_(LOW)
            else:
                clip_grad_norm_(model.parameters(), LOW)
            CHANGES[how](model)
            rows.append(row_of(model))

        train(model, optimizer, batches(STEPS), clip)
    assert heard(out) == alike(rows)
    assert end_of(out).clipping == "unknown"
    assert len([line for line in said if "clipping left" in line]) == 1


def test_one_gradient_that_is_changed_without_a_trace_is_seen_in_the_end(
    out: Path, said: list[str]
) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    rows = []

    def clip() -> None:
        clip_grad_norm_(model.parameters(), LOW)
        model[0].weight.grad.data.mul_(3.0)
        rows.append(row_of(model))

    with listen(model, optimizer, out):
        train(model, optimizer, batches(OFTEN * (len(list(model.parameters())) + 1)), clip)
    assert heard(out)[-1] == alike(rows)[-1]
    assert end_of(out).clipping == "unknown"
    assert len([line for line in said if "clipping left" in line]) == 1


# -- squares that leave float32 -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [
        (torch.float32, 1e-25),
        (torch.float32, 1e-38),
        (torch.float32, 1e20),
        (torch.float32, 1e37),
        (torch.bfloat16, 1e-30),
        (torch.bfloat16, 1e30),
        (torch.float64, 1e-200),
        (torch.float64, 1e200),
    ],
)
@pytest.mark.parametrize("clip", [False, True], ids=["", "ears"])
def test_a_norm_is_finite_where_the_gradient_is(
    out: Path, dtype: Any, factor: float, clip: bool
) -> None:
    model = small(dtype=dtype)
    optimizer = SGD(model.parameters(), 0.0)
    with listen(model, optimizer, out) as ears:
        each(model, lambda p: setattr(p, "grad", torch.randn_like(p)))
        each(model[0], lambda p: p.grad.mul_(factor))
        if dtype is torch.float64:
            scaled = [p.grad / factor for p in model[0].parameters()]
            row = [norm_of_tensors(scaled) * factor, norm_of(model[2])]
        else:
            row = row_of(model)
        if clip:
            ears.clip_grad_norm_(math.inf)
        optimizer.step()
    assert 0.0 < row[0] < math.inf
    assert heard(out) == alike([row])


def norm_of_tensors(tensors: list[Any]) -> float:
    return sum(float(t.square().sum()) for t in tensors) ** 0.5


def test_zero_inf_and_nan_stay_what_they_are(out: Path) -> None:
    model = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(4)))
    optimizer = SGD(model.parameters(), 0.0)
    with listen(model, optimizer, out):
        for parameter, value in zip(
            model.parameters(), (0.0, math.inf, math.nan, 0.5), strict=True
        ):
            parameter.grad = torch.full_like(parameter, value)
        optimizer.step()
    assert heard(out) == alike([[0.0, math.inf, math.nan, 1.0]])


# -- parameters that come, go or are exchanged ----------------------------------------------------


@pytest.mark.parametrize("how", ["list", "in place", "group"])
def test_parameters_that_are_exchanged_are_heard(out: Path, how: str, said: list[str]) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        model.to_empty(device="cpu")
        model.load_state_dict(small().state_dict(), assign=True)
        if how == "list":
            optimizer.param_groups[0]["params"] = list(model.parameters())
        elif how == "in place":
            optimizer.param_groups[0]["params"][:] = list(model.parameters())
        else:
            optimizer.param_groups.clear()
            optimizer.add_param_group({"params": model.parameters(), **optimizer.defaults})
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)
    assert not any("not heard" in line for line in said)


def test_each_of_two_models_that_one_optimizer_trains_has_a_listener(
    out: Path, said: list[str]
) -> None:
    first, second = small(), small()
    optimizer = SGD([*first.parameters(), *second.parameters()], LR)
    with listen(first, optimizer, out), listen(second, optimizer, out.with_name("b")):
        for x in batches(STEPS):
            optimizer.zero_grad()
            (loss_of(first, x) + 2.0 * loss_of(second, x)).backward()
            optimizer.step()
    assert len(heard(out)) == len(heard(out.with_name("b"))) == STEPS
    assert not [line for line in said if "another listen()" in line]


def test_steps_without_any_gradient_are_told(out: Path, said: list[str]) -> None:
    model = small()

    class Takes(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, gradients: Any) -> None:
            for parameter, gradient in zip(of(self), gradients, strict=True):
                parameter.sub_(gradient, alpha=LR)

    optimizer = Takes(model.parameters(), {})
    with listen(model, optimizer, out):
        for x in batches(STEPS):
            optimizer.step(torch.autograd.grad(loss_of(model, x), list(model.parameters())))
    assert [line for line in said if "no gradient was there" in line and "store them" in line]


def test_a_layer_that_comes_later_is_told_once(out: Path, said: list[str]) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        model.append(nn.Linear(1, 1))
        optimizer.add_param_group({"params": model[3].parameters()})
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike([row[:2] for row in rows])
    assert [line for line in said if "not heard" in line] == [
        "not heard, as they came after listen(): 3; call listen() again"
    ]


def test_parameters_that_the_optimizer_does_not_get_are_told_once(
    out: Path, said: list[str]
) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        train(model, optimizer, batches(2))
        model.load_state_dict(small(1).state_dict(), assign=True)
        train(model, optimizer, batches(2))
    lines = [line for line in said if "not heard" in line]
    assert len(lines) == 1
    assert "other parameters in their place: 0, 2;" in lines[0]


def test_layers_that_are_never_trained_are_left_out_in_one_line(out: Path, said: list[str]) -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)), nn.Linear(4, 1))
    for layer in model[:5]:
        layer.requires_grad_(False)
    # A layer that the optimizer holds may thaw.
    optimizer = SGD([*model[4].parameters(), *model[5:].parameters()], LR)
    with listen(model, optimizer, out):
        train(model, optimizer, batches(STEPS))
    assert [layer.name for layer in gradmidi.read(out).layers] == ["4", "5", "6"]
    assert len([line for line in said if line.startswith("left out")]) == 1
    assert "nothing in them is trained: 0, 1, 2 and 1 more;" in " ".join(said)
    with listen(model, optimizer, out.with_name("b"), layers="*"):
        train(model, optimizer, batches(1))
    assert len(gradmidi.read(out.with_name("b")).layers) == 7


def test_a_parameter_without_entries_has_norm_zero(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    model.empty = torch.nn.Parameter(torch.empty(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradmidi.listen(model, optimizer, out=tmp_path / "a", files=()):
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.ones(1, 2)).square().sum() + model.empty.sum()).backward()
            optimizer.step()
    norms = gradmidi.read(tmp_path / "a").norms()
    assert len(norms) == 3
    assert (norms > 0.0).all()
