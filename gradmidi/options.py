"""The options of `listen`, `record`, `gradmidi run` and the framework callbacks, checked once."""

import dataclasses
import inspect
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradmidi.base import checks
from gradmidi.base.checks import LayerChoice
from gradmidi.base.messages import say
from gradmidi.base.table import setting
from gradmidi.errors import CaptureError, GradmidiError, RunLogError
from gradmidi.live.session import Session
from gradmidi.midi.rig import Rig
from gradmidi.midi.rig import load as load_rig
from gradmidi.music.preset import Preset
from gradmidi.music.preset import load as load_preset
from gradmidi.sinks.registry import FILES

__all__ = ["Options", "about"]


def about(doc: str, kind: type | None = None, **more: Any) -> Mapping[str, Any]:
    """Describe an option, for the command line and for the documentation.

    Parameters
    ----------
    doc : str
        The meaning of the option, in one line.
    kind : type, optional
        Type of one value on the command line: `str`, `int`, `float`, `bool` (a switch) or `Path`.
        None: the option has no flag.
    **more
        ``metavar`` (name of the value in the help), ``unit``, ``least``, ``choices`` (the allowed
        values), ``error`` (the exception for any other value), ``repeat`` (the flag may be
        repeated).
    """
    return {"doc": doc, "kind": kind, **more}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `listen`, except the model and its optimizers.

    Paths of the preset and the take are made absolute, since a script may change its folder.

    Raises
    ------
    GradmidiError
        If a value is not allowed: a `PresetError` for preset and rig, a `CaptureError` for
        options of capture, a `RunLogError` for options of the log.

    Examples
    --------
    >>> options = Options(preset="hold", files="mid", voices={"top": "fc*"}, midi="IAC Bus 1")
    >>> options.endings, options.voices, options.cables.ports
    (('.mid',), {'top': 'fc*'}, ('IAC Bus 1',))
    >>> Options(every=0)
    Traceback (most recent call last):
    gradmidi.errors.CaptureError: every=0; allowed is a whole number of 1 or more
    """

    out: str | os.PathLike[str] | None = field(
        default=None,
        metadata=about("Folder of the run; by default runs/<date-time>", Path, metavar="FOLDER"),
    )
    resume: bool | None = field(
        default=None,
        metadata=about("Continue the run that is in the folder", bool, flag="--resume"),
    )
    overwrite: bool = field(
        default=False,
        metadata=about("Replace the run that is in the folder", bool, flag="--force"),
    )
    step: int | None = field(
        default=None, metadata=about("Number of steps made before, as the checkpoint has it")
    )
    preset: str | Path = field(
        default="pentatonic",
        metadata=about(
            "A preset's name or a .toml file; by default pentatonic", str, metavar="PRESET"
        ),
    )
    rig: str | Path | Rig | None = field(
        default=None,
        metadata=about(
            "Rig for live MIDI, a .toml file: channels, clock, limits", Path, metavar="FILE"
        ),
    )
    settings: Sequence[str] = field(
        default=(),
        metadata=about(
            "Set a key of the rig, as channels=1-4, or of the preset, as time.tempo=90",
            str,
            metavar="KEY=VALUE",
            repeat=True,
        ),
    )
    midi: str | Sequence[str] | None = field(
        default=None,
        metadata=about(
            "MIDI output, by name or part of it; virtual:NAME makes a port",
            str,
            metavar="PORT",
            repeat=True,
        ),
    )
    osc: str | Sequence[str] | None = field(
        default=None, metadata=about("Where to send OSC", str, metavar="HOST:PORT", repeat=True)
    )
    audio: bool | str | None = field(
        default=None,
        metadata=about(
            "Play through the sound card, or through the one of this name", bool, metavar="NAME"
        ),
    )
    take: str | os.PathLike[str] | None = field(
        default=None,
        metadata=about("Save what is played live as a .mid file", Path, metavar="FILE"),
    )
    notify: str | Sequence[str] | None = field(
        default=None,
        metadata=about(
            "Send each fault to this address of apprise, as slack://… or mailto://…",
            str,
            metavar="URL",
            repeat=True,
        ),
    )
    layers: LayerChoice | None = field(
        default=None,
        metadata=about(
            "Listen to these layers only, as 'blocks.*'",
            str,
            metavar="PATTERN",
            repeat=True,
            error=CaptureError,
        ),
    )
    voices: Mapping[str, str] | None = field(
        default=None,
        metadata=about(
            "A voice of your own: all layers that a pattern matches, as 'low=blocks.0*'",
            str,
            metavar="NAME=PATTERN",
            repeat=True,
            error=CaptureError,
        ),
    )
    values: str | Sequence[str] | None = field(
        default=None,
        metadata=about(
            "Logged values that have a voice, by name or pattern, as loss,val/*",
            str,
            metavar="NAMES",
        ),
    )
    reference_tone: bool = field(
        default=False,
        metadata=about(
            "Play the home of each value softly once a bar", bool, flag="--reference-tone"
        ),
    )
    parameters: str = field(
        default="all",
        metadata=about(
            "Norm over all of a layer's parameters, or its weights only",
            str,
            choices=("all", "weights"),
            error=CaptureError,
        ),
    )
    every: int = field(
        default=1, metadata=about("Measure every Nth step", int, metavar="N", unit="steps", least=1)
    )
    budget: float | None = field(
        default=None,
        metadata=about(
            "Largest share of the training time that measuring may take, as 0.005",
            float,
            metavar="SHARE",
        ),
    )
    updates: int | None = field(
        default=None,
        metadata=about("Measure the size of every Nth update", int, metavar="N", least=1),
    )
    scaler: Any = field(
        default=None, metadata=about("Object whose step(optimizer) steps or skips the optimizer")
    )
    files: str | Sequence[str] = field(
        default=("mid", "wav", "txt"),
        metadata=about(
            "Files to make at the end, by ending, as mid,wav,html; or none", str, metavar="ENDINGS"
        ),
    )
    keep: str = field(
        default="layers",
        metadata=about(
            "Log every layer, or only the grouped voices",
            str,
            choices=("layers", "voices"),
            error=RunLogError,
        ),
    )
    log_to: str | checks.SummaryWriter | None = field(
        default=None,
        metadata=about(
            "Upload sound, picture and faults to the active run", str, metavar="wandb|mlflow"
        ),
    )
    config: Mapping[str, Any] | None = field(
        default=None, metadata=about("What to keep beside the run, in its log")
    )

    def __post_init__(self) -> None:
        for declared in fields(self):
            choices, value = declared.metadata.get("choices"), getattr(self, declared.name)
            if choices and value not in choices:
                allowed = " or ".join(map(repr, choices))
                raise declared.metadata["error"](f"{declared.name}={value!r}; allowed is {allowed}")
        if self.out is not None:
            checks.path_of("out", self.out, "a folder")
        self._check_resume()
        checks.check_count("every", self.every)
        if self.updates is not None:
            checks.check_count("updates", self.updates)
        checks.check_budget(self.budget)
        checks.check_scaler(self.scaler)
        self._check_layers()
        checks.check_tracker(self.log_to)
        if self.config is not None and not isinstance(self.config, Mapping):
            raise RunLogError(f"config={self.config!r}; allowed is a mapping of names to values")
        preset = checks.path_of("preset", self.preset, "a preset's name or a .toml file")
        if preset.suffix == ".toml":
            object.__setattr__(self, "preset", str(preset.absolute()))
        if self.take is not None:
            take = checks.path_of("take", self.take, "a file whose name ends in .mid")
            if take.suffix.lower() != ".mid":
                raise GradmidiError(f"take={str(take)!r}; the file's name must end in .mid")
            object.__setattr__(self, "take", take.absolute())
        # Checked and read here, once.
        _ = self.endings, self.music, self.cables, self.addresses
        if self.recipients and find_spec("apprise") is None:
            raise GradmidiError("notify= needs apprise: pip install 'gradmidi[notify]'")

    @classmethod
    def given(cls, values: Mapping[str, Any], *, without: Iterable[str] = ()) -> "Options":
        """Make `Options` from keyword arguments; raise for an unknown name.

        Parameters
        ----------
        values : mapping
            Names and values.
        without : iterable of str
            Names that are refused too.

        Raises
        ------
        CaptureError
            If there is no such option.

        Examples
        --------
        >>> Options.given({"perset": "hold"})  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        gradmidi.errors.CaptureError: there is no option 'perset'; there are: out, ...
        """
        known = [each.name for each in fields(cls) if each.name not in set(without)]
        for name in values:
            if name not in known:
                raise CaptureError(f"there is no option {name!r}; there are: {', '.join(known)}")
        return cls(**values)

    @classmethod
    def signature(cls, *, without: Iterable[str] = ()) -> list[inspect.Parameter]:
        """Return the options as keyword parameters, for the signature of a function."""
        parameters = inspect.signature(cls).parameters.values()
        return [each for each in parameters if each.name not in set(without)]

    def _check_resume(self) -> None:
        for name, allowed in (("resume", (None, True, False)), ("overwrite", (True, False))):
            value = getattr(self, name)
            if not any(value is each for each in allowed):
                raise RunLogError(f"{name}={value!r}; allowed is True or False")
        if self.resume and self.overwrite:
            raise RunLogError("resume=True and overwrite=True exclude each other; give one of them")
        if self.resume and self.out is None:
            raise RunLogError("resume=True needs out=, the folder of the run to continue")
        if self.step is not None:
            object.__setattr__(self, "step", checks.steps_made(self.step))

    def _check_layers(self) -> None:
        if isinstance(self.layers, Mapping):
            if self.voices is not None:
                raise CaptureError("layers= is a mapping, and voices= is given too; give voices=")
            say("layers={…} for voices of your own is called voices={…} now; it still works")
            object.__setattr__(self, "voices", self.layers)
            object.__setattr__(self, "layers", None)
        checks.check_layers(self.layers)
        object.__setattr__(self, "voices", checks.voices_of(self.voices))

    @cached_property
    def endings(self) -> tuple[str, ...]:
        """Endings, with the dot, of the files to write at the end of the run."""
        given = checks.texts("files", self.files, "endings, as ('mid', 'wav')")
        endings = tuple(dict.fromkeys(f".{each.lower().removeprefix('.')}" for each in given))
        for ending in endings:
            if ending not in FILES:
                known = " ".join(each.removeprefix(".") for each in FILES)
                raise GradmidiError(f"files={ending.removeprefix('.')!r}; allowed is: {known}")
        return endings

    @cached_property
    def music(self) -> Preset:
        """The preset."""
        return load_preset(self.preset, self._settings[0] | self._of_values)

    @cached_property
    def cables(self) -> Rig:
        """The rig, with the ports of ``midi=``."""
        ports = [port for port in checks.texts("midi", self.midi, "MIDI outputs by name") if port]
        return load_rig(self.rig, {"ports": ports or None, **self._settings[1]})

    @cached_property
    def preset_settings(self) -> tuple[str, ...]:
        """The settings that are for the preset, not for the rig."""
        given = (each for each in self.settings if "." in each.partition("=")[0])
        # A list of texts and a truth value are written in JSON as in TOML.
        return (*given, *(f"{key}={json.dumps(value)}" for key, value in self._of_values.items()))

    @cached_property
    def _of_values(self) -> dict[str, Any]:
        """The keys of the preset that `values` and `reference_tone` set."""
        names = list(checks.texts("values", self.values, "names or patterns, as ('loss', 'val/*')"))
        found: dict[str, Any] = {"values.which": names} if names else {}
        return found | ({"values.reference_tone": True} if self.reference_tone else {})

    @cached_property
    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of the preset and of the rig, by key."""
        read = dict(
            map(setting, checks.texts("settings", self.settings, "texts, as 'time.tempo=90'"))
        )
        of_preset = {key: value for key, value in read.items() if "." in key}
        return of_preset, {key: value for key, value in read.items() if "." not in key}

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that OSC is sent to."""
        return checks.texts("osc", self.osc, "addresses, as '127.0.0.1:57120'")

    @cached_property
    def recipients(self) -> tuple[str, ...]:
        """The addresses that faults are sent to."""
        return checks.texts("notify", self.notify, "addresses of apprise, as 'slack://…'")

    def session(self, **more: Any) -> Session:
        """Return the player's `Session`; `more` holds its other fields."""
        return Session(
            self.music,
            self.cables,
            osc=self.addresses,
            audio=None if not self.audio else self.audio if isinstance(self.audio, str) else "",
            take=None if self.take is None else str(self.take),
            notify=self.recipients,
            **more,
        )

    def silent(self) -> "Options":
        """Return these options without live output."""
        return dataclasses.replace(
            self, rig=None, midi=None, osc=None, audio=None, take=None, notify=None
        )
