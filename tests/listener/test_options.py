"""Options: what is refused, one declaration for all that take them, and paths that last."""

import inspect
import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import gradmidi
from gradmidi.errors import CaptureError, GradmidiError, PresetError, RunLogError
from gradmidi.midi.rig import Rig
from gradmidi.options import Options

WRONG: list[tuple[dict[str, Any], type[GradmidiError], str]] = [
    ({"out": 5}, GradmidiError, "out=5; allowed is a folder"),
    ({"preset": "x"}, PresetError, "no preset is called 'x'; there are: "),
    ({"preset": None}, GradmidiError, "preset=None; allowed is a preset's name or a .toml file"),
    ({"preset": "no.toml"}, PresetError, "preset {here}/no.toml cannot be read: No such file"),
    ({"rig": "no.toml"}, PresetError, "rig no.toml cannot be read: No such file"),
    ({"midi": ["a", "a"]}, PresetError, "option ports = ['a', 'a']; allowed is each port once"),
    ({"midi": 1}, GradmidiError, "midi=1; allowed are MIDI outputs by name"),
    ({"osc": [57120]}, GradmidiError, "osc=[57120]; allowed are addresses, as '127.0.0.1:57120'"),
    ({"take": "a.wav"}, GradmidiError, "take='a.wav'; the file's name must end in .mid"),
    ({"notify": 5}, GradmidiError, "notify=5; allowed are addresses of apprise, as 'slack://…'"),
    ({"values": 5}, GradmidiError, "values=5; allowed are names or patterns, as ('loss', 'val/*')"),
    ({"layers": 3}, CaptureError, "layers=3; allowed are names or patterns of layers, as"),
    ({"voices": {"top": 1}}, CaptureError, "voices={'top': 1}; allowed is a mapping of names to"),
    ({"voices": "fc*"}, CaptureError, "voices='fc*'; allowed is a mapping of names to patterns"),
    ({"resume": "yes"}, RunLogError, "resume='yes'; allowed is True or False"),
    ({"resume": True}, RunLogError, "resume=True needs out=, the folder of the run to continue"),
    (
        {"out": "a", "resume": True, "overwrite": True},
        RunLogError,
        "resume=True and overwrite=True",
    ),
    ({"step": -1}, RunLogError, "step=-1; allowed is a whole number of 0 or more, the steps made"),
    ({"step": 2.0}, RunLogError, "step=2.0; allowed is a whole number of 0 or more"),
    ({"step": True}, RunLogError, "step=True; allowed is a whole number of 0 or more"),
    ({"parameters": "biases"}, CaptureError, "parameters='biases'; allowed is 'all' or 'weights'"),
    ({"every": 0}, CaptureError, "every=0; allowed is a whole number of 1 or more"),
    ({"every": True}, CaptureError, "every=True; allowed is a whole number of 1 or more"),
    ({"every": 2.0}, CaptureError, "every=2.0; allowed is a whole number of 1 or more"),
    ({"budget": 0.0}, CaptureError, "budget=0.0; allowed is a share above 0 and below 1, as 0.005"),
    ({"budget": "1%"}, CaptureError, "budget='1%'; allowed is a share above 0 and below 1"),
    ({"scaler": 2.0}, CaptureError, "scaler=float has no step(optimizer); give a GradScaler"),
    ({"files": "xyz"}, GradmidiError, "files='xyz'; allowed is: mid wav flac ogg mp3"),
    ({"files": [1]}, GradmidiError, "files=[1]; allowed are endings, as ('mid', 'wav')"),
    ({"keep": "all"}, RunLogError, "keep='all'; allowed is 'layers' or 'voices'"),
    ({"log_to": "clearml"}, GradmidiError, "log_to='clearml'; allowed is: wandb, mlflow, or a Su"),
    ({"log_to": 3}, GradmidiError, "log_to=int; allowed is: wandb, mlflow, or a SummaryWriter"),
    ({"config": [1]}, RunLogError, "config=[1]; allowed is a mapping of names to values"),
]


@pytest.mark.parametrize(("given", "kind", "message"), WRONG)
def test_a_wrong_value_is_refused_with_what_is_allowed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    kind: type[GradmidiError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as told:
        Options(**given)
    assert str(told.value).startswith(message.replace("{here}", str(tmp_path)))
    assert "\n" not in str(told.value)


def test_the_signatures_of_listen_and_record_are_the_options() -> None:
    declared = {each.name: each.default for each in fields(Options)}
    assert MISSING not in declared.values()
    own = {"listen": {"model", "optimizer"}, "record": {"layers"}}
    of_capture = {"layers", "parameters", "every", "budget", "updates", "scaler"}
    for name, left_out in (("listen", {"settings"}), ("record", {"settings", *of_capture})):
        taken = {
            parameter.name: parameter.default
            for parameter in inspect.signature(getattr(gradmidi, name)).parameters.values()
            if parameter.name not in own[name]
        }
        assert taken == {each: declared[each] for each in declared if each not in left_out}


def test_voices_given_as_layers_are_told_their_name(said: list[str]) -> None:
    options = Options(layers={"top": "fc*"})
    assert (options.layers, options.voices) == (None, {"top": "fc*"})
    assert said == ["layers={…} for voices of your own is called voices={…} now; it still works"]
    with pytest.raises(CaptureError, match="layers= is a mapping, and voices= is given too"):
        Options(layers={"top": "fc*"}, voices={"low": "conv*"})


def test_each_option_has_a_description_for_the_command_line() -> None:
    without_flag = {each.name for each in fields(Options) if each.metadata["kind"] is None}
    assert without_flag == {"scaler", "config", "step"}
    for each in fields(Options):
        assert each.metadata["doc"]
        if each.metadata["kind"] is not None:
            named = {"metavar", "choices", "flag"} & each.metadata.keys()
            assert named, each.name


def test_paths_hold_when_the_script_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.toml").write_text('title = "Own"\n[time]\ntempo = 90\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    options = Options(preset="own.toml", take="live.mid")
    os.chdir("elsewhere")
    assert options.preset == str(tmp_path / "own.toml")
    assert options.session().take == str(tmp_path / "live.mid")
    assert options.music.time.tempo == 90


def test_the_session_of_the_player(tmp_path: Path) -> None:
    rig = Rig(channels="1-4")
    session = Options(
        preset="hold", rig=rig, midi="a", osc="127.0.0.1:9", audio=True, take=tmp_path / "a.mid"
    ).session(level=-6.0)
    assert session.preset.name == "hold"
    assert (session.rig.ports, session.rig.channels) == (("a",), "1-4")
    assert (session.osc, session.audio, session.level) == (("127.0.0.1:9",), "", -6.0)
    assert Options(audio="Built-in").session().audio == "Built-in"
    assert Options(audio=False).session().audio is None
    assert not Options(midi="a", osc="127.0.0.1:9", audio=True).silent().session().sounds
