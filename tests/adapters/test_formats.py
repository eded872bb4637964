"""Formats of other tools: what comes in goes out again with the same bits, or with the same product."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pocketlora_export.adapters.gguf_file import (
    BaseFacts,
    GgufAdapter,
    facts_of_model,
    interleave,
    read_gguf,
    to_gguf,
    write_gguf,
)
from pocketlora_export.adapters.lora import BASE_KEY, LoraAdapter, LoraSite
from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.mlx_folder import WEIGHTS_NAME as MLX_NAME
from pocketlora_export.adapters.mlx_folder import read_mlx, write_mlx
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME, read_peft, write_peft
from pocketlora_export.adapters.raw_tensors import RawTensor, from_float32
from pocketlora_export.errors import PocketLoraError, Status
from tests.adapters.conftest import PeftMaker
from tests.support.tolerance import EPS

LLAMA = BaseFacts("LlamaForCausalLM", num_layers=2, num_heads=4, num_kv_heads=2, tied_head=True)
RANKS = {"rank_pattern": {"q_proj": 2, "down_proj": 8}, "alpha_pattern": {"up_proj": 3}}


def product(site: LoraSite) -> NDArray[np.float64]:
    """scale · B · A."""
    return site.scale * site.b.float32().astype(np.float64) @ site.a.float32().astype(np.float64)


def assert_same(found: LoraAdapter, expected: LoraAdapter) -> None:
    """Bit for bit, and the same scales."""
    assert list(found.sites) == list(expected.sites)
    for name, site in expected.sites.items():
        assert found.sites[name].a.equals(site.a)
        assert found.sites[name].b.equals(site.b)
        assert found.sites[name].scale == site.scale
    assert (found.dropout, found.base_sha256) == (expected.dropout, expected.base_sha256)


def in_dtype(folder: Path, dtype: str) -> None:
    """Round the weights of a PEFT folder to 16 bits."""
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    tensors = load(folder / WEIGHTS_NAME)
    save({name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}, folder / WEIGHTS_NAME)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("config", [{}, RANKS, RANKS | {"use_rslora": True}])
def test_peft_to_mlx_to_peft(make_peft: PeftMaker, tmp_path: Path, dtype: str, config: dict[str, Any]) -> None:
    folder = make_peft(lora_dropout=0.25, **config)
    in_dtype(folder, dtype)
    original = read_peft(folder).adapter
    changes = write_mlx(original, tmp_path / "mlx")
    found = read_mlx(tmp_path / "mlx")
    if not config:
        assert changes == []
        assert_same(found, original)
    write_peft(found, tmp_path / "back")
    again = read_peft(tmp_path / "back").adapter
    for name, site in original.sites.items():
        # At most one rounding of each element of B: where a scale was folded into it.
        error = np.linalg.norm(product(again.sites[name]) - product(site)) / np.linalg.norm(product(site))
        assert error <= 2 * EPS
        assert config or error == 0


def test_mlx_matrices_are_transposed(make_peft: PeftMaker, tmp_path: Path) -> None:
    """Compared with plain numpy on the files themselves."""
    folder = make_peft()
    write_mlx(read_peft(folder).adapter, tmp_path / "mlx")
    ours, theirs = load_file(folder / WEIGHTS_NAME), load_file(tmp_path / "mlx" / MLX_NAME)
    assert len(theirs) == len(ours) > 0
    for key, value in theirs.items():
        module, _, matrix = key.rpartition(".")
        expected = ours[f"base_model.model.{module}.lora_{matrix[-1].upper()}.weight"]
        assert np.array_equal(value, expected.T)
    config = json.loads((tmp_path / "mlx" / CONFIG_NAME).read_text())
    assert config["fine_tune_type"] == "lora"
    assert config["lora_parameters"]["scale"] == 1.5
    assert config["lora_parameters"]["rank"] == 4
    assert set(config["lora_parameters"]["keys"]) >= {"self_attn.q_proj", "mlp.down_proj"}


def test_mlx_takes_whole_names_for_some_layers(make_peft: PeftMaker, tmp_path: Path) -> None:
    adapter = read_peft(make_peft(layers_to_transform=[1], target_modules=["q_proj"])).adapter
    write_mlx(adapter, tmp_path / "mlx")
    config = json.loads((tmp_path / "mlx" / CONFIG_NAME).read_text())
    assert config["lora_parameters"]["keys"] == ["model.layers.1.self_attn.q_proj"]
    write_peft(read_mlx(tmp_path / "mlx"), tmp_path / "back")
    document = json.loads((tmp_path / "back" / CONFIG_NAME).read_text())
    assert (document["target_modules"], document["layers_to_transform"]) == (["self_attn.q_proj"], [1])


@pytest.fixture
def mlx(make_peft: PeftMaker, tmp_path: Path) -> Path:
    write_mlx(read_peft(make_peft()).adapter, tmp_path / "mlx")
    return tmp_path / "mlx"


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"fine_tune_type": "dora"}, Status.ADAPTER_UNSUPPORTED, "'dora'"),
        ({"fine_tune_type": "full"}, Status.ADAPTER_UNSUPPORTED, "'full'"),
        ({"lora_parameters": {"alpha": 16, "rank": 4}}, Status.ADAPTER_CORRUPT, "lora_parameters.scale"),
        ({"lora_parameters": None}, Status.ADAPTER_CORRUPT, "lora_parameters.rank"),
        ({"lora_parameters": {"scale": 1e39, "rank": 4}}, Status.ADAPTER_CORRUPT, "fits in 32 bits"),
        ({"lora_parameters": {"scale": 2, "rank": 5}}, Status.ADAPTER_MISMATCH, "expected shape [in_features, 5]"),
    ],
)
def test_mlx_configs_are_checked(mlx: Path, changes: dict[str, Any], status: Status, words: str) -> None:
    document = json.loads((mlx / CONFIG_NAME).read_text())
    (mlx / CONFIG_NAME).write_text(json.dumps(document | changes))
    with pytest.raises(PocketLoraError) as caught:
        read_mlx(mlx)
    assert caught.value.status == status
    assert words in str(caught.value)


def test_every_wrong_tensor_of_an_mlx_folder_is_named(mlx: Path) -> None:
    tensors = load_file(mlx / MLX_NAME)
    tensors.pop("model.layers.0.self_attn.q_proj.lora_b")
    tensors["model.layers.1.self_attn.q_proj.m"] = np.zeros(3, np.float32)
    tensors["model.layers.1.mlp.up_proj.lora_a"] = np.zeros((4, 96), np.float32)
    save_file(tensors, mlx / MLX_NAME)
    with pytest.raises(PocketLoraError) as caught:
        read_mlx(mlx)
    for words in ("0.self_attn.q_proj.lora_b: missing", "q_proj.m: expected", "up_proj.lora_a: expected shape"):
        assert words in str(caught.value)


@pytest.mark.parametrize("config", [{}, RANKS, RANKS | {"use_rslora": True}, {"lora_alpha": 0}])
def test_gguf_holds_the_same_products(make_peft: PeftMaker, tmp_path: Path, config: dict[str, Any]) -> None:
    """Read with the gguf package, computed as llama.cpp does: alpha / rank · B · A, rows of q and k in its order."""
    adapter = read_peft(make_peft(**config)).adapter
    converted = to_gguf(adapter, LLAMA)
    write_gguf(converted, tmp_path / "a.gguf")
    found = read_gguf(tmp_path / "a.gguf")
    assert (found.architecture, found.alpha) == ("llama", converted.alpha)
    assert found.alpha != 0
    assert found.tensors.keys() == converted.tensors.keys()
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    names |= {"self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up"}
    names |= {"mlp.down_proj": "ffn_down"}
    heads = {"attn_q": 4, "attn_k": 2}
    for site_name, site in adapter.sites.items():
        _, _, layer, module = site_name.split(".", 3)
        name = names[module]
        a, b = (found.tensors.pop(f"blk.{layer}.{name}.weight.lora_{matrix}") for matrix in "ab")
        delta = found.alpha / b.shape[1] * b.astype(np.float64) @ a.astype(np.float64)
        expected = product(site)
        if name in heads:
            expected = in_order_of_llama_cpp(expected, heads[name])
        # Rounded are alpha, the quotient of alphas and each product with it.
        assert np.linalg.norm(delta - expected) <= 4 * EPS * np.linalg.norm(expected)
        if not config:
            assert a.tobytes() == site.a.data.tobytes()
    assert found.tensors == {}


def in_order_of_llama_cpp(rows: NDArray[Any], heads: int) -> NDArray[Any]:
    """Row by row from the definition: in each head, row i of the first half, then row i of the second."""
    size = rows.shape[0] // heads
    order = [head * size + half * size // 2 + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]
    return rows[order]


def test_interleaving_is_the_definition() -> None:
    rows = np.arange(48, dtype=np.float32).reshape(24, 2)
    for heads in (1, 2, 3, 4, 6):
        assert np.array_equal(interleave(rows, heads), in_order_of_llama_cpp(rows, heads))


def test_other_architectures_keep_their_rows(make_peft: PeftMaker) -> None:
    adapter = read_peft(make_peft()).adapter
    facts = BaseFacts("Qwen2ForCausalLM", num_layers=2, num_heads=4, num_kv_heads=2, tied_head=True)
    found = to_gguf(adapter, facts)
    assert found.architecture == "qwen2"
    expected = adapter.sites["model.layers.1.self_attn.q_proj"].b.data
    assert np.array_equal(found.tensors["blk.1.attn_q.weight.lora_b"], expected)


def test_gguf_names_every_layer_that_the_base_lacks(make_peft: PeftMaker) -> None:
    found = read_peft(make_peft(target_modules=["q_proj"])).adapter
    adapter = LoraAdapter({**found.sites, "lm_head": found.sites["model.layers.0.self_attn.q_proj"]})
    one_layer = BaseFacts("LlamaForCausalLM", num_layers=1, num_heads=4, num_kv_heads=2, tied_head=True)
    with pytest.raises(PocketLoraError) as caught:
        to_gguf(adapter, one_layer)
    assert caught.value.status == Status.ADAPTER_MISMATCH
    assert "model.layers.1.self_attn.q_proj: LlamaForCausalLM has no such layer" in str(caught.value)
    assert "lm_head: the head is tied" in str(caught.value)
    with pytest.raises(PocketLoraError, match="OPTForCausalLM: no GGUF names"):
        to_gguf(adapter, BaseFacts("OPTForCausalLM", 1, 4, 4, tied_head=True))


def test_the_base_is_read_from_its_config(model_folder: Path, tmp_path: Path) -> None:
    assert facts_of_model(model_folder) == LLAMA
    with pytest.raises(PocketLoraError, match=r"config.json: missing"):
        facts_of_model(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": []}')
    with pytest.raises(PocketLoraError, match="expected architectures"):
        facts_of_model(tmp_path)


def test_a_missing_gguf_package_is_said_clearly(make_peft: PeftMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = read_peft(make_peft()).adapter
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(PocketLoraError, match=r"pip install 'pocketlora-export\[gguf\]'"):
        to_gguf(adapter, LLAMA)


def test_other_files_are_no_gguf_adapters(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUX" * 8)
    with pytest.raises(PocketLoraError, match="not a GGUF file"):
        read_gguf(tmp_path / "a.gguf")


def test_what_was_written_is_read_back_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = GgufAdapter("llama", 8.0, {"blk.0.attn_q.weight.lora_a": np.ones((2, 3), np.float32)}, "ab" * 32)
    write_gguf(adapter, tmp_path / "fine.gguf")
    broken = GgufAdapter("llama", 8.0, {"blk.0.attn_q.weight.lora_a": np.zeros((2, 3), np.float32)}, "ab" * 32)
    monkeypatch.setattr("pocketlora_export.adapters.gguf_file.read_gguf", lambda path: broken)
    with pytest.raises(PocketLoraError, match="does not hold what was written"):
        write_gguf(adapter, tmp_path / "broken.gguf")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_peft_to_peft_keeps_every_bit(make_peft: PeftMaker, tmp_path: Path, dtype: str) -> None:
    folder = make_peft(**RANKS)
    in_dtype(folder, dtype)
    first = read_peft(folder)
    write_peft(first.adapter, tmp_path / "new")
    write_peft(first.adapter, tmp_path / "kept", first.document)
    for copy in ("new", "kept"):
        assert_same(read_peft(tmp_path / copy).adapter, first.adapter)
    assert json.loads((tmp_path / "kept" / CONFIG_NAME).read_text()) == first.document


def test_regular_expressions_become_names(make_peft: PeftMaker, tmp_path: Path) -> None:
    folder = make_peft(
        target_modules=r"model\.layers\.1\..*(q|up)_proj",
        rank_pattern={r".*\.(q|k)_proj": 2},
        alpha_pattern={r"layers\.\d+\.mlp\.up_proj": 5},
    )
    first = read_peft(folder)
    assert {name: (site.rank, site.alpha) for name, site in first.adapter.sites.items()} == {
        "model.layers.1.self_attn.q_proj": (2, 6),
        "model.layers.1.mlp.up_proj": (4, 5),
    }
    write_peft(first.adapter, tmp_path / "plain", first.document)
    document = json.loads((tmp_path / "plain" / CONFIG_NAME).read_text())
    assert sorted(document["target_modules"]) == ["mlp.up_proj", "self_attn.q_proj"]
    assert document["layers_to_transform"] == [1]
    assert document["rank_pattern"] == {"model.layers.1.self_attn.q_proj": 2}
    assert document["alpha_pattern"] == {"model.layers.1.mlp.up_proj": 5}
    assert_same(read_peft(tmp_path / "plain").adapter, first.adapter)


def test_every_wrong_tensor_of_a_peft_folder_is_named(make_peft: PeftMaker) -> None:
    folder = make_peft(target_modules=["q_proj", "up_proj"])
    tensors = load_file(folder / WEIGHTS_NAME)
    prefix = "base_model.model.model.layers"
    tensors.pop(f"{prefix}.0.self_attn.q_proj.lora_B.weight")
    tensors[f"{prefix}.1.mlp.up_proj.lora_A.weight"] = np.zeros((5, 96), np.float32)
    tensors[f"{prefix}.1.mlp.up_proj.lora_B.weight"] = np.zeros((160, 4), np.int32)
    tensors[f"{prefix}.1.self_attn.o_proj.lora_A.weight"] = np.zeros((4, 96), np.float32)
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(PocketLoraError) as caught:
        read_peft(folder)
    assert caught.value.status == Status.ADAPTER_MISMATCH
    for words in (
        "0.self_attn.q_proj.lora_B.weight: missing",
        "found [5, 96]",
        "found I32",
        "does not name its module",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        ("base_model.model.model.embed_tokens.lora_embedding_A", Status.ADAPTER_UNSUPPORTED, "an embedding"),
        ("base_model.model.x.lora_magnitude_vector", Status.ADAPTER_UNSUPPORTED, "DoRA"),
        ("base_model.model.x.lora_B.bias", Status.ADAPTER_UNSUPPORTED, "a bias"),
        ("something.else", Status.ADAPTER_MISMATCH, "expected base_model.model.<module>.lora_A.weight"),
    ],
)
def test_tensors_that_are_no_lora_matrices(make_peft: PeftMaker, key: str, status: Status, words: str) -> None:
    folder = make_peft()
    save_file(load_file(folder / WEIGHTS_NAME) | {key: np.zeros((2, 2), np.float32)}, folder / WEIGHTS_NAME)
    with pytest.raises(PocketLoraError, match=words) as caught:
        read_peft(folder)
    assert caught.value.status == status
    assert key in str(caught.value)


def test_values_that_are_not_finite_are_named(make_peft: PeftMaker) -> None:
    folder = make_peft()
    tensors = load_file(folder / WEIGHTS_NAME)
    key = next(iter(tensors))
    tensors[key].flat[3] = np.nan
    save_file(tensors, folder / WEIGHTS_NAME)
    with pytest.raises(PocketLoraError, match=f"{key}: element 3 is nan") as caught:
        read_peft(folder)
    assert caught.value.status == Status.ADAPTER_CORRUPT


def test_pickles_are_refused(make_peft: PeftMaker) -> None:
    folder = make_peft()
    (folder / WEIGHTS_NAME).rename(folder / "adapter_model.bin")
    with pytest.raises(PocketLoraError, match="a pickle can run code") as caught:
        read_peft(folder)
    assert caught.value.status == Status.ADAPTER_UNSUPPORTED


def test_the_hash_of_the_base_goes_along(tmp_path: Path) -> None:
    site = LoraSite(from_float32(np.ones((2, 6), np.float32)), from_float32(np.ones((8, 2), np.float32)), 4.0, 2.0)
    adapter = LoraAdapter({"model.layers.0.self_attn.q_proj": site}, base_sha256="ab" * 32)
    write_peft(adapter, tmp_path / "peft")
    write_mlx(adapter, tmp_path / "mlx")
    assert read_peft(tmp_path / "peft").adapter.base_sha256 == read_mlx(tmp_path / "mlx").base_sha256 == "ab" * 32
    assert to_gguf(adapter, LLAMA).base_sha256 == "ab" * 32
    assert BASE_KEY == "pocketlora.base_sha256"


def test_bfloat16_is_widened_exactly() -> None:
    import torch

    values = torch.randn(64, dtype=torch.float32).to(torch.bfloat16)
    raw = RawTensor("BF16", values.view(torch.uint16).numpy())
    assert np.array_equal(raw.float32(), values.float().numpy())
