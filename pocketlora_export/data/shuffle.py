"""The order of rows: a seeded permutation of every epoch (docs/text-rows.md), the same in Python and in C++."""

from __future__ import annotations

from collections.abc import Iterator

_MASK = (1 << 64) - 1


def splitmix64(state: int) -> tuple[int, int]:
    """One step of splitmix64: (new state, output), both unsigned 64-bit."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return state, z ^ (z >> 31)


def permutation(n: int, seed: int, epoch: int) -> list[int]:
    """Fisher-Yates over 0 ... n-1, from the last element down, driven by splitmix64 that starts at seed + epoch."""
    order = list(range(n))
    state = (seed + epoch) & _MASK
    for i in range(n - 1, 0, -1):
        state, value = splitmix64(state)
        j = value % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def row_order(n: int, seed: int, start: int = 0) -> Iterator[int]:
    """Row numbers without end: epoch after epoch, each in its own permutation; the first `start` are left out."""
    epoch, passed = divmod(start, n)
    while True:
        yield from permutation(n, seed, epoch)[passed:]
        epoch, passed = epoch + 1, 0
