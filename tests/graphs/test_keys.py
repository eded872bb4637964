"""The stage of keys and values alone puts out those of a prefill, whatever a layer is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pocketlora_export.families.base import DecoderModel
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.stage import InputSpec, Limits, Stage
from pocketlora_export.graphs.trace import trace
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.lower.stages import infer_stages
from pocketlora_export.q4 import pack
from tests.support.families import FAMILY_MODELS
from tests.support.models import TinyModel

LIMITS = Limits(max_seq_len=96, train_t_max=8, prefill_t_max=8, max_rank=4, max_segments=2)
QUANTIZATION = Quantization(*[QuantScheme("nf4", 64)] * 3)
ROWS, PAST, RANK = 5, 3, 2
MODELS = {"llama": TinyModel(biases=True), **FAMILY_MODELS}
# Plain; fused; norms of keys by head; no norm before the attention; clipped.
NAMES = ("llama", "phi3", "qwen3", "olmo2", "olmo")


def described(name: str) -> DecoderModel:
    config = MODELS[name].config().to_dict()
    return decoder_model({**config, "architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["model_type"]]]}, name)


def layer_weights(model: DecoderModel, prefix: str) -> dict[str, Tensor]:
    """Random weights of one layer, by their names in it."""
    found: dict[str, Tensor] = {}
    for weight in model.weights():
        if not weight.name.startswith(prefix):
            continue
        value = torch.randn(weight.shape)
        if weight.quantized:
            spec = QUANTIZATION.spec(weight)
            scales = torch.rand(spec.rows, -(-spec.cols // spec.group_size)).half()
            value = pack(torch.randint(0, 16, weight.shape, dtype=torch.uint8), scales, spec)
        found[weight.name.removeprefix(prefix)] = value
    return found


def other_value(spec: InputSpec) -> Tensor:
    """The value of an input that is no weight."""
    if spec.name == "past":
        return torch.tensor([PAST])
    sizes = {"N": ROWS, "C": 2 * PAST, "R": RANK}
    heads = [str(dim).partition(":") for dim in spec.shape]
    shape = [sizes.get(kind) or int(most or kind) for kind, _, most in heads]
    if spec.dtype == torch.uint8:  # an fp32 cache
        return torch.randn(shape[0], shape[1] // 4).view(torch.uint8)
    return torch.randn(shape)


def run(stage: Stage, bound: dict[str, Tensor]) -> dict[str, Tensor]:
    module = capture(stage, LIMITS.prefill_t_max, LIMITS).module()
    values = module(*(bound[spec.name] for spec in stage.inputs))
    return {spec.name: value for spec, value in zip(stage.outputs, values, strict=True)}


@pytest.mark.parametrize("name", [*NAMES, "gemma3"])
def test_keys_and_values_of_a_prefill(name: str) -> None:
    torch.manual_seed(0)
    model = described(name)
    decoder = model.decoder(QUANTIZATION, model.modules(), LIMITS.max_seq_len)
    block = decoder.blocks[decoder.layer_kinds[-1]]
    bound = layer_weights(model, decoder.layer_prefix(len(decoder.layer_kinds) - 1))
    bound |= {spec.name: other_value(spec) for spec in block.prefill.inputs if spec.source != "weight"}
    expected, found = run(block.prefill, bound), run(block.keys, bound)
    assert found.keys() == {"k", "v"}
    # The same ops on the same rows.
    assert torch.equal(found["k"], expected["k"])
    assert torch.equal(found["v"], expected["v"])


@pytest.mark.parametrize("name", NAMES)
def test_only_what_they_need_is_read_and_computed(name: str) -> None:
    model = described(name)
    decoder = model.decoder(QUANTIZATION, model.modules(), LIMITS.max_seq_len)
    stage = decoder.blocks[decoder.layer_kinds[-1]].keys
    program = capture(stage, LIMITS.prefill_t_max, LIMITS)
    products = [call.op for call in trace(program, stage, LIMITS.prefill_t_max).calls if "linear" in call.op]
    fused = name == "phi3"
    assert products == ["lora_linear"] * (1 if fused else 2)
    linears = {spec.name.split(".")[1] for spec in stage.inputs if spec.source == "adapter"}
    assert linears == ({"qkv_proj"} if fused else {"k_proj", "v_proj"})
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    assert len(used) == len(stage.inputs)


def test_the_last_layers_kind_has_them() -> None:
    model = described("gemma2")
    decoder = model.decoder(QUANTIZATION, model.modules(), LIMITS.max_seq_len)
    plan = infer_stages(decoder, LIMITS)
    kinds = {kind for kind in decoder.blocks if "keys" in plan.block_methods(kind)}
    assert kinds == {decoder.layer_kinds[-1]}
    assert [stage.name for stage, _ in plan.stages if "keys" in stage.name] == [f"block_keys{decoder.layer_kinds[-1]}"]
    assert not any("keys" in stage.name for stage, _ in infer_stages(decoder, LIMITS, keys=False).stages)
