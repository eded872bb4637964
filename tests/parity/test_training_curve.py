"""200 AdamW steps in C++ and in PyTorch from the same start: the loss curves stay within 1 %."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pocketlora_export.runtime import Optimizer, Trainer, TrainerConfig
from tests.support.bundles import Bundled
from tests.support.oracle import Rows, load_adapter, mean_loss, random_rows

STEPS = 200
SETTINGS = TrainerConfig(learning_rate=2e-3, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.02)
SETTINGS_OF = {
    Optimizer.ADAMW: SETTINGS,
    Optimizer.SGD: replace(SETTINGS, optimizer=Optimizer.SGD, momentum=0.9, weight_decay=0.0),
}


@pytest.fixture
def batches(tiny_bundle: Bundled) -> list[list[Rows]]:
    """Eight optimizer steps' worth of data, cycled; each step accumulates two micro-batches."""
    vocab = tiny_bundle.tiny.vocab
    return [[random_rows((12, 9), vocab, 2 * i), random_rows((16,), vocab, 2 * i + 1)] for i in range(8)]


def torch_curve(model: Any, batches: list[list[Rows]], optimizer: torch.optim.Optimizer) -> list[float]:
    """Losses of the reference."""
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = mean_loss(model, batches[step % len(batches)])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def make_optimizer(kind: Optimizer, model: Any) -> torch.optim.Optimizer:
    """The reference optimizer with the same settings."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if kind is Optimizer.SGD:
        return torch.optim.SGD(parameters, lr=SETTINGS.learning_rate, momentum=0.9)
    betas = (SETTINGS.beta1, SETTINGS.beta2)
    return torch.optim.AdamW(
        parameters, SETTINGS.learning_rate, betas, SETTINGS.epsilon, weight_decay=SETTINGS.weight_decay
    )


@pytest.mark.parametrize("kind", [Optimizer.ADAMW, Optimizer.SGD])
def test_loss_curves(
    kind: Optimizer,
    tiny_bundle: Bundled,
    batches: list[list[Rows]],
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    start = peft_adapter(tiny_bundle)
    engine = open_engine(tiny_bundle)
    trainer = Trainer(engine, SETTINGS_OF[kind], init=engine.load_adapter(start))
    found = np.array([trainer.step(batches[step % len(batches)]).loss for step in range(STEPS)])
    model = load_adapter(tiny_bundle.dequantized, start)
    expected = np.array(torch_curve(model, batches, make_optimizer(kind, model)))
    worst = float(np.max(np.abs(found - expected) / expected))
    record_property("worst_relative_difference", worst)
    print(f"{kind.name}: loss {expected[0]:.3f} -> {expected[-1]:.3f}, curves within {worst:.1e}")
    assert worst <= 0.01
    # Both learned: a curve that stays flat would agree without saying anything.
    assert expected[-len(batches) :].mean() < 0.9 * expected[: len(batches)].mean()
