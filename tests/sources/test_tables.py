"""Tables in the forms that tools and people write: names of norms, rows, times and numbers."""

import json
from pathlib import Path

import pytest

import gradmidi
from gradmidi.sources.columns import choose
from gradmidi.sources.opened import import_log

LAYERS = {
    ("grad norm (fc1)", "grad norm (fc2)"): ["fc1", "fc2"],
    ("grad_norm[0]", "grad_norm[1]"): ["0", "1"],
    ("gnorm", "loss"): ["total"],
    ("fc1.weight.grad_norm", "fc1.bias.grad_norm"): ["fc1"],
    ("fc1/weight/grad_norm", "fc1/bias/grad_norm"): ["fc1"],
    ("train/fc1/weight/grad_norm", "train/fc2/weight/grad_norm"): ["fc1", "fc2"],
    ("grad_norm/_fsdp_wrapped_module.fc1.weight", "grad_norm/fc2.weight"): ["fc1", "fc2"],
    ("grad_norm/_orig_mod.module.a", "grad_norm/_orig_mod.module.b"): ["a", "b"],
    ("grad/['params']['D_0']['kernel']", "grad/['params']['D_0']['bias']"): ["D_0"],
    ("gradients/fc1_mean", "gradients/fc1_std", "gradients/fc1_norm"): ["fc1"],
    ("gradients/fc_mean", "gradients/fc_logvar"): ["fc_mean", "fc_logvar"],
    ("clip_coef", "grad_norm", "num_grads", "grad_scale"): ["total"],
    ("grad_norm_before_clip", "grad_norm_after_clip"): ["total"],
    ("grad_norm_unclipped",): ["total"],
    ("log_grad_norm", "loss"): [],
    ("train_grad_norm_step", "train_grad_norm_epoch"): ["total"],
    ("gradients/norm/fc1", "gradients/norm/fc2", "gradients/max/fc1"): ["fc1", "fc2"],
    ("gradients/norm/weight", "gradients/fc1/weight"): ["norm", "fc1"],
    ("grad_norm", "grad_norm_ema", "grad_norm_squared"): ["total"],
    ("grad_to_weight/fc1", "grad_norm/fc1"): ["fc1"],
    ("grad_norm/a", "grad_norm/a_max", "grad_norm/b", "grad_norm/b_max"): ["a", "b"],
    ("grad_norm/fc1", "grad_norm/fc1_rel"): ["fc1"],
    ("grad_norm/fc", "grad_norm/fc_mean", "grad_norm/out"): ["fc", "fc_mean", "out"],
}
"""Columns, and the layers that a person sees in them."""


@pytest.mark.parametrize("columns", LAYERS, ids=" ".join)
def test_the_layers_are_those_that_a_person_sees(columns: tuple[str, ...]) -> None:
    assert list(choose(columns, (), "log.csv").layers) == LAYERS[columns]


FRAMES = {
    "a row a layer": "step,layer,grad_norm,loss\n1,a,3,2.5\n1,b,4,2.5\n2,a,2,2.25\n2,b,1,2.25\n",
    "a row a metric": (
        "step,variable,value\n1,grad/a,3\n2,grad/a,2\n1,grad/b,4\n2,grad/b,1\n1,loss,2.5\n2,loss,2.25\n"
    ),
    "metric and variant": (
        "metric,variant,iteration,value\ngrad,a,1,3\ngrad,b,1,4\nloss,train,1,2.5\n"
        "grad,a,2,2\ngrad,b,2,1\nloss,train,2,2.25\n"
    ),
    "metric and context": (
        "metric.name,metric.context,step,value\n"
        + "".join(
            f'{name},"{{""subset"": ""train""{layer}}}",{step},{value}\n'
            for name, layer, step, value in (
                ("grad", ', ""layer"": ""a""', 1, 3),
                ("grad", ', ""layer"": ""b""', 1, 4),
                ("loss", "", 1, 2.5),
                ("grad", ', ""layer"": ""a""', 2, 2),
                ("grad", ', ""layer"": ""b""', 2, 1),
                ("loss", "", 2, 2.25),
            )
        )
    ),
    "metricName": (
        "metricName,metricValue,step\ngrad_a,3,1\ngrad_b,4,1\nloss,2.5,1\n"
        "grad_a,2,2\ngrad_b,1,2\nloss,2.25,2\n"
    ),
    "values that Python prints": (
        "step,grad/a,grad/b,loss\n1,\"tensor(3., device='cuda:0')\",np.float32(4.0),2.5\n"
        '2,tensor(2.),np.float32(1.0),"tensor(2.2500, grad_fn=<NllLossBackward0>)"\n'
    ),
    "sep= with a tab": "sep=\t\nstep\tgrad/a\tgrad/b\tloss\n1\t3\t4\t2.5\n2\t2\t1\t2.25\n",
    "spaces": "step grad/a  grad/b loss\n1    3       4     2.5\n2    2       1    2.25\n",
}
"""Ways to write two steps of two layers and a loss."""


