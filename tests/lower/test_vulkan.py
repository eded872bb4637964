"""Vulkan stages against our reference ops: as captured, and as the delegates' own graphs. Nothing runs on a GPU."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.backends.vulkan import op_registry, patterns
from executorch.exir import EdgeProgramManager
from executorch.exir._serialize._cord import Cord
from executorch.exir.dialects._ops import ops as exir_ops
from executorch.extension.flat_tensor.serialize.serialize import FlatTensorSerializer
from torch import Tensor
from torch.export import ExportedProgram

from pocketlora_export import ops
from pocketlora_export.bundle.flat_header import read_flat_header
from pocketlora_export.bundle.manifest import Manifest
from pocketlora_export.bundle.verify import verify_bundle
from pocketlora_export.cli.bundle import backend_bytes
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.decoder import Decoder
from pocketlora_export.graphs.gradient import backward_stage
from pocketlora_export.graphs.stage import InputSpec, Limits, OutputSpec, Stage, Tensors, runtime_input
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.lower.coverage import stage_coverage
from pocketlora_export.lower.registry import backend_named
from pocketlora_export.lower.vulkan import attention, head_loss, model, patches
from pocketlora_export.lower.vulkan.capture import capture_fixed, fixed_inputs
from pocketlora_export.lower.vulkan.constants import constant_bytes, merge_constants
from pocketlora_export.lower.vulkan.limits import GUARANTEED, DeviceLimits
from pocketlora_export.lower.vulkan.lowering import to_vulkan
from pocketlora_export.lower.vulkan.weights import BlankWeights, StoredWeights, pack_matrix
from pocketlora_export.q4 import Q4Spec, pack
from pocketlora_export.recipes.build import build_bundle
from pocketlora_export.recipes.recipe import ModelQuant, Recipe
from pocketlora_export.runtime.engine import Engine, available_delegates
from pocketlora_export.runtime.session import Session
from tests.support.models import TinyModel, write_model

# A relative error (norm) of a stage: what the task of the backend is held to.
BOUND = 1e-5
ROWS, RANK, SEGMENTS = 16, 4, 3
LIMITS = Limits(max_seq_len=24, train_t_max=ROWS, prefill_t_max=8, max_rank=RANK, max_segments=SEGMENTS)
TINY = TinyModel(
    "int4", hidden=64, intermediate=96, layers=1, heads=4, kv_heads=2, head_dim=32, vocab=300, max_rank=RANK,
    train_len=ROWS, prefill_len=8, max_len=24,
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 160, "rms_norm_eps": 1e-6,
    "max_position_embeddings": 64, "tie_word_embeddings": True,
}  # fmt: skip
INT4 = QuantScheme("int4", 32)


def runtime_value(name: str, shape: Sequence[int], rows: int) -> Tensor:
    """A value for an input that is no weight."""
    known: dict[str, Callable[[], Tensor]] = {
        # The last segment is not used: its offset is the number of rows.
        "segments": lambda: torch.tensor([0, rows // 3, rows, rows]),
        "tokens": lambda: torch.randint(0, 160, (rows,)),
        "positions": lambda: torch.arange(rows),
        "labels": lambda: torch.randint(0, 160, (rows,)).index_fill(0, torch.tensor([2, rows - 1]), -100),
        "weights": lambda: torch.rand(rows),
        "past": lambda: torch.tensor([7]),
    }
    if name in known:
        return known[name]()
    if name.endswith("lora_scale"):
        return torch.rand(tuple(shape)) + 0.5
    return torch.randn(tuple(shape)) * (0.3 if "lora" in name else 1.0)


def as_reference(name: str, value: Tensor) -> Tensor:
    """The same input for our ops, whose caches are bytes."""
    return value.contiguous().view(torch.uint8) if name.endswith("_cache") else value


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def held(stage: Stage, rows: int, tiles: Mapping[str, Tensor], run: Callable[..., Any]) -> None:
    """Hold `run` (of the inputs that are no weights) to the stage's own ops."""
    torch.manual_seed(1)
    given = {s.name: runtime_value(s.name, s.shape, rows) for s in fixed_inputs(stage, rows, LIMITS)}
    bound = {**tiles, **{name: as_reference(name, value) for name, value in given.items()}}
    bound |= {"dropout": torch.zeros(1), "seed": torch.zeros(1, dtype=torch.int64)}
    expected = stage.function(bound)
    for spec, found, wanted in zip(stage.outputs, run(*given.values()), expected, strict=True):
        assert error(found, wanted) < BOUND, f"{stage.name}: {spec.name}"


