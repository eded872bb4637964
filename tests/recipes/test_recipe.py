"""Recipes: presets, precedence, and messages that name key and file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pocketlora_export.cli.bundle import recipe_options
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.recipes.recipe import (
    Recipe,
    choose_targets,
    find_recipe,
    load_recipe,
    preset_folder,
    preset_names,
)

MODULES = ("q_proj", "k_proj", "v_proj")


def _failure(path: Path | str | None, options: dict[str, object] | None = None) -> PocketLoraError:
    with pytest.raises(PocketLoraError) as caught:
        load_recipe(None if path is None else str(path), options or {})
    return caught.value


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_default_preset_is_the_defaults() -> None:
    assert load_recipe("default", {}) == load_recipe(None, {}) == Recipe()


@pytest.mark.parametrize("name", preset_names())
def test_presets_hold_every_key_with_a_comment(name: str) -> None:
    path = preset_folder() / f"{name}.yaml"
    assert set(yaml.safe_load(path.read_text("utf-8"))) == set(Recipe.model_fields)
    lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    # "quant:" itself is explained by the comments of what it holds.
    keys = [i for i, line in enumerate(lines) if not line.startswith("#") and line != "quant:"]
    assert all(lines[i - 1].startswith("#") for i in keys)


def test_presets() -> None:
    assert preset_names() == ["default", "int4", "nf4"]
    assert load_recipe("int4", {}).quant.scheme == "int4"
    assert load_recipe("int4", {}).quant.group == 32
    assert load_recipe("nf4", {}).quant.group == 64


def test_options_win_over_yaml_over_defaults(tmp_path: Path) -> None:
    path = _write(tmp_path, "max_rank: 4\nmax_seq_len: 128\nquant: {scheme: int4, group_size: 128}\n")
    recipe = load_recipe(str(path), {"max_rank": 32})
    assert (recipe.max_rank, recipe.max_seq_len, recipe.train_seq_len) == (32, 128, 256)
    assert (recipe.quant.scheme, recipe.quant.group) == ("int4", 128)


def test_a_scheme_option_drops_the_files_group_size(tmp_path: Path) -> None:
    path = _write(tmp_path, "quant: {scheme: int4, group_size: 32}\n")
    assert load_recipe(str(path), {"quant": {"scheme": "nf4"}}).quant.group == 64
    assert load_recipe(str(path), {"quant": {"scheme": "int4", "group_size": 64}}).quant.group == 64


def test_command_line_options() -> None:
    given = {"quant": "int4", "group_size": 64, "max_rank": 2, "max_seq_len": None, "target_modules": "q_proj, v_proj,"}
    expected = {"quant": {"scheme": "int4", "group_size": 64}, "max_rank": 2, "target_modules": ["q_proj", "v_proj"]}
    assert recipe_options(given) == expected
    assert recipe_options(dict.fromkeys(given)) == {}


def test_ends_may_differ(tmp_path: Path) -> None:
    path = _write(tmp_path, "quant: {embedding: {scheme: int4, group_size: 64}, head: {scheme: int4}}\n")
    quant = load_recipe(str(path), {}).quant
    assert quant.embedding is not None
    assert quant.head is not None
    assert (quant.group, quant.embedding.group, quant.head.group) == (64, 64, 32)


def test_empty_file(tmp_path: Path) -> None:
    assert load_recipe(str(_write(tmp_path, "# nothing\n")), {}) == Recipe()


def test_unknown_keys_are_all_named_with_file(tmp_path: Path) -> None:
    path = _write(tmp_path, "max_sequence: 3\nquant: {kind: nf4, head: {schema: nf4}}\n")
    error = _failure(path)
    assert error.status is Status.INPUT_MALFORMED
    for text in (
        str(path),
        "max_sequence: unknown key; known here: quant, backends",
        "quant.kind: unknown key; known here: scheme",
    ):
        assert text in str(error)
    assert "quant.head.schema: unknown key; known here: scheme, group_size" in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max_rank: many", "max_rank: Input should be a valid integer"),
        ("max_rank: 0", "max_rank: Input should be greater"),
        ("train_seq_len: 1", "train_seq_len"),
        ("quant: {scheme: fp8}", "quant.scheme: Input should be 'nf4' or 'int4', found 'fp8'"),
        ("quant: {group_size: 32}", "quant.group_size: nf4 takes 64, found 32"),
        ("quant: {scheme: int4, group_size: 48}", "quant.group_size: int4 takes 32, 64, 128, found 48"),
        ("quant: {embedding: {scheme: nf4, group_size: 128}}", "quant.embedding.group_size: nf4 takes 64"),
        ("backends: [quantum]", "backends.0: Input should be 'cpu'"),
        ("backends: []", "backends: List should have at least 1 item"),
        ("backends: [cpu, xnnpack, cpu]", "backends: cpu is named twice"),
        ("- a list", "expected keys and values, found list"),
        ("a: [", "not YAML"),
    ],
)
def test_bad_values(tmp_path: Path, text: str, expected: str) -> None:
    error = _failure(_write(tmp_path, text))
    assert error.status is Status.INPUT_MALFORMED
    assert expected in str(error)


def test_bad_options() -> None:
    error = _failure(None, {"quant": {"scheme": "nf4", "group_size": 32}})
    assert error.status is Status.INVALID_ARGUMENT
    assert "nf4 takes 64, found 32" in str(error)


def test_no_such_recipe(tmp_path: Path) -> None:
    error = _failure(tmp_path / "nothing.yaml")
    assert error.status is Status.INPUT_MISSING
    assert "default, int4, nf4" in str(error)
    assert _failure("nf5").status is Status.INPUT_MISSING


def test_paths_win_over_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nf4").write_text("max_rank: 3\n")
    assert find_recipe("nf4") == Path("nf4")


def test_targets_keep_layer_order() -> None:
    assert choose_targets(Recipe(target_modules=["v_proj", "q_proj", "v_proj"]), MODULES) == ("q_proj", "v_proj")
    assert choose_targets(Recipe(), MODULES) == MODULES


@pytest.mark.parametrize("names", [["q_proj", "c_attn", "wte"], []])
def test_unknown_targets(names: list[str]) -> None:
    with pytest.raises(PocketLoraError, match="valid: q_proj, k_proj, v_proj") as caught:
        choose_targets(Recipe(target_modules=names), MODULES)
    assert caught.value.status is Status.UNKNOWN_TARGET_MODULE
    assert all(repr(name) in str(caught.value) for name in names if name not in MODULES)
