"""What trainings print: their numbers, their steps, and the text that goes on unchanged."""

import contextlib
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from listening import Receiver, until

import gradmidi
from gradmidi.sources import textreader
from gradmidi.sources.printed import numbers_in, step_in
from gradmidi.sources.rows import Row
from gradmidi.sources.textreader import GivenText, PassThrough, TextReader

NAN, INF = math.nan, math.inf

LINES = {
    "nanoGPT": (
        "iter 120: loss 4.2654, time 391.87ms, mfu 12.30%",
        120,
        {"loss": 4.2654, "time": 391.87, "mfu": 12.3},
    ),
    "nanoGPT's evaluation": (
        "step 250: train loss 4.2874, val loss 4.2823",
        250,
        {"train_loss": 4.2874, "val_loss": 4.2823},
    ),
    "torchtitan": (
        "[titan] 2026-11-30 12:00:00,123 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss:  8.1309  "
        "\x1b[33mgrad_norm:  1.2345  \x1b[34mmemory:  0.84GiB(0.89%)  "
        "tps: 26,411  mfu: 0.05%\x1b[39m",
        10,
        {"loss": 8.1309, "grad_norm": 1.2345, "memory": 0.84, "tps": 26411.0, "mfu": 0.05},
    ),
    "Transformers": (
        "{'loss': 2.3105, 'grad_norm': 1.9375, 'learning_rate': 4.995e-05, 'epoch': 0.01}",
        None,
        {"loss": 2.3105, "grad_norm": 1.9375, "learning_rate": 4.995e-05},
    ),
    "Transformers 5": (
        "{'loss': 'nan', 'grad_norm': '1.9375', 'learning_rate': '4.995e-05', 'epoch': '0.01'}",
        None,
        {"loss": NAN, "grad_norm": 1.9375, "learning_rate": 4.995e-05},
    ),
    "Lightning": (
        "Epoch 0:  50%|█████     | 5/10 [00:00<00:00, 50.20it/s, v_num=0, train_loss=0.512]",
        5,
        {"v_num": 0.0, "train_loss": 0.512, "it/s": 50.2},
    ),
    "Keras": (
        "\x1b[1m 51/938\x1b[0m \x1b[32m━━\x1b[0m\x1b[37m━━━━\x1b[0m \x1b[1m2s\x1b[0m 3ms/step - "
        "accuracy: 0.6412 - loss: 1.2345",
        51,
        {"accuracy": 0.6412, "loss": 1.2345, "ms/step": 3.0},
    ),
    "PyTorch's MNIST example": (
        "Train Epoch: 1 [640/60000 (1%)]\tLoss: 1.203467",
        640,
        {"Loss": 1.203467},
    ),
    "its test": (
        "Test set: Average loss: 0.0523, Accuracy: 9825/10000 (98%)",
        None,
        {"Average_loss": 0.0523, "Accuracy": 0.9825},
    ),
    "PyTorch's ImageNet example": (
        "Epoch: [0][  10/5005]\tTime  0.312 ( 1.234)\tLoss 6.9123e+00 (7.0e+00)\t"
        "Acc@1   0.39 (  0.12)",
        10,
        {"Time": 0.312, "Loss": 6.9123, "Acc@1": 0.39},
    ),
    "PyTorch's language model": (
        "| epoch   1 |   200/ 2983 batches | lr 20.00 | ms/batch 12.3 | loss  7.63 | ppl  2058.33",
        200,
        {"lr": 20.0, "loss": 7.63, "ppl": 2058.33},
    ),
    "PyTorch's quick start": (
        "loss: 2.301434  [   64/60000]",
        64,
        {"loss": 2.301434},
    ),
    "PyTorch's CIFAR tutorial": ("[1,  2000] loss: 2.213", 2000, {"loss": 2.213}),
    "accelerate": (
        "epoch 3: {'accuracy': 0.6838, 'f1': 0.8122}",
        3,
        {"accuracy": 0.6838, "f1": 0.8122},
    ),
    "fairseq": (
        "2026-11-30 12:00:00 | INFO | train_inner | epoch 001:     10 / 1000 loss=12.345, "
        "ppl=4500.12, wps=1234.5, num_updates=10, lr=1.25e-07, gnorm=10.4",
        10,
        {"loss": 12.345, "ppl": 4500.12, "wps": 1234.5, "lr": 1.25e-07, "gnorm": 10.4},
    ),
    "XGBoost": (
        "[7]\ttrain-logloss:0.48295\teval-logloss:0.51234",
        7,
        {"train-logloss": 0.48295, "eval-logloss": 0.51234},
    ),
    "LightGBM": (
        "[10]\ttraining's binary_logloss: 0.654\tvalid_1's binary_logloss: 0.664",
        10,
        {"training_binary_logloss": 0.654, "valid_1_binary_logloss": 0.664},
    ),
    "JSON": ('{"step": 12, "loss": NaN, "lr": 1e-3}', 12, {"loss": NAN, "lr": 1e-3}),
    "equals signs": (
        "step=5 loss=inf acc=1.2e-3 12.5k tok/s",
        5,
        {"loss": INF, "acc": 1.2e-3, "tok/s": 12500.0},
    ),
    "a fraction": ("step 1,234/20,000 | grad norm 0.52", 1234, {"grad_norm": 0.52}),
    "a place in the code": ("train.py:42] iteration 50, loss=-3.5", 50, {"loss": -3.5}),
    "versions and times": ("torch 2.4.0 at 12:30:01 on 2026-11-30", None, {}),
    "a traceback": ('  File "train.py", line 12, in <module>', None, {}),
}  # fmt: skip


