"""Lines, tables and steps as many tools print them: recorded, and in their form."""

import threading
from pathlib import Path

import pytest

import gradmidi
from gradmidi.log import Decoder, Frame, Values
from gradmidi.sources.following import follow_log
from gradmidi.sources.kinds import text_of
from gradmidi.sources.opened import import_log
from gradmidi.sources.printed import numbers_in, step_in
from gradmidi.sources.selection import Selection
from gradmidi.sources.textreader import GivenText, PassThrough, TextReader

RECORDED = Path(__file__).parents[1] / "data" / "printed"

LINES = {
    "tqdm with units": (
        "Training:  45%|███  | 450/1000 [00:12<00:15, 36.2it/s, loss=0.432, acc=87.5%, mem=3.2G]",
        450,
        {"loss": 0.432, "acc": 87.5, "mem": 3.2e9, "it/s": 36.2},
    ),
    "tqdm without a total": (
        "450it [00:12, 36.2it/s, loss=0.432]",
        450,
        {"loss": 0.432, "it/s": 36.2},
    ),
    "Megatron": (
        " [2026-11-30 12:00:00] iteration       10/     500 | consumed samples:         2560 | "
        "elapsed time per iteration (ms): 812.3 | learning rate: 1.500000E-05 | global batch size:"
        "   256 | lm loss: 2.345678E+00 | loss scale: 4294967296.0 | grad norm: 1.234 | "
        "number of nan iterations:   0 |",
        10,
        {
            "consumed_samples": 2560.0,
            "elapsed_time_per_iteration_ms": 812.3,
            "learning_rate": 1.5e-05,
            "global_batch_size": 256.0,
            "lm_loss": 2.345678,
            "loss_scale": 4294967296.0,
            "grad_norm": 1.234,
        },
    ),
    "Megatron's validation": (
        " validation loss at iteration 100 | lm loss value: 2.345E+00 | lm loss PPL: 1.043E+01 |",
        100,
        {"lm_loss_value": 2.345, "lm_loss_PPL": 10.43},
    ),
    "DeepSpeed": (
        "[2026-11-30 12:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=0, "
        "lr=[0.0001, 0.0001], mom=[(0.9, 0.999), (0.9, 0.999)]",
        10,
        {"skipped": 0.0, "lr": 0.0001},
    ),
    "JAX": (
        "Step 100: loss = Array(2.3456, dtype=float32), accuracy = Array(0.5, dtype=float32)",
        100,
        {"loss": 2.3456, "accuracy": 0.5},
    ),
    "Flax": (
        "I1130 12:00:00.123456 140 logging_writer.py:64] [100] learning_rate=0.1, loss=2.345",
        100,
        {"learning_rate": 0.1, "loss": 2.345},
    ),
    "NumPy": (
        "{'loss': np.float64(0.4321), 'acc': np.float32(0.87)}",
        None,
        {"loss": 0.4321, "acc": 0.87},
    ),
    "a tensor": (
        "epoch 3 step 20 loss tensor(nan, device='cuda:0', grad_fn=<NllLossBackward0>)",
        20,
        {"loss": float("nan")},
    ),
    "MMEngine": (
        "2026/11/30 12:00:00 - mmengine - INFO - Epoch(train)  [1][  50/1563]  lr: 1.0000e-03  "
        "eta: 0:12:34  time: 0.0123  memory: 123  grad_norm: 1.2345  loss: 2.3021",
        50,
        {"lr": 0.001, "time": 0.0123, "memory": 123.0, "grad_norm": 1.2345, "loss": 2.3021},
    ),
    "Detectron2": (
        "[11/30 12:00:00 d2.utils.events]:  eta: 0:12:34  iter: 19  total_loss: 1.234  "
        "loss_cls: 0.512  lr: 0.00019981  max_mem: 2345M",
        19,
        {"total_loss": 1.234, "loss_cls": 0.512, "lr": 0.00019981, "max_mem": 2345e6},
    ),
    "PaddlePaddle": (
        "epoch: [1/100], global_step: 20, lr: 0.001000, loss: 2.345678, "
        "avg_reader_cost: 0.00012 s, ips: 512.34 samples/s",
        20,
        {
            "lr": 0.001,
            "loss": 2.345678,
            "avg_reader_cost_s": 0.00012,
            "ips": 512.34,
            "samples/s": 512.34,
        },
    ),
    "CatBoost": (
        "100:\tlearn: 0.4321012\ttest: 0.4567890\ttotal: 123ms\tremaining: 1.1s",
        100,
        {"learn": 0.4321012, "test": 0.456789, "total_ms": 123.0, "remaining": 1.1},
    ),
    "scikit-learn's SGD": (
        "Norm: 1.23, NNZs: 30, Bias: -0.123456, T: 398, Avg. loss: 0.432100",
        None,
        {"Norm": 1.23, "NNZs": 30.0, "Bias": -0.123456, "T": 398.0, "loss": 0.4321},
    ),
    "Ignite": ("Epoch[1] Iteration[100/938] Loss: 0.43", 100, {"Loss": 0.43}),
    "llm.c": (
        "step   10/74800 | loss 7.123456 (+1.23z)| norm 1.2345 (+0.12z)| lr 1.00e-05 | 123.4 ms",
        10,
        {"loss": 7.123456, "norm": 1.2345, "lr": 1e-05},
    ),
    "nanochat": (
        "step 00010/05400 (0.19%) | loss: 8.123456 | dt: 123.45ms | tok/sec: 4,247,123 | "
        "mfu: 45.67 | total time: 0.12m",
        10,
        {
            "loss": 8.123456,
            "dt_ms": 123.45,
            "tok/sec": 4247123.0,
            "mfu": 45.67,
            "total_time": 0.12,
        },
    ),
    "modded-nanogpt": (
        "step:125/1390 val_loss:4.3921 train_time:23456ms",
        125,
        {"val_loss": 4.3921, "train_time": 23456.0},
    ),
    "ESPnet": (
        "[host] 2026-11-30 12:00:00,123 (trainer:737) INFO: 1epoch:train:1-100batch: "
        "loss_ctc=123.4, loss=67.8, optim0_lr0=1.2e-06",
        None,
        {"loss_ctc": 123.4, "loss": 67.8, "optim0_lr0": 1.2e-06},
    ),
    "icefall": (
        "[train.py:895] Epoch 1, batch 50, loss[loss=0.512, over 1234.00 frames. ], "
        "tot_loss[loss=0.6, over 56789.00 frames. ], batch size: 12, lr: 3.00e-03,",
        50,
        {"loss": 0.512, "size": 12.0, "lr": 0.003},
    ),
    "CleanRL": ("global_step=2048, episodic_return=[21.]", 2048, {"episodic_return": 21.0}),
    "torchtune": (
        "1|100|Loss: 1.2345678: 100%|██████████| 100/100 [00:12<00:00,  8.1it/s]",
        100,
        {"Loss": 1.2345678, "it/s": 8.1},
    ),
    "Axolotl": (
        "{'loss': 1.2345, 'memory/max_active (GiB)': 12.3, 'epoch': 0.1}",
        None,
        {"loss": 1.2345, "memory/max_active_GiB": 12.3},
    ),
    "TRL": (
        "{'loss': 0.69, 'rewards/chosen': 0.012, 'logps/chosen': -123.4, 'epoch': 0.1}",
        None,
        {"loss": 0.69, "rewards/chosen": 0.012, "logps/chosen": -123.4},
    ),
    "YOLOX": (
        "2026-11-30 12:00:00 | INFO     | yolox.core.trainer:261 - epoch: 1/300, iter: 10/1849, "
        "mem: 1234Mb, iter_time: 0.123s, total_loss: 12.3, lr: 1.2e-07",
        10,
        {"mem": 1234.0, "iter_time": 0.123, "total_loss": 12.3, "lr": 1.2e-07},
    ),
    "timm": (
        "Train: 0 [  50/1251 (  4%)]  Loss: 6.91 (6.93)  LR: 1.000e-06  Data: 0.012 (0.045)",
        50,
        {"Loss": 6.91, "LR": 1e-06, "Data": 0.012},
    ),
    "TensorFlow 1": (
        "INFO:tensorflow:loss = 2.3025851, step = 100 (1.234 sec)",
        100,
        {"loss": 2.3025851},
    ),
    "Caffe": (
        "solver.cpp:218] Iteration 100 (12.3 iter/s, 8.1s/100 iters), loss = 0.4321",
        100,
        {"loss": 0.4321},
    ),
    "Marian": (
        "[2026-11-30 12:00:00] Ep. 1 : Up. 1000 : Sen. 12,345 : Cost 7.12345 * 123,456",
        1000,
        {"Cost": 7.12345},
    ),
    "OpenNMT": (
        "[2026-11-30 12:00:00,123 INFO] Step 50/100000; acc: 12.34; ppl: 1234.56; xent: 7.12",
        50,
        {"acc": 12.34, "ppl": 1234.56, "xent": 7.12},
    ),
    "Composer": (
        "[batch=10/938]: Train loss/train/total: 2.3012",
        10,
        {"Train_loss/train/total": 2.3012},
    ),
    "words in brackets": (
        "step 12 loss(train)=0.43 loss(val)=0.51",
        12,
        {"loss_train": 0.43, "loss_val": 0.51},
    ),
    "arrows and dashes": ("step 3 loss → 0.432, acc - 0.5", 3, {"loss": 0.432, "acc": 0.5}),
    "Fortran's exponent": ("At iterate   10    f=  1.23456D+00", None, {"f": 1.23456}),
    "a decimal comma": ("step 3 loss: 0,432", 3, {}),
    "a warning": (
        "[LightGBM] [Warning] No further splits with positive gain, best gain: -inf",
        None,
        {},
    ),
    "a warning about the loss": ("WARNING: loss is nan", None, {"loss": float("nan")}),
}  # fmt: skip


