"""Opening model folders: everything that can be wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.quantize.checkpoint import read_rows
from pocketlora_export.quantize.source import check_tensors, open_source, resolve_folder
from pocketlora_export.quantize.stored import StoredTensor

WEIGHTS = [StoredTensor("a.weight", (4, 6), None), StoredTensor("b.weight", (8,), None)]


def _tensors() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(24.0).view(4, 6), "b.weight": torch.ones(8)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of two tensors."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "toy"}))
    save_file(_tensors(), tmp_path / "model.safetensors")
    return tmp_path


def _shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for index, (name, tensor) in enumerate(_tensors().items()):
        save_file({name: tensor}, folder / f"model-{index}.safetensors")
    weight_map = {name: f"model-{i}.safetensors" for i, name in enumerate(_tensors())}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _failure(model: Path | str) -> PocketLoraError:
    with pytest.raises(PocketLoraError) as caught:
        open_source(str(model))
    return caught.value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sharded", [False, True])
def test_rows_come_back_as_float32(folder: Path, dtype: torch.dtype, sharded: bool) -> None:
    save_file({k: v.to(dtype) for k, v in _tensors().items()}, folder / "model.safetensors")
    if sharded:
        _shard(folder)
    source = open_source(str(folder))
    check_tensors(source, WEIGHTS)
    assert torch.equal(read_rows(source.tensors["a.weight"], 1, 3), _tensors()["a.weight"][1:3])
    assert sharded or source.dtype == str(dtype).removeprefix("torch.")


def test_missing_config_and_weights_together(tmp_path: Path) -> None:
    error = _failure(tmp_path)
    assert error.status is Status.INPUT_MISSING
    assert "config.json: missing" in str(error)
    assert "model.safetensors" in str(error)


def test_pickle_only(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert "pytorch_model.bin, which must be saved as safetensors first" in str(_failure(tmp_path))


def test_shard_missing(folder: Path) -> None:
    _shard(folder)
    (folder / "model-1.safetensors").unlink()
    error = _failure(folder)
    assert error.status is Status.INPUT_MISSING
    assert "model-1.safetensors: missing" in str(error)


def test_shard_truncated(folder: Path) -> None:
    _shard(folder)
    path = folder / "model-0.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    error = _failure(folder)
    assert error.status is Status.INPUT_MALFORMED
    assert f"{path}: truncated: {path.stat().st_size + 5} bytes expected" in str(error)


def test_tensor_listed_but_not_in_its_shard(folder: Path) -> None:
    _shard(folder)
    save_file({"other": torch.ones(1)}, folder / "model-1.safetensors")
    assert "b.weight is listed" in str(_failure(folder))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cut off"),
        (b"\xff" * 64, "cut off"),
        ((5).to_bytes(8, "little") + b"not{}", "not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "not an object"),
        ((27).to_bytes(8, "little") + b'{"a": {"dtype": "F32"}}    ', "malformed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    ],
)
def test_not_safetensors(folder: Path, content: bytes, expected: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    error = _failure(folder)
    assert error.status is Status.INPUT_MALFORMED
    assert expected in str(error)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_bad_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in str(_failure(folder))


def test_every_mismatch_is_listed(folder: Path) -> None:
    tensors = {"a.weight": torch.ones(4, 5), "c.weight": torch.ones(1), "lm_head.weight": torch.ones(1)}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(PocketLoraError) as caught:
        check_tensors(open_source(str(folder)), WEIGHTS)
    message = str(caught.value)
    assert caught.value.status is Status.INPUT_MISMATCH
    assert "a.weight: expected shape [4, 6], found [4, 5]" in message
    assert "b.weight: missing, expected shape [8]" in message
    assert "c.weight: not part" in message
    assert "lm_head" not in message
    assert "inv_freq" not in message


def test_dtype_that_cannot_be_read(folder: Path) -> None:
    save_file({**_tensors(), "b.weight": torch.ones(8, dtype=torch.int32)}, folder / "model.safetensors")
    with pytest.raises(PocketLoraError, match="dtype I32 is not supported"):
        check_tensors(open_source(str(folder)), WEIGHTS)


@pytest.mark.parametrize("model", ["./nowhere", "/no/such/folder", "nothing", "a/b/c"])
def test_no_such_folder(model: str) -> None:
    error = _failure(model)
    assert error.status is Status.INPUT_MISSING
    assert model in str(error)


def test_a_file_is_not_a_folder(folder: Path) -> None:
    assert "is a file" in str(_failure(folder / "config.json"))


def test_hub_unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PocketLoraError, match="could not be had from the hub") as caught:
        resolve_folder("owner/some-model")
    assert caught.value.status is Status.INPUT_MISSING
