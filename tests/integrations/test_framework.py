"""A framework that is not installed or too old: each adapter says which version is needed."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import gradmidi
from gradmidi.errors import CaptureError
from gradmidi.options import Options

NEEDED = {
    "keras": ("keras", "3.5", "3.4.1"),
    "lightning": ("lightning", "2.0", "1.9.5"),
    "transformers": ("transformers", "4.46", "4.9.2"),
    "accelerate": ("accelerate", "0.20", "0.5.1"),
}
"""Each adapter's package, the oldest version that will do, and one that will not."""


def asked_for(adapter: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask for an adapter, as a script does that imports it."""
    module = import_module(f"gradmidi.integrations.{adapter}")
    if adapter == "accelerate":
        return module.listen(None, None, None)
    # It is made once, and kept.
    monkeypatch.delitem(vars(module), "GradMidi", raising=False)
    return module.GradMidi


@pytest.mark.parametrize("adapter", NEEDED)
def test_a_framework_that_is_not_installed(
    adapter: str, installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module(f"gradmidi.integrations.{adapter}")
    installed()
    package, least, _ = NEEDED[adapter]
    with pytest.raises(CaptureError) as told:
        asked_for(adapter, monkeypatch)
    assert str(told.value) == (
        f"{package} {least} or newer is needed; it is not installed: "
        f"pip install '{package}>={least}'"
    )


@pytest.mark.parametrize("adapter", NEEDED)
def test_a_framework_that_is_too_old(
    adapter: str, installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module(f"gradmidi.integrations.{adapter}")
    package, least, old = NEEDED[adapter]
    installed(**{package: old})
    with pytest.raises(CaptureError) as told:
        asked_for(adapter, monkeypatch)
    assert str(told.value) == (
        f"{package} {least} or newer is needed; this is {old}: pip install '{package}>={least}'"
    )


def test_a_torch_that_is_too_old(installed: Callable[..., None], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    installed(torch="2.3.1+cu121")
    with pytest.raises(CaptureError) as told:
        gradmidi.listen(model, out=tmp_path / "a")
    assert str(told.value) == (
        "torch 2.4 or newer is needed; this is 2.3.1+cu121: pip install 'torch>=2.4'"
    )


def test_lightning_under_its_older_name(
    installed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_module("gradmidi.integrations.lightning")
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    installed(**{"pytorch-lightning": "1.9.5"})
    (tmp_path / "site-packages" / "pytorch_lightning.py").write_text("")
    with pytest.raises(CaptureError, match=r"pytorch-lightning 2\.0 or newer .* this is 1\.9\.5"):
        asked_for("lightning", monkeypatch)


def test_a_name_that_no_adapter_has() -> None:
    for adapter in ("keras", "lightning", "transformers"):
        with pytest.raises(AttributeError, match="no attribute 'Gradmidi'"):
            import_module(f"gradmidi.integrations.{adapter}").Gradmidi  # noqa: B018


ADAPTERS = {
    "keras": {"layers", "parameters", "budget", "updates", "scaler"},
    "lightning": set(),
    "transformers": set(),
}
"""Each callback, and the options of `listen` that it does not take."""


def callback(adapter: str) -> Any:
    package = "lightning.pytorch" if adapter == "lightning" else adapter
    if adapter == "keras":
        pytest.importorskip("torch")
        pytest.MonkeyPatch().setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(package)
    return import_module(f"gradmidi.integrations.{adapter}").GradMidi


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_wrong_option_is_refused_where_it_is_written(adapter: str) -> None:
    made = callback(adapter)
    with pytest.raises(CaptureError, match="there is no option 'perset'; there are: out, resume"):
        made(perset="hold")
    with pytest.raises(CaptureError, match="every=0; allowed is a whole number of 1 or more"):
        made(every=0)
    with pytest.raises(gradmidi.PresetError, match="no preset is called 'x'"):
        made(preset="x")
    for name in ADAPTERS[adapter]:
        with pytest.raises(CaptureError, match=f"there is no option '{name}'"):
            made(**{name: None})


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_signature_shows_every_option(adapter: str) -> None:
    shown = inspect.signature(callback(adapter)).parameters
    declared = {each.name: each.default for each in fields(Options)}
    assert {name: each.default for name, each in shown.items()} == {
        name: default for name, default in declared.items() if name not in ADAPTERS[adapter]
    }


def test_with_keras_no_layer_can_be_left_out() -> None:
    with pytest.raises(CaptureError, match="there is no option 'layers'"):
        callback("keras")(layers="fc*")
