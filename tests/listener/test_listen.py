"""`listen` and `record` themselves: what they refuse, and what no failure of theirs may change."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradmidi
from gradmidi.errors import CaptureError, GradmidiError
from gradmidi.log import ABSENT, FILE_NAME, End, Frame, Layer

Said = Callable[[], str]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is not there; without one, a run would go below the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "a"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().err


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE_NAME).read_text().splitlines()]


def frames_of(folder: Path) -> list[Frame]:
    return list(gradmidi.read(folder).frames())


def end_of(folder: Path) -> End:
    return [item for item in gradmidi.read(folder).items() if isinstance(item, End)][-1]


# -- what is refused before step 1 ---------------------------------------------------------------


def models() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    nn, sgd = torch.nn, torch.optim.SGD
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    frozen = nn.Sequential(nn.Linear(2, 1)).requires_grad_(False)
    return {
        "net": net,
        "frozen": frozen,
        "empty": nn.Tanh(),
        "lazy": nn.Sequential(nn.LazyLinear(3)),
        "list": [net],
        "its": sgd(net.parameters(), 0.1),
        "other's": sgd(nn.Linear(2, 1).parameters(), 0.1),
    }


BAD_LISTEN: list[tuple[str, Any, dict[str, Any], str]] = [
    ("frozen", None, {}, "Sequential has no trainable parameter: nothing to listen to"),
    ("empty", None, {}, "Tanh has no trainable parameter: nothing to listen to"),
    ("lazy", None, {}, "0.weight has no shape yet; run one batch through the model, then listen"),
    ("list", "its", {}, "listen() takes a torch.nn.Module, not list; for plain numbers there is"),
    ("net", "other's", {}, "SGD holds none of the parameters of Sequential; give the optimizer"),
    ("net", ["its", "other's"], {}, "SGD holds none of the parameters of Sequential"),
    ("net", "empty", {}, "optimizer=Tanh is no torch.optim.Optimizer; give one, several, or"),
    ("net", ["its", "list"], {}, "optimizer=list is no torch.optim.Optimizer"),
    ("net", "its", {"parameters": "biases"}, "parameters='biases'; allowed is 'all' or 'weights'"),
    ("net", "its", {"layers": "fc*"}, "layers='fc*' matches no layer; there are: 0, 2. A name or"),
    ("net", "its", {"layers": ["0", "1"]}, "layers='1' matches no layer; there are: 0, 2"),
    ("net", "its", {"layers": []}, "layers= names no layer; leave it out to listen to all"),
    ("net", "its", {"voices": {"low": "0", "high": "9"}}, "voices: '9' (high) matches no layer"),
    ("net", "its", {"every": 0}, "every=0; allowed is a whole number of 1 or more"),
    ("net", "its", {"budget": 1.5}, "budget=1.5; allowed is a share above 0 and below 1"),
    ("net", "its", {"keep": "all"}, "keep='all'; allowed is 'layers' or 'voices'"),
    ("net", "its", {"scaler": 2.0}, "scaler=float has no step(optimizer); give a GradScaler"),
    ("net", "its", {"files": "xyz"}, "files='xyz'; allowed is: mid wav"),
    ("net", "its", {"preset": "x"}, "no preset is called 'x'; there are: "),
]


@pytest.mark.parametrize(("model", "optimizer", "options", "message"), BAD_LISTEN)
def test_invalid_arguments_of_listen_raise_and_no_folder_is_made(
    out: Path, said: Said, model: str, optimizer: Any, options: dict[str, Any], message: str
) -> None:
    given = models()
    trained_by = (
        [given[o] for o in optimizer] if isinstance(optimizer, list) else given.get(optimizer)
    )
    for place in (out, None):
        with pytest.raises(GradmidiError) as caught:
            gradmidi.listen(given[model], trained_by, out=place, **options)
        assert str(caught.value).startswith(message)
    assert list(out.parent.iterdir()) == []
    assert not given["its"]._optimizer_step_pre_hooks
    assert said() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": []}, "layers= is empty; give the name of each layer"),
        ({"layers": ()}, "layers= is empty"),
        ({"layers": ["fc", "conv", "fc"]}, "layers= names 'fc' twice; each layer needs a name of"),
        ({"layers": [Layer("fc", 1), "fc"]}, "layers= names 'fc' twice"),
        ({"layers": ["fc"], "keep": "all"}, "keep='all'; allowed is 'layers' or 'voices'"),
        ({"layers": ["fc"], "files": ("mid", "doc")}, "files='doc'; allowed is: mid wav"),
        ({"layers": ["fc"], "preset": "x"}, "no preset is called 'x'"),
        ({"layers": ["fc"], "osc": "nowhere"}, "'nowhere' is not an OSC address"),
    ],
)
def test_invalid_arguments_of_record_raise_and_no_folder_is_made(
    out: Path, options: dict[str, Any], message: str
) -> None:
    for place in (out, None):
        with pytest.raises(GradmidiError) as caught:
            gradmidi.record(place, **options)
        assert str(caught.value).startswith(message)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ({"fc3": 1.0}, "no layer is called 'fc3'; there are: fc1, fc2"),
        ({"fc1": 1.0, "FC2": 1.0}, "no layer is called 'FC2'; there are: fc1, fc2"),
        ([1.0], "frame() was given 1 norm; there are 2 layers: fc1, fc2"),
        ([1.0, 2.0, 3.0], "frame() was given 3 norms; there are 2 layers: fc1, fc2"),
        (
            [1.0, -0.5],
            "-0.5 is not a norm (layer 'fc2'); allowed is a number of 0 or more, nan, inf",
        ),
        ({"fc2": -math.inf}, "-inf is not a norm (layer 'fc2')"),
        (["loud", 1.0], "'loud' is not a norm (layer 'fc1')"),
        ([[1.0, 2.0], 1.0], "[1.0, 2.0] is not a norm (layer 'fc1')"),
    ],
)
def test_an_invalid_frame_is_reported_and_left_out(out: Path, norms: Any, message: str) -> None:
    with gradmidi.record(out, layers=["fc1", "fc2"], files=()) as ears:
        with pytest.raises(CaptureError) as caught:
            ears.frame(norms)
        assert str(caught.value).startswith(message)
        ears.frame([1.0, 2.0])
    assert [frame.step for frame in frames_of(out)] == [1]


def test_a_wrong_frame_after_the_first_is_counted_and_never_raised(out: Path, said: Said) -> None:
    with gradmidi.record(out, layers=["fc1"], files=()) as ears:
        ears.frame([1.0], loss=0.5)
        ears.frame({"fc2": 1.0}, loss=7.0)
        ears.frame([1.0, 2.0])
        ears.frame([3.0], step="three")
        ears.frame(2.0)
        ears.frame([2.0])
        assert ears.step == 6
    assert [(frame.step, frame.loss) for frame in frames_of(out)] == [(1, 0.5), (6, None)]
    told = said()
    wrong = "frame(): CaptureError: no layer is called 'fc2'; there are: fc1; this step is left out"
    assert told.count("CaptureError") == 1
    assert wrong in told
    assert "gradmidi: frame(): 4 errors in all\n" in told


def test_a_listener_shows_only_what_a_training_loop_calls() -> None:
    from gradmidi.listener.listener import Listener

    shown = {name for name in dir(Listener) if not name.startswith("_")}
    assert shown == {
        *("bytes_per_step", "capture", "clip_grad_norm_", "close", "frame"),
        *("live", "log", "mark", "pause", "step"),
    }


def test_what_is_logged_never_loses_a_step(out: Path, said: Said) -> None:
    half = "a\udcff"
    with gradmidi.record(out, layers=["fc1"], files=()) as ears:
        ears.frame([0.5])
        ears.log(**{"note": half, half: 1.0, "seed": 10**30, "huge": 10**400, "what": [1]})
    (frame,) = frames_of(out)
    assert frame.norms.tolist() == [0.5]
    assert frame.extra == {"note": "a?", "a?": 1.0, "seed": 1e30}
    told = said()
    assert "log(huge=…): OverflowError" in told
    assert "log(what=…): TypeError: list is neither a number nor a text; it is left out" in told


# -- nothing of ours reaches training ------------------------------------------------------------


def master_of_eighths(torch: Any) -> Any:
    """An optimizer of weights in eight bits, as some train: the sums are kept in 32."""

    class Master(torch.optim.Optimizer):  # type: ignore[misc, name-defined]
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {})
            self.kept = {
                p: p.detach().float() for group in self.param_groups for p in group["params"]
            }

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            for parameter, kept in self.kept.items():
                kept -= 0.1 * parameter.grad.float()
                parameter.copy_(kept)
            return loss

    return Master


def trained(torch: Any, listening: Callable[[Any, Any], Any], *, by_closure: bool) -> Any:
    """Train a layer whose gradients have eight bits: torch knows no norm of those."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3, bias=False).to(torch.float8_e4m3fn)
    optimizer = master_of_eighths(torch)(model.parameters())
    ears = listening(model, optimizer)

    def closure() -> float:
        model.weight.grad = (0.5 * model.weight.detach().float() - 0.1).to(torch.float8_e4m3fn)
        return 1.0

    losses = []
    for _ in range(5):
        if by_closure:
            losses.append(optimizer.step(closure))
        else:
            closure()
            losses.append(optimizer.step())
    if ears is not None:
        ears.close()
    return losses, optimizer.kept[model.weight]


