"""Bytes of an arena that are touched."""

from __future__ import annotations

from pocketlora_export.graphs.trace import Size, StageTrace
from pocketlora_export.lower.spec import MethodSpec, PlannedTensor
from pocketlora_export.plan.arena import covered, touched


def method(name: str, t_max: int, *tensors: tuple[int, int, int]) -> MethodSpec:
    """A method with tensors of (memory, offset, bytes a row)."""
    planned = tuple(PlannedTensor(memory, offset, Size(((row, ("N",)),))) for memory, offset, row in tensors)
    return MethodSpec(name, 1, t_max, 0, (), (), planned, StageTrace(name, t_max, (), ()))


def test_a_union_counts_no_byte_twice() -> None:
    assert covered([(10, 20), (15, 30), (0, 5), (12, 13), (40, 40)]) == 25
    assert covered([]) == 0


def test_places_are_fixed_and_sizes_follow_the_rows() -> None:
    forward = method("block_forward", 8, (1, 0, 4096), (1, 8 * 4096, 4096))
    assert touched([forward], 8, {}) == 16 * 4096
    assert touched([forward], 3, {}) == 6 * 4096


def test_pages_count_as_wholes_and_once() -> None:
    # At 1 row: [0, 100) and [800, 900) of one page; at 8 rows the second reaches into the next 4 kB.
    forward = method("block_forward", 8, (1, 0, 100), (1, 3400, 100))
    assert touched([forward], 1, {}) == 4096
    assert touched([forward], 8, {}) == 2 * 4096


def test_methods_share_the_arena_and_memories_follow_each_other() -> None:
    first = method("block_prefill", 4, (1, 0, 4096))
    second = method("block_decode", 1, (1, 0, 4096), (2, 0, 4096))
    assert touched([first, second], 4, {}) == 5 * 4096
    assert touched([first, second], 2, {}) == 3 * 4096
