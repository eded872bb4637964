"""Direct preference optimization against TRL's formula over transformers and peft on the dequantized base."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pocketlora_export.runtime import Engine, Loss, Optimizer, Step, Trainer, TrainerConfig
from tests.conftest import BundleFactory
from tests.support.bundles import Bundled
from tests.support.models import TinyModel
from tests.support.oracle import Rows, load_adapter, load_base, relative_error
from tests.support.preference import Preference, preference, random_pairs, sequence_logprobs
from tests.support.tolerance import forward_bound, gradient_bound

MODELS = {
    "nf4-tied-gqa": TinyModel(),
    "int4-untied-gqa-llama3-biases": TinyModel(quant="int4", tied=False, llama3_rope=True, biases=True, seed=3),
}
# Answers of micro-batches; the rows of a pass are 48.
PAIRS = {
    "one": [[(9, 7)]],
    "packed": [[(12, 10), (5, 17)]],
    "accumulated": [[(12, 10), (5, 17)], [(8, 8)]],
    "in-two-passes": [[(40, 31), (6, 9)]],
}


def stepped(engine: Engine, start: Path | None, config: TrainerConfig, tiny: TinyModel) -> Trainer:
    """A trainer whose policy has left its reference."""
    trainer = Trainer(engine, config, None if start is None else engine.load_adapter(start))
    for seed in range(4):
        trainer.step([random_pairs([(9, 11), (14, 8)], tiny.vocab, 50 + seed)])
    return trainer


def reference_logprobs(made: Bundled, start: Path | None, batches: list[Rows]) -> torch.Tensor:
    """Of the frozen starting adapter, or of the bare base without one."""
    model = load_base(made.dequantized) if start is None else load_adapter(made.dequantized, start)
    with torch.no_grad():
        return sequence_logprobs(model, batches)


def check(found: Step, trainer: Trainer, expected: Preference, beta: float, tiny: TinyModel) -> None:
    # A log-probability is a sum of terms of one sign, each within the bound; a margin is a difference of four of them.
    error = min(1e-3, beta * forward_bound(tiny) * expected.scale)
    assert found.loss == pytest.approx(expected.loss, rel=0, abs=error)
    assert found.chosen_reward == pytest.approx(expected.chosen, rel=0, abs=error)
    assert found.rejected_reward == pytest.approx(expected.rejected, rel=0, abs=error)
    assert found.reward_margin == pytest.approx(expected.margin, rel=0, abs=error)
    assert found.reward_accuracy == pytest.approx(expected.accuracy)
    # The logarithm of a pair's weight moves by no more than its margin does; what an answer gives is a gradient as any.
    errors = {n: relative_error(trainer.gradient(n, g.shape), g) for n, g in expected.gradients.items()}
    bounds = {n: min(1e-3, spread * (gradient_bound(tiny) + error)) for n, spread in expected.spread.items()}
    worst = max(errors, key=lambda name: errors[name] / bounds[name])
    print(
        f"loss {abs(found.loss - expected.loss):.1e} of {error:.1e}; {worst} {errors[worst]:.1e} of {bounds[worst]:.1e}"
    )
    assert errors[worst] <= bounds[worst], worst


@pytest.mark.parametrize("frozen", [False, True], ids=["base", "adapter"])
@pytest.mark.parametrize("lengths", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("tiny", MODELS.values(), ids=MODELS)
def test_loss_rewards_and_gradients(
    tiny: TinyModel,
    lengths: list[list[tuple[int, int]]],
    frozen: bool,
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Callable[[Bundled], Engine],
    tmp_path: Path,
) -> None:
    made, beta, smoothing = make_bundle(tiny), 0.3, 0.1 if frozen else 0.0
    start = peft_adapter(made) if frozen else None
    config = TrainerConfig(
        rank=4, learning_rate=5e-3, loss=Loss.DPO, beta=beta, label_smoothing=smoothing, optimizer=Optimizer.ADAMW
    )
    batches = [random_pairs(part, tiny.vocab, seed) for seed, part in enumerate(lengths)]
    with open_engine(made) as engine, stepped(engine, start, config, tiny) as trainer:
        with trainer.adapter() as adapter:
            adapter.save(tmp_path / "policy")
        found = trainer.forward_backward(batches)
        assert found.num_pairs == sum(map(len, lengths))
        policy = load_adapter(made.dequantized, tmp_path / "policy")
        expected = preference(policy, reference_logprobs(made, start, batches), batches, beta, smoothing)
        assert abs(expected.margin) > 1e-3
        check(found, trainer, expected, beta, tiny)


@pytest.mark.parametrize("frozen", [False, True], ids=["base", "adapter"])
def test_at_the_start_policy_and_reference_are_the_same(
    frozen: bool, tiny_bundle: Bundled, peft_adapter: Any, open_engine: Callable[[Bundled], Engine]
) -> None:
    with open_engine(tiny_bundle) as engine:
        init = engine.load_adapter(peft_adapter(tiny_bundle)) if frozen else None
        with Trainer(engine, TrainerConfig(loss=Loss.DPO), init) as trainer:
            pairs = random_pairs([(40, 31), (9, 12)], tiny_bundle.tiny.vocab, 1)
            found = trainer.forward_backward([pairs])
            held_out = trainer.validate([pairs])
    for report in (found, held_out):
        # Both are the same computation, whatever of the adapter is zero.
        assert (report.chosen_reward, report.rejected_reward, report.reward_margin) == (0, 0, 0)
        assert report.reward_accuracy == 0
        assert report.loss == pytest.approx(math.log(2), rel=1e-15)
    assert math.isnan(held_out.perplexity)
    assert found.grad_norm > 0
