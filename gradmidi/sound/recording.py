"""A sound file while it is written: whole, under its name, at `close`, or not at all.

Until then it is a hidden file beside its place. Samples of 16 bits are dithered by a function
of their own index, so the same samples give the same bytes (but for Ogg, whose streams carry
a random number of the library's).
"""

import contextlib
import errno
import io
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmidi.base.files import WholeFile, with_path
from gradmidi.errors import GradmidiError

__all__ = ["ENDINGS", "Recording"]

ENDINGS: Mapping[str, tuple[str, str]] = {
    ".wav": ("WAV", ""),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Container and coding of each ending; a WAV's coding is the caller's."""

CODINGS = {"pcm16": "PCM_16", "float": "FLOAT"}

MOST_WAV = 2**32 - 2**12
"""Bytes of samples in a WAV: its sizes are numbers of 32 bits."""


class Recording:
    """Writes samples as one sound file.

    Parameters
    ----------
    path : str or Path
        The file, ending in ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``; its folder must be there.
    channels : int
        1 or 2.
    rate : int, default 44100
        Samples a second.
    samples : {"pcm16", "float"}, default "pcm16"
        Those of a WAV: 16 bits with dither, or as they are.

    Attributes
    ----------
    written : int
        Samples of each channel so far.

    Raises
    ------
    GradmidiError
        If nothing writes such an ending, or not at such a rate.
    OSError
        If the folder is not there or cannot be written to, or `path` is a folder.

    Examples
    --------
    >>> import soundfile, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "silence.wav"
    >>> recording = Recording(path, 2)
    >>> recording.write(np.zeros((44100, 2), np.float32))
    >>> recording.close()
    >>> soundfile.info(path).duration
    1.0
    """

    def __init__(
        self, path: str | Path, channels: int, *, rate: int = 44100, samples: str = "pcm16"
    ) -> None:
        import soundfile

        self.path = Path(path)
        self.written = 0
        ending = self.path.suffix.lower()
        known = [e for e, (kind, _) in ENDINGS.items() if kind in soundfile.available_formats()]
        if ending not in known:
            raise GradmidiError(
                f"no sound file ends as {self.path} does; allowed: {' '.join(known)}"
            )
        kind, coding = ENDINGS[ending]
        coding = coding or CODINGS[samples]
        self._sixteen = coding == "PCM_16"
        self._most = MOST_WAV if kind == "WAV" else 1 << 62
        self._closed = False
        self._new = WholeFile(self.path)
        self._target = _Target(self._new.file.raw)
        try:
            self._file = soundfile.SoundFile(self._target, "w", rate, channels, coding, format=kind)
        except soundfile.LibsndfileError as error:
            self._new.discard()
            raise GradmidiError(
                f"{self.path} cannot be written at {rate} samples a second: {error}"
            ) from error

    @property
    def closed(self) -> bool:
        """Whether it is whole, or given up."""
        return self._closed

    def write(self, samples: NDArray[np.float32]) -> None:
        """Write the next samples.

        Parameters
        ----------
        samples : ndarray of float32, shape (frames, channels)
            Within ±1.

        Raises
        ------
        OSError
            If they cannot be written; `filename` is the path, and no part of it is left.
        ValueError
            If it is closed.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed: it takes no more samples")
        with self._or_nothing():
            block = _sixteen(samples, self.written) if self._sixteen else samples
            self.written += len(block)
            if self.written * block.strides[0] > self._most:
                reason = f"a WAV holds at most {self._most} bytes; write a .flac"
                raise with_path(OSError(errno.EFBIG, reason), self.path)
            with self._writing():
                self._file.write(block)

    def close(self) -> None:
        """Give the file its name.

        Raises
        ------
        OSError
            If it cannot be written; `filename` is the path, and no part of it is left.
        """
        if self._closed:
            return
        with self._or_nothing():
            with self._writing():
                self._file.close()
            with self._writing():
                self._target.clear_peak_time()
            self._new.save()
        self._closed = True

    def abort(self) -> None:
        """Give up before `close`: leave neither the file nor a temporary one."""
        self._closed = True
        with contextlib.suppress(RuntimeError):
            self._file.close()
        self._new.discard()

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """Leave nothing where something goes wrong."""
        try:
            yield
        except BaseException:
            self.abort()
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise what kept a part from being written, under the name of the whole."""
        try:
            yield
        except (OSError, RuntimeError, AssertionError) as error:
            # All that the library says is that it did not go well.
            self._target.error = self._target.error or error
        reason = self._target.error
        if isinstance(reason, OSError):
            raise with_path(reason, self.path) from reason
        if reason is not None:
            raise reason


class _Target:
    """File object for libsndfile that keeps the first error.

    The library calls it from C, where an exception would be printed to the terminal, and some
    coders go on without the bytes that could not be written.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self.error: BaseException | None = None
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def write(self, data: bytes) -> int:
        """Write all of `data`, or keep the error."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except BaseException as error:
            self.error = self.error or error
        return len(data) - len(rest)

    def clear_peak_time(self) -> None:
        """Set the time of writing in a float WAV's PEAK chunk to 0, so that bytes repeat."""
        file = self._file
        file.seek(0)
        if file.read(12)[:4] == b"RIFF":
            while len(head := file.read(8)) == 8:
                name, size = struct.unpack("<4sL", head)
                if name == b"PEAK":
                    file.seek(4, os.SEEK_CUR)
                    file.write(bytes(4))
                if name in (b"PEAK", b"data"):
                    break
                file.seek(size + size % 2, os.SEEK_CUR)


def _sixteen(block: NDArray[np.float32], first: int) -> NDArray[np.int16]:
    """Round samples to 16 bits, after triangular dither of 2 steps, peak to peak.

    The dither is a hash of the sample's index (C. Wellons, "Prospecting for Hash Functions",
    lowbias32), its two halves added. Digital silence gets none: exact zeros stay.
    """
    bits = np.arange(block.size, dtype=np.uint32)
    bits += np.uint32(first * block.shape[1] % 2**32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    bits ^= bits >> np.uint32(16)
    halves = (bits & np.uint32(0xFFFF)) + (bits >> np.uint32(16))
    samples = halves.astype(np.float32).reshape(block.shape)
    samples -= np.float32(0xFFFF)
    samples *= np.float32(2.0**-16)
    samples *= block != 0.0
    samples += block * np.float32(32767.0)
    np.rint(samples, out=samples)
    np.clip(samples, -32768.0, 32767.0, out=samples)
    return samples.astype(np.int16)
