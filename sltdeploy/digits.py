"""Scikit-learn's bundled digits: 1797 real 8x8 scans, 500 of them held out.

The split is stratified and depends on the images alone: within each class they are ordered by
the SHA-256 of their bytes, and the first ones, in proportion to the class, are held out.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from sltdeploy.errors import MissingComponentError
from sltdeploy.program import Array

HELD_OUT = 500
LEVELS = 16  # a pixel is k / 16
INPUT_BITS = 4
INPUT_SHAPE = (1, 8, 8)


@dataclass(frozen=True, eq=False)
class Digits:
    """Images (n, 1, 8, 8), float32 multiples of 1/16 in 0..1, and labels 0..9 (n,), int64."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array
    sha256: str


@cache
def load_digits() -> Digits:
    """Load and split the digits; ``sha256`` is over pixels and labels in their original order."""
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingComponentError(
            "scikit-learn is not installed, whose digits this recipe uses: "
            'pip install "sltdeploy[search]"'
        ) from None
    flat, labels = datasets.load_digits(return_X_y=True)
    pixels = flat.astype(np.uint8).reshape(-1, *INPUT_SHAPE)
    labels = labels.astype(np.int64)
    held = held_out(pixels, labels)
    images = (pixels / LEVELS).astype(np.float32)
    sha = hashlib.sha256(pixels.tobytes() + labels.astype("<i8").tobytes())
    return Digits(images[~held], labels[~held], images[held], labels[held], sha.hexdigest())


def held_out(pixels: Array, labels: Array) -> Array:
    """Which images are held out, (n,) bool: `HELD_OUT` of them, in proportion to the classes."""
    sizes = Counter(int(label) for label in labels)
    exact = {c: HELD_OUT * n / len(labels) for c, n in sorted(sizes.items())}
    share = {c: int(wanted) for c, wanted in exact.items()}
    by_remainder = sorted(exact, key=lambda c: (share[c] - exact[c], c))
    for c in by_remainder[: HELD_OUT - sum(share.values())]:
        share[c] += 1
    held = np.zeros(len(labels), bool)
    for c, count in share.items():
        members = np.flatnonzero(labels == c)
        digests = [hashlib.sha256(pixels[k].tobytes()).digest() for k in members]
        order = sorted(range(len(members)), key=lambda k: (digests[k], k))
        held[members[order[:count]]] = True
    return held


def held_out_input(steps: int) -> tuple[Array, Array]:
    """Give the held-out images as the network sees them, and their labels.

    Direct coding: the analog image is presented at every step. x is (T, 500, 1, 8, 8) float32,
    labels (500,) int64.
    """
    digits = load_digits()
    return np.repeat(digits.test_images[None], steps, axis=0), digits.test_labels
