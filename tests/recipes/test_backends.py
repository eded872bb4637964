"""Backends of a recipe: names, what is refused, and the decomposition of custom ops."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import torch

from pocketlora_export.errors import PocketLoraError
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.lower.registry import backend_named, backend_names
from pocketlora_export.recipes import build
from pocketlora_export.recipes.recipe import BackendName, Recipe
from tests.support.models import TinyModel, write_model

NF4, INT4 = QuantScheme("nf4", 64), QuantScheme("int4", 32)


def test_names_of_recipes_are_those_of_the_backends() -> None:
    assert get_args(BackendName) == backend_names()
    assert all(backend_named(name).name == name for name in backend_names())


def test_decompositions_name_our_ops() -> None:
    for name in backend_names():
        for op in backend_named(name).decompositions:
            assert hasattr(torch.ops.pocketlora, op), f"{name}: {op}"


def test_refusals_name_role_scheme_and_reason() -> None:
    picky = dataclasses.replace(
        backend_named("cpu"), refused=lambda q: "its codes are not evenly spaced" if q.scheme == "nf4" else None
    )
    assert picky.problems(Quantization(INT4, INT4, INT4)) == []
    assert picky.problems(Quantization(INT4, NF4, NF4)) == [
        "backend cpu: embedding: nf4 in groups of 64: its codes are not evenly spaced",
        "backend cpu: head: nf4 in groups of 64: its codes are not evenly spaced",
    ]


def test_refusals_of_all_backends_come_at_once_and_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "model", TinyModel())

    def picky(name: str, recipe: Recipe) -> object:
        del recipe
        return dataclasses.replace(backend_named(name), refused=lambda q: f"not on {name}")

    monkeypatch.setattr(build, "chosen_backend", picky)
    recipe = Recipe(backends=["cpu", "xnnpack"], max_seq_len=1 << 20, target_modules=["nowhere"])
    with pytest.raises(PocketLoraError) as caught:
        build.build_bundle(str(tmp_path / "model"), tmp_path / "bundle", recipe)
    for text in ("not on cpu", "not on xnnpack", "'nowhere'; valid:", "max_seq_len"):
        assert text in str(caught.value)
    assert caught.value.status // 100 in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
