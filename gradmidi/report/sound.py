"""The sound inside a page: an MP3 of a constant rate, so that seeking in it is exact."""

import io
from pathlib import Path

from gradmidi.errors import GradmidiError

__all__ = ["check_length", "mp3"]

RATES = (112, 96, 64, 48)
"""Kilobits a second: the best is taken that fits."""

MOST_BYTES = 4_600_000
"""Bytes of sound in a page."""

MOST_SECONDS = MOST_BYTES * 8 / (RATES[-1] * 1000)
"""The longest piece a page holds."""

BLOCK = 1 << 16


def check_length(path: Path, seconds: float) -> None:
    """Refuse a piece that is longer than a page holds.

    Parameters
    ----------
    path : Path
        The page; its name is told.
    seconds : float
        How long the piece is, or at least.

    Raises
    ------
    GradmidiError
        If it is too long.
    """
    if seconds > MOST_SECONDS:
        raise GradmidiError(
            f"{path.name} would be too large: a page holds at most {MOST_SECONDS // 60:.0f} "
            "minutes of sound; give a --length, or write a .wav"
        )


def mp3(wav: Path, seconds: float) -> bytes:
    """Code a sound file as MP3.

    Parameters
    ----------
    wav : Path
        The sound.
    seconds : float
        About how long it is; decides the rate.

    Returns
    -------
    bytes

    Raises
    ------
    GradmidiError
        If this libsndfile writes no MP3.
    """
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise GradmidiError(
            f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, and a page's sound is "
            "one; update it with: pip install --upgrade soundfile"
        )
    fitting = [rate for rate in RATES if seconds * rate * 1000 / 8 <= MOST_BYTES]
    rate = fitting[0] if fitting else RATES[-1]
    target = io.BytesIO()
    with (
        soundfile.SoundFile(wav) as source,
        soundfile.SoundFile(
            target,
            "w",
            source.samplerate,
            source.channels,
            "MPEG_LAYER_III",
            format="MP3",
            bitrate_mode="CONSTANT",
            # libsndfile spreads its levels from 320 down to 32 kilobits a second.
            compression_level=(320 - rate) / (320 - 32),
        ) as coded,
    ):
        for block in source.blocks(BLOCK, dtype="float32"):
            coded.write(block)
    return target.getvalue()