@pytest.mark.parametrize("form", FRAMES)
def test_each_form_of_a_table_gives_the_same_run(form: str, tmp_path: Path) -> None:
    run, _ = imported(tmp_path / "log.csv", FRAMES[form])
    assert [layer.name for layer in run.layers] == ["a", "b"]
    assert [list(frame.norms) for frame in run.frames()] == [[3, 4], [2, 1]]
    assert [frame.loss for frame in run.frames()] == [2.5, 2.25]


JSON = {
    "objects": [{"step": 1, "grad_norm/a": 3, "loss": 2.5}, {"step": 2, "grad_norm/a": 2}],
    "lists": {"step": [1, 2], "grad_norm/a": [3, 2], "loss": [2.5]},
    "lists in an object": {"lr": 0.1, "history": {"grad_norm/a": [3, 2], "loss": [2.5]}},
    "by column": {"grad_norm/a": {"0": 3, "1": 2}, "loss": {"0": 2.5}},
    "by step": {"1": {"grad_norm/a": 3, "loss": 2.5}, "2": {"grad_norm/a": 2}},
    "rows and their columns": {
        "columns": ["grad_norm/a", "loss"],
        "index": [0, 1],
        "data": [[3, 2.5], [2, None]],
    },
    "by metric": {
        "grad_norm/a": {"steps": [1, 2], "timestamps": ["", ""], "values": [3, 2]},
        "loss": {"steps": [1], "timestamps": [""], "values": [2.5]},
    },
    "steps and values by metric": {
        "metrics": {
            "grad_norm/a": [{"step": 1, "value": 3}, {"step": 2, "value": 2}],
            "loss": [{"step": 1, "value": 2.5}],
        }
    },
}


@pytest.mark.parametrize("form", JSON)
def test_a_json_file_holds_a_list_of_objects_or_an_object_of_lists(
    form: str, tmp_path: Path
) -> None:
    run, _ = imported(tmp_path / "history.json", json.dumps(JSON[form]))
    assert [(frame.step, *frame.norms) for frame in run.frames()] == [(1, 3), (2, 2)]
    assert [frame.loss for frame in run.frames()] == [2.5, None]


def test_objects_that_follow_each_other_are_read(tmp_path: Path) -> None:
    text = json.dumps({"grad": 3, "loss": 2.5}, indent=1) + "\n" + json.dumps({"grad": 2}, indent=1)
    run, _ = imported(tmp_path / "log.json", text)
    assert [(frame.step, *frame.norms) for frame in run.frames()] == [(1, 3), (2, 2)]


LINES = {
    "numbers as texts": [{"num_updates": "10", "gnorm": "3", "loss": "2.5"}],
    "in objects": [{"event": "train", "data": {"iter": 10, "grad_norm": 3, "loss": 2.5}}],
    "a metric each": [
        {"name": "grad_norm", "step": 10, "value": 3},
        {"name": "loss", "step": 10, "value": 2.5},
    ],
    "settings first": [
        {"config": {"lr": 0.1, "grad_clip": 1}},
        {"step": 10, "grad": 3, "loss": 2.5},
    ],
}
"""Ways to write step 10 in JSON lines."""


@pytest.mark.parametrize("comma", ["", ","])
@pytest.mark.parametrize("form", LINES)
def test_json_lines_hold_numbers_in_many_forms(form: str, comma: str, tmp_path: Path) -> None:
    text = "".join(json.dumps(entry) + comma + "\n" for entry in LINES[form])
    run, _ = imported(tmp_path / "log.jsonl", text)
    found = [(frame.step, *frame.norms, *frame.extra.values()) for frame in run.frames()]
    assert [layer.name for layer in run.layers] == ["total"]
    assert [each[:2] for each in found] == [(10, 3)]
    assert [float(each[2]) for each in found if each[2:]] == [2.5]


def test_a_json_line_may_hold_one_layer(tmp_path: Path) -> None:
    rows = [(1, "a", 3), (1, "b", 4), (2, "a", 2), (2, "b", 1)]
    entries = [{"step": s, "layer": layer, "grad_norm": x, "loss": 5 - s} for s, layer, x in rows]
    run, _ = imported(tmp_path / "log.jsonl", "\n".join(map(json.dumps, entries)))
    assert [layer.name for layer in run.layers] == ["a", "b"]
    assert [list(frame.norms) for frame in run.frames()] == [[3, 4], [2, 1]]
    assert [frame.loss for frame in run.frames()] == [4, 3]


