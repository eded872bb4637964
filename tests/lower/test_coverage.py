"""Coverage of lowered stages: what is counted, what breaks a partition, what Vulkan's training stages must reach."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from pocketlora_export import ops
from pocketlora_export.cli.coverage import check_share
from pocketlora_export.cli.main import cli
from pocketlora_export.errors import PocketLoraError
from pocketlora_export.graphs.stage import InputSpec, Limits, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.lower.coverage import StageCoverage, largest_sizes, stage_coverage
from pocketlora_export.lower.registry import backend_named
from pocketlora_export.q4 import Q4Spec
from pocketlora_export.recipes.cover import cover
from pocketlora_export.recipes.recipe import ModelQuant, Recipe

ROWS, LIMITS = 8, Limits(max_seq_len=16, train_t_max=8, prefill_t_max=8, max_rank=4, max_segments=2)
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 160, "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}  # fmt: skip
# Shapes of Llama-3.2-1B.
LLAMA_1B: dict[str, Any] = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}  # fmt: skip


def covered(stage: Stage, backend: str) -> StageCoverage:
    described = backend_named(backend)
    program = described.captured(stage, ROWS, LIMITS)
    sizes = largest_sizes(program, stage, ROWS, LIMITS)
    return stage_coverage(described.to_edge({stage.name: program}), stage, ROWS, sizes)


def test_operations_are_counted_from_shapes() -> None:
    """A LoRA linear in our kernel and a sum of ExecuTorch's own, at the bounds of rows and rank."""
    spec = Q4Spec(24, 32, "int4", 32)

    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        adapter = [inputs[f"p.lora_{part}"] for part in ("A", "B", "scale")]
        y = ops.lora_linear(inputs["x"], inputs["w"], None, *adapter, None, None, 0, 24, 32, 1, 32)
        return (y + y,)

    shapes: list[tuple[str, tuple[int | str, ...]]] = [
        ("p.lora_A", ("R:p", 32)), ("p.lora_B", (24, "R:p")), ("p.lora_scale", ("R:p",)),
    ]  # fmt: skip
    inputs = (
        runtime_input("x", ("N", 32)),
        InputSpec("w", "weight", torch.uint8, spec.shape),
        *(InputSpec(name, "adapter", torch.float32, shape) for name, shape in shapes),
    )
    found = covered(Stage("s", inputs, (OutputSpec("y", torch.float32, ("N", 24)),), run), "cpu")
    assert found.flops("custom") == 2 * (8 * 24 * 32 + 8 * 4 * (24 + 32))
    assert found.flops("portable") == 8 * 24
    assert (found.count("custom"), found.count("portable"), found.delegates, found.breaking) == (1, 1, 0, ())
    assert found.covered == pytest.approx(1 - 8 * 24 / found.flops())


def test_an_op_between_two_delegates_breaks_the_partition() -> None:
    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        x: Tensor = inputs["x"] * inputs["x"]
        y: Tensor = ops.rope(x, inputs["table"], 8, False)
        return (y * y,)

    inputs = (runtime_input("x", ("N", 8)), runtime_input("table", ("N", 8)))
    found = covered(Stage("s", inputs, (OutputSpec("y", torch.float32, ("N", 8)),), run), "xnnpack")
    assert found.breaking == ("pocketlora::rope",)
    assert (found.delegates, found.crossings) == (2, 4)
    # A tensor [8, 8] into each delegate and one out of it.
    assert found.crossing_bytes == 4 * 8 * 8 * 4
    assert found.flops("delegate") == 2 * 8 * 8
    assert found.flops("custom") == 3 * 8 * 8


def config_file(folder: Path, architecture: str, sizes: dict[str, Any]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({"architectures": [architecture], "rms_norm_eps": 1e-5, **sizes}))
    return str(path)


def hold_training_stages(stages: list[StageCoverage]) -> None:
    assert [stage.stage for stage in stages] == ["embed", "block_forward", "block_backward", "head_loss"]
    for stage in stages:
        assert stage.share("delegate") >= 0.95, stage
        assert stage.crossings <= 2, stage
        left = [use.op for use in stage.ops if use.place != "delegate"]
        assert left == [], stage.stage
    inside = {use.op for use in stages[2].ops}
    assert inside >= {"et_vk::linear_q4gsw_backward", "et_vk::linear_dW", "aten::bmm", "aten::_softmax"}


def test_qwen3_training_stages_are_inside_vulkan_delegates(tmp_path: Path) -> None:
    """From a config alone; test_vulkan.py has Llama, with weights."""
    recipe = Recipe(quant=ModelQuant(scheme="int4"), max_seq_len=16, train_seq_len=8, max_rank=4, max_segments=2)
    model = config_file(tmp_path, "Qwen3ForCausalLM", SIZES)
    hold_training_stages(cover(model, recipe, "vulkan", ("train",), lambda _: None))


@pytest.mark.slow
def test_training_stages_of_the_1b_shape_are_inside_vulkan_delegates(tmp_path: Path) -> None:
    recipe = Recipe(quant=ModelQuant(scheme="int4"), train_seq_len=256, max_rank=16)
    model = config_file(tmp_path, "LlamaForCausalLM", LLAMA_1B)
    hold_training_stages(cover(model, recipe, "vulkan", ("train",), lambda _: None))


def test_a_share_below_the_limit_names_stages_and_ops() -> None:
    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        return (inputs["x"] + inputs["x"],)

    stage = Stage("s", (runtime_input("x", ("N", 8)),), (OutputSpec("y", torch.float32, ("N", 8)),), run)
    found = covered(stage, "cpu")
    check_share("cpu", [found], None)
    with pytest.raises(PocketLoraError, match=r"below 95 % of operations:\n  - s: 0\.0%, the most in aten::add"):
        check_share("cpu", [found], 95)


def test_command_prints_json_and_draws(tmp_path: Path) -> None:
    model = config_file(tmp_path, "LlamaForCausalLM", SIZES)
    arguments = ["coverage", model, "--backend", "cpu", "--program", "infer", "--max-seq-len", "16", "--json"]
    result = CliRunner().invoke(cli, [*arguments, "--fail-under", "90", "--graph", str(tmp_path / "c.svg")])
    assert result.exit_code == 0, result.stderr
    stages = json.loads(result.stdout)["stages"]
    assert [s["stage"] for s in stages] == ["embed", "block_prefill", "block_decode", "block_keys", "head"]
    assert stages[2]["rows"] == 1
    drawn = ET.parse(tmp_path / "c.svg").getroot()
    assert "our kernels" in "".join(drawn.itertext())


def test_command_refuses_nf4_for_vulkan(tmp_path: Path) -> None:
    model = config_file(tmp_path, "LlamaForCausalLM", SIZES)
    result = CliRunner().invoke(cli, ["coverage", model, "--backend", "vulkan", "--max-seq-len", "16"])
    assert result.exit_code != 0
    assert "make the bundle with int4" in result.stderr
    assert "Traceback" not in result.stderr
