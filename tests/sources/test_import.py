"""Logs of other tools, read into runs: what the numbers become, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

import gradmidi
from gradmidi.errors import RunLogError
from gradmidi.log import ABSENT
from gradmidi.run import Run
from gradmidi.sources.opened import import_log

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
    assert [str(frame.loss) for frame in found] == ["2.3", "nan", "2.1"]
    assert [frame.extra.get("lr") for frame in found] == [0.1, 0.1, None]


def test_what_the_log_becomes_can_be_rendered_and_described(tmp_path: Path) -> None:
    text = "\n".join(f"{step},{0.5 + step / 9},{1 / (1 + step)}" for step in range(20))
    run = taken(tmp_path, f"step,grad/fc1,grad/fc2\n{text}\n")
    assert run.steps == 20
    gradmidi.render(run, tmp_path / "run.mid", tmp_path / "run.wav", time="wall")
    # A log that tells no time is heard as by the step: a sixteenth each.
    by_step = gradmidi.render(run, tmp_path / "step.mid")[0]
    assert (tmp_path / "run.mid").stat().st_size == pytest.approx(by_step.stat().st_size, rel=0.1)
    assert "2 layers, 20 steps at unknown times, imported" in str(run)


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


# -- values ----------------------------------------------------------------------------------------


def test_a_log_without_norms_is_a_run_of_its_values(tmp_path: Path) -> None:
    run, lines = told(tmp_path, "epoch,step,acc,loss,time_ms\n0,10,0.1,2.5,80\n0,20,0.2,nan,81\n")
    assert run.layers == ()
    found = str([(f.step, list(f.extra.items())) for f in run.frames()])
    assert found == str([(10, [("loss", 2.5), ("acc", 0.1)]), (20, [("loss", NAN), ("acc", 0.2)])])
    assert lines[:3] == ("0 layers, 2 steps", "loss: loss", "values: acc")
    assert lines[3] == "not heard: epoch, time_ms; choose with --values NAMES"
    assert "loss: first 2.5" in str(run)


def test_values_are_chosen_by_name_or_pattern(tmp_path: Path) -> None:
    run, _ = told(tmp_path, "step,acc,val/a,val/b,loss\n1,2,3,4,5\n", values=["val/*", "acc"])
    assert [frame.extra for frame in run.frames()] == [{"val/a": 3.0, "val/b": 4.0, "acc": 2.0}]


def test_of_5000_values_the_first_fifteen_are_heard_losses_first(tmp_path: Path) -> None:
    names = [f"m{index}" for index in range(4998)]
    text = ",".join(["step", *names, "train/loss", "val_loss"])
    run, lines = told(tmp_path, f"{text}\n" + ",".join(["1"] * 5001) + "\n")
    (frame,) = run.frames()
    assert list(frame.extra) == ["loss", "val_loss", *names[:13]]
    assert "not heard: m13, m14" in lines[3]
    assert "and 4,965 more; choose with --values NAMES" in lines[3]
    assert lines[4] == (
        "there are 5,000 values; heard are the first 15: losses first, then the others in their "
        "order in the log"
    )


def test_values_between_two_steps_with_norms_join_the_later_and_nan_stays(tmp_path: Path) -> None:
    run, _ = told(tmp_path, "step,grad,loss\n1,1,5\n2,,nan\n3,,3\n4,4,2\n")
    found = str([(f.step, f.extra) for f in run.frames()])
    assert found == str([(1, {"loss": 5}), (4, {"loss": NAN})])


def test_a_value_with_the_name_of_a_key_of_the_log_is_renamed(tmp_path: Path) -> None:
    run, _ = told(tmp_path, "step,end,mark\n1,0.5,0.25\n")
    assert [frame.extra for frame in run.frames()] == [{"end_": 0.5, "mark_": 0.25}]


# -- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "options", "says"),
    [
        ("a.csv", "step,note\n1,calm\n", {}, "has no column of numbers; the columns are: note"),
        ("a.csv", "step,a\n1,2\n", {"values": ["b*"]}, "no value matches 'b*'; the values are: a"),
        ("a.csv", "step,a - acc,b - acc\n1,2,3\n", {}, "2 runs: a, b; choose one with --values"),
        ("a.csv", "", {}, "is empty"),
        ("a.csv", "step,grad\n", {}, "it has no column at all"),
        ("a.csv", "step,grad\n1,\n2,\n", {}, "not one number in grad"),
        ("a.csv", "step,grad\n1,high\n", {}, "line 2: 'grad' is high, which is not a norm; choose"),
        ("a.csv", "step,grad\n7,-0.5\n", {}, "line 2: 'grad' is -0.5, which is not a norm; choose"),
        ("a.csv", "step,grad\n0.5,1\n", {}, "line 2 has '0.5' in 'step', which is not a step"),
        ("a.csv", "step,grad\n1,2,3\n", {}, "line 2 has 3 cells, the header has 2"),
        ("a.csv", "step,grad\n1,2\n", {"step": "epoch"}, "no column 'epoch'; the columns are"),
        ("a.csv", "step,grad\n1,2\n", {"columns": ["fc*"]}, "no column matches 'fc*'"),
        ("a.csv", "step,a - grad,b - grad\n1,2,3\n", {}, "holds 2 runs: a, b"),
        ("a.csv", "step,grad/fc,grad_norm/fc\n1,2,3\n", {}, "are both of 'fc'"),
        ("a.csv", "step,grad\n1,\0\n", {}, "is not a CSV file: it is not text"),
        ("a.json", "[1, 2]", {}, "neither a list of objects"),
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
def test_what_cannot_be_read_is_reported(
    tmp_path: Path, name: str, text: str, options: dict[str, object], says: str
) -> None:
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RunLogError) as told:
        import_log(tmp_path / name, tmp_path / "run", **options)
    assert says in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_left_alone(tmp_path: Path) -> None:
    before = taken(tmp_path, "grad\n1\n").path.read_bytes()
    (tmp_path / "log.csv").write_text("grad\n2\n")
    beside = import_log(tmp_path / "log.csv", tmp_path / "run")
    assert beside.path == tmp_path / "run-2" / "run.jsonl"
    here = tmp_path / "run" / "run.jsonl"
    assert beside.lines[0] == (
        f"{here} is a run already, so this one is {beside.path}; --force replaces it"
    )
    assert here.read_bytes() == before
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


# -- points of one step ----------------------------------------------------------------------------


def told(folder: Path, text: "str | bytes", **options: object) -> tuple[Run, tuple[str, ...]]:
    """Import a CSV file; return the run, and what was said of it."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / "log.csv").write_bytes(content)
    done = import_log(folder / "log.csv", folder / "run", **options)
    return gradmidi.read(done.path), done.lines


