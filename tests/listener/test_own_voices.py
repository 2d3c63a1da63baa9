"""Voices of one's own: in the log, in every file, and in what is played live."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mido
import pytest

import gradmidi
from gradmidi.log import Layer

LAYERS = [Layer("conv1", 10), Layer("conv2", 20), Layer("fc1", 30), Layer("fc2", 40)]
VOICES = {"top": "fc*", "first": "conv1"}
ROW = [3.0, 1.0, 4.0, 3.0]


def tracks(path: Path) -> list[str]:
    """The names of a file's tracks of voices; the first track has no notes."""
    found = [track.name for track in mido.MidiFile(path).tracks[1:]]
    return [name for name in found if name != "faults"]


def header(folder: Path) -> dict[str, Any]:
    with (folder / "run.jsonl").open(encoding="utf-8") as lines:
        return dict(json.loads(lines.readline()))


def by_record(folder: Path, **options: Any) -> None:
    with gradmidi.record(folder, layers=LAYERS, voices=VOICES, **options) as ears:
        for step in range(4):
            ears.frame([norm * (step + 1) for norm in ROW])


def by_listen(folder: Path, **options: Any) -> None:
    torch = pytest.importorskip("torch")
    from collections import OrderedDict

    names = [layer.name for layer in LAYERS]
    net = torch.nn.Sequential(OrderedDict((name, torch.nn.Linear(2, 2)) for name in names))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with gradmidi.listen(net, optimizer, out=folder, voices=VOICES, **options):
        for _ in range(4):
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()


@pytest.mark.parametrize("keep", ["layers", "voices"])
@pytest.mark.parametrize("way", [by_record, by_listen])
def test_every_file_has_exactly_these_tracks(
    tmp_path: Path, way: Callable[..., None], keep: str
) -> None:
    folder = tmp_path / "a"
    way(folder, keep=keep, files=("mid",))
    assert tracks(folder / "run.mid") == ["top", "first"]
    (path,) = gradmidi.render(gradmidi.read(folder), tmp_path / "b.mid", preset="hold")
    assert tracks(path) == ["top", "first"]
    found = header(folder)
    names = [layer["name"] for layer in found["layers"]]
    if keep == "layers":
        assert found["voices"] == VOICES
        assert names == [layer.name for layer in LAYERS]
        assert gradmidi.read(folder).header.voices == VOICES
    else:
        assert "voices" not in found
        assert names == ["top", "first"]


def test_other_voices_may_be_asked_for_when_a_file_is_made(tmp_path: Path) -> None:
    by_record(tmp_path / "a", files=())
    (path,) = gradmidi.render(tmp_path / "a", tmp_path / "b.mid", voices={"all": "*"})
    assert tracks(path) == ["all"]


def test_what_is_played_live_has_these_tracks(tmp_path: Path) -> None:
    by_record(tmp_path / "a", files=(), take=tmp_path / "live.mid")
    assert tracks(tmp_path / "live.mid") == ["top", "first"]


def test_a_run_of_grouped_layers_has_no_voices_in_its_header(tmp_path: Path) -> None:
    with gradmidi.record(tmp_path / "a", layers=LAYERS, files=()) as ears:
        ears.frame(ROW)
    assert "voices" not in header(tmp_path / "a")


def test_a_pattern_that_matches_no_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(gradmidi.PresetError, match=r"voices: 'lstm\*' \(low\) matches no layer"):
        gradmidi.record(tmp_path / "a", layers=LAYERS, voices={"low": "lstm*"})
    assert not (tmp_path / "a").exists()
