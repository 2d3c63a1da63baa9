"""Logs of the other tools: W&B's offline files, MLflow's store, Trainers, JSON lines."""

import json
import os
from pathlib import Path

import mido
import pytest
from logs import write_log
from toollogs import events, scalar, wandb
from typer.testing import CliRunner

import gradmidi
from gradmidi.cli.app import app
from gradmidi.errors import RunLogError
from gradmidi.sources.csvfile import CsvReader
from gradmidi.sources.jsonfiles import JsonLinesReader, TrainerReader
from gradmidi.sources.kinds import KINDS, find_log
from gradmidi.sources.mlflowstore import MlflowReader
from gradmidi.sources.opened import import_log
from gradmidi.sources.wandbfile import WandbReader

NAN = float("nan")


def test_the_help_of_every_command_names_each_kind() -> None:
    for command in ("render", "play", "import"):
        told = " ".join(CliRunner().invoke(app, [command, "--help"]).output.split())
        listed = told.partition("if it is not found: ")[2].partition(" or text.")[0]
        assert [*listed.split(", "), "text"] == [each.name for each in KINDS], command


def values(path: Path, **options: object) -> list[tuple[int, dict[str, object]]]:
    run = gradmidi.read(path, **options)
    return [(frame.step, dict(frame.extra)) for frame in run.frames()]


# -- W&B -----------------------------------------------------------------------------------------


def entry(step: int, **found: str) -> dict[str, str]:
    return {"_step": str(step), "_timestamp": f"{1.7e9 + step}", "_runtime": str(step), **found}


def test_an_offline_run_of_wandb(tmp_path: Path) -> None:
    wandb(
        tmp_path / "wandb" / "offline-run-1" / "run-x.wandb",
        entry(0, loss="2.5", note='"calm"', best="true"),
        entry(1, loss="NaN", **{"val/acc": "0.5"}),
        0,
    )
    expected = [(0, {"loss": 2.5}), (1, {"loss": NAN, "val/acc": 0.5})]
    assert str(values(tmp_path / "wandb")) == str(expected)
    assert [frame.t for frame in gradmidi.read(tmp_path / "wandb").frames()] == [0.0, 1.0]


def test_an_offline_run_over_several_blocks_while_it_grows(tmp_path: Path) -> None:
    entries = [entry(n, loss=f"{n}", long=json.dumps("x" * 5000)) for n in range(40)]
    whole = wandb(tmp_path / "run-x.wandb", *entries, 1).read_bytes()
    path = tmp_path / "run-y.wandb"
    path.write_bytes(b"")
    reader = WandbReader(path)
    rows = []
    for begin in range(0, len(whole), 10_001):
        with path.open("ab") as file:
            file.write(whole[begin : begin + 10_001])
        rows += reader.poll()
    assert [row.values["loss"] for row in rows] == list(range(40))
    assert (reader.ending, reader.notes) == ("exit code 1", [])
    reader.close()


def test_a_damaged_block_of_wandb_is_skipped_and_told(tmp_path: Path) -> None:
    entries = [entry(n, loss=f"{n}", long=json.dumps("x" * 5000)) for n in range(40)]
    path = wandb(tmp_path / "run-x.wandb", *entries)
    data = bytearray(path.read_bytes())
    data[40_000] ^= 1
    path.write_bytes(data)
    reader = WandbReader(path)
    found = [row.values["loss"] for row in reader.poll()]
    assert found[:5] == list(range(5))
    assert found[-20:] == list(range(20, 40))
    assert reader.notes == [f"{path}: 1 damaged record skipped"]
    reader.close()


def test_a_newer_file_of_wandb_is_named(tmp_path: Path) -> None:
    path = wandb(tmp_path / "run-x.wandb", entry(0, loss="1"), version=7)
    with pytest.raises(RunLogError, match="in format version 7; this gradmidi reads version 0"):
        gradmidi.read(path)


@pytest.mark.slow
def test_what_wandb_writes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = package.init(project="x", mode="offline", dir=str(tmp_path))
    for step in range(5):
        run.log({"loss": 2.0 / (step + 1), "grad_norm/fc1": 0.5 * step, "deep": {"acc": 0.25}})
    run.finish()
    found = gradmidi.read(tmp_path)
    assert [frame.norms.tolist() for frame in found.frames()] == [[0.5 * n] for n in range(5)]
    assert [frame.extra["deep/acc"] for frame in found.frames()] == [0.25] * 5
    assert [frame.loss for frame in found.frames()] == pytest.approx(
        [2 / (n + 1) for n in range(5)]
    )


# -- MLflow --------------------------------------------------------------------------------------


def store(folder: Path, **metrics: str) -> Path:
    run = folder / "0" / "ab1"
    for name, lines in metrics.items():
        path = run / "metrics" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines)
    (folder / "0" / "meta.yaml").write_text("name: Default\n")
    (run / "meta.yaml").write_text("end_time: null\nstatus: 1\n")
    return run