def test_a_json_line_may_hold_a_list_of_layers(tmp_path: Path) -> None:
    rows = [{"name": "a", "grad_norm": 3}, {"name": "b", "grad_norm": 4}]
    text = json.dumps({"step": 1, "layers": rows, "loss": 2.5})
    run, _ = imported(tmp_path / "log.jsonl", text)
    assert [layer.name for layer in run.layers] == ["a", "b"]
    assert [list(frame.norms) for frame in run.frames()] == [[3, 4]]


def test_lines_without_an_object_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        "{'step': 1, 'grad_norm': 3}\n{'step': 2, 'grad_norm': 2}\n"
    )
    with pytest.raises(gradmidi.RunLogError, match=r"no line of .* is a JSON object.*--as text"):
        import_log(tmp_path / "log.jsonl", tmp_path / "run")
    done = import_log(tmp_path / "log.jsonl", tmp_path / "run", kind="text")
    assert [list(frame.norms) for frame in gradmidi.read(done.path).frames()] == [[3], [2]]


def test_rows_of_two_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(gradmidi.RunLogError, match="several runs: 'a', and 'b' at line 3"):
        imported(tmp_path / "log.csv", "run,step,grad\na,1,3\nb,1,2\n")


def test_a_header_with_more_columns_adds_them(tmp_path: Path) -> None:
    text = "step,grad/a\n1,3\nstep,grad/a,grad/b,step2\n2,2,1,7\n"
    run, _ = imported(tmp_path / "log.csv", text)
    assert [(frame.step, *frame.norms) for frame in run.frames()] == [(1, 3, -1), (2, 2, 1)]


@pytest.mark.parametrize(
    "times",
    [
        ("11/30/2026 11:59:59 AM", "11/30/2026 12:00:01 PM"),
        ("30.11.2026 10:00:00", "30.11.2026 10:00:02"),
        ("1h 2m 3s", "1h 2m 5s"),
        ("59s", "1m1s"),
    ],
)
def test_times_are_read_as_people_write_them(times: tuple[str, str], tmp_path: Path) -> None:
    rows = "".join(f"{step},{t},3\n" for step, t in enumerate(times, 1))
    run, lines = imported(tmp_path / "log.csv", f"step,date,grad\n{rows}")
    assert [frame.t for frame in run.frames()] == [0, 2], lines


def test_json_lines_are_read_from_a_json_file_too(tmp_path: Path) -> None:
    run, _ = imported(tmp_path / "log.json", '{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n')
    assert [frame.loss for frame in run.frames()] == [2, 1]


@pytest.mark.parametrize("text", ['{"lr": "a"}\n{"b": []', "[]", '{"model": {"lr": 0.1}}', "3"])
def test_another_json_file_is_refused_for_what_it_is(text: str, tmp_path: Path) -> None:
    with pytest.raises(gradmidi.RunLogError, match=r"log\.json") as refused:
        imported(tmp_path / "log.json", text)
    assert "trainer_state" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_list_of_norms_has_a_layer_for_each_place(tmp_path: Path) -> None:
    text = '{"step": 1, "grad_norms": [3, 4], "bins": [1, 2]}\n'
    run, _ = imported(tmp_path / "log.jsonl", text)
    assert [(layer.name) for layer in run.layers] == ["0", "1"]
    assert [list(frame.norms) for frame in run.frames()] == [[3, 4]]


def test_cells_may_have_a_percent_sign_or_a_dash(tmp_path: Path) -> None:
    run, _ = imported(tmp_path / "log.csv", "step,grad,acc\n1,3,95%\n2,-,96%\n3,2,97%\n")
    frames = list(run.frames())
    assert [frame.step for frame in frames] == [1, 3]
    assert [frame.extra["acc"] for frame in frames] == [95, 97]


@pytest.mark.parametrize("parts", [1, 10**3, 10**6, 10**9])
def test_times_since_1970_are_read_in_any_unit(parts: int, tmp_path: Path) -> None:
    at = 1_700_000_000 * parts
    text = f"step,timestamp,grad\n1,{at},3\n2,{at + 2 * parts},2\n"
    run, _ = imported(tmp_path / "log.csv", text)
    assert [frame.t for frame in run.frames()] == [0, 2]
    assert run.header.started == "2023-11-14T22:13:20Z"


def test_the_durations_of_steps_are_added_up(tmp_path: Path) -> None:
    text = "step,time,grad\n1,0.5,3\n2,0.5,2\n3,0.75,2\n4,0.5,2\n"
    run, lines = imported(tmp_path / "log.csv", text)
    assert [frame.t for frame in run.frames()] == [0, 0.5, 1.25, 1.75]
    assert "the log has the time that each step took: these times are added up" in lines


def imported(path: Path, text: str) -> tuple[gradmidi.Run, tuple[str, ...]]:
    """Import a file with this text; return the run, and what was said of it."""
    path.write_text(text)
    done = import_log(path, path.parent / "run")
    return gradmidi.read(done.path), done.lines
