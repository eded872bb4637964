"""`block_backward` computes what its gradients need and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.export import ExportedProgram
from torch.fx import Node

from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.gradient import backward_stage
from pocketlora_export.graphs.weights import QuantScheme
from tests.graphs.test_stages import LIMITS, build

PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.fixture(scope="module", params=[False, True], ids=["recomputed", "kept"])
def kept(request: pytest.FixtureRequest) -> bool:
    """Whether the MLP's first products are given."""
    return bool(request.param)


@pytest.fixture(scope="module")
def backward(kept: bool) -> ExportedProgram:
    block = build("tied_gqa", QuantScheme("nf4", 64)).decoder.blocks[""]
    stage = backward_stage(block.forward_known if kept else block.forward, "block_backward", "hidden")
    program = capture(stage, LIMITS.train_t_max, LIMITS)
    # Placeholders by the stage's names: a product is known by its weight.
    names = [node for node in program.graph.nodes if node.op == "placeholder"][-len(stage.inputs) :]
    for node, spec in zip(names, stage.inputs, strict=True):
        node.meta["input"] = spec.name
    return program


def calls(program: ExportedProgram, op: str) -> list[Node]:
    """The calls of one op of ours."""
    return [n for n in program.graph.nodes if n.op == "call_function" and str(n.target).startswith(f"pocketlora.{op}.")]


def projections(nodes: list[Node]) -> Counter[str]:
    """Which linear layers the products belong to."""
    inputs = [argument.meta.get("input", "") for node in nodes for argument in node.all_input_nodes]
    return Counter(name.split(".")[-2] for name in inputs if name.endswith("_proj.weight"))


def test_products_are_recomputed_where_something_needs_them(backward: ExportedProgram, kept: bool) -> None:
    """Nothing needs the output of down_proj, the last product of a block; given products are used as they are."""
    given = {"gate_proj", "up_proj"} if kept else set[str]()
    assert projections(calls(backward, "lora_linear")) == Counter(PROJECTIONS - {"down_proj"} - given)
    assert projections(calls(backward, "lora_linear_backward")) == Counter(PROJECTIONS)


def test_every_other_op_runs_as_often_as_it_must(backward: ExportedProgram) -> None:
    counts = {
        op: len(calls(backward, op))
        for op in (
            "rms_norm",
            "rms_norm_backward",
            "rope",
            "attention",
            "attention_backward",
            "swiglu",
            "swiglu_backward",
        )
    }
    # Two norms; q and k are rotated, and their gradients back.
    assert counts == {
        "rms_norm": 2,
        "rms_norm_backward": 2,
        "rope": 4,
        "attention": 1,
        "attention_backward": 1,
        "swiglu": 1,
        "swiglu_backward": 1,
    }


def test_every_result_is_used(backward: ExportedProgram) -> None:
    """An op with several results has a reader for each, and no node is without one."""
    for node in backward.graph.nodes:
        if node.op != "call_function":
            continue
        assert node.users, node
        value = node.meta["val"]
        if isinstance(value, (tuple, list)):
            read = {user.args[1] for user in node.users if user.op == "call_function"}
            assert read == set(range(len(value))), node
            assert all(isinstance(part, torch.Tensor) for part in value)
