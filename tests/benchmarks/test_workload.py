"""Counts of weights and operations that shares of the machine's peak rest on."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.random_model import config_of
from benchmarks.workload import Workload


@pytest.mark.parametrize(("shape", "parameters"), [("135m", 134_515_008), ("1b", 1_235_814_400)])
def test_weights_are_the_published_counts(shape: str, parameters: int) -> None:
    config = config_of(shape)
    norms = (2 * config["num_hidden_layers"] + 1) * config["hidden_size"]
    assert Workload.of(config, rank=16).stored == parameters - norms


def test_a_step_has_the_operations_that_pytorch_counts() -> None:
    rows, into, out, rank = 32, 48, 80, 4
    x = torch.randn(rows, into, requires_grad=True)
    a, b = torch.randn(rank, into, requires_grad=True), torch.randn(out, rank, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        (F.linear(x, torch.randn(out, into)) + F.linear(F.linear(x, a), b)).sum().backward()
    work = Workload(linear=into * out, head=0, stored=into * out, lora=rank * (into + out))
    assert counter.get_total_flops() == work.training_flops(rows)
