"""The reference: Hugging Face transformers and peft on the dequantized base, float32, eager attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

from pocketlora_export.ops.kv_cache import CacheFormat, load_rows, store_rows

Array = NDArray[np.float32]
IGNORED = -100


@dataclass(frozen=True)
class Rows:
    """One packed micro-batch: int64 tokens [N], labels [N] (the token or -100) and segment offsets [S + 1]."""

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    segments: NDArray[np.int64]

    def pieces(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(tokens, labels) of every segment, each [1, T]."""
        cuts = [slice(a, b) for a, b in zip(self.segments[:-1], self.segments[1:], strict=True)]
        return [(torch.from_numpy(self.tokens[c])[None], torch.from_numpy(self.labels[c])[None]) for c in cuts]


def random_rows(lengths: Sequence[int], vocab: int, seed: int, masked: float = 0.3) -> Rows:
    """Random tokens in segments of the given lengths; a share of the labels is masked, never all of them."""
    random = np.random.default_rng(seed)
    total = sum(lengths)
    tokens = random.integers(3, vocab, total)
    labels = np.where(random.random(total) < masked, IGNORED, tokens)
    labels[-1] = tokens[-1]
    return Rows(tokens, labels, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def load_base(directory: Path, cache_dtype: str = "fp32") -> Any:
    """The dequantized base, eager, float32, frozen; keys and values rounded as a cache of that dtype stores them."""
    attention = "eager" if cache_dtype == "fp32" else _rounded_attention(cache_dtype)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention)
    return model.eval().requires_grad_(False)


def _rounded_attention(cache_dtype: str) -> str:
    """Register eager attention over keys and values as the KV cache stores them; returns its name."""
    name = f"eager_{cache_dtype}"
    cache_format: CacheFormat = "float16" if cache_dtype == "fp16" else "int8"

    def rounded(states: torch.Tensor) -> torch.Tensor:
        """[batch, heads, rows, D], each head rounded by itself."""
        flat = states.reshape(-1, states.shape[-1])
        return load_rows(store_rows(flat, flat.shape[1], cache_format), flat.shape[1], flat).view_as(states)

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        return eager_attention_forward(module, query, rounded(key), rounded(value), mask, **options)

    ALL_ATTENTION_FUNCTIONS.register(name, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, eager_mask)
    return name


def load_adapter(base: Path, adapter: Path) -> Any:
    """A PeftModel with trainable LoRA tensors on the dequantized base."""
    return PeftModel.from_pretrained(load_base(base), adapter, is_trainable=True).eval()


def save_random_adapter(base: Path, directory: Path, seed: int, **config: Any) -> None:
    """Have peft write an adapter with A and B both random and far from zero."""
    torch.manual_seed(seed)
    model = get_peft_model(load_base(base), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **config))
    model.save_pretrained(directory)


def mean_loss(model: Any, batches: Sequence[Rows]) -> torch.Tensor:
    """Mean negative log-likelihood over the unmasked tokens of all batches; every segment runs on its own."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        for tokens, labels in batch.pieces():
            logits, target = model(input_ids=tokens).logits[0, :-1], labels[0, 1:]
            total = total + cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
            count += int((target != IGNORED).sum())
    return total / count


def gradients(model: Any, batches: Sequence[Rows]) -> tuple[float, dict[str, Array]]:
    """Loss, and the gradient of every LoRA tensor by its key in an adapter file."""
    model.zero_grad()
    loss = mean_loss(model, batches)
    loss.backward()
    named = {n.replace(".default", ""): p.grad for n, p in model.named_parameters() if p.requires_grad}
    return loss.item(), {name: grad.numpy() for name, grad in named.items()}


def logits_of(model: Any, tokens: NDArray[np.int64]) -> Array:
    """Logits of every position, float32 [T, V]."""
    with torch.no_grad():
        found: Array = model(input_ids=torch.from_numpy(tokens)[None]).logits[0].numpy()
    return found


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """|found - expected| / |expected| in the Euclidean norm, in float64."""
    wanted = np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(np.asarray(found, np.float64) - wanted) / np.linalg.norm(wanted))
