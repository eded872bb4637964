"""What of each lowered stage runs where: in delegates, in our kernels, or in ExecuTorch's portable ones."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from executorch.exir import EdgeProgramManager
from torch.export import ExportedProgram

from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.graphs.trace import dimension_names, user_inputs
from pocketlora_export.lower.flops import Sizes, flops, is_move, nbytes_of, op_name, tensors_of
from pocketlora_export.ops.library import NAMESPACE

Place = Literal["delegate", "custom", "portable"]
PLACES: tuple[Place, ...] = ("delegate", "custom", "portable")


@dataclass(frozen=True)
class OpUse:
    """An op of a stage: where it runs, how often, and its floating-point operations together."""

    op: str
    place: Place
    count: int
    flops: int


@dataclass(frozen=True)
class StageCoverage:
    """One stage at its largest sizes.

    `delegates`: calls of a delegate. `crossings`: times that execution enters or leaves one. `crossing_bytes`: of the
    tensors that go in and come out. `breaking`: ops between two delegates that no delegate takes, most frequent first.
    """

    stage: str
    rows: int
    ops: tuple[OpUse, ...]
    delegates: int
    crossing_bytes: int
    breaking: tuple[str, ...]

    @property
    def crossings(self) -> int:
        """Times that execution enters or leaves a delegate."""
        return 2 * self.delegates

    def flops(self, place: Place | None = None) -> int:
        """Operations in one place, or in all."""
        return sum(use.flops for use in self.ops if place in (None, use.place))

    def count(self, place: Place) -> int:
        """Nodes that run in one place."""
        return sum(use.count for use in self.ops if use.place == place)

    def share(self, place: Place) -> float:
        """The part of the operations in one place, 0 to 1."""
        return self.flops(place) / max(self.flops(), 1)

    @property
    def covered(self) -> float:
        """The part of the operations in delegates and in our kernels, 0 to 1; the rest is portable."""
        return self.share("delegate") + self.share("custom")

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        places: dict[str, Any] = {
            place: {"ops": self.count(place), "flops": self.flops(place), "share": round(self.share(place), 6)}
            for place in PLACES
        }
        return {
            "stage": self.stage, "rows": self.rows, "flops": self.flops(), "covered": round(self.covered, 6), **places,
            "delegates": self.delegates, "crossings": self.crossings, "crossing_bytes": self.crossing_bytes,
            "breaking": list(self.breaking),
            "by_op": [vars(use) for use in self.ops],
        }  # fmt: skip


def stage_coverage(edge: EdgeProgramManager, stage: Stage, rows: int, sizes: Sizes) -> StageCoverage:
    """Look into one method of a program in the edge dialect.

    Args:
        edge: as a backend makes it, delegates included.
        stage: what the method was captured from.
        rows: its largest number of rows.
        sizes: values of the symbols in its shapes (`largest_sizes`); none where all sizes are fixed.
    """
    program = edge.exported_program(stage.name)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    calls = [node for node in nodes if _is_call(node)]
    return StageCoverage(
        stage.name,
        rows,
        tuple(_uses(nodes, sizes)),
        len(calls),
        sum(_crossing_bytes(call, sizes) for call in calls),
        _breaking(nodes),
    )


def largest_sizes(program: ExportedProgram, stage: Stage, rows: int, limits: Limits) -> Sizes:
    """The symbols of a captured stage's shapes at the bounds of its dynamic dimensions."""
    bounds = {str(d).split(":")[0]: limits.bound(d, rows) for s in stage.inputs for d in s.shape if isinstance(d, str)}
    bounds["R"] = limits.max_rank
    return {symbol: bounds[name] for symbol, name in dimension_names(user_inputs(program), stage.inputs).items()}


def _is_call(node: torch.fx.Node) -> bool:
    return "executorch_call_delegate" in str(node.target)


def _lowered(call: torch.fx.Node) -> Any:
    """The lowered module that a delegate call runs."""
    reference: Any = call.args[0]
    return getattr(call.graph.owning_module, reference.target)


def _places(nodes: Sequence[torch.fx.Node]) -> Iterator[tuple[torch.fx.Node, Place]]:
    """Ops with where they run, those inside delegates included."""
    for node in nodes:
        if _is_call(node):
            inside = _lowered(node).original_module.graph.nodes
            yield from ((one, "delegate") for one in inside if _is_op(one))
        elif _is_op(node):
            yield node, "custom" if op_name(node).startswith(f"{NAMESPACE}::") else "portable"


def _is_op(node: torch.fx.Node) -> bool:
    """An op on tensors: neither a part of a tuple nor arithmetic of sizes."""
    return node.op == "call_function" and node.target is not operator.getitem and bool(tensors_of(node.meta.get("val")))


def _uses(nodes: Sequence[torch.fx.Node], sizes: Sizes) -> list[OpUse]:
    """Ops, the costliest first."""
    found: dict[tuple[str, Place], list[int]] = defaultdict(list)
    for node, place in _places(nodes):
        found[op_name(node), place].append(flops(node, sizes))
    uses = [OpUse(op, place, len(costs), sum(costs)) for (op, place), costs in found.items()]
    return sorted(uses, key=lambda use: (-use.flops, use.op))


def _crossing_bytes(call: torch.fx.Node, sizes: Sizes) -> int:
    values = [call.meta["val"], *(node.meta.get("val") for node in call.all_input_nodes)]
    return sum(nbytes_of(tensor, sizes) for value in values for tensor in tensors_of(value))


def _breaking(nodes: Sequence[torch.fx.Node]) -> tuple[str, ...]:
    """Ops that read what some delegate made, and whose result some delegate reads."""
    above: set[torch.fx.Node] = set()
    below: set[torch.fx.Node] = set()
    for node in nodes:
        if any(_is_call(source) or source in above for source in node.all_input_nodes):
            above.add(node)
    for node in reversed(nodes):
        if any(_is_call(user) or user in below for user in node.users):
            below.add(node)
    found: dict[str, int] = defaultdict(int)
    for node in nodes:
        if node in above and node in below and _is_op(node) and not _is_call(node) and not is_move(node):
            found[op_name(node)] += 1
    return tuple(sorted(found, key=lambda op: (-found[op], op)))
