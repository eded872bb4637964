"""Times our 4-bit products, dequantization included, and torch's fp32 products of the same weights, in turn.

One process under one cap of the instruction set. Before anything is timed, ours has to agree with torch's.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import click
import torch
from torch import Tensor

from benchmarks.isa import ISAS
from benchmarks.random_model import SHAPES, config_of
from benchmarks.results import REPOSITORY
from benchmarks.roofline import Roofline, compile_library
from benchmarks.workload import linears
from pocketlora_export.q4 import SCHEME_IDS, Q4Spec, Scheme, dequantize
from pocketlora_export.quantize.matrix import quantize_packed

COMPUTES = {"fp32": 0, "int16": 1, "int8": 2, "bf16": 4}
# What is computed where there is no kernel for it, bit for bit.
_OTHERWISE = {"int16": "fp32", "int8": "int16", "bf16": "int16"}
PRODUCTS = ("forward", "backward")
_GROUP = 64
# docs/layout.md, half a unit of the largest: rows and codebook in 15 bits, a sign among them; 124 units or more.
_STEPS = {"int16": 2.0**-14, "int8": 0.5 / 124}
# Of a product's magnitude: either value is off by 2^-8 of itself.
_BF16 = 2.0**-7 * (1 + 2.0**-9)


def _library(kernels: Path) -> ctypes.CDLL:
    if not kernels.exists():
        raise SystemExit(f"{kernels}: not there; run `make runtime` or name the kernels' library with --kernels")
    source = REPOSITORY / "benchmarks" / "gemm_probe.cc"
    library = compile_library([source], "-std=c++17", f"-I{REPOSITORY}", kernels, compiler="c++")
    library.gemm_isa.restype = ctypes.c_char_p
    sizes = (ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int, ctypes.c_int)
    for function in (library.gemm_forward, library.gemm_backward):
        function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, *sizes, ctypes.c_void_p)
        function.restype = None
    return library


@dataclass
class Linear:
    """One layer's weights in both forms, and its operands: x [n, in] and y [n, out], both ways."""

    library: ctypes.CDLL
    spec: Q4Spec
    rows: int

    def __post_init__(self) -> None:
        out, into = self.spec.rows, self.spec.cols
        self.tiles = quantize_packed(torch.randn(out, into) * 0.02, self.spec)
        self.weight = dequantize(self.tiles, self.spec)
        self.given = {"forward": torch.randn(self.rows, into), "backward": torch.randn(self.rows, out)}
        self.made = {"forward": torch.empty(self.rows, out), "backward": torch.empty(self.rows, into)}

    @cached_property
    def halves(self) -> dict[str, Tensor]:
        """Weights and operands in bf16; made in the turn that is not kept."""
        return {name: given.bfloat16() for name, given in {**self.given, "weight": self.weight}.items()}

    def torch(self, product: str) -> Tensor:
        """torch's product in fp32."""
        weight = self.weight.t() if product == "forward" else self.weight
        return torch.matmul(self.given[product], weight, out=self.made[product])

    def torch_bf16(self, product: str) -> Tensor:
        """torch's product of the same in bf16."""
        weight = self.halves["weight"].t() if product == "forward" else self.halves["weight"]
        return torch.matmul(self.halves[product], weight)

    def ours(self, product: str, compute: str) -> Tensor:
        """Ours, computed so."""
        run = self.library.gemm_forward if product == "forward" else self.library.gemm_backward
        spec, made = self.spec, self.made[product]
        sizes = (spec.rows, spec.cols, SCHEME_IDS[spec.scheme], spec.group_size, COMPUTES[compute])
        run(self.given[product].data_ptr(), self.rows, self.tiles.data_ptr(), *sizes, made.data_ptr())
        return made

    def bound(self, product: str, compute: str) -> Tensor:
        """The most that ours may be off: two sums of fp32 in any order; in integers and bf16 also their rounding."""
        x, w = self.given[product].abs(), (self.weight.t() if product == "forward" else self.weight).abs()
        magnitude = x @ w
        bound = 2 * len(w) * torch.finfo(torch.float32).eps * magnitude
        if compute == "bf16":
            bound += _BF16 * magnitude
        if compute in _STEPS:
            rounding = x.amax(1, keepdim=True) * w.sum(0) + x.sum(1, keepdim=True) * w.amax()
            bound += _STEPS[compute] * rounding
        return bound


