"""Merging against peft's own merge_and_unload."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from pocketlora_export.adapters.merge import merge_adapter
from pocketlora_export.adapters.peft_folder import read_peft
from pocketlora_export.errors import PocketLoraError, Status
from tests.adapters.conftest import PeftMaker

WEIGHTS = "model.safetensors"


def sharded(model: Path, target: Path, dtype: str) -> Path:
    """The model in another dtype, cut into shards by transformers."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    loaded.save_pretrained(target, max_shard_size="200KB")
    assert len(list(target.glob("model-*.safetensors"))) > 1
    return target


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def merged_by_peft(model: Path, adapter: Path, dtype: str) -> dict[str, torch.Tensor]:
    base = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    merged: Any = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    return dict(merged.state_dict())


@pytest.mark.parametrize("config", [{}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "lora_alpha": 3}])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_merging_equals_peft(
    model_folder: Path, make_peft: PeftMaker, tmp_path: Path, dtype: str, config: dict[str, Any]
) -> None:
    base = sharded(model_folder, tmp_path / "base", dtype)
    adapter = make_peft(target_modules=["q_proj", "v_proj", "down_proj"], **config)
    progress: list[tuple[int, int]] = []
    count = merge_adapter(
        base, read_peft(adapter).adapter, tmp_path / "merged", progress=lambda _, *at: progress.append(at)
    )
    found, before = tensors_of(tmp_path / "merged"), tensors_of(base)
    expected = merged_by_peft(base, adapter, dtype)
    changed = {name for name, value in found.items() if not torch.equal(value, before[name])}
    assert count == len(changed) == 6
    assert all(name.endswith(("q_proj.weight", "v_proj.weight", "down_proj.weight")) for name in changed)
    for name, value in found.items():
        assert value.dtype == getattr(torch, dtype)
        assert torch.equal(value, expected[name]), name
    assert progress == sorted(progress)
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {path.name for path in base.iterdir()}
    assert torch.isfinite(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").get_input_embeddings().weight).all()


def test_everything_else_keeps_its_bytes(model_folder: Path, make_peft: PeftMaker, tmp_path: Path) -> None:
    merge_adapter(model_folder, read_peft(make_peft(target_modules=["q_proj"])).adapter, tmp_path / "merged")
    for path in model_folder.iterdir():
        if path.name != WEIGHTS:
            assert (tmp_path / "merged" / path.name).read_bytes() == path.read_bytes()
    before, after = (folder / WEIGHTS for folder in (model_folder, tmp_path / "merged"))
    header = 8 + int.from_bytes(before.read_bytes()[:8], "little")
    assert after.read_bytes()[:header] == before.read_bytes()[:header]
    assert after.stat().st_size == before.stat().st_size


def test_weights_in_other_forms_stay_behind(model_folder: Path, make_peft: PeftMaker, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    (base / "pytorch_model.bin").write_bytes(b"old")
    (base / "pytorch_model.bin.index.json").write_text("{}")
    merge_adapter(base, read_peft(make_peft()).adapter, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("pytorch_model*"))


def test_every_layer_that_does_not_fit_is_named(model_folder: Path, make_peft: PeftMaker, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    tensors = load_file(base / WEIGHTS)
    tensors.pop("model.layers.0.self_attn.q_proj.weight")
    tensors["model.layers.1.self_attn.q_proj.weight"] = torch.zeros(7, 7)
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(160, 96, dtype=torch.int8)
    save_file(tensors, base / WEIGHTS)
    with pytest.raises(PocketLoraError) as caught:
        merge_adapter(base, read_peft(make_peft()).adapter, tmp_path / "merged")
    assert caught.value.status == Status.ADAPTER_MISMATCH
    for words in ("0.self_attn.q_proj.weight: not in", "the model has [7, 7]", "up_proj.weight: expected dtype"):
        assert words in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_a_damaged_base_is_found_before_anything_is_written(
    model_folder: Path, make_peft: PeftMaker, tmp_path: Path
) -> None:
    adapter = read_peft(make_peft()).adapter
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    with (base / WEIGHTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(PocketLoraError, match="4 bytes after the last tensor"):
        merge_adapter(base, adapter, tmp_path / "merged")
    (base / WEIGHTS).unlink()
    with pytest.raises(PocketLoraError, match=r"neither model\.safetensors") as caught:
        merge_adapter(base, adapter, tmp_path / "merged")
    assert caught.value.status == Status.INPUT_MALFORMED
    with pytest.raises(PocketLoraError, match=r"config.json: missing"):
        merge_adapter(tmp_path, adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_the_base_is_never_overwritten(model_folder: Path, make_peft: PeftMaker) -> None:
    adapter = read_peft(make_peft()).adapter
    with pytest.raises(PocketLoraError, match="other than the base"):
        merge_adapter(model_folder, adapter, model_folder, force=True)
    assert json.loads((model_folder / "config.json").read_text())["model_type"] == "llama"
