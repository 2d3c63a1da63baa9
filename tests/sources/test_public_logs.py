"""Logs in the form of those that people keep in public repositories."""

import json
import threading
from pathlib import Path

import pytest

import gradmidi
from gradmidi.log import Decoder, Frame, Values
from gradmidi.sources.columns import choose
from gradmidi.sources.follow import CAUGHT_UP
from gradmidi.sources.following import follow_log
from gradmidi.sources.kinds import find_log, text_of
from gradmidi.sources.opened import import_log
from gradmidi.sources.printed import numbers_in, step_in
from gradmidi.sources.selection import Selection
from gradmidi.sources.textreader import PassThrough, TextReader

SETTINGS = """\
depth = 12
Namespace(lr=0.1, depth=12, warmup_steps=500, weight_decay=0.01)
(drop): Dropout(p=0.1, inplace=False)
(drop): Dropout(p=0.1, inplace=False)
optimizer: weight_decay=0.01, eps=1e-08
"""


def heard(tmp_path: Path, text: str, name: str = "train.log") -> dict[str, list[tuple[int, float]]]:
    """Return each value of a log with its steps."""
    (tmp_path / name).write_text(text)
    import_log(tmp_path / name, tmp_path / "run", force=True)
    found: dict[str, list[tuple[int, float]]] = {}
    for frame in gradmidi.read(tmp_path / "run").frames():
        for value, number in frame.extra.items():
            found.setdefault(value, []).append((frame.step, number))
    return found


def layers(tmp_path: Path, text: str, name: str = "log.csv") -> tuple[str, ...]:
    """Return the layers of a log."""
    (tmp_path / name).write_text(text)
    import_log(tmp_path / name, tmp_path / "run", force=True)
    return tuple(layer.name for layer in gradmidi.read(tmp_path / "run").layers)


def test_settings_that_are_printed_twice_before_the_training_are_no_values(tmp_path: Path) -> None:
    lines = "".join(f"step {n} loss {3 - n / 10} lr 0.01\n" for n in range(1, 6))
    found = heard(tmp_path, SETTINGS + lines)
    assert list(found) == ["loss", "lr"]
    assert [step for step, _ in found["lr"]] == [1, 2, 3, 4, 5]


def test_settings_after_a_first_line_of_the_training_are_no_values(tmp_path: Path) -> None:
    lines = "".join(f"step={10 * n}, skipped=0, lr=[{n}e-5, 1e-5]\n" for n in range(1, 6))
    found = heard(tmp_path, "step=0, skipped=0, lr=[5e-5]\n" + SETTINGS + lines)
    assert list(found) == ["lr"]
    assert found["lr"][0] == (0, 5e-5)


def test_settings_of_a_text_without_steps_are_no_values(tmp_path: Path) -> None:
    lines = "".join(f"training loss {3 - n / 10}\naccuracy {n / 10}\n" for n in range(9))
    assert list(heard(tmp_path, SETTINGS + lines)) == ["loss", "accuracy"]
    text = f"{SETTINGS}training loss: 0.5, gain: 1.5\n{lines}"
    assert heard(tmp_path, text)["loss"][0][1] == 3.0


def test_a_line_without_a_step_after_the_first_step_has_that_one(tmp_path: Path) -> None:
    text = "".join(
        f"Iteration {n}, loss = 2.{n}\n    Train net output #0: accuracy = 0.{n}\n"
        for n in range(1, 5)
    )
    found = heard(tmp_path, SETTINGS + text)
    assert list(found) == ["loss", "accuracy"]
    assert found["accuracy"] == [(n, n / 10) for n in range(1, 5)]


def test_an_evaluation_before_the_first_step_is_a_value(tmp_path: Path) -> None:
    lines = "".join(f"step {n} loss {3 - n / 10}\n" for n in range(1, 6))
    found = heard(tmp_path, f"step 0 val_loss 10.9\n{lines}step 5 val_loss 2.5\n")
    assert found["val_loss"] == [(0, 10.9), (5, 2.5)]


