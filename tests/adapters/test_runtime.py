"""Adapters through the runtime: what the commands write loads, computes and comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from pocketlora_export.adapters.lora_config import CONFIG_NAME
from pocketlora_export.adapters.peft_folder import WEIGHTS_NAME, read_peft
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Engine, Sampling, Session
from tests.cli.conftest import call
from tests.support.bundles import Bundled
from tests.support.oracle import load_base, logits_of, relative_error, save_random_adapter
from tests.support.tolerance import forward_bound

PROMPT = np.array([1, 7, 42, 99, 123, 200, 5, 64], dtype=np.int64)
Maker = Callable[..., Path]


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundled) -> Engine:
    return Engine(tiny_bundle.bundle, num_threads=1)


@pytest.fixture
def make_adapter(tiny_bundle: Bundled, tmp_path: Path) -> Maker:
    """Have peft write a random adapter of the dequantized base."""

    def make(name: str = "peft", seed: int = 1, **config: Any) -> Path:
        options = {"r": 4, "lora_alpha": 6, "target_modules": list(tiny_bundle.tiny.target_modules)} | config
        save_random_adapter(tiny_bundle.dequantized, tmp_path / name, seed, **options)
        return tmp_path / name

    return make


def tensors(folder: Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(folder / WEIGHTS_NAME).items()}


def logits(engine: Engine, *active: tuple[Path, float]) -> Any:
    """Logits after the prompt, with the weighted adapters."""
    session = Session(engine, compute="fp32")
    session.set_adapters([(engine.load_adapter(folder), weight) for folder, weight in active])
    return session.prefill(PROMPT)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.up_proj": 3}},
        {"layers_to_transform": [1]},
    ],
)
def test_peft_through_a_session_and_back(
    engine: Engine, make_adapter: Maker, tmp_path: Path, config: dict[str, Any]
) -> None:
    """Bit-identical tensors, the same scales, and peft loads the result."""
    original = make_adapter(**config)
    adapter = engine.load_adapter(original)
    session = Session(engine, compute="fp32")
    session.set_adapters([adapter])
    session.generate(PROMPT, Sampling(4, stop_tokens=()))
    adapter.save(tmp_path / "back")
    assert tensors(tmp_path / "back") == tensors(original)
    before, after = read_peft(original).adapter, read_peft(tmp_path / "back").adapter
    assert {name: site.scale for name, site in after.sites.items()} == {n: s.scale for n, s in before.sites.items()}


def test_peft_loads_what_the_runtime_saved(
    engine: Engine, make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path
) -> None:
    engine.load_adapter(make_adapter(rank_pattern={"q_proj": 2})).save(tmp_path / "back")
    model: Any = PeftModel.from_pretrained(load_base(tiny_bundle.dequantized), tmp_path / "back").eval()
    expected = logits_of(model, PROMPT)[-1]
    assert relative_error(logits(engine, (tmp_path / "back", 1.0)), expected) <= forward_bound(tiny_bundle.tiny)


def test_a_regular_expression_is_left_to_the_tensors(engine: Engine, make_adapter: Maker, tiny_bundle: Bundled) -> None:
    """The runtime evaluates no expression and computes what peft computes."""
    folder = make_adapter(target_modules=r"model\.layers\.1\..*(q|down)_proj")
    assert isinstance(json.loads((folder / CONFIG_NAME).read_text())["target_modules"], str)
    model: Any = PeftModel.from_pretrained(load_base(tiny_bundle.dequantized), folder).eval()
    expected = logits_of(model, PROMPT)[-1]
    assert relative_error(logits(engine, (folder, 1.0)), expected) <= forward_bound(tiny_bundle.tiny)


def test_an_adapter_without_tensors_is_refused(engine: Engine, make_adapter: Maker) -> None:
    folder = make_adapter(target_modules=r".*q_proj")
    save_file({}, folder / WEIGHTS_NAME)
    with pytest.raises(PocketLoraError, match="no linear layer of this bundle is adapted") as caught:
        engine.load_adapter(folder)
    assert caught.value.status == Status.ADAPTER_MISMATCH


def test_what_was_imported_computes_what_peft_computes(
    engine: Engine, make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path
) -> None:
    """Patterns that the runtime refuses, over MLX-LM's format and straight."""
    folder = make_adapter(target_modules=r".*\.(q|v|up)_proj", alpha_pattern={r"layers\.\d\.mlp.*": 3})
    with pytest.raises(PocketLoraError, match="alpha_pattern with a regular expression"):
        engine.load_adapter(folder)
    steps = [
        ("import", folder, "-o", tmp_path / "straight", "--bundle", tiny_bundle.bundle),
        ("export", folder, "--format", "mlx", "-o", tmp_path / "mlx"),
        ("import", tmp_path / "mlx", "-o", tmp_path / "over-mlx", "--bundle", tiny_bundle.bundle),
    ]
    for step in steps:
        result = call("adapter", *step)
        assert result.exit_code == 0, result.output
    model: Any = PeftModel.from_pretrained(load_base(tiny_bundle.dequantized), folder).eval()
    expected = logits_of(model, PROMPT)[-1]
    for name in ("straight", "over-mlx"):
        assert relative_error(logits(engine, (tmp_path / name, 1.0)), expected) <= forward_bound(tiny_bundle.tiny)