@pytest.mark.parametrize("tool", LINES)
def test_the_numbers_and_the_step_of_a_line(tool: str) -> None:
    line, step, expected = LINES[tool]
    found = step_in(line)
    assert (None if found is None else found.number) == step
    # A nan is not equal to itself.
    assert str(numbers_in(line)) == str(expected)


# -- recorded --------------------------------------------------------------------------------------

HEARD = {
    "accelerate": (
        32,
        {
            1: {"loss": 0.756},
            16: {"loss": 0.588, "perplexity": 1.800725, "eval_loss": 0.5881893},
            32: {"loss": 0.414, "perplexity": 1.512518, "eval_loss": 0.4137759},
        },
    ),
    "catboost": (
        7,
        {
            0: {"learn": 0.6539584, "test": 0.6568114, "best": 0.6568114},
            11: {
                "learn": 0.3628491,
                "test": 0.3979347,
                "best": 0.3979347,
                "bestTest": 0.3979347,
            },
        },
    ),
    "keras": (
        4,
        {
            1: {"loss": 0.8316, "accuracy": 0.625},
            24: {"loss": 0.8437, "val_loss": 0.8456, "accuracy": 0.5521, "val_accuracy": 0.5781},
        },
    ),
    "lightgbm": (
        6,
        {
            2: {
                "training_binary_logloss": 0.572653,
                "valid_1_binary_logloss": 0.555853,
                "training_auc": 0.964986,
                "valid_1_auc": 0.97861,
            }
        },
    ),
    "lightning": (
        32,
        {1: {"loss": 0.756}, 16: {"loss": 0.588, "val_loss": 0.591}, 17: {"loss": 0.636}},
    ),
    "pytorch-mnist": (
        8,
        {
            0: {"loss": 0.756267},
            192: {"loss": 0.681666, "Average_loss": 0.687, "Accuracy": 0.5625},
            385: {"loss": 0.624019, "Average_loss": 0.6324, "Accuracy": 0.7226562},
        },
    ),
    "spacy": (5, {40: {"LOSS_TEXTCAT": 1.56, "CATS_SCORE": 100.0, "SCORE": 1.0}}),
    "stable-baselines3": (
        4,
        {
            64: {"rollout/ep_len_mean": 25.0, "rollout/ep_rew_mean": 25.0},
            256: {"loss": 39.1, "rollout/ep_rew_mean": 23.9, "train/value_loss": 78.9},
        },
    ),
    "transformers": (
        8,
        {
            5: {"loss": 0.729, "lr": 0.009, "norm": 0.4964},
            20: {"loss": 0.6094, "eval_loss": 0.6086, "lr": 0.00525, "norm": 0.5517},
            40: {"loss": 0.5446, "eval_loss": 0.5556, "train_loss": 0.6114, "norm": 0.4007},
        },
    ),
    "xgboost": (
        7,
        {
            11: {
                "train-logloss": 0.05998,
                "eval-logloss": 0.13459,
                "train-auc": 1.0,
                "eval-auc": 0.99332,
            }
        },
    ),
}
"""Number of steps, and some of them, that are heard of what ``record.py`` recorded."""