def test_a_run_of_mlflows_file_store(tmp_path: Path) -> None:
    store(
        tmp_path / "mlruns",
        train__loss="1700000000000 2.5 1\n1700000000500 nan 2\n",
        acc="1700000000100 0.5 1\n1700000000600 0.75 2\n",
    )
    expected = [(1, {"loss": 2.5, "acc": 0.5}), (2, {"loss": NAN, "acc": 0.75})]
    assert str(values(tmp_path / "mlruns")) == str(expected)
    assert [frame.t for frame in gradmidi.read(tmp_path / "mlruns").frames()] == [0.0, 0.5]


def test_a_growing_run_of_mlflow_gets_new_metrics_and_an_end(tmp_path: Path) -> None:
    now = [0.0]
    run = store(tmp_path, loss="1700000000000 2.5 1\n17000000")
    reader = MlflowReader(run, clock=lambda: now[0])
    assert [row.values for row in reader.poll()] == [{"loss": 2.5}]
    store(tmp_path, loss="1700000000000 2.5 1\n1700000000500 2.25 2\n", acc="1700000000500 0.5 2\n")
    (run / "meta.yaml").write_text("end_time: 1700000001000\nstatus: 4\n")
    now[0] = 5.0
    assert [row.values for row in reader.poll()] == [{"loss": 2.25}, {"acc": 0.5}]
    now[0] = 10.0
    assert reader.poll() == []
    assert reader.ending == "failed"
    reader.close()


def test_a_file_that_is_no_metric_is_told(tmp_path: Path) -> None:
    store(tmp_path, loss="nothing here\n")
    with pytest.raises(RunLogError, match=r"'nothing here\\n' is no line of a metric of MLflow"):
        gradmidi.read(tmp_path)


# -- Trainers ------------------------------------------------------------------------------------


def state(path: Path, *steps: int, factor: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    history = [{"step": n, "loss": factor / n, "epoch": 0.1} for n in steps]
    path.write_text(json.dumps({"log_history": history}))


def test_the_output_folder_of_a_trainer_gives_its_newest_checkpoint(tmp_path: Path) -> None:
    for number, steps in ((10, (5, 10)), (20, (5, 10, 15, 20))):
        path = tmp_path / "out" / f"checkpoint-{number}" / "trainer_state.json"
        state(path, *steps)
        os.utime(path, (number, number))
    assert [step for step, _ in values(tmp_path / "out")] == [5, 10, 15, 20]


def test_a_trainer_that_goes_on_gives_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    state(path, 5, 10)
    reader = TrainerReader(tmp_path)
    assert [row.counts for row in reader.poll()] == [(5.0,), (10.0,)]
    assert reader.poll() == []
    path.write_text('{"log_history": [')
    assert reader.poll() == []
    state(path, 5, 10, 15)
    assert [row.counts for row in reader.poll()] == [(15.0,)]
    state(path, 5, 7, factor=2.0)
    assert [(row.counts, row.resumed) for row in reader.poll()] == [((5.0,), True), ((7.0,), True)]


def test_a_trainers_tensorboard_folder_is_preferred_to_its_checkpoints(tmp_path: Path) -> None:
    state(tmp_path / "checkpoint-5" / "trainer_state.json", 5)
    events(tmp_path / "runs" / "Nov30_host", scalar("train/loss", 2.0, 3, 1.0))
    found = find_log(tmp_path)
    assert (found.kind.name, found.path.name) == ("tensorboard", "Nov30_host")
    assert found.notes == ("there is a trainer_state.json too; --as trainer reads it",)
    assert [step for step, _ in values(tmp_path, kind="trainer")] == [5]


# -- JSON lines and CSV ----------------------------------------------------------------------------


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        'starting\n{"step": 1, "loss": 2.5, "time": 10.0, "eval": {"acc": 0.5}, "ok": true}\n'
        '\n{"step": 2, "loss": NaN, "time": 10.5, "note": "high"}\n'
    )
    done = import_log(path, tmp_path / "run")
    found = list(gradmidi.read(done.path).frames())
    expected = [(1, 0.0, {"loss": 2.5, "eval/acc": 0.5}), (2, 0.5, {"loss": NAN})]
    assert str([(frame.step, frame.t, frame.extra) for frame in found]) == str(expected)
    assert "1 line left out, since they hold no JSON object" in done.lines
    path.write_text('{"n": 4, "loss": 1.0}\n')
    assert values(path, step="n") == [(4, {"loss": 1.0})]


def test_a_half_line_and_half_a_letter_are_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    whole = '{"step": 1, "größe/loss": 0.5}\n'.encode()
    place = whole.index("ö".encode()) + 1
    path.write_bytes(whole[:place])
    reader = JsonLinesReader(path)
    assert reader.poll() == []
    with path.open("ab") as file:
        file.write(whole[place:])
    assert [row.values for row in reader.poll()] == [{"größe/loss": 0.5}]
    reader.close()