def test_steps_that_begin_again_each_epoch_are_numbered_on(tmp_path: Path) -> None:
    run, lines = told(
        tmp_path,
        "epoch,step,grad/fc1,loss\n0,0,0.5,3\n0,1,0.25,2\n1,0,9.5,1\n1,1,9.25,0.5\n2,0,7,0.25\n",
    )
    assert rows(run) == [(0, [0.5]), (1, [0.25]), (2, [9.5]), (3, [9.25]), (4, [7.0])]
    assert [frame.loss for frame in run.frames()] == [3, 2, 1, 0.5, 0.25]
    assert "steps begin again at line 4, and 1 more time: numbered on" in lines


def test_several_values_a_step_are_all_kept_in_order(tmp_path: Path) -> None:
    run, lines = told(tmp_path, "step,grad\n5,1\n5,2\n6,3\n6,4\n")
    assert rows(run) == [(5, [1.0]), (6, [2.0]), (7, [3.0]), (8, [4.0])]
    assert any("begin again at line 3" in line for line in lines)


def test_metrics_that_were_logged_without_a_step_are_numbered_each_for_itself(
    tmp_path: Path,
) -> None:
    text = "key,value,timestamp,step\n"
    for name in ("a", "b"):
        for index in range(3):
            text += f"grad_norm/{name},{index + 1}.5,{1700000000000 + 1000 * index},0\n"
    run, _ = told(tmp_path, text)
    assert rows(run) == [(0, [1.5, 1.5]), (1, [2.5, 2.5]), (2, [3.5, 3.5])]
    assert [frame.t for frame in run.frames()] == [0.0, 1.0, 2.0]


def test_steps_done_again_after_a_checkpoint_replace_the_earlier_ones_and_are_counted(
    tmp_path: Path,
) -> None:
    run, lines = told(tmp_path, "step,grad\n1,1\n2,2\n3,3\n4,4\n3,30\n4,40\n5,50\n")
    assert rows(run) == [(1, [1.0]), (2, [2.0]), (3, [30.0]), (4, [40.0]), (5, [50.0])]
    assert "2 values replaced by a later one of the same step, the first at line 6" in lines


def test_a_header_that_comes_again_is_no_row_and_what_follows_replaces(tmp_path: Path) -> None:
    run, lines = told(tmp_path, "step,grad\n1,0.5\n2,0.25\nstep,grad\n2,0.3\n3,0.2\n")
    assert rows(run) == [(1, [0.5]), (2, [0.3]), (3, [0.2])]
    assert "the header stands again at line 4" in lines
    assert "1 value replaced by a later one of the same step, the first at line 5" in lines


def test_steps_in_any_order_are_sorted_and_nothing_is_said(tmp_path: Path) -> None:
    run, lines = told(tmp_path, "step,grad\n3,3\n2,2\n1,1\n")
    assert rows(run) == [(1, [1.0]), (2, [2.0]), (3, [3.0])]
    assert len(lines) == 3