class Turns(threading.Event):
    """Appends a piece to a file each time that a follower waits; 20 s pass each time."""

    def __init__(self, path: Path, pieces: list[str]) -> None:
        super().__init__()
        self.now = 0.0
        self._path, self._pieces = path, pieces

    def wait(self, timeout: float | None = None) -> bool:
        self.now += 20.0
        if self._pieces:
            with self._path.open("a") as file:
                file.write(self._pieces.pop(0))
        else:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (SETTINGS, "step {0} loss 2.{0} lr 0.1\n"),
        ("eps=1e-08\n" + 20 * "Dropout(p=0.1)\n" + "eps=1e-08\n", "loss 2.{0} lr 0.1\n"),
    ],
)
def test_while_text_comes_its_settings_are_no_values(
    settings: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.log"
    path.write_text("")
    turns = Turns(path, [settings, "loading data\n", *(line.format(n) for n in range(1, 7))])
    followed = follow_log(find_log(path), Selection(), stop=turns, clock=lambda: turns.now)
    decoder = Decoder("the log")
    records = [decoder.decode(line.data) for line in followed if line != CAUGHT_UP]
    frames = [record.extra for record in records if isinstance(record, Frame)]
    assert frames[:5] == [{"loss": 2 + n / 10, "lr": 0.1} for n in range(1, 6)]
    said = capsys.readouterr().err
    assert "is text: hearing loss, lr\n" in said


def test_a_setting_printed_once_is_no_value_when_the_text_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pieces = [SETTINGS, *(f"step {n} loss 2.{n}\n" for n in range(1, 7)), "test_accuracy: 0.5\n"]
    source = PassThrough(0, 1)

    class Pipe(threading.Event):
        seconds = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            self.seconds += 1.0
            source._keep(pieces.pop(0).encode())
            source.ended = not pieces
            return False

    pipe = Pipe()
    followed = follow_log(
        text_of("stdin"),
        Selection(),
        reader=TextReader(source),
        stop=pipe,
        clock=lambda: pipe.seconds,
    )
    decoder = Decoder("text")
    names: set[str] = set()
    for line in followed:
        item = decoder.decode(line.data) if line.data else None
        if isinstance(item, Frame):
            names |= item.extra.keys()
        elif isinstance(item, Values):
            names |= item.values.keys()
    assert names == {"loss", "test_accuracy"}
    assert "hearing test_accuracy too" in capsys.readouterr().err


def test_a_step_of_the_best_epoch_alone_is_none(tmp_path: Path) -> None:
    lines = "".join(f"12:00:{n:02} - f1: 0.{n}\n" for n in range(10, 60))
    found = heard(tmp_path, f"{lines}epoch: 48 f1: 0.71\n")
    assert [step for step, _ in found["f1"]] == list(range(1, 52))


@pytest.mark.parametrize(
    ("line", "step", "numbers"),
    [
        (
            "s:120 trl:3.25 lr:0.0006 norm:0.22",
            120,
            {"s": 120, "trl": 3.25, "lr": 0.0006, "norm": 0.22},
        ),
        ("[   17 Epoch:[ 0/25] [16/20] d_loss: 2.5", 16, {"d_loss": 2.5}),
        ("[3/25][7/20] Loss_D: 0.5 Loss_G: 1.5", 7, {"Loss_D": 0.5, "Loss_G": 1.5}),
        (
            "[epoch: 1, iter: 1,300, lr:(1.7e-04,)] l_pix: 5.1e-03",
            1300,
            {"lr": 1.7e-4, "l_pix": 5.1e-3},
        ),
        ('{"loss": "3.5", "num_updates": "200"}', 200, {"loss": 3.5}),
        ("tick 80 kimg 320.0 augment: 0.57", 80, {"augment": 0.57}),
        ("box:1\tolmo.train:97\tINFO\tready", None, {}),
        ("2026 box-2:0\ttrain:97\tINFO\t[step=7] loss=2.5", 7, {"loss": 2.5}),
        ("W0518 1735 torch/distributed/run.py:851] *****", None, {}),
        ("Class Images P R mAP@.5:.95: 14%|#| 1/7 [00:00", 1, {}),
        ("best epoch: 48 F1 = 0.71", None, {"F1": 0.71}),
        ("size=(3, 4) kernel=(3, 3)", None, {}),
        ('HTTP Request: GET https://hub/discussions?p=0&size=5 "HTTP/1.1 200 OK"', None, {}),
        ("Training loss (for one batch) at step 200: 1.5", 200, {"Training_loss": 1.5}),
        (">> p1 conf loss:1.75 || p1 loc loss:1.4", None, {"conf_loss": 1.75, "p1_loc_loss": 1.4}),
        ("Score at iteration 100 is 1.39", 100, {"Score": 1.39}),
        ("Epoch 73, Step 75, avg loss so far is 0.25", 75, {"avg_loss": 0.25}),
        (
            "  4259: 0.03, 0.045 avg loss, 0.001 rate, 0.9 seconds",
            4259,
            {"avg_loss": 0.045, "rate": 0.001},
        ),
        ("improving ppl: inf --> 5.45, acc: -inf --> 44.6", None, {}),
        ("epoch: 11, batch_id: 500, AUC:0.9", 500, {"AUC": 0.9}),
    ],
)
def test_lines(line: str, step: int | None, numbers: dict[str, float]) -> None:
    found = step_in(line)
    assert (found.number if found else None) == step
    assert numbers_in(line) == numbers


def test_a_row_of_yolo_has_the_names_above_it(tmp_path: Path) -> None:
    text = "     Epoch   gpu_mem       box       obj  img_size\n"
    text += "".join(
        f"     {n}/299     2.28G   0.0{9 - n}   0.038       640: 100%|#| 38/38 [00:10\n"
        for n in range(4)
    )
    assert heard(tmp_path, text)["box"] == [(n, (9 - n) / 100) for n in range(4)]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_table_whose_name_is_that_of_a_text(separator: str, tmp_path: Path) -> None:
    rows = [["epoch", "acc", "loss"], ["0", "0.25", "2.5"], ["1", "0.5", "1.5"]]
    text = "".join(separator.join(row) + "\n" for row in rows)
    assert heard(tmp_path, text, "training.log")["loss"] == [(1, 2.5), (2, 1.5)]
    assert find_log(tmp_path / "training.log").kind.name == "csv"


@pytest.mark.parametrize(
    "name",
    ["current_steps", "total timesteps", "total/steps", "timesteps_total", "TotalEnvInteracts"],
)
def test_names_of_step_numbers(name: str, tmp_path: Path) -> None:
    found = heard(tmp_path, f"{name},loss,percentage\n10,2.5,1\n20,1.5,2\n", "log.csv")
    assert found == {"loss": [(10, 2.5), (20, 1.5)]}


def test_a_plain_norm_is_that_of_the_gradients(tmp_path: Path) -> None:
    text = "".join(f"step {n:5d} | loss: 2.{n} | lr 6.0e-04 | norm: 1.{n}\n" for n in range(5))
    assert layers(tmp_path, text, "main.log") == ("total",)
    frames = list(gradmidi.read(tmp_path / "run").frames())
    assert [frame.norms.tolist() for frame in frames] == [[1 + n / 10] for n in range(5)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("gnorm", "train_gnorm", "loss"), {"total": ("gnorm",)}),
        (
            ("stats/fc1_grad_l2_norm", "stats/fc1_grad_l1_norm", "stats/fc2_grad_l2_norm"),
            {"fc1": ("stats/fc1_grad_l2_norm",), "fc2": ("stats/fc2_grad_l2_norm",)},
        ),
        (
            ("grad_stats/fc_grad_norm", "grad_stats/fc_grad_mean"),
            {"fc": ("grad_stats/fc_grad_norm",)},
        ),
        (
            ("a_grad_norm", "b_grad_norm", "a_grad_norm_used", "b_grad_norm_used"),
            {
                "a": ("a_grad_norm",),
                "b": ("b_grad_norm",),
                "a_used": ("a_grad_norm_used",),
                "b_used": ("b_grad_norm_used",),
            },
        ),
    ],
)
def test_names_of_norms(names: tuple[str, ...], expected: dict[str, tuple[str, ...]]) -> None:
    assert choose(names, (), "log.csv").layers == expected


