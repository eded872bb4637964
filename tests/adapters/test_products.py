"""Norms and distances against the products themselves."""

from __future__ import annotations

import numpy as np
import pytest

from pocketlora_export.adapters.lora import LoraAdapter, LoraSite
from pocketlora_export.adapters.products import differences, distance, norm_of
from pocketlora_export.adapters.raw_tensors import from_float32


def random_site(seed: int, rank: int, shape: tuple[int, int] = (30, 20), scale: float = 0.5) -> LoraSite:
    random = np.random.default_rng(seed)
    a = random.standard_normal((rank, shape[1]), dtype=np.float32)
    b = random.standard_normal((shape[0], rank), dtype=np.float32)
    return LoraSite(from_float32(a), from_float32(b), scale * rank, scale)


def delta(site: LoraSite) -> np.ndarray:
    return site.scale * site.b.data.astype(np.float64) @ site.a.data.astype(np.float64)


# Sums of at most 60 float64 products.
BOUND = 60 * 2.0**-53 * 10


@pytest.mark.parametrize("rank", [1, 4, 25, 40])
def test_norms_are_those_of_the_product(rank: int) -> None:
    site = random_site(1, rank)
    assert norm_of(site) == pytest.approx(np.linalg.norm(delta(site)) / site.scale, rel=BOUND)


def test_distances_are_those_of_the_products() -> None:
    one, two = random_site(1, 4), random_site(2, 7, scale=0.25)
    assert distance(one, two) == pytest.approx(np.linalg.norm(delta(one) - delta(two)), rel=BOUND)


def test_the_same_product_is_at_no_distance() -> None:
    site = random_site(1, 4)
    assert distance(site, site) == 0
    # Rank, A and B are others, the product is not.
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0].astype(np.float32)
    same = LoraSite(from_float32(turn @ site.a.data), from_float32(site.b.data @ turn.T * 2), 1.0, site.scale / 2)
    # The turned matrices are rounded to float32: a few roundings of sums of four.
    assert distance(site, same) <= 16 * 2.0**-24 * np.linalg.norm(delta(site))


def test_a_small_change_is_not_lost_in_large_norms() -> None:
    site = random_site(1, 4)
    values = site.b.data.copy()
    values[0, 0] += np.float32(2.0**-20)
    moved = LoraSite(site.a, from_float32(values), site.alpha, site.scale)
    exact = (
        abs(float(values[0, 0]) - float(site.b.data[0, 0])) * site.scale * np.linalg.norm(site.a.data[0].astype(float))
    )
    assert distance(site, moved) == pytest.approx(exact, rel=1e-6)


def test_modules_that_only_one_adapter_has() -> None:
    one = LoraAdapter({"a": random_site(1, 2), "b": random_site(2, 2), "c": random_site(3, 2)})
    two = LoraAdapter({"b": random_site(2, 2), "c": random_site(3, 2, (10, 20)), "d": random_site(4, 2)})
    found = {item.module: item for item in differences(one, two)}
    assert list(found) == ["a", "b", "c", "d"]
    assert (found["a"].distance, found["a"].second_norm) == (None, None)
    assert (found["b"].distance, found["b"].relative) == (0, 0)
    assert found["c"].distance is None
    assert (found["d"].first_norm, found["d"].relative) == (None, None)
