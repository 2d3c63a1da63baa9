"""The scores of a run that is played with several presets, one after another."""

from collections import Counter
from typing import Any

from gradmidi.log import Frame, Header
from gradmidi.music.preset import Preset
from gradmidi.music.score import Score
from gradmidi.music.values import FIRST, MOST_VALUES

__all__ = ["Scores"]

FIRST_FRAMES = 160
"""More frames than the references of a run depend on (`gradmidi.music.voices.VoiceNorms`)."""


class Scores:
    """Makes the scores of a run: one for each preset, with the same references and faults.

    Parameters
    ----------
    header : Header
        The run's first header.
    **options
        Of `Score`.
    """

    def __init__(self, header: Header, **options: Any) -> None:
        self._header, self._options = header, options
        self._frames: list[Frame] = []
        self._seen: Counter[str] = Counter()
        self._count = 0

    def first(self, preset: Preset) -> Score:
        """Return the first score."""
        return Score(self._header, preset, **self._options)

    def after(self, before: Score, preset: Preset) -> Score:
        """Return the score that follows another one."""
        score = self.first(preset)
        for frame in self._frames:
            score.learn(frame)
        score.take_over(before)
        return score

    def keep(self, frame: Frame) -> None:
        """Keep a frame that was played if a reference depends on it, or the law of a value."""
        self._count += 1
        keep = self._count <= FIRST_FRAMES
        for name in frame.extra:
            if self._seen[name] < FIRST and (name in self._seen or len(self._seen) < MOST_VALUES):
                self._seen[name] += 1
                keep = True
        if keep:
            self._frames.append(frame)
