"""Handwritten digits in the package; see `NOTICE.md` for source and licence."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["digits"]


def digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read the first 10,000 training digits of MNIST.

    Returns
    -------
    images : ndarray of uint8, shape (10000, 28, 28)
        Grey levels, 0 (background) to 255 (ink), byte for byte as in MNIST.
    labels : ndarray of uint8, shape (10000,)
        The digit in each image, 0–9.

    Examples
    --------
    >>> images, labels = digits()
    >>> images.shape, labels[:5].tolist()
    ((10000, 28, 28), [5, 0, 4, 1, 9])
    """
    with np.load(Path(__file__).with_name("digits.npz")) as packed:
        return packed["images"], packed["labels"]
