"""Loss and every LoRA gradient of the C++ step against PyTorch autograd through the same dequantized weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.runtime.engine import Engine
from pocketlora_export.runtime.trainer import Trainer
from pocketlora_export.runtime.training import Recompute, TrainerConfig
from tests.conftest import BundleFactory
from tests.support.bundles import Bundled
from tests.support.models import TinyModel
from tests.support.oracle import Rows, gradients, load_adapter, random_rows, relative_error
from tests.support.tolerance import forward_bound, gradient_bound

# Every pair of (scheme, tied, GQA/MHA, biases, rope) values occurs in one of these.
MODELS = {
    "nf4-tied-gqa": TinyModel(),
    "nf4-untied-mha-llama3": TinyModel(tied=False, hidden=128, head_dim=32, kv_heads=4, llama3_rope=True, seed=1),
    "int4-tied-mha-biases": TinyModel(quant="int4", kv_heads=4, biases=True, seed=2),
    "int4-untied-gqa-llama3-biases": TinyModel(quant="int4", tied=False, llama3_rope=True, biases=True, seed=3),
    # Longer rows than the window in all of the batches but one.
    "nf4-untied-gqa-window": TinyModel(tied=False, window=9, seed=5),
}
BATCHES = {
    "short": [(7,)],
    "full": [(48,)],
    "packed": [(5, 17, 2, 23)],
    "accumulated": [(31,), (4, 9)],
}


@dataclass(frozen=True)
class Comparison:
    """Relative errors of the loss and of the worst gradient."""

    loss: float
    gradient: float
    worst: str


def compare(engine: Engine, made: Bundled, adapter: Path, batches: list[Rows]) -> Comparison:
    """Run the step in C++ and in PyTorch. Products that are kept give the same bits as those computed again."""
    loss, expected = gradients(load_adapter(made.dequantized, adapter), batches)
    trainer = Trainer(engine, TrainerConfig(recompute=Recompute.FULL), engine.load_adapter(adapter))
    report = trainer.forward_backward(batches)
    if made.tiny.keeps_products:
        keeping = Trainer(engine, TrainerConfig(recompute=Recompute.SELECTIVE), engine.load_adapter(adapter))
        assert keeping.forward_backward(batches).loss == report.loss
        for name, gradient in expected.items():
            shape = gradient.shape
            assert keeping.gradient(name, shape).tobytes() == trainer.gradient(name, shape).tobytes(), name
    errors = {name: relative_error(trainer.gradient(name, g.shape), g) for name, g in expected.items()}
    worst = max(errors, key=lambda name: errors[name])
    return Comparison(abs(report.loss - loss) / loss, errors[worst], worst)


def check(found: Comparison, tiny: TinyModel, record: Callable[[str, object], None]) -> None:
    """Hold a comparison to the derived bounds and keep the measured values."""
    record("loss_error", found.loss)
    record("gradient_error", found.gradient)
    print(f"loss {found.loss:.1e}, worst gradient {found.gradient:.1e} ({found.worst})")
    assert found.loss <= forward_bound(tiny)
    assert found.gradient <= gradient_bound(tiny), found.worst


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("tiny", MODELS.values(), ids=MODELS)
def test_loss_and_gradients(
    tiny: TinyModel,
    lengths: list[tuple[int, ...]],
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    made = make_bundle(tiny)
    batches = [random_rows(part, tiny.vocab, seed) for seed, part in enumerate(lengths)]
    found = compare(open_engine(made), made, peft_adapter(made), batches)
    check(found, tiny, record_property)


def test_ranks_and_scales_of_each_site(
    tiny_bundle: Bundled, peft_adapter: Any, open_engine: Any, record_property: Callable[[str, object], None]
) -> None:
    """Sites with ranks of their own, rank-stabilised scaling, and modules without an adapter."""
    adapter = peft_adapter(
        tiny_bundle,
        r=3,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 8},
        alpha_pattern={"layers.0.mlp.down_proj": 11},
        use_rslora=True,
    )
    batches = [random_rows((19, 8), tiny_bundle.tiny.vocab, 5)]
    found = compare(open_engine(tiny_bundle), tiny_bundle, adapter, batches)
    check(found, tiny_bundle.tiny, record_property)


def test_large_vocabulary(
    make_bundle: BundleFactory, peft_adapter: Any, open_engine: Any, record_property: Callable[[str, object], None]
) -> None:
    """The vocabulary of Llama 3 over the width of SmolLM2-135M: the loss is a sum over many chunks."""
    tiny = TinyModel(
        vocab=128256, hidden=576, intermediate=1536, heads=9, kv_heads=3, head_dim=64, layers=1, train_len=32, seed=4
    )
    made = make_bundle(tiny)
    found = compare(open_engine(made), made, peft_adapter(made), [random_rows((11, 21), tiny.vocab, 6)])
    check(found, tiny, record_property)


def test_a_wrong_label_shift_would_be_seen(tiny_bundle: Bundled, peft_adapter: Any, open_engine: Any) -> None:
    """The comparison has teeth: labels moved by one row give gradients far outside of the bound."""
    adapter = peft_adapter(tiny_bundle)
    rows = random_rows((24,), tiny_bundle.tiny.vocab, 7, masked=0)
    moved = Rows(rows.tokens, rows.tokens[::-1].copy(), rows.segments)
    _, expected = gradients(load_adapter(tiny_bundle.dequantized, adapter), [moved])
    engine = open_engine(tiny_bundle)
    trainer = Trainer(engine, init=engine.load_adapter(adapter))
    trainer.forward_backward([rows])
    errors = [relative_error(trainer.gradient(name, g.shape), g) for name, g in expected.items()]
    assert min(errors) > 0.1
