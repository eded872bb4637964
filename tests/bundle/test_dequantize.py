"""The base as an ordinary Hugging Face folder: the values of the definition, loadable by transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pocketlora_export.bundle.dequantize import dequantize_bundle
from pocketlora_export.bundle.manifest import Q4Tensor
from pocketlora_export.bundle.reader import read_manifest
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.q4 import Q4Spec, dequantize
from pocketlora_export.quantize.matrix import quantize_packed
from tests.conftest import BundleFactory
from tests.support.bundles import Bundled
from tests.support.models import TinyModel

MODELS = [TinyModel(), TinyModel(quant="int4", tied=False, biases=True, group_size=64)]


@pytest.fixture(params=MODELS, ids=["nf4-tied", "int4-untied-biases"])
def made(request: pytest.FixtureRequest, make_bundle: BundleFactory) -> Bundled:
    """One bundle of each kind."""
    return make_bundle(request.param)


def test_values_are_those_of_the_definition(made: Bundled) -> None:
    source = load_file(made.source / "model.safetensors")
    found = load_file(made.dequantized / "model.safetensors")
    manifest = read_manifest(made.bundle).manifest
    assert set(found) == {t.name for t in manifest.base.tensors}
    for tensor in manifest.base.tensors:
        expected = source[tensor.name].float()
        if isinstance(tensor, Q4Tensor):
            spec = Q4Spec(tensor.rows, tensor.cols, tensor.scheme, tensor.group_size)
            expected = dequantize(quantize_packed(expected, spec), spec)
        assert torch.equal(found[tensor.name], expected), tensor.name


def test_transformers_loads_it(made: Bundled) -> None:
    model = AutoModelForCausalLM.from_pretrained(made.dequantized)
    assert model.dtype == torch.float32
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert tied == made.tiny.tied
    ids = AutoTokenizer.from_pretrained(made.dequantized)("Hello", return_tensors="pt").input_ids
    assert bool(torch.isfinite(model(ids).logits).all())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_dtypes_are_rounded_to_nearest(tiny_bundle: Bundled, tmp_path: Path, dtype: str) -> None:
    dequantize_bundle(tiny_bundle.bundle, tmp_path / "out", dtype)
    found = load_file(tmp_path / "out" / "model.safetensors")
    exact = load_file(tiny_bundle.dequantized / "model.safetensors")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    for name, tensor in exact.items():
        assert torch.equal(found[name], tensor.to(getattr(torch, dtype)))


def test_existing_folder(tiny_bundle: Bundled, tmp_path: Path) -> None:
    dequantize_bundle(tiny_bundle.bundle, tmp_path / "out")
    with pytest.raises(PocketLoraError, match="--force"):
        dequantize_bundle(tiny_bundle.bundle, tmp_path / "out")
    dequantize_bundle(tiny_bundle.bundle, tmp_path / "out", force=True)


def test_interrupted(tiny_bundle: Bundled, tmp_path: Path) -> None:
    def interrupt(_what: str, done: int, _total: int) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dequantize_bundle(tiny_bundle.bundle, tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_damaged_bundle(tiny_bundle: Bundled, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle.bundle, tmp_path / "bundle"))
    (bundle / "base.ptd").write_bytes((bundle / "base.ptd").read_bytes()[:-1])
    with pytest.raises(PocketLoraError) as caught:
        dequantize_bundle(bundle, tmp_path / "out")
    assert caught.value.status is Status.BUNDLE_CORRUPT
    assert not (tmp_path / "out").exists()
