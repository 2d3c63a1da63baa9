"""`gradmidi.render`: write a run to files in one pass, each file whole or not at all."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.log.blocks import Block
from gradmidi.midi.rig import Rig
from gradmidi.midi.rig import load as load_rig
from gradmidi.music.preset import Preset, load
from gradmidi.music.score import Score, score_of
from gradmidi.report.look import Look
from gradmidi.sinks.registry import DRAWN, SOUNDS, FileSink, Reader, check_endings, file_sink
from gradmidi.sources.opened import open_log

if TYPE_CHECKING:
    from gradmidi.sinks.soundfont import FontFiles
    from gradmidi.sound.mixdown import Stems

__all__ = ["OF", "render"]

OF = ("gradients", "updates")
"""What the voices of layers may play."""

EXACT = {"time.stagger": 0.0, "time.swing": 0.5}
"""Keys of a preset for notation programs, which guess the tempo if notes are off the beats."""


def render(
    run: "RunLog | str | Path",
    *paths: str | Path,
    preset: str | Preset = "pentatonic",
    time: str = "step",
    length: float | str | None = None,
    voices: Mapping[str, str] | None = None,
    legend: bool = False,
    of: str = "gradients",
    stems: str | Path | None = None,
    rig: str | Path | Rig | None = None,
    soundfont: str | Path | None = None,
    notation: bool = False,
    size: tuple[float, float] | str | None = None,
    dpi: float = 120.0,
    theme: str = "light",
) -> tuple[Path, ...]:
    """Write a run to files: music, sound, a picture, a film, a page or text, in one pass.

    Parameters
    ----------
    run : RunLog or str or Path
        A run as `gradmidi.read` gives it, or what that opens: a run's folder, or the log of
        another tool.
    *paths : str or Path
        The files to write; the ending gives the format: ``.mid .wav .flac .ogg .mp3 .png .svg
        .pdf .html .mp4 .txt``, or one of `gradmidi.sinks.registry`.
    preset : str or Preset, default "pentatonic"
        A shipped preset's name, a ``.toml`` file or a preset.
    time : {"step", "wall"}, default "step"
        One slot for each step, or the run's own timing.
    length : float or "full", optional
        The longest the piece may be, in seconds; 180 by default. ``"full"`` sets no limit.
    voices : mapping of str to str, optional
        Voices of your own: for each a name and a pattern over layer names.
    legend : bool, default False
        Start with a legend: each voice at home, then one, then three doublings up.
    of : {"gradients", "updates"}, default "gradients"
        What the voices of layers play: the norms of gradients, or the sizes of updates, which
        ``listen(updates=10)`` measures. An update of 0.001 of the weights is at home.
    stems : str or Path, optional
        A folder for a WAV of each voice and one of the fault sounds.
    rig : str or Path or Rig, optional
        A ``.toml`` file or a rig, which a ``.mid`` follows as a cable does: channels, bend range,
        controllers, and whether there are notes.
    soundfont : str or Path, optional
        A SoundFont with which FluidSynth plays sound files and stems; it must be installed.
    notation : bool, default False
        Start the notes of a slot together and without swing, so that notation programs read tempo
        and bars of a ``.mid`` as they are written.
    size : tuple of (float, float) or str, optional
        Width and height of pictures and films in inches, as ``(3.5, 2.5)`` or ``"3.5x2.5"``.
    dpi : float, default 120
        Their dots per inch; a film has ``size * dpi`` pixels.
    theme : {"light", "dark"}, default "light"
        Their colours.

    Returns
    -------
    tuple of Path
        The files, as given; then the stems.

    Raises
    ------
    RunLogError, PresetError
        If the run or the preset cannot be read.
    GradmidiError
        If an ending is unknown, a value is not allowed, or a file cannot be written.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as ears:
    ...     ears.frame({"fc1": 0.45})
    >>> [path.name for path in gradmidi.render(folder + "/a", folder + "/a.mid")]
    ['a.mid']
    """
    targets = tuple(Path(path) for path in paths)
    check_endings(*targets)
    look = Look(size=size, dpi=dpi, theme=theme)
    if look != Look() and not any(path.suffix.lower() in DRAWN for path in targets):
        raise GradmidiError(
            f"size, dpi and theme are for files that end in {' '.join(DRAWN)}; none is written"
        )
    font = None if soundfont is None else Path(soundfont)
    if font is not None and stems is None and not any(p.suffix.lower() in SOUNDS for p in targets):
        raise GradmidiError(f"soundfont is for files that end in {' '.join(SOUNDS)}, and stems")
    if of not in OF:
        raise GradmidiError(f"of={of!r}; allowed is {' or '.join(map(repr, OF))}")
    log = run if isinstance(run, RunLog) else open_log(run)
    score = score_of(
        log,
        load(preset, EXACT if notation else None),
        time=time,
        length=length,
        patterns=voices,
        legend=legend,
        of=of,
        rig=None if rig is None else load_rig(rig),
    )
    sinks: list[FileSink] = []
    written = targets
    try:
        for path in targets:
            if font is not None and path.suffix.lower() in SOUNDS:
                from gradmidi.sinks.soundfont import font_file

                sinks.append(font_file(path, font, score, log))
            else:
                sinks.append(file_sink(path, score, log, look))
        if stems is not None:
            parts = _stems(Path(stems), font, score, log)
            sinks.append(parts)
            written = (*targets, *parts.paths)
        _play(log, score, sinks)
        for sink in sinks:
            sink.close()
    except OSError as error:
        _abort(sinks)
        if isinstance(error, GradmidiError):
            raise
        where = error.filename or ", ".join(map(str, targets))
        raise GradmidiError(f"{where} could not be written: {error.strerror or error}") from error
    except BaseException:
        _abort(sinks)
        raise
    return written


def _stems(folder: Path, font: Path | None, score: Score, log: RunLog) -> "Stems | FontFiles":
    if font is None:
        from gradmidi.sound.mixdown import Stems

        return Stems(folder, score.preset, score.all_voices)
    from gradmidi.sinks.soundfont import font_stems

    return font_stems(folder, font, score, log)


def _play(log: RunLog, score: Score, sinks: Sequence[FileSink]) -> None:
    running = log.running
    readers = [sink.read for sink in sinks if isinstance(sink, Reader)]
    for item in log.blocks():
        for read in readers:
            read(item)
        due = score.feed_block(item) if isinstance(item, Block) else iter((score.feed(item),))
        for events in filter(None, due):
            for sink in sinks:
                sink.send(events)
    events = score.finish(running=running)
    for sink in sinks:
        sink.send(events)


def _abort(sinks: Sequence[FileSink]) -> None:
    for sink in sinks:
        with contextlib.suppress(OSError):
            sink.abort()