def supported(layers: list[Linear], product: str, compute: str) -> str:
    """Why a product is not computed so, empty if it is. SystemExit if ours is not the product that torch computes."""
    own = False
    for layer in layers:
        found = layer.ours(product, compute).clone()
        wrong = (found - layer.torch(product)).abs() > layer.bound(product, compute)
        if wrong.any():
            raise SystemExit(f"{product}, {compute}, {layer.spec}: {int(wrong.sum())} values are not torch's")
        own = own or compute == "fp32" or not torch.equal(found, layer.ours(product, _OTHERWISE[compute]))
    return "" if own else f"{layers[0].rows} rows are computed in {_OTHERWISE[compute]} with these kernels"


def times(layers: list[Linear], programs: dict[str, Callable[[Linear], Tensor]], turns: int) -> dict[str, list[float]]:
    """Seconds that the layers take together, for each turn; the first turn is not kept, the order rotates."""
    names, found = list(programs), {name: [0.0] * (turns + 1) for name in programs}
    for turn in range(turns + 1):
        for layer in layers:
            for position in range(len(names)):
                name = names[(turn + position) % len(names)]
                start = time.perf_counter()
                programs[name](layer)
                found[name][turn] += time.perf_counter() - start
    return {name: seconds[1:] for name, seconds in found.items()}


def probe(layers: list[Linear], computes: tuple[str, ...], turns: int) -> dict[str, dict[str, object]]:
    """Seconds of each turn by product and program, or the reason why there are none."""
    found: dict[str, dict[str, object]] = {}
    for product in PRODUCTS:
        reasons = {compute: supported(layers, product, compute) for compute in computes}
        programs: dict[str, Callable[[Linear], Tensor]] = {"torch": partial(Linear.torch, product=product)}
        for compute in (name for name, reason in reasons.items() if not reason):
            programs[compute] = partial(Linear.ours, product=product, compute=compute)
        if "bf16" in programs:
            programs["torch bf16"] = partial(Linear.torch_bf16, product=product)
        found[product] = {**times(layers, programs, turns), **{c: r for c, r in reasons.items() if r}}
    return found


@click.command(help=__doc__)
@click.option("--shape", type=click.Choice(SHAPES), default="1b", show_default=True)
@click.option("--rows", default=128, show_default=True)
@click.option("--quant", type=click.Choice(list(SCHEME_IDS)), default="nf4", show_default=True)
@click.option("--compute", "computes", multiple=True, type=click.Choice(list(COMPUTES)), default=tuple(COMPUTES))
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True, help="Whose peak is measured.")
@click.option("--threads", default=1, show_default=True)
@click.option("--turns", default=10, show_default=True)
@click.option("--kernels", type=click.Path(path_type=Path), required=True)
def main(
    shape: str,
    rows: int,
    quant: Scheme,
    computes: tuple[str, ...],
    isa: str,
    threads: int,
    turns: int,
    kernels: Path,
) -> None:
    """Command line of this file."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    library = _library(kernels)
    library.gemm_set_threads(threads)
    sizes = linears(config_of(shape)).values()
    layers = [Linear(library, Q4Spec(out, into, quant, _GROUP), rows) for out, into in sizes]
    seconds = probe(layers, computes, turns)
    facts = {
        "ours": library.gemm_isa().decode(),
        "peak": Roofline().flops(isa, threads),
        "flops": 2.0 * rows * sum(out * into for out, into in sizes),
    }
    click.echo(json.dumps({**facts, "seconds": seconds}))


if __name__ == "__main__":
    main()
