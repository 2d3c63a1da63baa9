"""The command `tour`: a guided lesson in the sounds of a preset, as a file or live."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.cli.keys import closed_by_signals
from gradmidi.cli.options import output_option, takes
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.music.lesson import Cue
    from gradmidi.music.preset import Preset
    from gradmidi.options import Options

__all__ = ["register"]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
ENDINGS = (*SOUNDS, ".mid", ".txt")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(tour)


@takes("midi", "osc", "audio", "rig", "settings", "preset")
def tour(
    output: Annotated[list[Path] | None, output_option(ENDINGS)] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Hear every sound of a preset after its name.

    Where espeak-ng is installed, sound files speak the names.
    """
    from gradmidi.music.lesson import tour as compose
    from gradmidi.options import Options
    from gradmidi.sinks.registry import begin_of
    from gradmidi.text.words import timeline

    options, paths = Options(**given), output or []
    for path in paths:
        if path.suffix.lower() not in ENDINGS:
            raise typer.BadParameter(f"{path} may end in: {' '.join(ENDINGS)}")
    is_live = options.session().sounds
    if not paths and not is_live:
        raise typer.BadParameter(
            "nothing to play to; give -o FILE, --audio, --midi PORT or --osc HOST:PORT"
        )
    preset = options.music
    cues = list(compose(preset))
    begin = begin_of(preset, paths)
    lines = [timeline(begin + cue.tick * cue.seconds, cue.text) for cue in cues]
    for path in paths:
        _write(path, preset, cues, lines)
        typer.echo(str(path))
    if is_live:
        _play(options, cues)
    elif not any(path.suffix.lower() == ".txt" for path in paths):
        typer.echo("\n".join(lines), err=True)


def _write(path: Path, preset: "Preset", cues: "Sequence[Cue]", lines: Sequence[str]) -> None:
    try:
        if path.suffix.lower() == ".txt":
            _write_text(path, lines)
        else:
            _write_music(path, preset, cues)
    except OSError as error:
        raise GradmidiError(f"{path} could not be written: {error.strerror or error}") from error


def _write_text(path: Path, lines: Sequence[str]) -> None:
    from gradmidi.base.files import WholeFile

    with WholeFile(path) as new:
        new.file.write("".join(f"{line}\n" for line in lines).encode())


def _write_music(path: Path, preset: "Preset", cues: "Sequence[Cue]") -> None:
    from gradmidi.music.events import End, Mark
    from gradmidi.music.lesson import TOUR_VOICES, at_pace, speech_seconds
    from gradmidi.sinks.midifile import MidiFile
    from gradmidi.sound.speech import SpokenFile, speech

    paced = at_pace(preset)
    sink: MidiFile | SpokenFile
    if path.suffix.lower() == ".mid":
        sink = MidiFile(path, paced, TOUR_VOICES, title=f"tour of {preset.name}")
    else:
        spoken = ((cue, speech(cue.text, speech_seconds(cue.text))) for cue in cues)
        sink = SpokenFile(
            path,
            paced,
            len(TOUR_VOICES) - 1,
            values=1,
            spoken=[(c.tick * c.seconds, words) for c, words in spoken if words is not None],
        )
    try:
        for cue in cues:
            sink.send([Mark(cue.tick, cue.text), *cue.events])
        last = cues[-1].events[-1].tick if cues[-1].events else cues[-1].tick
        sink.send([End(last, 0, 0.0)])
        sink.close()
    except BaseException:
        sink.abort()
        raise


def _play(options: "Options", cues: "Sequence[Cue]") -> None:
    from gradmidi.cli.check import perform
    from gradmidi.music.lesson import TOUR_VOICES
    from gradmidi.player.guard import Guard
    from gradmidi.player.outputs import Outputs

    session = options.session()
    with closed_by_signals():
        # The guard ends the notes if this process is killed.
        guard = Guard({"rig": asdict(session.rig), "osc": session.osc})
        try:
            outputs = Outputs(session)
            try:
                guard.begin(len(TOUR_VOICES))
                layers = len(TOUR_VOICES) - 1
                time = session.preset.time
                slot = time.slot_ticks(layers) * time.tick_seconds
                outputs.begin(f"tour of {session.preset.name}", TOUR_VOICES, layers, slot)
                perform(iter(cues), outputs, typer.echo)
            finally:
                outputs.silence()
                outputs.close()
        finally:
            guard.close()
