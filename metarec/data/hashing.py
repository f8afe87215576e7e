"""Randomness as a pure function: 64-bit hashes of whole numbers, the same in any batch, worker and order."""

import numpy as np
from jaxtyping import Float64, Int64, UInt64

_ROUNDS = 12
"""Of the Feistel network; with 4, enough for a large domain, some pairs of a small one come half as often as others."""


def hash_of(
    seed: int, draw: int, user: Int64[np.ndarray, "..."], place: Int64[np.ndarray, "..."] | np.int64
) -> UInt64[np.ndarray, "..."]:
    """A 64-bit hash of (seed, draw, user, place), each step a round of SplitMix64 (Steele et al., 2014)."""
    state = mix(np.full(user.shape, seed, np.int64).view(np.uint64))
    for part in (np.int64(draw), user, place):
        state = mix(state ^ np.broadcast_to(np.asarray(part, np.int64), user.shape).view(np.uint64))
    return state


def mix(value: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """One round of SplitMix64."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def uniform(value: UInt64[np.ndarray, "*axes"]) -> Float64[np.ndarray, "*axes"]:
    """Hashes as numbers in [0, 1)."""
    return (value >> np.uint64(11)) * 2.0**-53


def permuted(
    place: Int64[np.ndarray, "*#axes"], key: UInt64[np.ndarray, "*#axes"], *, size: int
) -> Int64[np.ndarray, "..."]:
    """Where a keyed permutation of 0 … size - 1 takes some places; each key has its own.

    A Feistel network permutes the numbers below a power of 4, and is walked on from what lies beyond `size` until it
    comes back below it.

    Args:
        place: from 0 to size - 1.
        key: of the permutation.
        size: how many numbers are permuted.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002), section 3.
    """
    half = np.uint64(max(1, -(-size.bit_length() // 2)))
    low = (np.uint64(1) << half) - np.uint64(1)
    place, key = np.broadcast_arrays(place, key)
    value = place.astype(np.uint64)
    beyond = np.ones(value.shape, bool)
    while beyond.any():
        left, right = value[beyond] >> half, value[beyond] & low
        for number in range(_ROUNDS):
            left, right = right, left ^ (mix(right ^ mix(key[beyond] ^ np.uint64(number))) & low)
        value[beyond] = (left << half) | right
        beyond = value >= np.uint64(size)
    return value.astype(np.int64)
