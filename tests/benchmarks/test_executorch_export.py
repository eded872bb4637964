"""The names and parameters that ExecuTorch's export gets are those of its own model."""

from __future__ import annotations

import pytest

from benchmarks.executorch_export import group_size, meta_name, params_of
from benchmarks.random_model import config_of, layer_shapes


def test_every_weight_of_its_model_has_a_tensor() -> None:
    import torch
    from executorch.examples.models.llama.llama_transformer import construct_transformer
    from executorch.examples.models.llama.model_args import ModelArgs

    config = config_of("1b", layers=2)
    with torch.device("meta"):
        expected = construct_transformer(ModelArgs(**params_of(config))).state_dict()
    ours = {meta_name(f"model.layers.{i}.{n}.weight"): s for i in range(2) for n, s in layer_shapes(config).items()}
    ends = (config["vocab_size"], config["hidden_size"])
    ours |= {meta_name("model.embed_tokens.weight"): ends, meta_name("lm_head.weight"): ends}
    ours |= {meta_name("model.norm.weight"): ends[1:]}
    assert {name: tuple(tensor.shape) for name, tensor in expected.items() if name.endswith("weight")} == ours


def test_groups_divide_the_rows() -> None:
    assert [group_size(config_of(shape)) for shape in ("135m", "1b")] == [64, 128]
    with pytest.raises(SystemExit, match="multiple of 32"):
        group_size({"hidden_size": 48, "intermediate_size": 128})
