"""How much of a program's shared arena is touched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from pocketlora_export.graphs.trace import Extents, StageTrace
from pocketlora_export.lower.spec import MethodSpec

PAGE = 4096


def round_up(value: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-value // step) * step


def covered(intervals: Iterable[tuple[int, int]]) -> int:
    """Bytes of the union of [begin, end) intervals."""
    total = reached = 0
    for begin, end in sorted(intervals):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def memory_offsets(methods: Sequence[MethodSpec], largest: Extents) -> dict[int, int]:
    """Where the arena holds each planned memory: one after the other, each of whole pages, as large as its largest."""
    sizes: dict[int, int] = {}
    for method in methods:
        for tensor in method.planned:
            end = tensor.offset + tensor.nbytes.at({**largest, "N": method.t_max})
            sizes[tensor.memory] = max(sizes.get(tensor.memory, 0), end)
    starts, offset = {}, 0
    for memory in sorted(sizes):
        starts[memory] = offset
        offset += round_up(sizes[memory], PAGE)
    return starts


def touched(methods: Sequence[MethodSpec], rows: int, largest: Extents) -> int:
    """Bytes of the pages that are touched when each call has at most `rows` rows; places are fixed for t_max.

    Args:
        methods: those of one program.
        rows: N of every method that has one.
        largest: bounds of the other dynamic dimensions.
    """
    starts = memory_offsets(methods, largest)
    pages = set()
    for method in methods:
        extents = {**largest, "N": min(rows, method.t_max)}
        for tensor in method.planned:
            begin = starts[tensor.memory] + tensor.offset
            end = begin + tensor.nbytes.at(extents)
            pages.add((begin // PAGE * PAGE, round_up(end, PAGE)))
    return covered(pages)


# ExecuTorch places tensors at multiples of this.
_PLACE = 16


def live_bound(stage: StageTrace, extents: Extents) -> int:
    """The most bytes that are alive at once inside a stage: what no plan can go below, and ExecuTorch's reaches."""
    change = [0] * (max((tensor.last for tensor in stage.tensors), default=0) + 2)
    for tensor in stage.tensors:
        size = round_up(tensor.nbytes.at(extents), _PLACE)
        change[tensor.first] += size
        change[tensor.last + 1] -= size
    return max(accumulate(change))


def arena_bound(stages: Sequence[StageTrace], extents: Extents) -> int:
    """Bytes of a program's arena: its stages share it, so the largest of them counts, in whole pages."""
    return round_up(max(live_bound(s, {**extents, "N": min(extents["N"], s.rows)}) for s in stages), PAGE)
