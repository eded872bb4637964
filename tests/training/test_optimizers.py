"""100 steps of every optimizer against torch, torchao, transformers and the paper, from the same gradients."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pocketlora_export.runtime import Engine, Optimizer, Schedule, Trainer, TrainerConfig
from tests.support.oracle import Rows
from tests.support.tolerance import EPS

STEPS = 100
Tensors = dict[str, torch.Tensor]
# Longest sum over a row or a column of an adapter's matrix.
LONGEST = 704


def tensor_names(path: Path) -> list[str]:
    """The tensors of a safetensors file in the order of the file."""
    blob = path.read_bytes()
    header = json.loads(blob[8 : 8 + struct.unpack("<Q", blob[:8])[0]])
    return [name for name in header if name != "__metadata__"]


def saved(trainer: Trainer, folder: Path) -> Tensors:
    """The trainer's adapter, in the order of its file."""
    with trainer.adapter() as adapter:
        adapter.save(folder)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    return {name: tensors[name] for name in tensor_names(file)}


class Reference:
    """Parameters of torch that get the runtime's gradients."""

    def __init__(self, start: Tensors, make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> None:
        self.parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
        self.optimizer = make(list(self.parameters.values()))
        self.travelled = {name: torch.zeros_like(value) for name, value in start.items()}
        self.rates = 0.0

    def step(self, gradients: Tensors, rate: float, max_norm: float) -> None:
        """One step with this learning rate."""
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        if max_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), max_norm)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self.optimizer.step()
        self.rates += rate
        for name, parameter in self.parameters.items():
            self.travelled[name] += (parameter.detach() - before[name]).abs()


class PaperLion(torch.optim.Optimizer):
    """Algorithm 2 of arXiv 2302.06675; `unclear` are elements whose sign is a matter of rounding somewhere."""

    def __init__(
        self, parameters: list[torch.nn.Parameter], lr: float, beta1: float, beta2: float, decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr})
        self.betas, self.decay = (beta1, beta2), decay
        self.momentum = [torch.zeros_like(p) for p in parameters]
        self.unclear = [torch.zeros_like(p, dtype=torch.bool) for p in parameters]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step."""
        (beta1, beta2), rate = self.betas, self.param_groups[0]["lr"]
        for p, m, unclear in zip(self.param_groups[0]["params"], self.momentum, self.unclear, strict=True):
            direction = beta1 * m + (1 - beta1) * p.grad
            unclear.logical_or_((direction != 0) & (direction.abs() <= 64 * EPS * (m.abs() + p.grad.abs())))
            p.sub_(rate * (direction.sign() + self.decay * p))
            m.mul_(beta2).add_(p.grad, alpha=1 - beta2)


def run(
    engine: Engine,
    config: TrainerConfig,
    batches: list[list[Rows]],
    reference: Callable[[Tensors], Reference],
    at: Path,
) -> tuple[Trainer, Tensors, Tensors, Reference]:
    """Train both. Returns the trainer, where it started, where it ended, and the reference."""
    trainer = Trainer(engine, config)
    start = saved(trainer, at / "start")
    torch_side = reference(start)
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        trainer.forward_backward(batch)
        gradients = {name: torch.from_numpy(trainer.gradient(name, tuple(p.shape))) for name, p in start.items()}
        torch_side.step(gradients, trainer.step(batch).learning_rate, config.max_grad_norm)
    return trainer, start, saved(trainer, at / "end"), torch_side


def check(start: Tensors, end: Tensors, reference: Reference, roundings: float, skip: list[torch.Tensor]) -> float:
    """Every element within the roundings of its steps. Returns the relative difference of the way travelled."""
    apart = way = 0.0
    for i, (name, found) in enumerate(end.items()):
        expected = reference.parameters[name].detach()
        clear = ~skip[i] if skip else torch.ones_like(found, dtype=torch.bool)
        bound = roundings * EPS * (reference.travelled[name] + reference.rates) + 2 * STEPS * EPS * expected.abs().max()
        assert ((found - expected).abs() <= bound)[clear].all(), name
        apart += float(((found - expected)[clear] ** 2).sum())
        way += float(((expected - start[name]) ** 2).sum())
    assert way > 0
    return float(np.sqrt(apart / way))


SETTINGS = TrainerConfig(rank=16, learning_rate=1e-3, weight_decay=0.05, seed=3)
ADAMW: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}


def adafactor(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """As transformers' Trainer makes it."""
    from transformers.optimization import Adafactor

    options: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.05, "scale_parameter": False, "relative_step": False}
    made: torch.optim.Optimizer = Adafactor(parameters, **options)
    return made


