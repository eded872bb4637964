"""Figures about many lengths, for stats.json."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def summary(values: NDArray[np.integer[Any]]) -> dict[str, Any] | None:
    """Sum, mean, extremes, percentiles (a value that occurs) and a histogram by powers of two; None without values."""
    if not len(values):
        return None
    found = np.percentile(values, PERCENTILES, method="lower")
    return {
        "sum": int(values.sum(dtype=np.int64)),
        "mean": round(float(values.mean()), 2),
        "min": int(values.min()),
        "max": int(values.max()),
        "percentiles": {str(p): int(value) for p, value in zip(PERCENTILES, found, strict=True)},
        "histogram": _histogram(values),
    }


def _histogram(values: NDArray[np.integer[Any]]) -> list[dict[str, int]]:
    # frexp's exponent of v is the number of binary digits of an integer v >= 1.
    digits = np.frexp(values.astype(np.float64))[1]
    counts = np.bincount(digits)
    return [
        {"from": 1 << (digit - 1) if digit else 0, "to": (1 << digit) - 1, "rows": int(count)}
        for digit, count in enumerate(counts)
        if count
    ]