def heard(frame: Frame) -> dict[str, float]:
    """Return the numbers of a frame; at most one layer, the norm of all gradients."""
    norms = frame.norms.tolist()
    return {**frame.extra, **({"norm": norms[0]} if norms else {})}


def live(data: bytes) -> dict[int, dict[str, float]]:
    """Follow text that comes in small pieces; return the numbers of each step."""
    source = PassThrough(0, 1)
    pieces = [data[at : at + 90] for at in range(0, len(data), 90)]
    seconds = 0.0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal seconds
            seconds += 0.5
            if pieces:
                source._keep(pieces.pop(0))
            source.ended = not pieces
            return False

    lines = follow_log(
        text_of("stdin"),
        Selection(),
        reader=TextReader(source),
        stop=Stop(),
        clock=lambda: seconds,
    )
    decoder, steps = Decoder("text"), {}
    for line in lines:
        item = decoder.decode(line.data) if line.data else None
        if isinstance(item, Frame):
            steps[item.step] = heard(item)
        elif isinstance(item, Values):
            steps[item.step].update(item.values)
    return steps


@pytest.mark.parametrize("tool", HEARD)
def test_what_a_tool_printed_is_heard_afterwards_and_while_it_comes(tool: str) -> None:
    path = RECORDED / f"{tool}.txt"
    frames = gradmidi.read(path).frames()
    steps = {frame.step: heard(frame) for frame in frames}
    number, expected = HEARD[tool]
    assert len(steps) == number
    for step, values in expected.items():
        assert {name: steps[step].get(name) for name in values} == values
    assert live(path.read_bytes()) == steps