def test_merged_weights_compute_what_the_runtime_computes(
    engine: Engine, make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path
) -> None:
    folder = make_adapter()
    result = call("adapter", "merge", tiny_bundle.dequantized, folder, "-o", tmp_path / "merged", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["merged_matrices"] == 14
    expected = logits_of(load_base(tmp_path / "merged"), PROMPT)[-1]
    assert relative_error(logits(engine, (folder, 1.0)), expected) <= forward_bound(tiny_bundle.tiny)


WEIGHTS = (0.7, -0.3)


def test_a_weighted_sum_is_that_of_peft(engine: Engine, make_adapter: Maker, tiny_bundle: Bundled) -> None:
    """Ranks 4 and 2, two scales; peft concatenates them."""
    one, two = make_adapter("one"), make_adapter("two", 2, r=2, lora_alpha=1, target_modules=["q_proj", "up_proj"])
    model: Any = PeftModel.from_pretrained(load_base(tiny_bundle.dequantized), one, adapter_name="one")
    model.load_adapter(two, adapter_name="two")
    model.add_weighted_adapter(["one", "two"], list(WEIGHTS), "sum", combination_type="cat")
    model.set_adapter("sum")
    with torch.no_grad():
        expected = logits_of(model.eval(), PROMPT)[-1]
    found = logits(engine, (one, WEIGHTS[0]), (two, WEIGHTS[1]))
    assert relative_error(found, expected) <= forward_bound(tiny_bundle.tiny)
    assert relative_error(logits(engine, (one, 1.0)), expected) > 100 * forward_bound(tiny_bundle.tiny)


def test_generate_takes_weights(engine: Engine, make_adapter: Maker, tiny_bundle: Bundled) -> None:
    one, two = make_adapter("one"), make_adapter("with:colon", 2, r=2)
    session = Session(engine, compute="fp32")
    session.set_adapters([(engine.load_adapter(one), WEIGHTS[0]), (engine.load_adapter(two), WEIGHTS[1])])
    options = ("--prompt", "hello", "--max-new-tokens", 12, "--json")
    weighted = ("--adapter", f"{one}:{WEIGHTS[0]}", "--adapter", f"{two}:{WEIGHTS[1]}")
    result = call("generate", tiny_bundle.bundle, *options, *weighted)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    tokenizer = Tokenizer.from_file(str(tiny_bundle.bundle / "tokenizer.json"))
    assert found["token_ids"] == session.generate(tokenizer.encode("hello").ids, Sampling(12)).tokens
    plain = json.loads(call("generate", tiny_bundle.bundle, *options).stdout)
    assert plain["token_ids"] != found["token_ids"]


def test_bad_weights_and_folders_are_told_at_once(make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path) -> None:
    options = (tiny_bundle.bundle, "--prompt", "x")
    result = call("generate", *options, "--adapter", f"{tmp_path / 'no'}:0.5", "--adapter", tmp_path / "neither")
    assert result.exit_code == 5
    assert str(tmp_path / "no") in result.stderr
    assert str(tmp_path / "neither") in result.stderr
    result = call("generate", *options, "--adapter", f"{tmp_path}/a:nan")
    assert result.exit_code == 2
    assert "finite" in result.stderr


def test_import_names_every_mismatch_with_a_bundle(make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path) -> None:
    folder = make_adapter(r=16, target_modules=["q_proj", "up_proj"])
    found = load_file(folder / WEIGHTS_NAME)
    prefix = "base_model.model.model.layers"
    for matrix in "AB":
        del found[f"{prefix}.1.mlp.up_proj.lora_{matrix}.weight"]
        found[f"{prefix}.7.mlp.up_proj.lora_{matrix}.weight"] = np.ones((16, 16), np.float32)
    found[f"{prefix}.0.self_attn.q_proj.lora_A.weight"] = np.ones((16, 5), np.float32)
    save_file(found, folder / WEIGHTS_NAME)
    result = call("adapter", "import", folder, "-o", tmp_path / "out", "--bundle", tiny_bundle.bundle, "--json")
    assert result.exit_code == Status.ADAPTER_MISMATCH.exit_code
    event = json.loads(result.stdout)
    assert event["name"] == "ADAPTER_MISMATCH"
    for words in (
        "layers.7.mlp.up_proj: the bundle adapts no such layer",
        "layers.0.self_attn.q_proj: A: expected 96 columns, found 5",
        "rank: expected at most 8, found 16",
        "layers.1.mlp.up_proj: no tensors",
    ):
        assert words in event["message"]
    assert not (tmp_path / "out").exists()


def test_import_refuses_an_adapter_of_another_base(
    engine: Engine, make_adapter: Maker, tiny_bundle: Bundled, tmp_path: Path
) -> None:
    engine.load_adapter(make_adapter()).save(tmp_path / "ours")
    found = load_file(tmp_path / "ours" / WEIGHTS_NAME)
    arguments = ("adapter", "import", tmp_path / "ours", "-o", tmp_path / "out", "--bundle", tiny_bundle.bundle)
    assert call(*arguments).exit_code == 0
    save_file(found, tmp_path / "ours" / WEIGHTS_NAME, metadata={"pocketlora.base_sha256": "ab" * 32})
    result = call(*arguments, "--force")
    assert result.exit_code == Status.ADAPTER_OTHER_BASE.exit_code
    assert "another base" in result.stderr