@pytest.mark.parametrize(
    ("kind", "changes", "make", "roundings"),
    [
        (Optimizer.ADAMW, {}, lambda p: torch.optim.AdamW(p, lr=1e-3, **ADAMW), 64),
        (
            Optimizer.ADAMW,
            {"schedule": Schedule.COSINE, "warmup_steps": 10, "total_steps": STEPS, "max_grad_norm": 0.1},
            lambda p: torch.optim.AdamW(p, lr=1e-3, **ADAMW),
            128,
        ),
        (
            Optimizer.SGD,
            {"momentum": 0.9, "schedule": Schedule.LINEAR, "total_steps": STEPS},
            lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, weight_decay=0.05),
            64,
        ),
        (Optimizer.LION, {"beta2": 0.99}, lambda p: PaperLion(p, 1e-3, 0.9, 0.99, 0.05), 64),
        # Means over rows and columns; the roots keep half of their errors, and three of them are taken.
        (Optimizer.ADAFACTOR, {}, adafactor, 2 * LONGEST),
    ],
    ids=["adamw", "adamw-cosine-clipped", "sgd", "lion", "adafactor"],
)
def test_100_steps(
    kind: Optimizer,
    changes: dict[str, object],
    make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer],
    roundings: float,
    engine: Engine,
    batches: list[list[Rows]],
    tmp_path: Path,
) -> None:
    config = TrainerConfig(**{**vars(SETTINGS), "optimizer": kind, **changes})
    _, start, end, reference = run(engine, config, batches, lambda tensors: Reference(tensors, make), tmp_path)
    optimizer = reference.optimizer
    skip = optimizer.unclear if isinstance(optimizer, PaperLion) else []
    apart = check(start, end, reference, roundings, skip)
    print(f"{kind.name}: {apart:.1e} of the way apart, {sum(int(s.sum()) for s in skip)} signs unclear")


def test_100_steps_with_moments_in_8_bits(engine: Engine, batches: list[list[Rows]], tmp_path: Path) -> None:
    from torchao.optim import AdamW8bit

    config = TrainerConfig(**{**vars(SETTINGS), "optimizer": Optimizer.ADAMW_8BIT})
    torch.compiler.set_stance("force_eager")
    try:
        trainer, start, end, reference = run(
            engine, config, batches, lambda t: Reference(t, lambda p: AdamW8bit(p, lr=1e-3, **ADAMW)), tmp_path
        )
    finally:
        torch.compiler.set_stance("default")
    path = trainer.save_checkpoint(tmp_path / "checkpoints").path
    found = load_file(path / "optimizer.safetensors")
    states = [reference.optimizer.state[p] for p in reference.parameters.values() if p.numel() >= 4096]
    assert len(states) > 20
    for moment in ("exp_avg", "exp_avg_sq"):
        codes = torch.cat([state[moment].codes.flatten() for state in states]).int()
        scales = torch.cat([state[moment].scale for state in states])
        apart = (found[f"{moment}.codes"].int() - codes).abs()
        # Where a value lies in the middle between two codes, rounding decides, and a moment that was rounded the other
        # way stays one code away for a while.
        print(f"{moment}: {float((apart > 0).float().mean()):.1e} of the codes differ, by {int(apart.max())} at most")
        assert float((apart > 0).float().mean()) <= 1e-3
        assert torch.allclose(found[f"{moment}.scales"], scales, rtol=1e-3)
    way = sum(float(((p.detach() - start[n]) ** 2).sum()) for n, p in reference.parameters.items())
    off = sum(float(((p.detach() - end[n]) ** 2).sum()) for n, p in reference.parameters.items())
    print(f"ADAMW_8BIT: {np.sqrt(off / way):.1e} of the way apart")
    # One code more or less is at most 1.4 % of the largest moment of a block, in at most a thousandth of the elements.
    assert np.sqrt(off / way) <= 1.4e-2 * np.sqrt(1e-3)


@pytest.mark.parametrize(
    ("schedule", "name"),
    [(Schedule.CONSTANT, "constant_with_warmup"), (Schedule.LINEAR, "linear"), (Schedule.COSINE, "cosine")],
)
def test_schedules_are_transformers(schedule: Schedule, name: str, engine: Engine, batches: list[list[Rows]]) -> None:
    from transformers import get_scheduler

    config = TrainerConfig(rank=2, learning_rate=3e-4, schedule=schedule, warmup_steps=7, total_steps=40)
    trainer = Trainer(engine, config)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=3e-4)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=7, num_training_steps=40)
    for _ in range(40):
        expected = scheduler.get_last_lr()[0]
        assert trainer.step(batches[0]).learning_rate == pytest.approx(expected, rel=1e-12, abs=1e-18)
        optimizer.step()
        scheduler.step()