@pytest.mark.parametrize("by_closure", [False, True])
def test_a_hook_that_fails_changes_nothing_and_is_reported_once_and_counted(
    out: Path, said: Said, by_closure: bool
) -> None:
    torch = pytest.importorskip("torch")
    plain = trained(torch, lambda *_: None, by_closure=by_closure)
    heard = trained(
        torch,
        lambda model, optimizer: gradmidi.listen(model, optimizer, out=out, files=("mid",)),
        by_closure=by_closure,
    )
    assert heard[0] == plain[0]
    assert torch.equal(heard[1], plain[1])
    told = said()
    assert told.count("capture: RuntimeError: ") == 1
    assert told.count("; this step is left out, training continues") == 1
    assert "gradmidi: capture: 5 errors in all\n" in told
    assert "gradmidi: no step was recorded, so no files are made\n" in told
    assert end_of(out).steps == 0


@pytest.mark.parametrize(
    ("what", "by_closure", "times"),
    [
        ("capturing", False, 2),
        ("capturing", True, 2),
        ("in_backward", False, 1),
        ("Plan", False, 2),
        ("Plan", True, 2),
    ],
)
def test_whatever_fails_before_a_step_is_kept_from_training(
    out: Path,
    said: Said,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    by_closure: bool,
    times: int,
) -> None:
    torch = pytest.importorskip("torch")
    from gradmidi.capture import tap

    def fail(*_: Any) -> Any:
        raise RuntimeError("the device is gone")

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    evaluations = []

    def closure() -> Any:
        evaluations.append(1)
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        return loss

    def update() -> None:
        if by_closure:
            assert optimizer.step(closure) is not None
        else:
            closure()
            optimizer.step()

    before = model.weight.detach().clone()
    with gradmidi.listen(model, optimizer, out=out, files=()) as ears:
        with monkeypatch.context() as patch:
            patch.setattr(tap, what, fail)
            update()
            ears.capture()
        update()
        update()
    assert len(evaluations) == 3
    assert torch.allclose(model.weight, before - 0.3)
    assert [frame.step for frame in frames_of(out)] == [1, 2, 3, 4][times:]
    told = said()
    assert told.count("capture: RuntimeError: the device is gone; this step is left out") == 1
    assert f"capture: {times} error{'s'[: times > 1]} in all\n" in told


