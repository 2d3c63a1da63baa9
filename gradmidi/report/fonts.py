"""Users' texts in pictures: fonts that have their characters, and what is shown if none has."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache

__all__ = ["Labels"]

LONGEST_LABEL = 40

LAST_RESORT = "Last Resort High-Efficiency"
"""A font of Matplotlib that has a box for every character."""


class Labels:
    """Prepares users' texts for Matplotlib, and finds fonts that have their characters.

    A character that is in no font or is not printable is shown as a question mark.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        from matplotlib import rcParams
        from matplotlib.font_manager import FontProperties, findfont, fontManager

        self._families: list[str] = list(rcParams["font.family"])
        self._missing = {character for text in texts for character in text if character > "\x7f"}
        self._missing -= _characters(findfont(FontProperties()))
        families = sorted({font.name for font in fontManager.ttflist} - {LAST_RESORT})
        for family in families if self._missing else ():
            found = self._missing & _characters(findfont(FontProperties(family=[family])))
            if found:
                self._families.append(family)
                self._missing -= found

    def fonts(self) -> AbstractContextManager[None]:
        """Return a context in which Matplotlib uses these fonts for new text."""
        from matplotlib import rc_context

        return rc_context({"font.family": self._families})

    def __call__(self, text: str, longest: int = LONGEST_LABEL) -> str:
        """Return a text that can be shown, cut to a number of characters."""
        short = text if len(text) <= longest else text[: longest - 1] + "…"
        shown = (c if c.isprintable() and c not in self._missing else "\ufffd" for c in short)
        return "".join(shown).replace("$", r"\$")


@cache
def _characters(path: str) -> frozenset[str]:
    """Return the characters of a font; the empty set if Matplotlib cannot read it."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
