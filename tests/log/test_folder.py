"""Where a run goes: a new folder, an earlier run that goes on, or the next name."""

import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from logs import header, write_log
from rights import as_nobody

import gradmidi
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME
from gradmidi.log.folder import check_out, open_folder

NORMS = [1.0, 2.0, 3.0, 4.0]


def opened(out, **options):
    found = open_folder(out, header(), **options)
    os.close(found.fd)
    return found


def recorded(out, layers, steps=2):
    with gradmidi.record(out, layers=layers, files=()) as ears:
        for _ in range(steps):
            ears.frame([1.0] * len(layers))
    return ears


def test_a_folder_is_made_with_those_above_it(tmp_path):
    found = opened(tmp_path / "runs" / "a")
    assert found.path == tmp_path / "runs" / "a"
    assert (found.last_step, found.resumed, found.cut_short, found.taken) == (0, False, False, "")
    assert (found.path / FILE_NAME).exists()


def test_a_run_of_the_same_layers_goes_on_only_if_asked(tmp_path):
    write_log(tmp_path / "a", [NORMS] * 7)
    found = opened(tmp_path / "a", resume=True)
    assert (found.path, found.last_step, found.resumed) == (tmp_path / "a", 7, True)
    found = opened(tmp_path / "a")
    assert (found.path, found.resumed, found.taken) == (tmp_path / "a-2", False, "a run")


def test_a_run_of_other_layers_is_left_alone_and_this_one_said_to_be_elsewhere(tmp_path, capsys):
    recorded(tmp_path / "a", ["conv"])
    ears = recorded(tmp_path / "a", ["conv", "fc"])
    assert ears.folder == tmp_path / "a-2"
    said = capsys.readouterr().err.splitlines()
    told = f"{tmp_path / 'a'} holds a run of other layers: overwrite=True (--force) replaces it"
    assert said[2].endswith(f"run.jsonl; {told}")
    assert [layer.name for layer in gradmidi.read(tmp_path / "a").layers] == ["conv"]
    assert gradmidi.read(tmp_path / "a-2").steps == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_two_that_write_at_once_have_a_folder_each(tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc"], files=()) as one:
        one.frame([1.0])
        other = recorded(tmp_path / "a", ["fc"], steps=3)
    assert (one.folder.name, other.folder.name) == ("a", "a-2")
    assert gradmidi.read(one.folder).steps == 1
    assert gradmidi.read(other.folder).steps == 3


def test_a_line_that_was_cut_short_does_not_spoil_the_next(tmp_path):
    path = write_log(tmp_path / "a", [NORMS] * 3) / FILE_NAME
    whole = path.read_bytes()
    at = whole.index(b'{"step": 3')
    path.write_bytes(whole[: at + 20])
    recorded(tmp_path / "a", ["conv1", "conv2", "fc1", "fc2"])
    # Other sizes are other layers: the run that was cut is left as it is.
    assert path.read_bytes() == whole[: at + 20]
    found = opened(tmp_path / "a", resume=True)
    assert (found.last_step, found.resumed, found.cut_short) == (2, True, True)


@pytest.mark.parametrize("parts", [("file",), ("file", "below")])
def test_a_file_where_the_folder_should_be_is_named(tmp_path, parts):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunLogError, match=r"file is a file; out= must be a folder"):
        opened(tmp_path.joinpath(*parts))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("out", ["", "new", "new/below"])
def test_a_folder_that_may_not_be_written_to_is_named(out):
    # Not in pytest's own folder, which nobody else may look into.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        wanted = re.escape(str(folder / out))
        with (
            as_nobody(),
            pytest.raises(
                RunLogError, match=f"cannot write a run to '{wanted}': Permission denied; out="
            ),
        ):
            opened(folder / out)
        assert os.listdir(folder) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_a_folder_that_may_not_be_looked_into_is_named():
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o000)
        with as_nobody():
            for look in (opened, check_out):
                with pytest.raises(RunLogError, match=r"Permission denied; out= must be a folder"):
                    look(Path(name) / "a")