def test_a_second_listener_on_an_optimizer_closes_the_first(out: Path, said: Said) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def update() -> None:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    first = gradmidi.listen(model, optimizer, out=out, files=())
    update()
    with gradmidi.listen(model, optimizer, out=out.with_name("b"), files=()):
        assert len(optimizer._optimizer_step_pre_hooks) == 1
        assert end_of(out).reason == "replaced by another listener"
        assert f"{out} ends: another listen() hears the same model and optimizer" in said()
        update()
        update()
        first.log(loss=1.0)
        first.close()
    assert not optimizer._optimizer_step_pre_hooks
    assert [frame.step for frame in frames_of(out)] == [1]
    assert [frame.step for frame in frames_of(out.with_name("b"))] == [1, 2]


# -- a run that goes on --------------------------------------------------------------------------


def test_a_second_run_in_a_folder_goes_on_where_the_first_was_cut(out: Path, said: Said) -> None:
    with gradmidi.record(out, layers=["fc1", "fc2"], files=()) as ears:
        for step in range(1, 6):
            ears.frame([1.0 * step, 2.0])
    path = out / FILE_NAME
    whole = path.read_bytes()
    # As a kill leaves it: step 5 in its middle, and no end.
    torn = whole[: whole.index(b'{"step": 5') + 20]
    path.write_bytes(torn)
    said()
    with gradmidi.record(out, layers=["fc1", "fc2"], resume=True, files=()) as ears:
        assert ears.step == 4
        for step in range(5, 8):
            ears.frame([10.0 * step, 2.0], loss=0.5)
        assert ears.step == 7
    assert f"recording 2 layers, run log {path}, continuing after step 4" in said()
    written = path.read_bytes()
    assert written.startswith(torn + b'\n{"gradmidi": 1, ')
    headers = [json.loads(line) for line in written.splitlines() if line.startswith(b'{"gradmidi"')]
    assert [header.get("resumed", False) for header in headers] == [False, True]
    log = gradmidi.read(out)
    found = list(log.frames())
    assert [frame.step for frame in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [frame.norms[0] for frame in found] == [1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0]
    assert (log.steps, log.unreadable) == (7, 1)
    assert [frame.t for frame in found] == sorted(frame.t for frame in found)
    assert end_of(out).steps == 3


def test_a_run_that_was_closed_goes_on_without_an_empty_line(out: Path) -> None:
    for _ in range(3):
        with gradmidi.record(out, layers=["fc"], resume=True, files=()) as ears:
            ears.frame([1.0])
    kinds = [next(iter(line)) for line in lines_of(out)]
    assert kinds == ["gradmidi", "step", "end"] * 3
    assert [frame.step for frame in frames_of(out)] == [1, 2, 3]


# -- many layers ---------------------------------------------------------------------------------


def many(count: int) -> list[Layer]:
    return [Layer(f"blocks.{i // 4}.part{i % 4}", 100) for i in range(count)]


@pytest.mark.parametrize("count", [64, 65, 500])
def test_above_64_layers_it_is_said_once_how_large_the_log_will_grow(
    out: Path, said: Said, count: int
) -> None:
    rng = np.random.default_rng(0)
    with gradmidi.record(out, layers=many(count), files=()) as ears:
        for _ in range(20):
            ears.frame(rng.lognormal(size=count).tolist())
    told = re.findall(
        r"the run log grows by about (\d+) MB in 10,000 steps; keep='voices' logs (\d+) voices",
        said(),
    )
    assert len(told) == (count > 64)
    if told:
        megabytes, voices = map(int, told[0])
        assert megabytes == pytest.approx(1e4 * ears.bytes_per_step / 1e6, rel=0.25)
        assert 8 <= voices <= 15


def test_of_many_layers_voices_may_be_kept(out: Path, said: Said) -> None:
    rng = np.random.default_rng(0)
    layers = many(100)
    table = rng.lognormal(size=(6, len(layers)))
    table[1, 7], table[2, :], table[3, 50], table[4, :40] = math.nan, 0.0, math.inf, ABSENT
    with gradmidi.record(out, layers=layers, keep="voices", files=()) as ears:
        assert ears.layers == tuple(layers)
        for row in table.tolist():
            ears.frame([None if norm < 0.0 else norm for norm in row])
    assert "grows by" not in said()
    log = gradmidi.read(out)
    assert 8 <= len(log.layers) <= 15
    assert sum(layer.size for layer in log.layers) == sum(layer.size for layer in layers)
    # Each voice is a run of neighbours: by its size it is known which.
    ends = np.cumsum([layer.size for layer in log.layers]) // 100
    for frame, row in zip(log.frames(), table, strict=True):
        by_hand = []
        for part in np.split(row, ends[:-1]):
            there = part[part != ABSENT]
            by_hand.append(float(np.sqrt(np.square(there).sum())) if there.size else ABSENT)
        assert frame.norms.tolist() == pytest.approx(by_hand, rel=1e-6, nan_ok=True)
    # The same layers make the same voices: the run goes on.
    with gradmidi.record(out, layers=layers, keep="voices", resume=True, files=()) as ears:
        assert ears.step == 6
    gradmidi.render(log, out / "a.mid")


def test_voices_are_kept_of_a_model_too(out: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        *(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)) for _ in range(10))
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with gradmidi.listen(model, optimizer, out=out, keep="voices", files=()):
        model(torch.ones(1, 3)).sum().backward()
        by_hand = [
            sum(p.grad.double().square().sum().item() for p in block.parameters()) ** 0.5
            for block in model
        ]
        optimizer.step()
    (frame,) = frames_of(out)
    assert [layer.name for layer in gradmidi.read(out).layers] == [str(i) for i in range(10)]
    assert frame.norms == pytest.approx(by_hand, rel=1e-5)
