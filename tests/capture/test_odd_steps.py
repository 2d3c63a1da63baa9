"""Steps that make their gradients themselves, wrappers in wrappers, and names of layers."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from loops import (  # noqa: E402
    batches,
    heard,
    listen,
    loss_of,
    of,
    row_of,
    small,
    train,
)
from torch import nn  # noqa: E402

import gradmidi  # noqa: E402
from gradmidi.capture.models import class_name, layers_of  # noqa: E402
from gradmidi.capture.owners import owner  # noqa: E402

LR = 0.01
STEPS = 4

SGD = torch.optim.SGD


def alike(rows: list[list[float]]) -> list[Any]:
    return [pytest.approx(row, rel=1e-5) for row in rows]


# -- steps that call `backward` themselves ---------------------------------------------------------


class Own(SGD):
    """Gets what makes the loss beforehand, as GSAM, and calls `backward` in its step."""

    evaluate: Callable[[], Any]

    @torch.enable_grad()
    def step(self, closure: Any = None) -> Any:
        self.zero_grad()
        loss = (closure or self.evaluate)()
        loss.backward()
        self.made()
        return super().step()


class Around(Own):
    """As `Own`, by another optimizer."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.base = SGD(of(self), lr)

    @torch.enable_grad()
    def step(self, closure: Any = None) -> Any:
        self.zero_grad()
        (closure or self.evaluate)().backward()
        self.made()
        return self.base.step()


@pytest.mark.parametrize("kind", [Own, Around])
@pytest.mark.parametrize("argument", [False, True], ids=["before", "argument"])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_step_that_calls_backward_itself_is_heard_with_its_own_gradients(
    out: Path, kind: Any, argument: bool, steps_before: int
) -> None:
    model = small()
    optimizer = kind(model.parameters(), LR)
    rows: list[list[float]] = []
    optimizer.made = lambda: rows.append(row_of(model))

    def step(x: torch.Tensor) -> None:
        optimizer.evaluate = lambda: loss_of(model, x)
        optimizer.step(*([optimizer.evaluate] if argument else []))

    made = list(batches(STEPS + steps_before))
    for x in made[:steps_before]:
        step(x)
    with listen(model, optimizer, out):
        for x in made[steps_before:]:
            step(x)
    # Of a gradient that lies there at the first step nothing tells that it is an old one.
    known = 0 if argument else steps_before
    assert len(heard(out)) == STEPS
    assert heard(out)[known:] == alike(rows[steps_before + known :])


class Named(SGD):
    def step(self, evaluate: Any = None) -> Any:
        return super().step(evaluate)


class Evaluation:
    """A closure that is an object, with what a step may ask it for."""

    def __init__(self, evaluate: Callable[[], Any]) -> None:
        self.evaluate = evaluate

    def __call__(self) -> Any:
        return self.evaluate()


class Asks(SGD):
    def step(self, closure: Any) -> Any:
        assert isinstance(closure, Evaluation)
        return super().step(closure)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (Named, lambda step, evaluate: step(evaluate=evaluate)),
        (Asks, lambda step, evaluate: step(Evaluation(evaluate))),
        (SGD, lambda step, evaluate: step(closure=Evaluation(evaluate))),
    ],
    ids=["another name", "an object", "an object by name"],
)
def test_closures_of_every_form_are_heard(out: Path, kind: Any, call: Any) -> None:
    model = small()
    optimizer = kind(model.parameters(), LR)
    rows = []
    with listen(model, optimizer, out):
        for x in batches(STEPS):

            def evaluate(x: torch.Tensor = x) -> Any:
                optimizer.zero_grad()
                loss = loss_of(model, x)
                loss.backward()
                rows.append(row_of(model))
                return loss

            call(optimizer.step, evaluate)
    assert heard(out) == alike(rows)


def test_a_step_before_the_first_backward_does_not_put_off_the_reading(out: Path) -> None:
    class Halves(SGD):
        def step(self, closure: Any = None) -> Any:
            for parameter in of(self):
                if parameter.grad is not None:
                    parameter.grad.mul_(0.5)
            return super().step(closure)

    model = small()
    optimizer = Halves(model.parameters(), LR)
    with listen(model, optimizer, out):
        optimizer.step()
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out)[1:] == alike(rows)


# -- hooks -----------------------------------------------------------------------------------------


def test_gradients_are_read_before_hooks_of_others_change_them(out: Path) -> None:
    def halve(optimizer: Any, _args: Any, _kwargs: Any) -> None:
        for parameter in of(optimizer):
            parameter.grad.mul_(0.5)

    model = small()
    optimizer = SGD(model.parameters(), LR)
    optimizer.register_step_pre_hook(halve)
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)


def test_an_optimizer_that_is_constructed_again_is_heard(out: Path) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(1))
        optimizer.__init__(model.parameters(), LR / 2)  # type: ignore[misc]
        rows += train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)


# -- what is given ---------------------------------------------------------------------------------


class Wrapper:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def zero_grad(self) -> None:
        self.inner.zero_grad()

    def step(self) -> None:
        self.inner.step()


def test_a_wrapper_in_a_wrapper_is_heard(out: Path) -> None:
    model = small()
    optimizer = Wrapper(Wrapper(SGD(model.parameters(), LR)))
    with listen(model, optimizer, out):
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)


def test_optimizers_may_be_given_by_name(out: Path) -> None:
    model = small()
    optimizer = SGD(model.parameters(), LR)
    with listen(model, {"all": optimizer}, out):
        rows = train(model, optimizer, batches(STEPS))
    assert heard(out) == alike(rows)


def test_an_optimizer_of_copies_is_refused_with_what_to_do(out: Path) -> None:
    model = small()
    copies = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(gradmidi.CaptureError, match=r"none, and call ears\.capture\(\) before"):
        listen(model, SGD(copies, LR), out)


@pytest.mark.parametrize("captures", [False, True])
def test_an_update_by_hand_that_is_not_captured_is_told(
    out: Path, said: list[str], captures: bool
) -> None:
    model = small()
    with listen(model, None, out) as ears:
        loss_of(model, batches(1)[0]).backward()
        if captures:
            ears.capture()
    assert [line for line in said if "no optimizer was given" in line] == (
        []
        if captures
        else [
            "no optimizer was given, and ears.capture() was not called; give the optimizer, or "
            "call ears.capture() before each update"
        ]
    )


# -- names of layers that no module holds ----------------------------------------------------------


def test_layers_have_the_names_by_which_the_script_holds_them() -> None:
    def layer() -> nn.Linear:
        return nn.Linear(2, 2)

    layers = [layer(), layer()]
    agent = SimpleNamespace(actor=layer(), nets={"value": layer()})
    team = [SimpleNamespace(policy=layer()), SimpleNamespace(policy=layer())]
    alone = layer()
    modules = [*layers, agent.actor, agent.nets["value"], *(a.policy for a in team), alone]
    optimizers = [SGD(module.parameters(), LR) for module in modules]
    # A loop has left its variable behind.
    scope = {
        "each": layers[-1],
        "layers": layers,
        "agent": agent,
        "team": team,
        "data": list(range(5000)),
    }
    found = owner(optimizers, [scope])
    assert list(layers_of(found)) == [
        "layers.0",
        "layers.1",
        "actor",
        "nets.value",
        "team.0.policy",
        "team.1.policy",
        "Linear",
    ]
    assert class_name(found) == "layers + actor + nets + team + Linear"
