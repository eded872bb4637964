"""The memory estimate against sums written out by hand, and against a bundle's own tensors."""

from __future__ import annotations

from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.plan.memory import Bounds, Shape, estimate
from tests.support.bundles import Bundled

SHAPE = Shape(
    hidden_size=8,
    widest=20,
    num_layers=2,
    kv_width=4,
    head_dim=2,
    vocab_size=50,
    sites=((8, 8), (8, 4), (8, 8), (8, 4)),
)
BOUNDS = Bounds(train_rows=10, prefill_rows=6, context=20, rank=3)


def test_by_hand() -> None:
    memory = estimate(SHAPE, BOUNDS, {"train": [100, 5000, 200], "infer": [50]}, ports=7)
    a_and_b = 3 * ((8 + 8) + (8 + 4)) * 2
    assert memory["arena_train"] == 8192
    assert memory["arena_infer"] == 4096
    assert memory["block_inputs"] == 4096  # 3 · 10 · 8 · 4 in whole pages
    assert memory["adapter"] == (a_and_b + 3 * 4) * 4
    assert memory["gradients"] == (a_and_b + 3 * 4 + a_and_b // 2) * 4
    assert memory["optimizer"] == 2 * a_and_b * 4
    assert memory["kv_cache"] == 4096  # 2 · 2 · 20 · 4 · 4
    # 10 rows fill 16, rank 3 fills 16, 20 features fill 32: packed h and 768 logits of 16 rows outweigh packed x.
    shared, own = 16 * (8 + 768), 16 * 16 * 2 * 128 + 16 * 512 + 256 * 16
    assert memory["scratch"] == 4 * max(10 * (8 + 2), 6 * (16 + 2) + 50) + (shared + 4 * own) * 4


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
