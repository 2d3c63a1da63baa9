"""Whole files: nothing under the name before all of it, and nothing else left behind."""

import errno
import os
from pathlib import Path

import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.base.files import WholeFile
from gradmidi.errors import PortError

POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions and links of POSIX")


def test_the_name_appears_with_all_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with WholeFile(path) as new:
        new.file.write(b"one")
        new.file.flush()
        assert not path.exists()
        assert [p.name[:7] for p in tmp_path.iterdir()] == [".a.bin."]
        new.file.write(b" two")
    assert path.read_bytes() == b"one two"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_exception_the_old_file_is_there_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    new = WholeFile(path)
    new.file.write(b"new")
    with pytest.raises(KeyboardInterrupt), new:
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_discard_after_save_keeps_the_file_and_may_come_twice(tmp_path: Path) -> None:
    new = WholeFile(tmp_path / "a.bin")
    new.save()
    new.discard()
    new.discard()
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_system_error_names_the_file_and_others_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match="full") as caught, WholeFile(path):
        raise OSError(errno.ENOSPC, "full")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    with pytest.raises(OSError, match="other") as caught, WholeFile(path):
        raise OSError(errno.ENOENT, "other", "b.bin")
    assert caught.value.filename == "b.bin"
    with pytest.raises(PortError, match="port"), WholeFile(path):
        raise PortError("port")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_a_folder_of_that_name_fail_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        WholeFile(tmp_path / "no" / "a.bin")
    assert caught.value.filename == str(tmp_path / "no" / "a.bin")
    with pytest.raises(IsADirectoryError):
        WholeFile(tmp_path)


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".svg.")
    with WholeFile(path) as new:
        new.file.write(b"x")
    assert path.read_bytes() == b"x"


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with WholeFile(tmp_path / "a.bin") as new:
            assert new.part.stat().st_mode & 0o777 == 0o666 & ~mask
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o666 & ~mask


@POSIX
def test_the_part_file_never_follows_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even under the very name that it takes: with the randomness known, it fails instead."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 16)
    (tmp_path / f".a.bin.{'0' * 16}.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        WholeFile(tmp_path / "a.bin")
    assert victim.read_bytes() == b"precious"


@POSIX
@pytest.mark.parametrize("ending", [".mid", ".wav", ".flac", ".png", ".svg", ".html", ".txt"])
def test_a_link_under_the_name_that_0_1_used_is_left_alone(tmp_path: Path, ending: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    target = tmp_path / f"out{ending}"
    old = tmp_path / f".{target.name}.{os.getpid()}.part"
    old.symlink_to(victim)
    render(write_log(tmp_path / "run", [[1.0] * 4] * 8), target)
    assert target.stat().st_size > 0
    assert not target.is_symlink()
    assert victim.read_bytes() == b"precious"
    assert old.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [old.name, "run", target.name, "victim"]
    )


@POSIX
def test_a_link_under_the_files_own_name_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "a.bin").symlink_to(victim)
    with WholeFile(tmp_path / "a.bin") as new:
        new.file.write(b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "a.bin").read_bytes() == b"new"