@dataclass
class Lowered:
    """A bundle of one Llama layer for Vulkan and `cpu`, and what its Vulkan programs were lowered from."""

    path: Path
    manifest: Manifest
    decoder: Decoder
    edges: list[EdgeProgramManager]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    folder, edges = tmp_path_factory.mktemp("vulkan"), []
    write_model(folder / "model", TINY)
    original = to_vulkan

    def recording(methods: Mapping[str, ExportedProgram], device: DeviceLimits, fp16: bool) -> EdgeProgramManager:
        edges.append(original(methods, device, fp16))
        return edges[-1]

    recipe = Recipe(
        quant=ModelQuant(scheme="int4"), backends=["vulkan", "cpu"], max_seq_len=24, train_seq_len=ROWS,
        prefill_seq_len=8, max_rank=RANK, max_segments=SEGMENTS,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "to_vulkan", recording)
        built = build_bundle(str(folder / "model"), folder / "bundle", recipe, self_test=False)
    described = decoder_model(TINY.config().to_dict() | {"architectures": ["LlamaForCausalLM"]}, "tiny")
    decoder = described.decoder(Quantization(INT4, INT4, INT4), described.modules(), 24)
    return Lowered(built.path, built.manifest, decoder, edges)


def base_tensor(path: Path) -> Callable[[str], Tensor]:
    entries = {entry.name: entry for entry in read_flat_header(path)}

    def read(name: str) -> Tensor:
        entry = entries[name]
        data = path.read_bytes()[entry.offset : entry.offset + entry.nbytes]
        return torch.from_numpy(np.frombuffer(data, entry.dtype).reshape(entry.shape).copy())

    return read


def stages_of(decoder: Decoder) -> dict[str, tuple[Stage, int, int]]:
    """Method -> (stage, rows, index of the program)."""
    block = decoder.blocks[""]
    backward = backward_stage(block.forward, "block_backward", "hidden")
    return {
        "embed": (decoder.embed, ROWS, 0),
        "block_forward_00": (block.forward, ROWS, 0),
        "block_backward_00": (backward, ROWS, 0),
        "head_loss": (decoder.head_loss, ROWS, 0),
        "block_prefill_00": (block.prefill, 8, 1),
        "block_decode_00": (block.decode, 1, 1),
        "head": (decoder.head, 1, 1),
    }


@pytest.mark.parametrize(
    "method",
    ["embed", "block_forward_00", "block_backward_00", "head_loss", "block_prefill_00", "block_decode_00", "head"],
)
def test_delegates_graphs_equal_the_reference(llama: Lowered, method: str) -> None:
    stage, rows, program = stages_of(llama.decoder)[method]
    read = base_tensor(llama.path / "base.ptd")
    names = [spec.name for spec in stage.inputs if spec.source == "weight"]
    sources = {name: llama.decoder.weight_names.get(name, f"model.layers.0.{name}") for name in names}
    exported = llama.edges[program].exported_program(method)
    calls = [node for node in exported.graph.nodes if "executorch_call_delegate" in str(node.target)]
    assert len(calls) == 1
    # In Python a delegate call runs the graph that the delegate was made from.
    held(stage, rows, {name: read(source) for name, source in sources.items()}, exported.module())


