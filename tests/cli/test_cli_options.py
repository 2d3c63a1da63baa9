"""Options that several commands take: ``--set`` and the flags it replaces."""

import subprocess
import sys
from pathlib import Path

import mido
import pytest
from logs import write_log
from typer.testing import CliRunner

import gradmidi
from gradmidi.cli.app import app
from gradmidi.cli.options import RIG_FLAGS
from gradmidi.errors import PresetError
from gradmidi.options import Options


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with gradmidi.record(tmp_path / "a", layers=["fc1", "fc2"], files=()) as ears:
        for step in range(8):
            ears.frame([0.5, 1.0 + step])
    return tmp_path / "a"


def tempo(path: Path) -> float:
    (found,) = [m.tempo for m in mido.MidiFile(path).tracks[0] if m.type == "set_tempo"]
    return mido.tempo2bpm(found)


def test_a_key_of_the_preset_is_set_for_one_file(run: Path) -> None:
    done = CliRunner().invoke(
        app, ["render", str(run), "-o", str(run / "a.mid"), "--set", "time.tempo=90"]
    )
    assert done.exit_code == 0, done.output
    assert tempo(run / "a.mid") == pytest.approx(90.0)


def test_what_is_set_shapes_the_files_that_a_run_makes_at_its_end(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "from gradmidi.listener.listen import record_with\n"
        "from gradmidi.options import Options\n"
        "options = Options(out='a', files='mid', settings=['time.tempo=90'])\n"
        "with record_with(['fc1'], options) as ears:\n"
        "    ears.frame([0.5])\n"
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    assert tempo(tmp_path / "a" / "run.mid") == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("time.temp=90", r"--set: \[time\] unknown key 'temp'; there are: tempo, slot, style"),
        ("tim.tempo=90", "--set tim.tempo: a preset has no table 'tim'; there are: time, pitch"),
        ("time.tempo=fast", r"--set: \[time\] tempo = 'fast'; allowed is a number"),
        ("time.tempo=900", r"--set: \[time\] tempo = 900; allowed is 20 to 300"),
        ("channel=3", "unknown key 'channel'; there are: ports, channels, faults"),
        ("bend_range=many", "bend_range = 'many'; allowed is a whole number"),
        ("bend_range=99", "bend_range = 99; allowed is 1 to 24"),
        ("tempo", "--set tempo; write KEY=VALUE, as time.tempo=90 or channels=1-4"),
    ],
)
def test_a_wrong_key_type_or_value_is_refused_by_name(given: str, error: str) -> None:
    with pytest.raises(PresetError, match=error):
        Options(settings=[given])


def test_keys_of_the_rig_are_read_as_in_its_file() -> None:
    rig = Options(settings=["channels=1-4,6", "din_limit=900", "clock=true", "faults=off"]).cables
    assert (rig.channels, rig.din_limit, rig.clock, rig.faults) == ("1-4,6", 900, True, "off")


def test_a_description_has_no_rig(run: Path) -> None:
    done = CliRunner().invoke(app, ["describe", str(run), "--set", "clock=true"])
    assert done.exit_code == 2
    assert "allowed here is a key of the preset, as --set time.tempo=90" in done.output


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--channels", "0"], "option channels = '0'"),
        (["--fault-channel", "17"], "option faults = 17; allowed is 1 to 16"),
        (["--bend-range", "0"], "option bend_range = 0; allowed is 1 to 24"),
        (["--din-limit", "-1"], "option din_limit = -1; allowed is 0 to 10000"),
        (["--clock-port", "none"], "no MIDI"),
    ],
)
def test_flags_of_0_1_go_on_setting_keys_of_the_rig(
    run: Path, words: list[str], error: str
) -> None:
    if "MIDI" in error:
        pytest.importorskip("rtmidi")
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", "play", run, "--osc", "9", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert error in done.stderr.splitlines()[-1]


def test_help_shows_one_flag_in_place_of_eight() -> None:
    for command in ("play", "demo", "check", "run"):
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).output
        assert "--set KEY=VALUE" in text
        assert [flag for flag in RIG_FLAGS if f" {flag} " in text] == []


def test_help_cuts_no_line_at_eighty_columns() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= 80


def test_a_rig_and_its_flags_shape_a_file_as_a_cable(tmp_path: Path) -> None:
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 3)
    rig = tmp_path / "rig.toml"
    rig.write_text("channels = '3,5'\nfaults = 'off'\ncc = {level = 20}\n")
    places = []
    for words in ([], ["--rig", rig], ["--channels", "2-5"], ["--set", "channels=2-5"]):
        file = tmp_path / "a.mid"
        done = CliRunner().invoke(app, ["render", str(run), "-o", str(file), *map(str, words)])
        assert done.exit_code == 0, done.output
        tracks = mido.MidiFile(file).tracks[1:5]
        places.append([{m.channel + 1 for m in track if not m.is_meta} for track in tracks])
    assert places == [
        [{1}, {2}, {3}, {4}],
        [{3}, {5}, {3}, {5}],
        [{2}, {3}, {4}, {5}],
        [{2}, {3}, {4}, {5}],
    ]
    wrong = ["render", str(run), "-o", str(tmp_path / "b.mid"), "--set", "cc={loss=21,lr=21}"]
    done = CliRunner().invoke(app, wrong)
    assert done.exit_code == 1
    assert not (tmp_path / "b.mid").exists()


def test_link_is_a_key_of_the_rig_and_a_flag_of_the_commands_that_play_live() -> None:
    for command in ("play", "demo", "run"):
        assert "--link" in CliRunner().invoke(app, [command, "--help"]).output
    assert "--link" not in CliRunner().invoke(app, ["render", "--help"]).output
    assert Options(settings=["link=true"]).cables.link


def test_commands_by_midi_need_a_rig_that_names_them(run: Path, tmp_path: Path) -> None:
    words = ["play", str(run), "--osc", "9000", "--midi-in", "virtual:desk", "--plain"]
    done = CliRunner().invoke(app, words)
    assert "the rig has no midi_in, which says what knobs do" in str(done.exception)
    rig = tmp_path / "rig.toml"
    rig.write_text('[midi_in]\n"cc 20" = "loud"\n')
    done = CliRunner().invoke(app, [*words, "--rig", str(rig)])
    assert "rig.toml: midi_in: 'cc 20' is 'loud'; allowed are mute" in str(done.exception)
