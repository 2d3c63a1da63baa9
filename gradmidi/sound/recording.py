"""Write samples as WAV, FLAC, Ogg or MP3, to an open binary file or to a path.

16-bit samples are dithered by a function of their index, so the same samples give the same bytes
(except in Ogg, because libsndfile puts a random number into its streams).
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

__all__ = ["ENDINGS", "Encoder", "Recording"]

ENDINGS: Mapping[str, tuple[str, str]] = {
    ".wav": ("WAV", ""),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
"""Container and encoding of each ending; the caller chooses the encoding of a WAV."""

CODINGS = {"pcm16": "PCM_16", "float": "FLOAT"}

MOST_WAV = 2**32 - 2**12
"""Most bytes of samples in a WAV, whose sizes are 32-bit numbers."""


class Encoder:
    """Encodes samples as a sound file into an open binary file.

    Parameters
    ----------
    file : binary file
        Open for writing and reading, unbuffered or in memory. The encoder does not close it.
    ending : str
        ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``.
    channels : int
        1 or 2.
    rate : int, default 44100
        Samples per second.
    samples : {"pcm16", "float"}, default "pcm16"
        Encoding of a WAV: 16 bits with dither, or floats.
    kilobits : int, optional
        Constant bit rate of an MP3, 32 to 320 kbit/s; libsndfile's default is variable.

    Attributes
    ----------
    written : int
        Samples per channel written so far.

    Raises
    ------
    GradmidiError
        If the ending is unknown, or libsndfile does not write it at this rate.
    """

    def __init__(
        self,
        file: io.RawIOBase | io.BytesIO,
        ending: str,
        channels: int,
        *,
        rate: int = 44100,
        samples: str = "pcm16",
        kilobits: int | None = None,
    ) -> None:
        import soundfile

        kind, coding = ENDINGS[ending]
        coding = coding or CODINGS[samples]
        options = {}
        if kilobits is not None:
            # libsndfile spreads its levels from 320 down to 32 kilobits a second.
            options = {
                "bitrate_mode": "CONSTANT",
                "compression_level": (320 - kilobits) / (320 - 32),
            }
        self.written = 0
        self._shape = channels, rate
        self._sixteen = coding == "PCM_16"
        self._most = MOST_WAV if kind == "WAV" else 1 << 62
        self._target = _Target(file)
        try:
            self._coder = soundfile.SoundFile(
                self._target, "w", rate, channels, coding, format=kind, **options
            )
        except soundfile.LibsndfileError as error:
            raise GradmidiError(
                f"no {ending} can be written at {rate} samples per second: {error}"
            ) from error

    def write(self, samples: NDArray[np.float32]) -> None:
        """Write the next samples.

        Parameters
        ----------
        samples : ndarray of float32, shape (frames, channels)
            Within ±1.

        Raises
        ------
        OSError
            If they cannot be written, or a WAV would be too large.
        """
        block = _sixteen(samples, self.written) if self._sixteen else samples
        self.written += len(block)
        if self.written * block.strides[0] > self._most:
            raise OSError(errno.EFBIG, f"a WAV holds at most {self._most} bytes; write a .flac")
        with self._checked():
            self._coder.write(block)

    def pause(self, seconds: float) -> None:
        """Write silence; raise OSError if it cannot be written."""
        channels, rate = self._shape
        self.write(np.zeros((round(seconds * rate), channels), np.float32))

    def close(self) -> None:
        """Write the samples that the encoder still holds.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self._checked():
            self._coder.close()
        with self._checked():
            self._target.clear_peak_time()

    def abort(self) -> None:
        """Release the encoder; the bytes written so far are not a complete file."""
        with contextlib.suppress(RuntimeError):
            self._coder.close()

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """Raise the first error of writing bytes to the file."""
        try:
            yield
        except (OSError, RuntimeError, AssertionError) as error:
            # libsndfile's own error has no reason.
            self._target.error = self._target.error or error
        if self._target.error is not None:
            raise self._target.error


class Recording:
    """Writes samples to one sound file, which is complete at `close` or does not appear.

    Parameters
    ----------
    path : str or Path
        The file, ending in ``.wav``, ``.flac``, ``.ogg`` or ``.mp3``; its folder must exist.
    channels : int
        1 or 2.
    rate : int, default 44100
        Samples per second.
    samples : {"pcm16", "float"}, default "pcm16"
        Encoding of a WAV: 16 bits with dither, or floats.

    Attributes
    ----------
    path : Path
        The file.
    saved : bool
        Whether the file is complete and has its name.

    Raises
    ------
    GradmidiError
        If the ending is unknown, or libsndfile does not write it at this rate.
    OSError
        If the folder does not exist or cannot be written to, or `path` is a folder.

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
        self.saved = False
        self._open = True
        ending = self.path.suffix.lower()
        known = [e for e, (kind, _) in ENDINGS.items() if kind in soundfile.available_formats()]
        if ending not in known:
            raise GradmidiError(
                f"no sound file ends as {self.path} does; allowed: {' '.join(known)}"
            )
        self._new = WholeFile(self.path)
        try:
            self._encoder = Encoder(
                self._new.file.raw, ending, channels, rate=rate, samples=samples
            )
        except GradmidiError as error:
            self._new.discard()
            raise GradmidiError(f"{self.path}: {error}") from error

    def write(self, samples: NDArray[np.float32]) -> None:
        """Write the next samples.

        Parameters
        ----------
        samples : ndarray of float32, shape (frames, channels)
            Within ±1.

        Raises
        ------
        OSError
            If they cannot be written; `filename` is `path`, and nothing is left.
        ValueError
            If it is closed.
        """
        if not self._open:
            raise ValueError(f"{self.path} is closed: it takes no more samples")
        with self._or_nothing():
            self._encoder.write(samples)

    def pause(self, seconds: float) -> None:
        """Write silence; raise OSError if it cannot be written."""
        with self._or_nothing():
            self._encoder.pause(seconds)

    def close(self) -> None:
        """Complete the file and rename it to `path`. May be called twice.

        Raises
        ------
        OSError
            If it cannot be written; `filename` is `path`, and nothing is left.
        """
        if self._open:
            with self._or_nothing():
                self._encoder.close()
                self._new.save()
            self._open = False
            self.saved = True

    def abort(self) -> None:
        """Write no file. Does nothing after `close`."""
        if self._open:
            self._open = False
            self._encoder.abort()
            self._new.discard()

    def discard(self) -> None:
        """Write no file; remove it if it is saved already."""
        if self.saved:
            self.path.unlink(missing_ok=True)
        self.abort()

    @contextlib.contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError):
                raise with_path(error, self.path) from error
            raise


class _Target:
    """File object for libsndfile that keeps the first error.

    The library calls it from C, where an exception would be printed to the terminal, and some
    encoders continue after bytes could not be written.
    """

    def __init__(self, file: io.RawIOBase | io.BytesIO) -> None:
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
        """Set the timestamp in a float WAV's PEAK chunk to 0, so that bytes can be compared."""
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
    lowbias32), with its two halves added. Exact zeros are not dithered.
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
