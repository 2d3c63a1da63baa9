"""The scale of each slot: the preset's, or another while something is wrong or after a mark."""

from collections.abc import Sequence
from dataclasses import replace

from gradmidi.log.values import chosen
from gradmidi.music.pitch import exchanged
from gradmidi.music.preset import Preset
from gradmidi.music.styles import Part

__all__ = ["Scales"]


class Scales:
    """Chooses the scale of each slot. Degrees stay the same: each note is replaced by another.

    Parameters
    ----------
    preset : Preset
        Its ``[pitch]`` names the scales.
    parts : sequence of Part
        The voices, in the preset's own scale.

    Attributes
    ----------
    law : Pitch
        ``[pitch]`` with the scale of the slot.
    parts : tuple of Part
        The voices in that scale.
    notes : tuple of int
        The notes of that scale.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> preset = load("pentatonic", {"pitch.on_fault": "A 0 1 5 7 8"})
    >>> scales = Scales(preset, preset.parts(1))
    >>> [scales.slot(i, 480 * i, (), faulty=i == 1) and scales.law.scale for i in range(6)]
    [False, 'A 0 1 5 7 8', False, False, False, 'A minor pentatonic']
    """

    def __init__(self, preset: Preset, parts: Sequence[Part]) -> None:
        self.law, self.parts, self.notes = preset.pitch, tuple(parts), preset.notes
        self._own = self.law, self.parts, self.notes
        self._bar = preset.time.bar_ticks
        self._base, self._until = self.law.scale, 0
        self._rows: list[tuple[int, str]] = []

    def slot(self, index: int, start: int, marks: Sequence[str], *, faulty: bool) -> bool:
        """Take the slot that begins at tick `start`; return whether another scale begins."""
        law, parts, notes = self._own
        for text in marks:
            found = [each for pattern, each in law.on_mark.items() if chosen(text, (pattern,))]
            self._base = (self._base, *found)[-1]
        if faulty and self.law.scale != law.on_fault:
            self._until = start + self._bar
        changed = law.on_fault and (faulty or start < self._until)
        scale = law.on_fault if changed else self._base
        if scale == self.law.scale:
            return False
        self.law = replace(law, scale=scale)
        self.notes = exchanged(notes, law.scale, scale)
        self.parts = tuple(
            replace(part, notes=exchanged(part.notes, law.scale, scale)) for part in parts
        )
        self._rows.append((index, scale))
        return True

    def written(self) -> dict[str, list[tuple[int, str]]]:
        """Return what `decode` needs: the first slot of each scale; nothing if none has changed."""
        return {"scales": self._rows} if self._rows else {}
