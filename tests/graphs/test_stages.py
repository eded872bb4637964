"""The captured stages, walked in Python, against Hugging Face's own model with the same dequantized weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from pocketlora_export.families.base import ModelFacts
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.decoder import Decoder
from pocketlora_export.graphs.gradient import backward_stage
from pocketlora_export.graphs.stage import Limits, Stage
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.q4 import ZERO_CODE, dequantize, pack

LIMITS = Limits(max_seq_len=64, train_t_max=32, prefill_t_max=32, max_rank=8, max_segments=4)
RANK = 3
CONFIGS: dict[str, dict[str, Any]] = {
    "tied_gqa": {"tie_word_embeddings": True, "num_key_value_heads": 2},
    "untied_mha_bias": {
        "tie_word_embeddings": False,
        "num_key_value_heads": 4,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama3_rope": {
        "tie_word_embeddings": True,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    },
}  # fmt: skip


@dataclass
class Model:
    """A tiny model as stages and as Hugging Face sees it."""

    facts: ModelFacts
    decoder: Decoder
    tensors: dict[str, Tensor]
    adapter: dict[str, Tensor]
    reference: LlamaForCausalLM


def _config(**changes: Any) -> LlamaConfig:
    sizes = {
        "hidden_size": 72,
        "intermediate_size": 100,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 16,
    }
    return LlamaConfig(vocab_size=150, max_position_embeddings=64, rms_norm_eps=1e-5, **sizes, **changes)


def build(variant: str, scheme: QuantScheme) -> Model:
    torch.manual_seed(0)
    config = _config(**CONFIGS[variant])
    raw = {**config.to_dict(), "architectures": ["LlamaForCausalLM"]}
    described = decoder_model(raw, variant)
    facts = described.facts
    quantization = Quantization(scheme, scheme, scheme)
    decoder = described.decoder(quantization, described.modules(), LIMITS.max_seq_len)
    tensors, dense = {}, {}
    for weight in described.weights():
        if not weight.quantized:
            tensors[weight.name] = dense[weight.name] = torch.randn(weight.shape) * 0.3 + (weight.role == "norm")
            continue
        spec = quantization.spec(weight)
        codes = torch.randint(0, 16, weight.shape, dtype=torch.uint8)
        codes[0, 0] = ZERO_CODE[scheme.scheme]
        scales = (torch.rand(spec.rows, -(-spec.cols // spec.group_size)) * 0.4 * weight.shape[1] ** -0.5).half()
        tensors[weight.name] = pack(codes, scales, spec)
        dense[weight.name] = dequantize(tensors[weight.name], spec)
    reference = LlamaForCausalLM(config).float().eval()
    missing, unexpected = reference.load_state_dict(dense, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    adapter: dict[str, Tensor] = {}
    for site in described.sites(described.modules()):
        adapter[f"{site.name}.lora_A"] = torch.randn(RANK, site.in_features) * site.in_features**-0.5
        adapter[f"{site.name}.lora_B"] = torch.randn(site.out_features, RANK) * 0.2
        adapter[f"{site.name}.lora_scale"] = torch.tensor([0.5, 2.0, 1.0])
    return Model(facts, decoder, tensors, adapter, reference)


def run(stage: Stage, rows: int, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    module = capture(stage, rows, LIMITS).module()
    values = module(*(inputs[spec.name] for spec in stage.inputs))
    return {spec.name: value for spec, value in zip(stage.outputs, values, strict=True)}


def layer_inputs(model: Model, layer: int) -> dict[str, Tensor]:
    prefix = model.decoder.layer_prefix(layer)
    bound = {**model.tensors, **model.adapter}
    return {name.removeprefix(prefix): value for name, value in bound.items() if name.startswith(prefix)}


def end_inputs(model: Model) -> dict[str, Tensor]:
    return {name: model.tensors[source] for name, source in model.decoder.weight_names.items()}


def with_lora(model: Model) -> dict[str, Tensor]:
    """Hook LoRA into the reference; returns the trained leaves."""
    leaves = {name: value.clone().requires_grad_() for name, value in model.adapter.items() if "scale" not in name}
    for name, module in model.reference.named_modules():
        if f"{name}.lora_A" not in leaves:
            continue

        def hook(_: Any, args: tuple[Tensor], out: Tensor, name: str = name) -> Tensor:
            low = args[0] @ leaves[f"{name}.lora_A"].T * model.adapter[f"{name}.lora_scale"]
            return out + low @ leaves[f"{name}.lora_B"].T

        module.register_forward_hook(hook)
    return leaves


def reference_loss(model: Model, tokens: Tensor, labels: Tensor, segments: list[int]) -> Tensor:
    """Sum over segments of the shifted cross-entropy, over the number of labels."""
    total, count = torch.zeros(()), 0
    for start, end in itertools.pairwise(segments):
        logits = model.reference(tokens[None, start:end]).logits[0, :-1]
        target = labels[start + 1 : end]
        total = total + torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        count += int((target != -100).sum())
    return total / count


def shifted(labels: Tensor, segments: list[int]) -> Tensor:
    out = torch.cat((labels[1:], labels.new_tensor([-100])))
    out[[end - 1 for end in segments[1:]]] = -100
    return out


def walk_step(
    model: Model, tokens: Tensor, labels: Tensor, segments: list[int], keeping: tuple[int, ...]
) -> tuple[Tensor, dict[str, Tensor]]:
    """One training step over the stages, as the runtime walks them; layers of `keeping` keep their products."""
    rows = LIMITS.train_t_max
    positions = torch.cat([torch.arange(b - a) for a, b in itertools.pairwise(segments)])
    state = run(model.decoder.embed, rows, {"tokens": tokens, "positions": positions, **end_inputs(model)})
    common = {
        "rope": state["rope"],
        "segments": torch.tensor(segments),
        "dropout": torch.zeros(1),
        "seed": torch.zeros(1, dtype=torch.int64),
    }
    block = model.decoder.blocks[""]
    hidden, kept = [state["hidden"]], {}
    for layer in range(model.facts.num_layers):
        forward = block.forward_keep if layer in keeping else block.forward
        kept[layer] = run(forward, rows, {"hidden": hidden[-1], **common, **layer_inputs(model, layer)})
        hidden.append(kept[layer].pop("hidden"))
    target = shifted(labels, segments)
    weights = torch.full((len(tokens),), 1.0 / int((target != -100).sum()))
    ends = {"hidden": hidden[-1], "labels": target, "weights": weights, **end_inputs(model)}
    head = run(model.decoder.head_loss, rows, ends)
    grad, grads = head["grad_hidden"], {}
    for layer in reversed(range(model.facts.num_layers)):
        forward = block.forward_known if layer in keeping else block.forward
        backward = backward_stage(forward, "block_backward", "hidden")
        bound = {"hidden": hidden[layer], "grad_hidden": grad, **common, **kept[layer], **layer_inputs(model, layer)}
        out = run(backward, rows, bound)
        grad = out.pop("grad_hidden")
        prefix = model.decoder.layer_prefix(layer)
        grads.update({prefix + name.removesuffix(".grad"): value for name, value in out.items()})
    return head["loss"][0], grads


@pytest.mark.parametrize("scheme", [QuantScheme("nf4", 64), QuantScheme("int4", 32)], ids=["nf4", "int4"])
@pytest.mark.parametrize("variant", CONFIGS)
def test_training_step_equals_autograd(variant: str, scheme: QuantScheme) -> None:
    model = build(variant, scheme)
    segments = [0, 7, 12, 21]
    tokens = torch.randint(0, model.facts.vocab_size, (segments[-1],))
    labels = tokens.clone()
    labels[[2, 3, 8, 15]] = -100
    loss, grads = walk_step(model, tokens, labels, segments, keeping=(1,))
    leaves = with_lora(model)
    expected = reference_loss(model, tokens, labels, segments)
    wanted = dict(zip(leaves, torch.autograd.grad(expected, list(leaves.values())), strict=True))
    # fp32 sums of about 100 products through some 30 roundings in a row: 2^-24 * 100 * 30 = 1.8e-4 at the very worst.
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert grads.keys() == wanted.keys()
    for name, value in wanted.items():
        error = (grads[name] - value).norm() / value.norm()
        assert error < 1.8e-4, name


@pytest.mark.parametrize("variant", CONFIGS)
def test_prefill_and_decode_equal_reference(variant: str) -> None:
    model = build(variant, QuantScheme("nf4", 64))
    facts, block = model.facts, model.decoder.blocks[""]
    tokens = torch.randint(0, facts.vocab_size, (9,))
    width = facts.num_kv_heads * facts.head_dim
    caches = [{kind: torch.zeros(12, width) for kind in ("k", "v")} for _ in range(facts.num_layers)]  # fp32
    logits = []
    for start, end, stage in [(0, 7, block.prefill), (7, 8, block.decode), (8, 9, block.decode)]:
        rows = 1 if stage is block.decode else LIMITS.prefill_t_max
        positions = torch.arange(start, end)
        state = run(
            model.decoder.embed, rows, {"tokens": tokens[start:end], "positions": positions, **end_inputs(model)}
        )
        past = torch.tensor([start])
        for layer, cache in enumerate(caches):
            bound = {"past": past, "k_cache": cache["k"].view(torch.uint8), "v_cache": cache["v"].view(torch.uint8)}
            bound |= {**layer_inputs(model, layer)}
            out = run(stage, rows, {**state, **bound})
            state["hidden"] = out["hidden"]
            cache["k"][start:end], cache["v"][start:end] = out["k"], out["v"]
        logits.append(run(model.decoder.head, 1, {"hidden": state["hidden"][-1:], **end_inputs(model)})["logits"][0])
    with_lora(model)
    expected = model.reference(tokens[None]).logits[0, 6:]
    # Same bound as above, relative to the largest logit.
    torch.testing.assert_close(torch.stack(logits), expected, rtol=0, atol=1.8e-4 * expected.abs().max().item())