def test_a_csv_file_that_grows_and_is_written_again_with_more_columns(tmp_path: Path) -> None:
    """Lightning's CSVLogger writes all rows again when a new metric comes."""
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,2.5\n2,nan\n3,1.")
    reader = CsvReader(path)
    assert [row.values["loss"] for row in reader.poll()] == [
        2.5,
        pytest.approx(float("nan"), nan_ok=True),
    ]
    path.write_text("step,loss,acc\n1,2.5,\n2,nan,\n3,1.5,0.5\n")
    assert reader.poll() == []
    assert [row.values for row in reader.poll()] == [{"loss": 1.5, "acc": 0.5}]
    path.write_text("step,loss,acc\n1,9.5,\n")
    assert reader.poll() == []
    assert [row.values for row in reader.poll()] == [{"loss": 9.5}]
    assert reader.columns == ("loss", "acc")
    reader.close()


def test_kinds_are_found_by_name_and_can_be_insisted_on(tmp_path: Path) -> None:
    path = tmp_path / "log.dat"
    path.write_text("step,loss\n1,2.5\n")
    with pytest.raises(RunLogError, match=r"nothing reads 'log\.dat'.*--as KIND"):
        gradmidi.read(path)
    assert values(path, kind="csv") == [(1, {"loss": 2.5})]
    with pytest.raises(RunLogError, match="no kind of log 'tb'; there are: tensorboard, wandb"):
        gradmidi.read(path, kind="tb")


def test_what_it_was_taken_for_is_said_in_one_line(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,grad_norm,time_ms\n1,2.5,1,80\n")
    gradmidi.read(path)
    assert said == [f"{path} is a CSV file: hearing grad_norm, loss; seen too: time_ms"]


def test_what_was_changed_or_left_out_is_said_by_every_command(
    tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,grad\n1,3\n2,2\n1,2.5\n")
    for use in (
        gradmidi.read,
        lambda log: list(gradmidi.describe(log)),
        lambda log: gradmidi.render(log, tmp_path / "a.mid"),
    ):
        said.clear()
        use(path)
        assert said[:2] == [
            f"{path} is a CSV file: hearing grad",
            "steps begin again at line 4: numbered on",
        ]


@pytest.mark.parametrize(
    "command", [["describe"], ["describe", "--now"], ["render", "-o", "a.mid"]]
)
def test_a_log_without_values_is_read_by_every_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("step,grad\n10,3\n20,2\n")
    done = CliRunner().invoke(app, [*command, "log.csv"])
    assert done.exit_code == 0, done.output
    if command == ["describe"]:
        assert "run log: 1 layer, 2 steps at unknown times, imported" in done.output


def test_values_are_heard_beside_a_total_norm_and_beside_many_layers_if_they_are_named(
    tmp_path: Path, said: list[str]
) -> None:
    few, many = tmp_path / "few.csv", tmp_path / "many.csv"
    few.write_text("step,loss,grad_norm\n1,2.5,1\n2,2.25,1\n3,2,1\n4,2,1\n")
    many.write_text(
        "step,loss,grad/a,grad/b,grad/c,grad/d\n1,3,1,1,1,1\n2,2,1,1,1,1\n3,1,1,1,1,1\n"
    )

    def voices(path: Path) -> list[str]:
        gradmidi.render(path, tmp_path / "run.mid")
        tracks = [track.name for track in mido.MidiFile(tmp_path / "run.mid").tracks]
        return [name for name in tracks if name in ("loss", "total", *"abcd")]

    assert voices(few) == ["total", "loss"]
    assert voices(many) == [*"abcd"]
    assert said[-1] == f"{many} is a CSV file: hearing 4 layers; seen too: loss"


def test_a_log_that_is_read_leaves_no_files_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "log.csv").write_text("step,loss\n1,2.5\n")
    run = gradmidi.read(tmp_path / "log.csv")
    assert (run.name, len(list((tmp_path / "temporary").iterdir()))) == ("log", 1)
    del run
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_folder_of_runs_of_gradmidi_is_no_log_of_another_tool(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.jsonl").write_text('{"gradmidi": 1, "layers": []}\n')
    with pytest.raises(RunLogError, match=r"no run at .*; give a folder that holds run\.jsonl"):
        gradmidi.read(tmp_path)


def test_a_run_on_another_machine_needs_no_import(tmp_path: Path) -> None:
    with pytest.raises(RunLogError, match=r"^box:runs/a is a run on another machine, and can be u"):
        gradmidi.import_log("box:runs/a", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_of_gradmidi_needs_no_import(tmp_path: Path) -> None:
    run = write_log(tmp_path / "a", [[1.0] * 4])
    for path in (run, run / "run.jsonl"):
        with pytest.raises(RunLogError, match="is a run of gradmidi already"):
            gradmidi.import_log(path, tmp_path / "b")
