"""Stateless randomness: every number is a pure function of its keys, so nothing is replayed on resuming.

The generator is splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), a counter
run through a mixer: whole arrays at once, the same on every machine and for every version of NumPy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ROUNDS = 4
"""Rounds of the Feistel network: enough for a permutation that looks random (Luby and Rackoff 1988)."""


def mix(x: Keys) -> Keys:
    """Apply splitmix64's finaliser: 64 bits in, 64 well-mixed bits out, one to one."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def keys(*parts: int | Ints) -> Keys:
    """Return one key for each tuple of non-negative integers, (n,); parts are numbers or arrays (n,)."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = mix((key + GOLDEN) ^ np.atleast_1d(np.asarray(part)).astype(np.uint64))
    return key


def uniforms(key: Keys, n: int) -> npt.NDArray[np.float64]:
    """Return numbers uniform in the open interval (0, 1), (len(key), n)."""
    bits = mix(key[:, None] + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def permuted(positions: Ints, n: int, *key: int | Ints) -> Ints:
    """Return where a permutation of ``range(n)`` sends ``positions`` (batch,), without making the permutation.

    A Feistel network over a power of four not below ``n``, walked until it lands below: no memory however large ``n``.
    Each position may have a key (a permutation) of its own.
    """
    bits = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(bits)) - 1)
    rounds = [np.broadcast_to(keys(*key, i), positions.shape) for i in range(ROUNDS)]
    places = positions.astype(np.uint64)
    walking = np.arange(len(places))
    while len(walking):
        left, right = places[walking] >> bits, places[walking] & low
        for each in rounds:
            left, right = right, left ^ (mix(right ^ each[walking]) & low)
        places[walking] = (left << bits) | right
        walking = walking[places[walking] >= np.uint64(n)]
    return places.astype(np.int64)