def test_a_step_column_that_is_empty_where_the_norms_are_gives_way_to_another(
    tmp_path: Path,
) -> None:
    run, lines = told(
        tmp_path,
        "_step,global_step,gradients/fc1,loss\n0,10,,2.5\n1,,0.5,\n2,20,,2.25\n3,,0.25,\n",
    )
    assert rows(run) == [(1, [0.5]), (3, [0.25])]
    assert any("counted by '_step': 'global_step' is empty where norms are" in s for s in lines)


def test_norms_without_a_step_are_counted_and_rows_count_where_no_norm_has_one(
    tmp_path: Path,
) -> None:
    run, lines = told(tmp_path, "step,grad\n1,0.5\n,0.75\n,0.8\n2,0.25\n")
    assert rows(run) == [(1, [0.5]), (2, [0.25])]
    assert "2 norms left out without a step, the first at line 3" in lines
    (tmp_path / "b").mkdir()
    run, lines = told(tmp_path / "b", "step,grad,loss\n7,,2\n,0.5,\n,0.25,\n")
    assert rows(run) == [(2, [0.5]), (3, [0.25])]
    assert "'step' is empty where the norms are: rows are counted instead" in lines


# -- which columns are norms, and whose ------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "layers"),
    [
        ("A/grad_penalty,A/grad_norm,B/grad_norm", ["A", "B"]),
        ("train/value_loss,train/policy_gradient_loss,train/grad_norm", ["total"]),
        ("Gradient Norm/fc1,Gradient Norm/fc2,Gradient Clip", ["fc1", "fc2"]),
        ("gradient-norm/fc1,gradient-norm/fc2", ["fc1", "fc2"]),
        ("epoch,grad_norm,grad_norm_max,grad_norm_std,mean_grad", ["total"]),
        ("grad_norm/max,grad_norm,grad_norm/mean", ["total"]),
        ("grad_norm/encoder,grad_norm/mean,grad_norm/logvar", ["encoder", "mean", "logvar"]),
        ("use_grad,requires_grad,grad_accum_steps,grad_scale,no_grad,grads", ["total"]),
        (
            "gradients/dense/kernel:0,gradients/dense/bias:0,gradients/out/kernel:0",
            ["dense", "out"],
        ),
        ("GradNorm/fc1,GradNormMax/fc1,upgrade,grading", ["fc1"]),
        ("grad_norm/loss_head.weight,grad_norm/scale", ["loss_head", "scale"]),
    ],
)
def test_a_person_would_know_which_columns_are_norms(
    tmp_path: Path, header: str, layers: list[str]
) -> None:
    cells = ",".join(["3"] * (header.count(",") + 1))
    assert names(told(tmp_path, f"step,{header}\n1,{cells}\n")[0]) == layers


def test_weight_and_bias_of_one_layer_are_its_norm_in_tensorflows_names_too(tmp_path: Path) -> None:
    run, _ = told(tmp_path, "step,gradients/dense/kernel:0,gradients/dense/bias:0\n1,3,4\n")
    assert (names(run), rows(run)) == (["dense"], [(1, [5.0])])


def test_a_runs_name_speaks_of_no_gradients(tmp_path: Path) -> None:
    run, _ = told(tmp_path, "step,grad-test - loss,grad-test - grad_norm\n1,2.5,0.5\n")
    assert (names(run), rows(run)) == (["total"], [(1, [0.5])])
    assert next(run.frames()).loss == 2.5


def test_an_exact_name_is_exact_whatever_letters_are_in_it(tmp_path: Path) -> None:
    text = "step,exp[1] - grad_norm,exp[2] - grad_norm,e* - acc\n1,0.5,0.75,9\n"
    with pytest.raises(RunLogError) as error:
        told(tmp_path, text)
    # The command that the message gives works.
    pattern = str(error.value).split("--columns '")[1].rstrip("'")
    assert rows(told(tmp_path, text, columns=[pattern])[0]) == [(1, [0.75])]
    run, _ = told(tmp_path, text, columns=["exp[1] - grad_norm"], force=True)
    assert rows(run) == [(1, [0.5])]
    assert rows(told(tmp_path, text, columns=["e* - acc"], force=True)[0]) == [(1, [9.0])]


