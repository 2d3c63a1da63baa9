"""What meters say of a sound: how loud, how high its peaks are, what lies above 12 kHz."""

import math

import numpy as np
import pytest

signal = pytest.importorskip("scipy.signal")

RATE = 48000
"""Samples a second: the rate that BS.1770 gives its filters at."""

_SHELF = (
    [1.53512485958697, -2.69169618940638, 1.19839281085285],
    [1.0, -1.69065929318241, 0.73248077421585],
)
_HIGH = [1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]


def loudness(samples: np.ndarray, rate: int) -> float:
    """Loudness in LUFS of samples of shape (frames, channels): ITU-R BS.1770-4, with its gates."""
    if rate != RATE:
        samples = signal.resample_poly(samples, RATE, rate, axis=0)
    weighted = signal.lfilter(*_HIGH, signal.lfilter(*_SHELF, samples, axis=0), axis=0)
    size, hop = round(0.4 * RATE), round(0.1 * RATE)
    total = np.concatenate([[0.0], np.cumsum((weighted**2).sum(axis=1))])
    starts = np.arange(0, max(1, len(weighted) - size + 1), hop)
    power = (total[np.minimum(starts + size, len(weighted))] - total[starts]) / size
    power = power[power > 10.0 ** ((-70.0 + 0.691) / 10.0)]
    power = power[power > 0.1 * power.mean()]
    return -0.691 + 10.0 * math.log10(power.mean())


def true_peak(samples: np.ndarray) -> float:
    """Decibels of full scale that the wave reaches between its samples."""
    return 20.0 * math.log10(np.abs(signal.resample_poly(samples, 8, 1, axis=0)).max())


def above(samples: np.ndarray, rate: int, hertz: float) -> float:
    """Decibels of full scale that what lies above `hertz` reaches at its loudest moment.

    A click is there at once: it has as much above as below.
    """
    high = signal.butter(10, hertz, "highpass", fs=rate, output="sos")
    return 20.0 * math.log10(np.abs(signal.sosfilt(high, samples, axis=0)).max() + 1e-12)


def measured(samples: np.ndarray, rate: int) -> dict[str, float]:
    """Loudness (LUFS), loudness range (LU) and true peak (dBTP), measured by ffmpeg's ebur128."""
    import re
    import subprocess

    channels = samples.shape[1]
    command = ["ffmpeg", "-hide_banner", "-nostats", "-f", "f32le", "-ar", str(rate)]
    command += ["-ac", str(channels), "-i", "-", "-af", "ebur128=peak=true", "-f", "null", "-"]
    sent = samples.astype("<f4").tobytes()
    done = subprocess.run(command, input=sent, capture_output=True, check=True)
    summary = done.stderr.decode().rsplit("Summary:", 1)[1]
    number = r"\s+(-?[\d.]+|-inf|nan)"
    found = {
        name: float(re.search(name + ":" + number, summary)[1]) for name in ("I", "LRA", "Peak")
    }
    return {"lufs": found["I"], "lra": found["LRA"], "peak": found["Peak"]}


def steepest(samples: np.ndarray, rate: int) -> float:
    """Return the largest rise of the level within a millisecond, as a share of the highest level.

    The levels are root mean squares that ffmpeg's astats measures of each millisecond.
    """
    import re
    import subprocess

    channels = samples.shape[1]
    command = ["ffmpeg", "-hide_banner", "-nostats", "-v", "error", "-f", "f32le", "-ar", str(rate)]
    command += ["-ac", str(channels), "-i", "-", "-af"]
    levels = "astats=metadata=1:reset=1,ametadata=print:key=lavfi.astats.Overall.RMS_level:file=-"
    command += [f"asetnsamples={rate // 1000},{levels}", "-f", "null", "-"]
    sent = samples.astype("<f4").tobytes()
    done = subprocess.run(command, input=sent, capture_output=True, check=True)
    found = re.findall(r"RMS_level=(\S+)", done.stdout.decode())
    level = np.array([10.0 ** (float(each) / 20.0) for each in found])
    return float(np.diff(level, prepend=0.0).max() / level.max())


def felt(samples: np.ndarray, rate: int) -> dict[str, float]:
    """Sharpness, roughness and loudness of samples played at 60 dB SPL, measured by mosqito.

    Sharpness (DIN 45692) in acum at its 95th percentile, roughness (Daniel and Weber) in asper, on
    average; loudness (ISO 532-1, Zwicker) in sone that is exceeded 5 % of the time.
    """
    mosqito = pytest.importorskip("mosqito.sq_metrics")
    mono = signal.resample_poly(samples.mean(axis=1), RATE, rate)
    mono *= 20e-6 * 10.0 ** (60.0 / 20.0) / math.sqrt((mono**2).mean())
    loud, specific, _, _ = mosqito.loudness_zwtv(mono, RATE)
    sharp = mosqito.sharpness_din_from_loudness(loud, specific)
    rough, *_ = mosqito.roughness_dw(mono, RATE, overlap=0.0)
    return {
        "sharpness": float(np.percentile(sharp[loud > 1.0], 95)),
        "roughness": float(np.mean(rough)),
        "n5": float(np.percentile(loud, 95)),
    }