def test_a_trainer_without_a_bar_prints_no_step_so_its_lines_are_counted() -> None:
    path = RECORDED / "transformers-no-bar.txt"
    steps = {frame.step: heard(frame) for frame in gradmidi.read(path).frames()}
    assert {step: values["loss"] for step, values in steps.items()} == {
        1: 0.729,
        2: 0.6718,
        3: 0.6428,
        4: 0.6094,
        5: 0.5823,
        6: 0.5593,
        7: 0.5524,
        8: 0.5446,
    }
    assert steps[1] == {"loss": 0.729, "norm": 0.4964, "lr": 0.009}
    assert steps[2] == {"loss": 0.6718, "norm": 0.6019, "lr": 0.00775}
    followed = live(path.read_bytes())
    # Results that come after the last norm are heard with it.
    results = {"eval_loss": 0.5556, "train_loss": 0.6114}
    assert followed == {**steps, 8: {**steps[8], **results}}


def test_scikit_learn_prints_two_kinds_of_lines() -> None:
    run = gradmidi.read(RECORDED / "scikit-learn.txt")
    frames = {frame.step: frame.extra for frame in run.frames()}
    assert frames[8] == {"loss": 0.7816844, "Train_Loss": 0.6416}


# -- tables and steps ------------------------------------------------------------------------------


def pairs(text: str) -> list[tuple[object, dict[str, object]]]:
    reader = TextReader(GivenText(text.encode()))
    rows = []
    while found := reader.poll(whole=True):
        rows += found
    return [(row.counts[0], dict(row.values)) for row in rows]