# -- CSV as the world writes it --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "step;grad/fc1;loss\n1;0,5;2,30\n2;1.234,25;2,10\n",
        "step\tgrad/fc1\tloss\n1\t0,5\t2,30\n2\t1234,25\t2,10\n",
        'step,grad/fc1,loss\n1,"0,5","2,30"\n2,"1234,25","2,10"\n',
        "step|grad/fc1|loss\n1|0.5|2.30\n2|1234.25|2.10\n",
        "sep=;\nstep;grad/fc1;loss\n1;0.5;2.30\n2;1234.25;2.10\n",
        "# lr=0.1, batch=32\n# second\nstep,grad/fc1,loss\n1,0.5,2.30\n2,1234.25,2.10\n",
        "# step,grad/fc1,loss\n1,0.5,2.30\n2,1234.25,2.10\n",
        "step,grad/fc1,loss,\n1,0.5,2.30,\n2,1234.25,2.10,\n",
        "step,grad/fc1,loss\n1,0.5,2.30,\n\n2,1234.25,2.10,,\n",
        b"\xef\xbb\xbfstep,grad/fc1,loss\r\n1,0.5,2.30\r\n2,1234.25,2.10\r\n",
        "step,grad/fc1,loss\n1,0.5,2.30\n2,1234.25,2.10\n".encode("utf-16"),
    ],
)
def test_a_csv_file_is_read_as_it_is_written_anywhere(tmp_path: Path, text: "str | bytes") -> None:
    run, _ = told(tmp_path, text)
    assert names(run) == ["fc1"]
    assert rows(run) == [(1, [0.5]), (2, [1234.25])]
    assert [frame.loss for frame in run.frames()] == [2.3, 2.1]


def test_another_encoding_is_read_and_said(tmp_path: Path) -> None:
    run, lines = told(tmp_path, "step,grad/entrée\n1,0.5\n".encode("cp1252"))
    assert names(run) == ["entrée"]
    assert "line 1 is not UTF-8: the file is read as cp1252" in lines


def test_a_column_of_dictionaries_is_left_out_and_said(tmp_path: Path) -> None:
    cell = '"{""_type"": ""histogram"", ""values"": [1, 2]}"'
    run, lines = told(
        tmp_path, f"step,gradients/fc1,train/grad_norm\n1,{cell},0.5\n2,{cell},0.25\n"
    )
    assert rows(run) == [(1, [0.5]), (2, [0.25])]
    assert (
        "left out, since it holds no number: line 2: 'gradients/fc1' is "
        '{"_type": "histogram", "values": [1, 2]} (and 1 more)'
    ) in lines


@pytest.mark.parametrize(
    "cells", ["0:00:00.5,0:01:30", "00:00.5,01:30", "0 days 00:00:00.5,0 days 00:01:30"]
)
def test_times_may_be_durations(tmp_path: Path, cells: str) -> None:
    first, second = cells.split(",")
    run, _ = told(tmp_path, f"step,time,grad\n1,{first},0.5\n2,{second},0.25\n")
    assert [frame.t for frame in run.frames()] == [0.0, 89.5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('step,grad\n1,0.5\n2,"1,234"\n', "line 3 has '1,234' in 'grad', which may be a decimal"),
        ("step;grad;loss\n1;0,5;2\n2;1.234;2\n", "line 3 has '1.234' in 'grad', which may be tho"),
        ("# a\nstep,grad\n1,0.5\n1,x\n", "line 4: 'grad' is x, which is not a norm; choose"),
        ("step,grad\n1,0.5,7\n", "line 2 has 3 cells, the header has 2; a cell that holds ','"),
        ("# a\nstep,grad\nnan,0.5\n", "line 3 has 'nan' in 'step', which is not a step"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(RunLogError) as error:
        told(tmp_path, text)
    assert says in str(error.value)


def test_times_that_cannot_be_read_and_a_column_that_stands_twice_are_said(tmp_path: Path) -> None:
    _, lines = told(tmp_path, "step,time,grad,grad\n1,noon,0.5,1\n2,later,0.25,2\n")
    assert "2 times could not be read: line 2 has 'noon' in 'time'" in lines
    assert "the column 'grad' stands twice: the last one is read" in lines


# -- where the run goes ----------------------------------------------------------------------------


def test_a_run_is_replaced_only_by_force(tmp_path: Path) -> None:
    told(tmp_path, "grad\n1\n")
    run, _ = told(tmp_path, "grad\n3\n")
    assert rows(run) == [(1, [3.0])]
    assert rows(gradmidi.read(tmp_path / "run")) == [(1, [1.0])]
    run, _ = told(tmp_path, "grad\n2\n", force=True)
    assert rows(run) == [(1, [2.0])]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.jsonl"]


def test_missing_folders_are_made_and_a_stream_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("grad\n1\n")
    done = import_log(tmp_path / "log.csv", tmp_path / "a" / "b" / "c")
    assert done.path == tmp_path / "a" / "b" / "c" / "run.jsonl"
    with pytest.raises(RunLogError, match="in place of -o -, give -o FOLDER"):
        import_log(tmp_path / "log.csv", "-")
    with pytest.raises(RunLogError) as error:
        import_log(tmp_path / "log.csv", tmp_path / "log.csv" / "x")
    assert str(tmp_path / "log.csv" / "x") in str(error.value)
