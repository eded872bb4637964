"""The reference for preference pairs: TRL's DPO loss over log-probabilities of transformers and peft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from tests.support.oracle import IGNORED, Array, Rows, random_rows


@dataclass(frozen=True)
class Preference:
    """Mean loss and rewards of pairs, the gradient of each LoRA tensor, and what rounding may do to them.

    `scale`: the largest sum of absolute log-probabilities that a pair's margin is the difference of.
    `spread`: for each gradient, by how much its parts, one an answer, are larger than their sum.
    """

    loss: float
    chosen: float
    rejected: float
    accuracy: float
    gradients: dict[str, Array]
    scale: float
    spread: dict[str, float]

    @property
    def margin(self) -> float:
        """Mean difference of the rewards."""
        return self.chosen - self.rejected


def random_pairs(lengths: Sequence[tuple[int, int]], vocab: int, seed: int) -> Rows:
    """Pairs of answers of these lengths, whose first half is the same: the prompt, which is masked."""
    parts = []
    for index, (chosen, rejected) in enumerate(lengths):
        shared = min(chosen, rejected) // 2
        answers = [
            random_rows((n,), vocab, 100 * seed + 2 * index + i, masked=0.2) for i, n in enumerate((chosen, rejected))
        ]
        answers[1].tokens[:shared] = answers[0].tokens[:shared]
        for answer in answers:
            kept = answer.labels[shared:] != IGNORED
            answer.labels[:] = IGNORED
            answer.labels[shared:][kept] = answer.tokens[shared:][kept]
        parts += answers
    ends = np.cumsum([0, *(len(part.tokens) for part in parts)]).astype(np.int64)
    tokens, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("tokens", "labels"))
    return Rows(tokens, labels, ends)


def sequence_logprobs(model: Any, batches: Sequence[Rows]) -> torch.Tensor:
    """Summed log-probability of the labelled tokens of each segment, [segments]."""
    sums = []
    for batch in batches:
        for tokens, labels in batch.pieces():
            logprobs = model(input_ids=tokens).logits[0, :-1].log_softmax(-1)
            wanted = labels[0, 1:] != IGNORED
            sums.append(logprobs[wanted].gather(1, labels[0, 1:][wanted][:, None]).sum())
    return torch.stack(sums)


def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    ref_chosen: torch.Tensor,
    ref_rejected: torch.Tensor,
    beta: float,
    label_smoothing: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """trl/trainer/dpo_trainer.py, `DPOTrainer.dpo_loss`, loss_type "sigmoid": losses, chosen and rejected rewards."""
    logits = (chosen - rejected) - (ref_chosen - ref_rejected)
    losses = -logsigmoid(beta * logits) * (1 - label_smoothing) - logsigmoid(-beta * logits) * label_smoothing
    return losses, (beta * (chosen - ref_chosen)).detach(), (beta * (rejected - ref_rejected)).detach()


def preference(
    policy: Any, reference: torch.Tensor, batches: Sequence[Rows], beta: float, label_smoothing: float
) -> Preference:
    """The loss of all pairs of the batches together. `reference` as sequence_logprobs gives it."""
    named = {name.replace(".default", ""): p for name, p in policy.named_parameters() if p.requires_grad}
    sums = sequence_logprobs(policy, batches)
    losses, chosen, rejected = dpo_loss(sums[0::2], sums[1::2], reference[0::2], reference[1::2], beta, label_smoothing)
    (slopes,) = torch.autograd.grad(losses.mean(), sums, retain_graph=True)
    parts = [torch.autograd.grad(s, list(named.values()), retain_graph=True) for s in sums]
    gradients = dict(zip(named, torch.autograd.grad(losses.mean(), list(named.values())), strict=True))
    sizes = [
        float(sum(abs(w) * part[i].norm() for w, part in zip(slopes, parts, strict=True))) for i in range(len(named))
    ]
    spread = {name: size / float(g.norm()) for size, (name, g) in zip(sizes, gradients.items(), strict=True)}
    magnitudes = sums.detach().abs() + reference.abs()
    return Preference(
        loss=float(losses.mean()),
        chosen=float(chosen.mean()),
        rejected=float(rejected.mean()),
        accuracy=float((chosen > rejected).float().mean()),
        gradients={name: g.numpy() for name, g in gradients.items()},
        scale=float((magnitudes[0::2] + magnitudes[1::2]).max()),
        spread=spread,
    )