def text(*chunks: bytes) -> list[Row]:
    """Read text, with the second of two equal names onwards as rows."""
    reader = TextReader(GivenText(b"".join(chunks)))
    rows = []
    while found := reader.poll(whole=True):
        rows += found
    return rows


def pairs(rows: list[Row]) -> list[tuple[object, dict[str, object]]]:
    return [(row.counts[0], dict(row.values)) for row in rows]


@pytest.mark.parametrize("tool", LINES)
def test_the_numbers_that_tools_print(tool: str) -> None:
    from gradmidi.sources.printed import clean

    line, step, expected = LINES[tool]
    found = step_in(clean(line))
    assert (None if found is None else found.number) == step
    # A nan is not equal to itself.
    assert str(numbers_in(clean(line))) == str(expected)


def test_progress_bars_are_read_at_each_carriage_return() -> None:
    bar = "".join(f"\r{n:3d}%|█  | {n}/100 [00:01, loss={n / 10}]" for n in (1, 2, 3))
    assert pairs(text(bar.encode())) == [
        (1.0, {"loss": 0.1}),
        (2.0, {"loss": 0.2}),
        (3.0, {"loss": 0.3}),
    ]


def test_what_is_printed_once_is_no_value_until_the_end() -> None:
    reader = TextReader(PassThrough(0, 1))
    source = reader._file
    source._keep(b"Namespace(lr=0.1, gamma=0.7)\nstep 1 loss 2\nstep 2 loss 3\n")
    assert pairs(reader.poll()) == [(1.0, {"loss": 2.0}), (2.0, {"loss": 3.0})]
    assert reader.columns == ("loss",)
    assert pairs(text(b"final acc: 0.5\n")) == [(None, {"acc": 0.5})]


def test_binary_long_lines_and_half_letters_do_no_harm() -> None:
    letter = "größe".encode()
    rows = text(
        b"step 1 loss 2\n\0\xff loss 3\n\x01 loss 3\n\n",
        b"step 2 loss 4 " + b"x" * 10_000_000 + b" loss 9\n",
        b"step 3 loss 5 " + letter[:3] + b"\n" + letter[:3],
    )
    assert pairs(rows) == [(1.0, {"loss": 2.0}), (2.0, {"loss": 4.0}), (3.0, {"loss": 5.0})]


def test_a_finished_text_is_described(tmp_path: Path) -> None:
    printed = "\n".join(f"iter {n}: loss {3 - n / 10}, mfu 12%" for n in range(10))
    path = tmp_path / "train.log"
    path.write_text(printed)
    run = gradmidi.read(path)
    assert [(f.step, f.extra["loss"]) for f in run.frames()][:2] == [(0, 3), (1, 2.9)]
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", "describe", "-"],
        input=printed,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("run stdin: 0 layers, 10 steps")
    assert done.stderr == "gradmidi: stdin is text: hearing loss; seen too: mfu\n"
    subprocess.run(
        [sys.executable, "-m", "gradmidi", "import", "-", "-o", tmp_path / "run"],
        input=printed,
        capture_output=True,
        text=True,
        check=True,
    )
    assert gradmidi.read(tmp_path / "run").steps == 10


# -- text that goes on -----------------------------------------------------------------------------


@contextlib.contextmanager
def pipes() -> Iterator[tuple[PassThrough, int, int]]:
    source, write = os.pipe()
    read, target = os.pipe()
    through = PassThrough(source, target)
    through.start()
    try:
        yield through, write, read
    finally:
        for descriptor in (source, target):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def test_text_goes_on_byte_for_byte_and_at_once() -> None:
    data = os.urandom(3_000_000)
    with pipes() as (through, write, read):
        os.write(write, b"half a li")
        # At once: without a line break, and before anything else is written.
        assert os.read(read, 100) == b"half a li"
        thread = threading.Thread(target=lambda: (os.write(write, data), os.close(write)))
        thread.start()
        received = b""
        while len(received) < len(data):
            received += os.read(read, 1 << 20)
        thread.join()
        through.join(10.0)
        assert received == data
        assert through.ended
        os.close(read)