def test_a_table_with_a_line_of_names() -> None:
    fastai = "epoch     train_loss  valid_loss  accuracy  time\n"
    fastai += "0         0.512345    0.432100    0.876543  00:12\n"
    fastai += "1         0.412345    nan         0.886543  00:12\n"
    # A name counts once it came twice; its first number is then a row of its own.
    assert str(pairs(fastai)[-1]) == str(
        (1.0, {"train_loss": 0.412345, "valid_loss": float("nan"), "accuracy": 0.886543})
    )
    head = "      Epoch    GPU_mem   box_loss   cls_loss  Instances       Size\n"
    yolo = head + "      1/100      2.61G      1.234      3.456         45        640: "
    yolo += "100%|██████████| 8/8 [00:03<00:00,  2.5it/s]\n"
    yolo += yolo.replace("1/100", "2/100").replace("1.234", "1.134")
    assert pairs(yolo)[-1] == (
        2.0,
        {"GPU_mem": 2.61e9, "box_loss": 1.134, "cls_loss": 3.456, "Instances": 45, "Size": 640},
    )
    prose = "a line  of words  that is no table\n1 2 3\n4 5 6\n"
    assert pairs(prose) == []


def test_a_table_with_a_name_and_a_number_in_each_row() -> None:
    rich = "╭──────┬─────╮\n│ loss │ {} │\n│ val/acc │ 0.5 │\n╰──────┴─────╯\n"
    text = "step 1\n" + rich.format(0.5) + "step 2\n" + rich.format(0.25)
    assert pairs(text) == [
        (1.0, {"loss": 0.5, "val/acc": 0.5}),
        (2.0, {"loss": 0.25, "val/acc": 0.5}),
    ]


def test_a_line_without_a_step_has_that_of_the_line_before() -> None:
    text = "step 1\nloss 3\nstep 2\nloss 2\nstep 3\nloss 1\n"
    assert pairs(text) == [(1.0, {"loss": 3.0}), (2.0, {"loss": 2.0}), (3.0, {"loss": 1.0})]


def test_settings_that_name_a_number_of_steps_are_no_step() -> None:
    text = "Gradient Accumulation steps = 1\nTotal optimization steps = 300\n"
    text += "{'loss': 3}\n{'loss': 2}\n{'loss': 1}\n"
    assert pairs(text) == [(None, {"loss": 3.0}), (None, {"loss": 2.0}), (None, {"loss": 1.0})]


def test_many_lines_an_epoch_are_counted_and_one_an_epoch_has_its_number() -> None:
    many = "".join(f"epoch {n // 3} loss {9 - n}\n" for n in range(6))
    assert [step for step, _ in pairs(many)] == [None] * 6
    one = "".join(f"epoch {n} loss {9 - n}\n" for n in range(3))
    assert [step for step, _ in pairs(one)] == [0.0, 1.0, 2.0]


def test_an_epoch_beside_steps_belongs_to_the_newest_step() -> None:
    text = "step 9 loss 3\nstep 10 loss 2\nEpoch 0: val_loss 2\n"
    text += "step 19 loss 1\nstep 20 loss 1\nEpoch 1: val_loss 1\n"
    assert [step for step, values in pairs(text) if "val_loss" in values] == [10.0, 20.0]


def test_short_epochs_are_numbered_on(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"{n % 4 + 1}/4 loss: {9 - n}\n" for n in range(8)))
    steps = [(frame.step, frame.extra["loss"]) for frame in gradmidi.read(path).frames()]
    assert steps == [(n + 1, 9.0 - n) for n in range(8)]
    assert [v["loss"] for v in live(path.read_bytes()).values()] == [9.0 - n for n in range(8)]


KERAS = "938/938 - 3s - 3ms/step - loss: {}.5 - accuracy: 0.{}\n"