def test_bundle_says_what_to_call_for_each_layer(llama: Lowered) -> None:
    vulkan = [program for program in llama.manifest.programs if program.backend == "vulkan"]
    assert [program.kind for program in vulkan] == ["train", "infer"]
    for program in vulkan:
        assert program.delegates == ["VulkanBackend"]
        assert program.constants == "programs/vulkan/constants.ptd"
        assert all(isinstance(size, int) for method in program.methods for port in method.inputs for size in port.shape)
        assert not any(port.source == "weight" for method in program.methods for port in method.inputs)
    train = next(s for s in llama.manifest.stages if (s.backend, s.kind) == ("vulkan", "train"))
    assert train.blocks[0].methods == {"forward": "block_forward_00", "backward": "block_backward_00"}
    assert train.blocks[0].weights == {}
    assert len(train.blocks[0].sites) == 7
    verify_bundle(llama.path)


def test_constants_are_stored_once_and_counted(llama: Lowered) -> None:
    """The packed matrices: half a byte a weight and fp32 scales; the embedding's scales a second time, by rows."""
    rows = TINY.heads * TINY.head_dim
    linears = TINY.hidden * (2 * rows + 2 * rows // 2 + 3 * TINY.intermediate)
    embedding = TINY.vocab * TINY.hidden
    floats = (linears + 2 * embedding) // 32 + 3 * TINY.hidden + TINY.head_dim // 2  # norms, rotary frequencies
    stored = FlatTensorSerializer().deserialize(Cord((llama.path / "programs/vulkan/constants.ptd").read_bytes()))
    # Scalars of the graphs, such as the scores' scale, are constants of four bytes.
    sizes = [len(buffer) for buffer in stored.buffers if len(buffer) > 4]
    assert sum(sizes) == (linears + embedding) // 2 + 4 * floats
    names = {hashlib.sha256(buffer).hexdigest() for buffer in stored.buffers}
    assert set(stored.named_data) == names
    assert len(names) == len(stored.buffers)


def test_a_second_backend_shares_the_base_and_vulkan_tells_its_own_bytes(llama: Lowered) -> None:
    """`cpu` reads base.ptd; what Vulkan packs for itself is in a file of its own, and told."""
    cpu = [program for program in llama.manifest.programs if program.backend == "cpu"]
    assert [(program.kind, program.constants) for program in cpu] == [("train", None), ("infer", None)]
    sizes = {file.path: file.size for file in llama.manifest.files}
    assert [path for path in sizes if path.endswith(".ptd")] == ["base.ptd", "programs/vulkan/constants.ptd"]
    own = backend_bytes(llama.manifest)
    programs = sum(sizes[f"programs/vulkan/{kind}.pte"] for kind in ("train", "infer"))
    assert own["vulkan"] == programs + sizes["programs/vulkan/constants.ptd"]
    assert own["cpu"] == sum(sizes[f"programs/cpu/{kind}.pte"] for kind in ("train", "infer"))
    assert sum(sizes.values()) - sum(own.values()) >= sizes["base.ptd"]


@pytest.mark.skipif("VulkanBackend" in available_delegates(), reason="this runtime has Vulkan")
def test_a_runtime_without_vulkan_takes_the_other_backend(llama: Lowered) -> None:
    engine = Engine(llama.path, num_threads=1)
    assert engine.facts.backend == "cpu"
    assert "VulkanBackend" in engine.facts.backend_note
    assert np.isfinite(Session(engine).prefill([5, 6, 7])).all()
    with pytest.raises(PocketLoraError, match="'vulkan' needs VulkanBackend") as caught:
        Engine(llama.path, backend="vulkan")
    assert caught.value.status is Status.BACKEND_MISSING


def test_llama_is_inside_delegates(llama: Lowered) -> None:
    for method, (stage, rows, program) in stages_of(llama.decoder).items():
        found = stage_coverage(llama.edges[program], replace(stage, name=method), rows, {})
        assert found.share("delegate") >= 0.95, found
        assert found.crossings <= 2, found
        assert [use.op for use in found.ops if use.place != "delegate"] == [], method
        assert found.breaking == ()


def random_tiles(spec: Q4Spec) -> Tensor:
    codes = torch.randint(0, 16, (spec.rows, spec.cols), dtype=torch.uint8)
    scales = (torch.rand(spec.rows, spec.cols // spec.group_size) * 0.4 * spec.cols**-0.5).half()
    return pack(codes, scales, spec)


def test_qwen3_blocks_as_captured_equal_the_reference() -> None:
    torch.manual_seed(0)
    described = decoder_model(CONFIG, "qwen3")
    quantization = Quantization(INT4, INT4, INT4)
    decoder = described.decoder(quantization, described.modules(), LIMITS.max_seq_len)
    tensors = {
        weight.name: random_tiles(quantization.spec(weight)) if weight.quantized else torch.rand(weight.shape) + 0.5
        for weight in described.weights()
    }
    block = decoder.blocks[""]
    for stage in (block.forward, backward_stage(block.forward, "block_backward", "hidden")):
        names = {s.name: f"model.layers.0.{s.name}" for s in stage.inputs if s.source == "weight"}
        program = capture_fixed(stage, ROWS, LIMITS, StoredWeights(tensors.__getitem__, names), GUARANTEED)
        held(stage, ROWS, {name: tensors[source] for name, source in names.items()}, program.module())


@pytest.mark.parametrize(("window", "softcap"), [(0, 0.0), (5, 0.0), (5, 2.0)])
def test_attention_equals_the_reference(window: int, softcap: float) -> None:
    torch.manual_seed(0)
    q, dout, k, v = (torch.randn(12, heads * 8) for heads in (4, 4, 2, 2))
    segments = torch.tensor([0, 5, 6, 12, 12])
    shape = (8, 0.3, window, softcap)
    expected = ops.attention(q, k, v, segments, *shape)
    for found, wanted in zip(attention.forward(q, k, v, segments, *shape), expected, strict=True):
        assert error(found, wanted) < BOUND
    arguments = (dout, q, k, v, *expected, segments, *shape)
    gradients = zip(attention.backward(*arguments), ops.attention_backward(*arguments), strict=True)
    assert all(error(found, wanted) < BOUND for found, wanted in gradients)
    k_cache, v_cache = torch.randn(20, 16), torch.randn(20, 16)
    stored = k_cache.view(torch.uint8), v_cache.view(torch.uint8)
    for past in (0, 1, 9, 20):
        wanted = ops.attention_cached(q, k, v, *stored, torch.tensor([past]), *shape)
        assert error(attention.cached(q, k, v, k_cache, v_cache, torch.tensor([past]), *shape), wanted) < BOUND


@pytest.mark.parametrize("part_rows", [1000, 64])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("bias", [False, True])
def test_head_loss_in_parts_equals_the_reference(part_rows: int, softcap: float, bias: bool) -> None:
    torch.manual_seed(0)
    spec = Q4Spec(200, 64, "int4", 32)
    codes, scales = torch.randint(0, 16, (200, 64), dtype=torch.uint8), (torch.rand(200, 2) * 0.1).half()
    h, weights, labels = torch.randn(9, 64) * 3, torch.rand(9), torch.randint(0, 200, (9,))
    labels[0], labels[1], labels[2], labels[3] = -100, 199, 0, 64
    offset = torch.randn(200) if bias else None
    q4 = (200, 64, 1, 32, softcap)
    expected = ops.head_loss(h, pack(codes, scales, spec), offset, labels, weights, *q4)
    found = head_loss.head_loss(h, pack_matrix(codes, scales, 32, part_rows), offset, labels, weights, *q4)
    for one, wanted in zip(found, expected, strict=True):
        assert one.shape == wanted.shape
        assert error(one, wanted) < BOUND


def test_norms_whose_weight_is_computed_get_a_constant() -> None:
    """Gemma's norms add one to their weight; the runtime takes a norm's weight as a constant only."""

    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        return (ops.rms_norm(inputs["x"], inputs["weight"] + 1.0, 1e-6),)

    inputs = (runtime_input("x", ("N", 8)), InputSpec("weight", "weight", torch.float32, (8,)))
    stage = Stage("norm", inputs, (OutputSpec("y", torch.float32, ("N", 8)),), run)
    weight = torch.randn(8)
    program = capture_fixed(stage, ROWS, LIMITS, StoredWeights(lambda _: weight, {"weight": "w"}), GUARANTEED)
    assert [str(n.target) for n in program.graph.nodes if "aten.add" in str(n.target)] == []
    x = torch.randn(ROWS, 8)
    assert error(program.module()(x)[0], stage.function({"x": x, "weight": weight})[0]) < BOUND


def test_uneven_levels_are_refused_with_the_reason() -> None:
    nf4 = QuantScheme("nf4", 64)
    (problem,) = backend_named("vulkan").problems(Quantization(nf4, INT4, INT4))
    assert "linear: nf4" in problem
    assert "make the bundle with int4" in problem
    assert backend_named("vulkan").problems(Quantization(INT4, QuantScheme("int4", 128), INT4)) == []


def _product(rows: int, cols: int, group: int) -> Stage:
    spec = Q4Spec(rows, cols, "int4", group)

    def run(inputs: Tensors) -> tuple[Tensor, ...]:
        return (
            ops.linear4(inputs["x"], inputs["w"], None, rows, cols, 1, group),
            ops.linear4(inputs["x"], inputs["v"], None, rows, cols, 1, group),
        )

    weights = [InputSpec(name, "weight", torch.uint8, spec.shape) for name in ("w", "v")]
    outputs = [OutputSpec(name, torch.float32, ("N", rows)) for name in ("y", "z")]
    return Stage("product", (runtime_input("x", ("N", cols)), *weights), tuple(outputs), run)


def test_matrices_that_the_shaders_cannot_do_are_named_together() -> None:
    with pytest.raises(PocketLoraError) as caught:
        capture_fixed(_product(30, 96, 64), ROWS, LIMITS, BlankWeights(), GUARANTEED)
    for text in ("product: w: 30 rows", "product: w: 96 columns", "product: v: 30 rows", "product: v: 96 columns"):
        assert text in str(caught.value)


def test_values_beyond_the_devices_limit_are_named_together() -> None:
    device = DeviceLimits(max_storage_buffer_range=4 * 64 * ROWS - 1)
    with pytest.raises(PocketLoraError) as caught:
        capture_fixed(_product(64, 64, 32), ROWS, LIMITS, BlankWeights(), device)
    assert str(caught.value).count(f"takes {4 * 64 * ROWS} bytes, max_storage_buffer_range is") >= 2


def test_another_executorch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "version", lambda _: "1.6.0")
    with pytest.raises(PocketLoraError, match=r"executorch 1\.6\.0 is installed, expected 1\.5\.1"), patches.patched():
        pass


def test_patches_are_taken_back() -> None:
    op = exir_ops.edge.et_vk.linear_q4gsw.default
    before, fusable = op_registry.vulkan_supported_ops[op], dict(patterns.fusable_patterns)
    with patches.patched():
        assert op_registry.vulkan_supported_ops[op] is not before
        assert not patterns.fusable_patterns
    assert op_registry.vulkan_supported_ops[op] is before
    assert patterns.fusable_patterns == fusable


def test_fp16_halves_scales_and_norms() -> None:
    described = decoder_model(CONFIG, "qwen3")
    head = described.decoder(Quantization(INT4, INT4, INT4), [], LIMITS.max_seq_len).head
    program = capture_fixed(head, 1, LIMITS, BlankWeights(), GUARANTEED)
    codes, scales, norm = 160 * 64 // 2, 160 * 64 // 32, 64
    for fp16, width in ((False, 4), (True, 2)):
        edge = to_vulkan({head.name: program}, GUARANTEED, fp16)
        assert constant_bytes(merge_constants([edge])) == codes + width * (scales + norm)