def test_a_reader_that_is_too_slow_loses_old_bytes_and_they_are_counted() -> None:
    line = b"x" * 65535 + b"\n"
    with pipes() as (through, write, read):
        thread = threading.Thread(
            target=lambda: ([os.write(write, line) for _ in range(160)], os.close(write))
        )
        thread.start()
        size = 0
        while size < 160 * 65536:
            size += len(os.read(read, 1 << 20))
        thread.join()
        through.join(10.0)
        kept = 0
        while data := through.read():
            kept += len(data)
        assert kept + through.left_out == size
        assert 0 < kept <= 1 << 22
        os.close(read)


def test_where_text_is_left_out_no_number_is_made_of_two_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(textreader, "MOST_WAITING", 1 << 16)
    monkeypatch.setattr(textreader, "PIECE_BYTES", 1 << 12)
    source = PassThrough(0, 1)
    reader = TextReader(source)
    text = b"".join(b"step %d loss 1%d.5\n" % (n, n) for n in range(20_000))
    rows = []
    # No chunk ends with a line, and every tenth time one is read.
    for at in range(0, len(text), 6_500):
        source._keep(text[at : at + 6_500])
        if at % 65_000 == 0:
            rows += reader.poll()
    source.ended = True
    while found := reader.poll():
        rows += found
    assert source.left_out > 100_000
    assert len(rows) > 1_000
    for row in rows:
        assert row.values == {"loss": float(f"1{int(row.counts[0])}.5")}
    assert rows[-1].counts == (19_999.0,)


def test_if_the_reader_of_stdout_is_gone_training_goes_on() -> None:
    with pipes() as (through, write, read):
        os.close(read)
        for _ in range(40):
            os.write(write, b"step 1 loss 2\n" * 1000)
        os.close(write)
        through.join(10.0)
        assert through.ended


SCRIPT = """
import sys, time
print("Namespace(lr=0.1)", flush=True)
for n in range(200):
    loss = "nan" if n > 60 else f"{3 * 0.98**n:.4f}"
    print(f"iter {n}: loss {loss}, grad_norm {1 + n % 3}.5, time 12ms, mfu 1.5%", flush=True)
    time.sleep(0.03)
    if n > 60 and len(sys.argv) > 1 and __import__("os").path.exists(sys.argv[1]):
        break
raise RuntimeError("out of memory")
"""


@pytest.mark.slow
def test_a_training_that_nobody_touched_is_heard_by_what_it_prints(tmp_path: Path) -> None:
    with Receiver() as receiver:
        train = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "enough")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        play = subprocess.Popen(
            [sys.executable, "-m", "gradmidi", "play", "-", "--osc", receiver.target],
            stdin=train.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            train.stdout.close()
            until(lambda: receiver.of("/gradmidi/fault"), "the fault")
            (tmp_path / "enough").touch()
            output, errors = play.communicate(timeout=30)
        finally:
            for process in (train, play):
                process.kill()
                process.wait()
        names = [voice[1] for voice in receiver.of("/gradmidi/voice")]
        assert {"total", "loss"} <= set(names)
        assert receiver.of("/gradmidi/fault")[0][0] == "nan"
        assert not receiver.sounding
    assert play.returncode == 0
    lines = errors.decode().splitlines()
    assert lines[0] == "stdin is text: hearing grad_norm, loss; seen too: time, mfu"
    assert any(line.startswith("fault, step 6") and "loss nan" in line for line in lines)
    printed = output.decode().splitlines()
    assert printed[0] == "Namespace(lr=0.1)"
    assert printed[-1] == "RuntimeError: out of memory"
    count = len(printed) - printed.index("Traceback (most recent call last):")
    assert [line.split(":")[0] for line in printed[1:-count]] == [
        f"iter {n}" for n in range(len(printed) - 1 - count)
    ]


def test_text_without_a_number_goes_on_and_is_told() -> None:
    with Receiver() as receiver:
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", "play", "-", "--osc", receiver.target],
            input=b"hello\nworld\n",
            capture_output=True,
            check=False,
            start_new_session=True,
        )
    assert (done.returncode, done.stdout) == (1, b"hello\nworld\n")
    assert done.stderr == b"gradmidi: stdin has ended without a number\n"
