"""Error bounds of float32 arithmetic, in one place.

A sum of n float32 products carries a relative error of at most n · eps (eps = 2^-24, unit roundoff). Two correct
implementations add in different orders, so each may be off by that much: 2 · n · eps a product. Errors of a chain of
products add up to first order. The bound is a worst case; measured errors are one to two orders smaller.
"""

from __future__ import annotations

import math

from tests.support.models import TinyModel

EPS = 2.0**-24
# Products that follow each other in a block: q/k/v, scores, values, o, gate/up, down.
CHAIN = 6


def forward_bound(tiny: TinyModel) -> float:
    """Bound on the relative error (norm) of logits and losses; at most 1e-3."""
    return min(1e-3, 2 * EPS * tiny.longest_reduction * (CHAIN * tiny.layers + 1))


def gradient_bound(tiny: TinyModel) -> float:
    """Bound on the relative error (norm) of a gradient: forward, then backward through the same chain; at most 1e-3."""
    backward = 2 * EPS * max(tiny.longest_reduction, tiny.train_len) * (CHAIN * tiny.layers + 1)
    return min(1e-3, forward_bound(tiny) + backward)


def int16_gradient_bound(tiny: TinyModel) -> float:
    """The same as gradient_bound() where products are computed in 16-bit integers.

    A product of many random rows is off by 7.5e-5 of its norm, one of the backward by 1.2e-4
    (linear4_integers_test.cc);
    the forward is computed again for the backward, so a gradient carries the chain's products and the head's both ways,
    once each.
    """
    return gradient_bound(tiny) + (CHAIN * tiny.layers + 1) * (7.5e-5 + 1.2e-4)


def int16_bound(tiny: TinyModel) -> float:
    """The same where products of few rows are computed in 15-bit integers; at most 1e-3.

    Half a unit of the largest of n values, in each of them, is at most sqrt(n) / 2 units of their norm: 16 · 2^-14
    for 1024 columns of the row, 4 · 2^-13 for the 64 of a group with the codebook.
    """
    return min(1e-3, forward_bound(tiny) + 24 * 2.0**-14 * (CHAIN * tiny.layers + 1))


def bf16_gradient_bound(tiny: TinyModel) -> float:
    """The same as gradient_bound() where products are computed in bf16, or in int16: errors of products add in squares.

    A product of many random rows is off by 2.5e-3 of its norm (linear4_integers_test.cc); four deviations.
    """
    return int16_gradient_bound(tiny) + 4 * 2.5e-3 * math.sqrt(2 * (CHAIN * tiny.layers + 1))


def bf16_bound(tiny: TinyModel) -> float:
    """The same as int16_bound(), which the products of few rows keep, where those of many rows are computed in bf16."""
    return int16_bound(tiny) + 4 * 2.5e-3 * math.sqrt(CHAIN * tiny.layers + 1)


def int8_gradient_bound(tiny: TinyModel) -> float:
    """The same as gradient_bound() where products are computed in 8-bit integers: errors of products add in squares.

    A product of many random rows is off by 8e-3 of its norm, one of the backward by 9e-3, the head's by 1.9e-2
    (linear4_integers_test.cc, head_loss_test.cc); four deviations, as values of these models are not spread evenly.
    """
    of_chain = math.sqrt(CHAIN * tiny.layers * (8e-3**2 + 9e-3**2) + 8e-3**2 + 1.9e-2**2)
    return gradient_bound(tiny) + 4 * of_chain


def int8_bound(tiny: TinyModel) -> float:
    """The same in 8-bit integers, where the worst case says nothing; errors of different columns are independent.

    The root mean square of a rounding error is a unit / sqrt(12). A value's is at most a quarter of the largest of its
    64 where they are spread as a normal distribution is: 4 / 63 / sqrt(12) of a row's norm, 4 / 127 / sqrt(12) of a
    weight's. Products that follow each other add in squares; four deviations.
    """
    of_product = math.hypot(4 / 127, 4 / 63) / math.sqrt(12)
    return forward_bound(tiny) + 4 * of_product * math.sqrt(CHAIN * tiny.layers + 1)