EPOCHS = {
    "a line an epoch": (
        "".join(f"Epoch {n}/4\n" + KERAS.format(n, n) for n in range(1, 5)),
        [(938, 1.5), (1876, 2.5), (2814, 3.5), (3752, 4.5)],
    ),
    "two lines an epoch, with its number": (
        "".join(f"epoch {n} step {s} loss {n}.{s}\n" for n in range(3) for s in (1, 2)),
        [(1, 0.1), (2, 0.2), (3, 1.1), (4, 1.2), (5, 2.1), (6, 2.2)],
    ),
    "a first step that is 0": (
        "".join(f"epoch {n} step {s} loss {n}.{s}\n" for n in range(2) for s in (0, 5, 9)),
        [(0, 0.0), (5, 0.5), (9, 0.9), (10, 1.0), (15, 1.5), (19, 1.9)],
    ),
    "an earlier first step": (
        "".join(
            f"Epoch {n}\n" + "".join(f"step {s} loss {s}\n" for s in range(begin, 100, 30))
            for n, begin in ((1, 20), (2, 15))
        ),
        [(20, 20), (50, 50), (80, 80), (95, 15), (125, 45), (155, 75)],
    ),
    "begun again at an earlier epoch": (
        "".join(f"Epoch {n}/3\n" + KERAS.format(n, n) for n in (1, 2, 2, 3, 1)),
        # An epoch that is repeated at once is the same one.
        [(938, 1.5), (1876, 2.5), (2814, 3.5), (3752, 1.5)],
    ),
    "steps of the run, resumed": (
        "".join(f"epoch {n // 60} step {n} loss {n}\n" for n in (30, 50, 70, 90, 110)) +
        "".join(f"epoch {n // 60} step {n} loss {-n}\n" for n in (50, 70, 90, 110, 130)),
        [(30, 30), (50, -50), (70, -70), (90, -90), (110, -110), (130, -130)],
    ),
    "steps of the run, two processes": (
        "".join(f"[rank{r}] epoch {n // 3} step {n} loss {n}\n" for n in range(9) for r in (0, 1)),
        [(n, n) for n in range(9)],
    ),
}  # fmt: skip
"""Texts that name epochs and steps, and the steps and losses that are heard."""


@pytest.mark.parametrize("case", EPOCHS)
def test_steps_of_a_new_epoch_replace_none(case: str, tmp_path: Path) -> None:
    text, expected = EPOCHS[case]
    path, resumed = tmp_path / "train.log", "resumed" in case
    path.write_text(text)
    assert [(frame.step, frame.extra["loss"]) for frame in gradmidi.read(path).frames()] == expected
    followed = [(step, values["loss"]) for step, values in live(text.encode()).items()]
    assert sorted(followed) == expected if resumed else followed == expected


def test_steps_of_a_new_epoch_are_told(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(EPOCHS["a line an epoch"][0])
    lines = import_log(path, tmp_path / "run").lines
    assert "steps begin again at line 4, and 2 more times: numbered on" in lines


def test_a_value_of_some_epochs_keeps_its_epoch(tmp_path: Path) -> None:
    text = "".join(
        f"Epoch {n}/4\n938/938 - 3s - loss: {n}.5" + f" - val_loss: {n}.25" * (n % 2 == 0) + "\n"
        for n in range(1, 5)
    )
    path = tmp_path / "train.log"
    path.write_text(text)
    expected = {
        938: {"loss": 1.5},
        1876: {"loss": 2.5, "val_loss": 2.25},
        2814: {"loss": 3.5},
        3752: {"loss": 4.5, "val_loss": 4.25},
    }
    assert {frame.step: frame.extra for frame in gradmidi.read(path).frames()} == expected
    assert live(text.encode()) == expected


def test_lines_of_two_processes_are_one_step(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"[rank{r}] step {n} loss {9 - n}\n" for n in range(5) for r in (0, 1)))
    assert [frame.step for frame in gradmidi.read(path).frames()] == [0, 1, 2, 3, 4]


def test_what_was_printed_once_before_training_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("margin: 0.5\nstep 1 loss 3\nstep 2 loss 2\nfinal accuracy: 0.75\n")
    assert [frame.extra for frame in gradmidi.read(path).frames()] == [
        {"loss": 3},
        {"loss": 2, "accuracy": 0.75},
    ]


@pytest.mark.parametrize("line", ["validation: loss 9", "[eval] step {} loss 9", "valid | loss 9"])
def test_the_loss_of_an_evaluation_is_not_that_of_the_training(line: str) -> None:
    steps = (10, 20, 30)
    text = "".join(f"step {step} loss {5 - step / 10}\n{line}\n".format(step) for step in steps)
    found = [values["loss"] for _, values in pairs(text) if "loss" in values]
    assert found == [4, 3, 2]


def test_a_training_that_is_called_test_has_a_loss() -> None:
    text = "[test] step 1 loss 2\n[test] step 2 loss 1\n"
    assert pairs(text) == [(1, {"loss": 2}), (2, {"loss": 1})]
