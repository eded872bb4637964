"""The memory estimate against sums written out by hand, and against a bundle's own tensors."""

from __future__ import annotations

from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.graphs.trace import KernelCall, Size, StageTrace
from pocketlora_export.lower.spec import MethodSpec, PlannedTensor, PortSpec
from pocketlora_export.plan.memory import Bounds, Shape, by_rows, estimate
from tests.support.bundles import Bundled

SHAPE = Shape(
    hidden_size=8,
    num_layers=2,
    num_kv_heads=2,
    head_dim=2,
    rope_width=2,
    vocab_size=50,
    windows=(None, None),
    sites=((8, 8), (8, 4), (8, 8), (8, 4)),
)
BOUNDS = Bounds(train_rows=10, prefill_rows=6, context=20, rank=3, segments=4)
ROWS = Size(((1, ("N",)),))


def constant(value: int) -> Size:
    """A size that depends on nothing."""
    return Size(((value, ()),))


def lowered(name: str, arena_bytes: int, call: KernelCall, rows: int = 10) -> MethodSpec:
    """A method of seven ports whose one tensor fills its arena in proportion to the rows."""
    planned = (PlannedTensor(1, 0, Size(((arena_bytes // rows, ("N",)),))),)
    port = PortSpec("x", "float32", ("N", 8))
    return MethodSpec(
        name, 1, rows, arena_bytes, (port,) * 5, (port,) * 2, planned, StageTrace(name, rows, (), (call,))
    )


def test_by_hand() -> None:
    head = KernelCall("head_loss", {"h": (ROWS, constant(8))}, {"n": 50, "k": 8})
    few_rows = KernelCall("linear4", {"x": (ROWS, constant(8))}, {"n": 50, "k": 8})
    programs = {"train": [lowered("head_loss", 5000, head)], "infer": [lowered("head", 60, few_rows, 6)]}
    tables = {kind: by_rows(SHAPE, BOUNDS, kind, methods) for kind, methods in programs.items()}
    memory = estimate(SHAPE, BOUNDS, programs, tables)
    # Matrices in whole cache lines of 16 floats: 3 x 8 in two of them, 3 x 4 in one.
    a_and_b, scales = 2 * ((32 + 32) + (32 + 16)), 4 * 16
    assert memory["arena_train"] == 8192
    assert memory["arena_infer"] == 4096
    assert memory["block_inputs"] == 4096  # 3 · 10 · 8 · 4 in whole pages
    assert memory["adapter"] == (a_and_b + scales) * 4
    assert memory["gradients"] == memory["adapter"] + 4096  # and those of one layer, 3 · (16 + 12) · 4
    # Two moments of every element, without the lines' padding.
    assert memory["optimizer"] == 2 * 4 * 2 * ((3 * 8 + 8 * 3) + (3 * 8 + 4 * 3))
    assert memory["kv_cache"] == 4096  # 2 · 2 · 20 · 4 · 4
    assert memory["other"] == 14 * 360

    assert [row["rows"] for row in tables["train"]] == [1, 2, 4, 8, 10]
    assert [row["rows"] for row in tables["infer"]] == [1, 2, 4, 6]
    assert [row["arena"] for row in tables["train"]] == [4096, 4096, 4096, 4096, 8192]
    last = tables["train"][-1]
    # 50 rows of the head are one tile more than three, so threads share the forward product: 3 x 2 tiles and 48 x 16
    # sums. The backward product has one tile of columns and stays on one thread: 16 x 2 tiles and 10 x 256 of dy. That
    # thread also holds 10 labels, places and states, 16 x 16 of h, 10 x 768 logits and a row of the head.
    per_thread = 64 << 10  # what a thread takes at least, and as much again while it grows
    assert last["scratch_per_thread"] == 2 * per_thread
    shared = 2 * 128 + 192 + 4 * 16 * 16 + 4 * 10 * 768 + 4 * (16 * 16 * 2 * 128 + 10 * 256)
    # Chunks are never smaller than 64 kB, and what did not fit into the rest of one begins another.
    assert 0 <= last["scratch"] + per_thread - 2 * 4096 - shared < 3 * per_thread
    assert memory["scratch"] == max(
        table[-1]["scratch"] + 4 * table[-1]["scratch_per_thread"] for table in tables.values()
    )


def test_of_a_bundle(tiny_bundle: Bundled) -> None:
    manifest = read_manifest(tiny_bundle.bundle).manifest
    memory, limits, model = manifest.memory, manifest.limits, manifest.model
    kv_cache = 2 * model.num_layers * limits.max_seq_len * model.num_kv_heads * model.head_dim * 4
    assert 0 <= memory.block_inputs - (model.num_layers + 1) * limits.train_t_max * model.hidden_size * 4 < 4096
    assert 0 <= memory.kv_cache - kv_cache < 4096
    largest = {p.kind: max(m.arena_bytes for m in p.methods) for p in manifest.programs}
    assert 0 <= memory.arena_train - largest["train"] < 4096
    assert 0 <= memory.arena_infer - largest["infer"] < 4096
    assert memory.adapter > memory.optimizer / 2
    tables = {program.kind: program.memory_rows for program in manifest.programs}
    for table, arena, last in (
        (tables["train"], memory.arena_train, limits.train_t_max),
        (tables["infer"], memory.arena_infer, limits.prefill_t_max),
    ):
        rows, arenas = [row.rows for row in table], [row.arena for row in table]
        assert rows == sorted(set(rows))
        assert rows[-1] == last
        assert arenas == sorted(arenas)
        # At t_max nearly all of the plan is in use at one time or another.
        assert arena - 4096 <= arenas[-1] <= arena
        assert arenas[0] < arenas[-1]
        assert all(row.scratch > 0 and row.scratch_per_thread > 0 for row in table)
