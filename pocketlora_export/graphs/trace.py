"""What a captured stage holds in memory and which kernels it calls, as functions of its dynamic dimensions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.export import ExportedProgram

from pocketlora_export.graphs.stage import InputSpec, Stage
from pocketlora_export.ops.library import NAMESPACE

Extents = Mapping[str, int]
"""Values of the dynamic dimensions "N", "S1", "C" and "R" (the same rank at every site)."""


@dataclass(frozen=True)
class Size:
    """A polynomial with integer coefficients in the dynamic dimensions: Σ coefficient · product of dimensions."""

    terms: tuple[tuple[int, tuple[str, ...]], ...]

    def at(self, extents: Extents) -> int:
        """The value for some extents."""
        return sum(factor * prod(extents[name] for name in names) for factor, names in self.terms)


@dataclass(frozen=True)
class LiveTensor:
    """A value inside a stage, neither input nor output. Alive from node `first` (which makes it) to node `last`."""

    nbytes: Size
    first: int
    last: int


@dataclass(frozen=True)
class KernelCall:
    """A call of a custom op: shapes of its tensor arguments (those given) and its integers, by argument name."""

    op: str
    shapes: Mapping[str, tuple[Size, ...]]
    integers: Mapping[str, int]


@dataclass(frozen=True)
class StageTrace:
    """A stage as captured for at most `rows` rows; a stage of one row has no "N" left."""

    name: str
    rows: int
    tensors: tuple[LiveTensor, ...]
    calls: tuple[KernelCall, ...]


def dimension_names(values: Sequence[Tensor], specs: Sequence[InputSpec]) -> dict[sympy.Symbol, str]:
    """Symbols of a captured program -> names of its dynamic dimensions; `values` are its inputs, fake."""
    return {
        size.node.expr: str(dim).split(":")[0]
        for value, spec in zip(values, specs, strict=True)
        for size, dim in zip(_sizes(value), spec.shape, strict=True)
        if isinstance(size, torch.SymInt)
    }


def _sizes(value: Tensor) -> list[int | torch.SymInt]:
    """The shape of a fake tensor, whose dynamic dimensions are symbols."""
    return list(value.shape)


def to_size(value: int | torch.SymInt, names: Mapping[sympy.Symbol, str]) -> Size:
    """An element count or dimension as a polynomial.

    Raises:
        ValueError: when it is not one.
    """
    if isinstance(value, int):
        return Size(((value, ()),))
    expression = value.node.expr
    try:
        polynomial = sympy.Poly(expression, *sorted(names, key=str))
        terms = tuple((int(c), _symbols(powers, polynomial.gens, names)) for powers, c in polynomial.terms())
    except (sympy.PolynomialError, TypeError, KeyError) as error:
        raise ValueError(f"the size {expression} is not a polynomial of the dynamic dimensions") from error
    return Size(terms)


def _symbols(
    powers: tuple[int, ...], symbols: Sequence[sympy.Symbol], names: Mapping[sympy.Symbol, str]
) -> tuple[str, ...]:
    return tuple(names[symbol] for symbol, power in zip(symbols, powers, strict=True) for _ in range(power))


def nbytes(value: Tensor, names: Mapping[sympy.Symbol, str]) -> Size:
    """Bytes of a fake tensor."""
    elements = to_size(value.numel(), names)
    return Size(tuple((factor * value.element_size(), dims) for factor, dims in elements.terms))


def user_inputs(program: ExportedProgram) -> list[Tensor]:
    """The fake tensors of a program's inputs, in order; constants are left out."""
    wanted = program.graph_signature.user_inputs
    found = {node.name: node.meta["val"] for node in program.graph.find_nodes(op="placeholder")}
    return [found[name] for name in wanted if isinstance(name, str)]


def trace(program: ExportedProgram, stage: Stage, rows: int) -> StageTrace:
    """Look into a captured stage (`capture`).

    Args:
        program: the captured stage.
        stage: what was captured.
        rows: the largest number of rows, as for `capture`.
    """
    names = dimension_names(user_inputs(program), stage.inputs)
    nodes = list(program.graph.nodes)
    return StageTrace(stage.name, rows, tuple(_live(nodes, names)), tuple(_calls(nodes, names)))


def _values(node: torch.fx.Node) -> list[Tensor]:
    """Tensors that a node makes; a size has none."""
    value = node.meta["val"]
    return [part for part in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(part, Tensor)]


def _part(user: torch.fx.Node) -> int | None:
    """Which result of a node with several results a `getitem` takes; None = it is no getitem."""
    return int(user.args[1]) if getattr(user.target, "__name__", "") == "getitem" else None  # type: ignore[arg-type]


def _readers(node: torch.fx.Node, part: int) -> tuple[list[torch.fx.Node], list[torch.fx.Node]]:
    """Nodes that hold result `part` of a node, and the nodes that read it."""
    if not isinstance(node.meta["val"], (list, tuple)):
        return [node], list(node.users)
    holders = [user for user in node.users if _part(user) == part]
    return holders, [reader for holder in holders for reader in holder.users]


def _live(nodes: list[torch.fx.Node], names: Mapping[sympy.Symbol, str]) -> Iterator[LiveTensor]:
    order = {node: index for index, node in enumerate(nodes)}
    for node in nodes:
        if node.op != "call_function" or _part(node) is not None:
            continue
        for part, value in enumerate(_values(node)):
            _, readers = _readers(node, part)
            if any(reader.op == "output" for reader in readers):
                continue
            last = max((order[reader] for reader in readers), default=order[node])
            yield LiveTensor(nbytes(value, names), order[node], last)


def _calls(nodes: list[torch.fx.Node], names: Mapping[sympy.Symbol, str]) -> Iterator[KernelCall]:
    for node in nodes:
        if node.op == "call_function" and getattr(node.target, "namespace", None) == NAMESPACE:
            yield _call(node, names)


def _call(node: torch.fx.Node, names: Mapping[sympy.Symbol, str]) -> KernelCall:
    schema: Any = node.target
    given = dict(zip((argument.name for argument in schema._schema.arguments), node.args, strict=False)) | node.kwargs
    shapes = {
        name: tuple(to_size(size, names) for size in value.meta["val"].shape)
        for name, value in given.items()
        if isinstance(value, torch.fx.Node) and isinstance(value.meta["val"], Tensor)
    }
    integers = {name: value for name, value in given.items() if isinstance(value, int) and not isinstance(value, bool)}
    return KernelCall(schema._schema.name.split("::")[1], shapes, integers)
