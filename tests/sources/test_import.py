"""Logs of other tools, read into runs: what the numbers become, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import gradmidi
from gradmidi.errors import RunLogError
from gradmidi.log import ABSENT
from gradmidi.run import Run
from gradmidi.sources.importing import import_log

INF, NAN = float("inf"), float("nan")


def taken(folder: Path, text: str, name: str = "log.csv", **options: object) -> Run:
    """Import a file of this text."""
    (folder / name).write_text(text, encoding="utf-8")
    return gradmidi.read(import_log(folder / name, folder / "run", **options).path)


def names(run: Run) -> list[str]:
    return [layer.name for layer in run.layers]


def rows(run: Run) -> list[tuple[int, list[float]]]:
    return [(frame.step, frame.norms.tolist()) for frame in run.frames()]


def test_a_column_per_layer(tmp_path: Path) -> None:
    run = taken(
        tmp_path,
        "step,grad_norm/fc1,grad_norm/fc2,loss,lr\n"
        "10,0.5,nan,2.3,0.1\n"
        "20,,0,NaN,0.1\n"
        "30,Infinity,1e-3,2.1,\n",
    )
    assert names(run) == ["fc1", "fc2"]
    found = list(run.frames())
    assert [frame.step for frame in found] == [10, 20, 30]
    assert np.array_equal(
        [frame.norms for frame in found],
        [[0.5, NAN], [ABSENT, 0.0], [INF, 0.001]],
        equal_nan=True,
    )
    assert [frame.loss for frame in found] == [2.3, None, 2.1]
    assert [frame.extra.get("lr") for frame in found] == [0.1, 0.1, None]


def test_what_the_log_becomes_can_be_rendered_and_described(tmp_path: Path) -> None:
    text = "\n".join(f"{step},{0.5 + step / 9},{1 / (1 + step)}" for step in range(20))
    run = taken(tmp_path, f"step,grad/fc1,grad/fc2\n{text}\n")
    assert run.steps == 20
    gradmidi.render(run, tmp_path / "run.mid", tmp_path / "run.wav", time="wall")
    # A log that tells no time is heard as by the step: a sixteenth each.
    by_step = gradmidi.render(run, tmp_path / "step.mid")[0]
    assert (tmp_path / "run.mid").stat().st_size == pytest.approx(by_step.stat().st_size, rel=0.1)
    assert "2 layers, 20 steps in 2.38 s, imported" in str(run)


def test_rows_of_one_step_are_one_frame_and_rows_without_norms_are_none(tmp_path: Path) -> None:
    run = taken(
        tmp_path,
        "train_loss_step,step,grad_2.0_norm/fc1.weight,val_loss\n"
        "2.5,4,,\n"
        ",4,0.25,\n"
        ",4,,1.9\n"
        "2.4,9,,\n",
    )
    assert rows(run) == [(4, [0.25])]
    assert next(run.frames()).loss == 2.5


def test_parameters_of_one_layer_are_its_norm_together_and_a_total_is_no_layer(
    tmp_path: Path,
) -> None:
    run = taken(
        tmp_path,
        "step,grad_2.0_norm/a.weight,grad_2.0_norm/a.bias,grad_2.0_norm/b.0.in_proj_weight,"
        "grad_2.0_norm_total\n"
        "1,3,4,7,9\n"
        "2,,4,inf,inf\n"
        "3,nan,1,1,nan\n",
    )
    assert names(run) == ["a", "b.0"]
    found = [frame.norms for frame in run.frames()]
    assert found[0].tolist() == [5.0, 7.0]
    assert found[1].tolist() == [4.0, INF]
    assert np.isnan(found[2][0])


@pytest.mark.parametrize(
    ("header", "layers"),
    [
        ("train/grad_norm", ["total"]),
        ("gradients/conv1.weight,gradients/fc.weight", ["conv1", "fc"]),
        ("fc1/grad_norm,fc2/grad_norm", ["fc1", "fc2"]),
        ("l2_norm/grad/global,l2_norm/grad/fc1.weight", ["fc1"]),
        ("GradNorm/fc1,GradNorm/upgrade", ["fc1", "upgrade"]),
        ("layer1_grad,layer2_grad,gradient_accumulation_steps,max_grad_norm", ["layer1", "layer2"]),
    ],
)
def test_names_that_speak_of_gradients(tmp_path: Path, header: str, layers: list[str]) -> None:
    cells = ",".join(["1"] * (header.count(",") + 1))
    run = taken(tmp_path, f"step,{header},degrade\n1,{cells},1\n")
    assert names(run) == layers


def test_patterns_choose_among_names_that_do_not(tmp_path: Path) -> None:
    text = "epoch;conv1;fc1;fc2;acc\n1;0,5;1;2;0.1\n".replace("0,5", "0.5")
    assert names(taken(tmp_path, text, columns=["conv*", "fc2"])) == ["conv1", "fc2"]


def test_a_column_that_counts_the_steps_can_be_named(tmp_path: Path) -> None:
    run = taken(tmp_path, "Batch\tgrad\n100\t0.5\n200.0\t0.6\n", step="Batch")
    assert rows(run) == [(100, [0.5]), (200, [0.6])]


def test_rows_are_counted_where_no_column_does(tmp_path: Path) -> None:
    assert rows(taken(tmp_path, "grad\n0.5\n\n0.6\n")) == [(1, [0.5]), (2, [0.6])]


def test_an_export_of_weights_and_biases(tmp_path: Path) -> None:
    """Of a chart: each column beside its bounds, named after its run."""
    run = taken(
        tmp_path,
        '"Step","fox-3 - grad_norm/fc1","fox-3 - grad_norm/fc1__MIN","fox-3 - grad_norm/fc1__MAX",'
        '"fox-3 - grad_norm/fc2","fox-3 - grad_norm/fc2__MIN","fox-3 - grad_norm/fc2__MAX",'
        '"fox-3 - train/loss"\n'
        '"0","0.5","0.4","0.6","Infinity","Infinity","Infinity","2.3"\n'
        '"50","0.25","0.2","0.3","NaN","","","2.0"\n',
    )
    assert names(run) == ["fc1", "fc2"]
    assert next(run.frames()).norms.tolist() == [0.5, INF]
    assert [frame.loss for frame in run.frames()] == [2.3, 2.0]


def test_a_history_of_weights_and_biases(tmp_path: Path) -> None:
    """As ``run.history().to_csv()`` writes it: an index, a count of its own, and the time."""
    run = taken(
        tmp_path,
        ",_step,_runtime,_timestamp,train/global_step,train/grad_norm,train/loss\n"
        "0,0,12.5,1700000000.5,10,0.5,2.3\n"
        "1,1,14.0,1700000002.0,20,0.75,2.2\n",
    )
    assert rows(run) == [(10, [0.5]), (20, [0.75])]
    assert [frame.t for frame in run.frames()] == [0.0, 1.5]


@pytest.mark.parametrize(
    "header", ["run_id,key,value,step,timestamp", "Run,Run ID,metric,step,timestamp,value"]
)
def test_an_export_of_mlflow(tmp_path: Path, header: str) -> None:
    """A row a number; both ways that MLflow has written it."""
    cells = {"run_id": "ab1", "Run": "calm-fox", "Run ID": "ab1"}
    lines = [header]
    for key, step, value in [
        ("grad_norm/fc1", 1, "0.5"),
        ("grad_norm/fc1", 2, "NaN"),
        ("grad_norm/fc2", 1, "0.125"),
        ("grad_norm/fc2", 2, "Infinity"),
        ("loss", 2, "2.5"),
    ]:
        row = {**cells, "key": key, "metric": key, "step": str(step), "value": value}
        row["timestamp"] = str(1700000000000 + 500 * step)
        lines.append(",".join(row[name] for name in header.split(",")))
    run = taken(tmp_path, "\n".join(lines))
    assert names(run) == ["fc1", "fc2"]
    found = list(run.frames())
    assert found[0].norms.tolist() == [0.5, 0.125]
    assert np.isnan(found[1].norms[0])
    assert found[1].norms[1] == INF
    assert [frame.t for frame in found] == [0.0, 0.5]
    assert found[1].loss == 2.5
    assert run.header.started == "2023-11-14T22:13:20Z"


def test_a_trainer_state_of_transformers(tmp_path: Path) -> None:
    run = taken(
        tmp_path,
        '{"epoch": 1.0, "log_history": ['
        '{"epoch": 0.5, "grad_norm": 10.05, "learning_rate": 5e-05, "loss": 2.3, "step": 500},'
        '{"epoch": 1.0, "grad_norm": NaN, "learning_rate": 4e-05, "loss": 0.0, "step": 1000},'
        '{"epoch": 1.0, "eval_loss": 2.1, "eval_runtime": 3.5, "step": 1000},'
        '{"epoch": 1.0, "grad_norm": Infinity, "learning_rate": 3e-05, "step": 1500},'
        '{"epoch": 1.0, "total_flos": 0.0, "train_loss": 2.2, "step": 1500}]}',
        "trainer_state.json",
    )
    assert names(run) == ["total"]
    assert run.header.clipping == "before"
    found = list(run.frames())
    assert [frame.step for frame in found] == [500, 1000, 1500]
    assert found[0].norms.tolist() == [10.05]
    assert np.isnan(found[1].norms[0])
    assert found[2].norms.tolist() == [INF]
    assert [frame.loss for frame in found] == [2.3, 0.0, None]
    assert [frame.extra["lr"] for frame in found] == [5e-05, 4e-05, 3e-05]


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "options", "says"),
    [
        (
            "a.csv",
            "step,loss,acc\n1,2,3\n",
            {},
            "no column of gradient norms; the columns are: loss, acc",
        ),
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "step,grad\n", {}, "it has no column at all"),
        ("a.csv", "step,grad\n1,\n2,\n", {}, "not one number in grad"),
        ("a.csv", "step,grad\n1,high\n", {}, "'grad' is high at step 1, which is no norm"),
        ("a.csv", "step,grad\n7,-0.5\n", {}, "'grad' is -0.5 at step 7, which is no norm"),
        ("a.csv", "step,grad\n0.5,1\n", {}, "line 2 has '0.5' in 'step', which is no step"),
        ("a.csv", "step,grad\n1,2,3\n", {}, "line 2 has 3 cells, the header has 2"),
        ("a.csv", "step,grad\n1,2\n", {"step": "epoch"}, "no column 'epoch'; the columns are"),
        ("a.csv", "step,grad\n1,2\n", {"columns": ["fc*"]}, "no column matches 'fc*'"),
        ("a.csv", "step,a - grad,b - grad\n1,2,3\n", {}, "holds 2 runs: a, b"),
        ("a.csv", "step,grad/fc,grad_norm/fc\n1,2,3\n", {}, "are both of 'fc'"),
        ("a.csv", "step,\udcff\n", {}, "is no CSV file"),
        ("a.json", "[1, 2]", {}, "no 'log_history'"),
        ("a.json", "{", {}, "cannot read"),
        ("a.json", '{"log_history": []}', {}, "it has no column at all"),
        ("a.json", '{"log_history": [1]}', {}, "entry 1 of 'log_history' has no whole number"),
        ("a.json", '{"log_history": [{"grad_norm": 1.0}]}', {}, "entry 1 of 'log_history' has"),
        (
            "a.json",
            '{"log_history": [{"step": 1, "grad_norm": 1.0}, {"step": "x", "grad_norm": 2.0}]}',
            {},
            "entry 2 of 'log_history' has no whole number as its 'step'",
        ),
        ("a.json", '{"log_history": []}', {"step": "a"}, "--step is for CSV files"),
        ("a.parquet", "PAR1", {}, "nothing reads 'a.parquet'"),
    ],
)
def test_what_cannot_be_read_is_told(
    tmp_path: Path, name: str, text: str, options: dict[str, object], says: str
) -> None:
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunLogError) as told:
        import_log(tmp_path / name, tmp_path / "run", **options)
    assert says in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_left_alone(tmp_path: Path) -> None:
    before = taken(tmp_path, "grad\n1\n").path.read_bytes()
    with pytest.raises(RunLogError, match="is there already"):
        taken(tmp_path, "grad\n2\n")
    assert (tmp_path / "run" / "run.jsonl").read_bytes() == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.jsonl"]


def test_a_folder_gives_its_one_log(tmp_path: Path) -> None:
    inside = tmp_path / "lightning_logs" / "version_0"
    inside.mkdir(parents=True)
    (inside / "metrics.csv").write_text("step,grad\n1,2\n")
    assert rows(gradmidi.read(import_log(tmp_path, tmp_path / "run").path)) == [(1, [2.0])]
    (inside / "trainer_state.json").write_text("{}")
    with pytest.raises(RunLogError, match=r"holds 2 logs .*; give one of: .*metrics\.csv"):
        import_log(tmp_path / "lightning_logs", tmp_path / "other")
    with pytest.raises(RunLogError, match="no log at"):
        import_log(tmp_path / "nowhere", tmp_path / "other")