def test_values_that_a_later_one_replaces_before_the_next_norm_are_told(tmp_path: Path) -> None:
    rows = ["step,grad_norm,loss", "0,,10.5", "5,,3.5", "10,0.5,2.5", "20,0.25,1.5"]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    lines = import_log(tmp_path / "log.csv", tmp_path / "run").lines
    assert (
        "2 values left out: a later one came before the next norm, the first at line 2"
    ) in lines


def test_a_log_without_norms_says_nothing_of_clipping(tmp_path: Path) -> None:
    entries = [{"step": n, "loss": 2.5, "epoch": 0.1} for n in (10, 20)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
    assert "clipping" not in gradmidi.describe(tmp_path / "trainer_state.json")


def test_steps_of_a_bar_do_not_hide_values_without_a_step(tmp_path: Path) -> None:
    epoch = "Test:  25%|#| 1/4 [00:04<00:14, 4.94s/it]\nTest: 100%|#| 4/4 [00:24<00:00, 6.43s/it]\n"
    text = "".join(f"INFO:root:train loss = {3 - n / 10}\n{epoch}\n" for n in range(9))
    assert [value for _, value in heard(tmp_path, text)["loss"]] == [3 - n / 10 for n in range(9)]


def test_an_epoch_above_its_numbers_is_their_step(tmp_path: Path) -> None:
    text = "".join(
        f"Epoch {n}/24\n----------\ntrain Loss: 2.{n} Acc: 0.{n}\nval Loss: 3.{n} Acc: 0.5{n}\n\n"
        for n in range(4)
    )
    found = heard(tmp_path, text)
    assert found == {
        "loss": [(n, 2 + n / 10) for n in range(4)],
        "Acc": [(n, n / 10) for n in range(4)],
        "val_Loss": [(n, 3 + n / 10) for n in range(4)],
        "val_Acc": [(n, 0.5 + n / 100) for n in range(4)],
    }


def test_lines_of_a_test_do_not_count_steps_of_the_training(tmp_path: Path) -> None:
    epoch = (
        "Epoch: [{0}][ 0/20]\tTime 1.5 (1.5)\tLoss 2.5e+00 (2.5e+00)\tAcc@1 25.00 ( 25.00)\n"
        "Epoch: [{0}][10/20]\tTime 1.5 (1.5)\tLoss 1.5e+00 (2.5e+00)\tAcc@1 50.00 ( 25.00)\n"
        "Test: [ 0/15]\tTime 1.5 (1.5)\tLoss 3.5e+00 (3.5e+00)\tAcc@1 12.50 ( 12.50)\n"
        "Test: [10/15]\tTime 1.5 (1.5)\tLoss 4.5e+00 (3.5e+00)\tAcc@1 12.75 ( 12.50)\n"
    )
    found = heard(tmp_path, "".join(epoch.format(n) for n in range(3)))
    assert [step for step, _ in found["loss"]] == [0, 10, 11, 21, 22, 32]
    assert found["Acc@1"][:2] == [(0, 25.0), (10, 50.0)]
    assert found["test_Loss"] == [(10, 4.5), (21, 4.5), (32, 4.5)]
    assert found["test_Acc@1"] == [(10, 12.75), (21, 12.75), (32, 12.75)]
