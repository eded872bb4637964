"""The memory estimate against sums written out by hand, and against a bundle's own tensors."""

from __future__ import annotations

from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.plan.memory import Bounds, Shape, estimate
from tests.support.bundles import Bundled

SHAPE = Shape(
    hidden_size=8, num_layers=2, kv_width=4, head_dim=2, vocab_size=50, sites=((8, 8), (8, 4), (8, 8), (8, 4))
)
BOUNDS = Bounds(train_rows=10, prefill_rows=6, context=20, rank=3)


def test_by_hand() -> None:
    memory = estimate(SHAPE, BOUNDS, {"train": [100, 300, 200], "infer": [50]}, ports=7)
    a_and_b = 3 * ((8 + 8) + (8 + 4)) * 2
    assert memory["arena_train"] == 300
    assert memory["arena_infer"] == 50
    assert memory["block_inputs"] == 3 * 10 * 8 * 4
    assert memory["adapter"] == (a_and_b + 3 * 4) * 4
    assert memory["gradients"] == (a_and_b + a_and_b // 2) * 4
    assert memory["optimizer"] == 2 * a_and_b * 4
    assert memory["kv_cache"] == 2 * 2 * 20 * 4 * 4
    assert memory["scratch"] == 4 * max(10 * (8 + 2), 6 * (16 + 2) + 50)


def test_of_a_bundle(tiny_bundle: Bundled) -> None:
    manifest = read_manifest(tiny_bundle.bundle).manifest
    memory, limits, model = manifest.memory, manifest.limits, manifest.model
    assert memory.block_inputs == (model.num_layers + 1) * limits.train_t_max * model.hidden_size * 4
    assert memory.kv_cache == 2 * model.num_layers * limits.max_seq_len * model.num_kv_heads * model.head_dim * 4
    largest = {p.kind: max(m.arena_bytes for m in p.methods) for p in manifest.programs}
    assert (memory.arena_train, memory.arena_infer) == (largest["train"], largest["infer"])
    assert memory.adapter > memory.optimizer / 2
