"""Norms and distances of the products scale · B · A, without ever making one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocketlora_export.adapters.lora import LoraAdapter, LoraSite

Matrix = NDArray[np.float64]


def norm_of(site: LoraSite) -> float:
    """Frobenius norm of B · A, without the scale."""
    return _product_norm(_b(site), _a(site))


def distance(first: LoraSite, second: LoraSite) -> float:
    """Frobenius norm of the difference of two modules' scale · B · A. Their layers must have the same shape."""
    if first.scale == second.scale and first.a.equals(second.a) and first.b.equals(second.b):
        return 0.0
    b = np.concatenate([first.scale * _b(first), -second.scale * _b(second)], axis=1)
    return _product_norm(b, np.concatenate([_a(first), _a(second)], axis=0))


def _product_norm(b: Matrix, a: Matrix) -> float:
    # Orthogonal factors keep norms: ‖B·A‖ = ‖R_b · R_aᵀ‖, at most rank × rank. Gram matrices would square the error.
    r_b: Matrix = np.asarray(np.linalg.qr(b, mode="r"))
    r_a: Matrix = np.asarray(np.linalg.qr(a.T, mode="r"))
    return float(np.linalg.norm(r_b @ r_a.T))


def _a(site: LoraSite) -> Matrix:
    return site.a.float32().astype(np.float64)


def _b(site: LoraSite) -> Matrix:
    return site.b.float32().astype(np.float64)


@dataclass(frozen=True)
class ModuleDifference:
    """One module in two adapters; a norm is None where the adapter does not have the module."""

    module: str
    first_norm: float | None
    second_norm: float | None
    distance: float | None

    @property
    def relative(self) -> float | None:
        """Distance over the first norm; None where that is zero, or where there is no distance."""
        return self.distance / self.first_norm if self.distance is not None and self.first_norm else None


def differences(first: LoraAdapter, second: LoraAdapter) -> list[ModuleDifference]:
    """Every module of either adapter. A distance is None where one lacks it or the shapes differ."""
    return [_difference(name, first, second) for name in dict.fromkeys([*first.sites, *second.sites])]


def _difference(name: str, first: LoraAdapter, second: LoraAdapter) -> ModuleDifference:
    one, two = first.sites.get(name), second.sites.get(name)
    norms = [None if site is None else abs(site.scale) * norm_of(site) for site in (one, two)]
    comparable = one is not None and two is not None and _shape(one) == _shape(two)
    return ModuleDifference(name, norms[0], norms[1], distance(one, two) if comparable and one and two else None)


def _shape(site: LoraSite) -> tuple[int, int]:
    return site.b.shape[0], site.a.shape[1]
