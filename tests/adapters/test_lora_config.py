"""What adapter_config.json means: the cases shared with the runtime, and PEFT itself as the judge of the names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.adapters.lora_config import CONFIG_NAME, UNSUPPORTED_FIELDS, parse_config, read_document, resolve
from pocketlora_export.adapters.module_names import is_plain_key, shortest_targets
from pocketlora_export.errors import PocketLoraError, Status

SHARED = json.loads((Path(__file__).parent / "config_cases.json").read_text())
SITES = [site["name"] for site in SHARED["sites"]]
CASES = {case["what"]: case for case in SHARED["cases"]}
SOLVED = {what: case for what, case in CASES.items() if "ranks" in case}
REFUSED = {what: case for what, case in CASES.items() if "status" in case}
PATH = Path("adapter") / CONFIG_NAME


def resolved(case: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """Rank and scale of every target, as `adapter import` resolves them."""
    config = parse_config({**SHARED["config"], **case["changes"]}, PATH)
    return {site: (found.rank, found.scale) for site, found in resolve(config, SITES, PATH).items()}


@pytest.mark.parametrize("what", SOLVED)
def test_a_config_means_what_the_runtime_takes_it_for(what: str) -> None:
    case = SOLVED[what]
    found = resolved(case)
    assert [found.get(site, (0, 0.0))[0] for site in SITES] == case["ranks"]
    assert [found.get(site, (0, 0.0))[1] for site in SITES] == case["scales"]
    # A regular expression names exactly the sites whose tensors decide in the runtime.
    assert list(found) == case.get("tensors_of", list(found))


@pytest.mark.parametrize("what", [what for what, case in REFUSED.items() if not case.get("importable")])
def test_a_config_is_refused_as_the_runtime_refuses_it(what: str) -> None:
    case = REFUSED[what]
    with pytest.raises(PocketLoraError) as caught:
        resolved(case)
    assert caught.value.status == Status[case["status"]], caught.value
    assert [words for words in case["says"] if words not in str(caught.value)] == []


@pytest.mark.parametrize("what", [what for what, case in REFUSED.items() if case.get("importable")])
def test_patterns_that_the_runtime_refuses_are_resolved_for_it(what: str) -> None:
    changes = REFUSED[what]["changes"]
    keys = [key for field in ("rank_pattern", "alpha_pattern") for key in changes.get(field, {})]
    assert not all(map(is_plain_key, keys))
    assert resolved(REFUSED[what])


@pytest.mark.parametrize("what", SOLVED)
def test_a_config_means_what_peft_takes_it_for(what: str) -> None:
    """PEFT's own functions on the same configs."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    fields = {**SHARED["config"], **SOLVED[what]["changes"]}
    for ours in ("peft_type", "some_new_field"):
        fields.pop(ours)
    config = LoraConfig(**fields)
    if isinstance(config.target_modules, str) and config.target_modules.lower() == "all-linear":
        config.target_modules = set(SITES)
    ranks = []
    for site in SITES:
        hit = check_target_module_exists(config, site)
        key = get_pattern_key(config.rank_pattern.keys(), site)
        # An exclusion is an object that is false.
        ranks.append(config.rank_pattern.get(key, config.r) if hit else 0)
    assert ranks == SOLVED[what]["ranks"]


def test_every_unsupported_field_has_a_shared_case() -> None:
    covered = {name for case in REFUSED.values() for name in case["says"]}
    assert set(UNSUPPORTED_FIELDS) <= covered


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ("", "not JSON"),
        ('{"r": 1, "r": 2}', 'the key "r" is given twice'),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_broken_documents_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / CONFIG_NAME).write_text(text)
    with pytest.raises(PocketLoraError, match=words) as caught:
        read_document(tmp_path / CONFIG_NAME)
    assert caught.value.status == Status.ADAPTER_CORRUPT


def test_all_malformed_fields_at_once() -> None:
    broken = {"r": True, "lora_alpha": "x", "lora_dropout": 2, "use_rslora": 1, "target_modules": 3, "rank_pattern": []}
    with pytest.raises(PocketLoraError) as caught:
        parse_config(broken, PATH)
    assert [field for field in (*broken, "peft_type") if f"- {field}" not in str(caught.value)] == []


def test_a_broken_regular_expression_is_named() -> None:
    config = parse_config({**SHARED["config"], "target_modules": "(q_proj"}, PATH)
    with pytest.raises(PocketLoraError, match=r"a broken regular expression.*\(q_proj"):
        resolve(config, SITES, PATH)


def test_the_shortest_names_name_nothing_else() -> None:
    def sites(layers: list[int], modules: list[str]) -> list[str]:
        return [f"model.layers.{layer}.{module}" for layer in layers for module in modules]

    both = ["self_attn.q_proj", "mlp.up_proj"]
    assert shortest_targets(sites([0, 1], both)) == (both, [0, 1])
    assert shortest_targets(sites([3], both)) == (both, [3])
    ragged = [*sites([0], both), *sites([1], both[:1])]
    assert shortest_targets(ragged) == (ragged, None)
    assert shortest_targets(["lm_head"]) == (["lm_head"], None)
