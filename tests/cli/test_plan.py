"""`plan`: tables, JSON, the chart, devices, and every bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Cli

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 300,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
PHONE = "name: Small phone\nram_mb: 100\nanonymous_mb: 8\nfile_mb: 1\nthreads: 2\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    path = tmp_path / "phone.yaml"
    path.write_text(PHONE)
    return path


def test_json(call: Cli, config: Path, phone: Path) -> None:
    grid = ("--seq-len", "64,512", "--micro-batch", "1", "--rank", "4", "--optimizer", "adamw,sgd", "--context", "256")
    result = call("plan", "-m", config, *grid, "--cache-dtype", "fp32,int8", "--device", phone, "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["model"]["name"] == "small"
    assert plan["threads"] == 2
    assert plan["files"]["base.ptd"] > 100_000
    assert [(r["sequence"], r["optimizer"]) for r in plan["training"]] == [
        (64, "adamw"), (64, "sgd"), (512, "adamw"), (512, "sgd"),
    ]  # fmt: skip
    for row in plan["training"] + plan["inference"]:
        memory = dict(row["memory"])
        anonymous, _ = memory.pop("rss_anon"), memory.pop("rss_file")
        assert sum(memory.values()) == anonymous
        assert row["fits"] == (anonymous <= 8_000_000)
        assert not row["base_stays_in_memory"]
    assert [row["fits"] for row in plan["training"]] == [True, True, False, False]
    # The longest sequence for each optimizer, then the most sequences of each length.
    largest = plan["largest"]["training"]
    assert [row["optimizer"] for row in largest] == ["adamw", "sgd"] * 3
    assert all(64 <= row["sequence"] < 512 and row["memory"]["rss_anon"] <= 8_000_000 for row in largest[:4])
    assert [row["micro_batch"] for row in largest[4:]] == [None, None]
    assert [row["cache"] for row in plan["largest"]["inference"]] == ["fp32", "int8"]


def test_tables_and_chart(call: Cli, config: Path, phone: Path, tmp_path: Path) -> None:
    chart = tmp_path / "plan.svg"
    grid = ("--seq-len", "64,1024", "--micro-batch", "1", "--rank", "4", "--optimizer", "sgd", "--context", "128")
    result = call("plan", "-m", config.parent, *grid, "--device", phone, "--chart", chart)
    assert result.exit_code == 0, result.output
    for text in (
        "training, MB",
        "inference, MB",
        "block inputs",
        "yes, base reread",
        "no, by",
        "tokens × 1",
        "Small phone",
    ):
        assert text in result.stdout, text
    svg = ET.fromstring(chart.read_text("utf-8"))
    texts = [node.text for node in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert "64 × 1" in texts
    assert "1024 × 1" in texts
    assert "Small phone: 8 MB" in texts
    assert not list(tmp_path.glob(".*.new"))


def test_without_a_device_nothing_is_judged(call: Cli, config: Path) -> None:
    result = call(
        "plan", "-m", config, "--seq-len", "8", "--micro-batch", "1", "--rank", "2", "--context", "8", "--json"
    )
    plan = json.loads(result.stdout)
    assert plan["device"] is plan["largest"] is None
    assert "fits" not in plan["training"][0]
    assert plan["threads"] == 8


def refused(call: Cli, exit_code: int, *arguments: object) -> str:
    result = call("plan", *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    assert "Traceback" not in result.stderr
    message: str = json.loads(result.stdout.splitlines()[-1])["message"]
    return message


def test_an_unsupported_config_is_listed_by_key(call: Cli, config: Path) -> None:
    config.write_text(json.dumps(CONFIG | {"hidden_act": "gelu", "num_key_value_heads": 3, "pretraining_tp": 2}))
    message = refused(call, 3, "-m", config)
    for key in ("hidden_act", "num_key_value_heads", "pretraining_tp"):
        assert key in message
    config.write_text(json.dumps(CONFIG | {"architectures": ["GPT2LMHeadModel"]}))
    assert "LlamaForCausalLM, MistralForCausalLM" in refused(call, 3, "-m", config)


def test_no_model(call: Cli, config: Path, tmp_path: Path) -> None:
    assert "no such folder or config.json" in refused(call, 3, "-m", tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "config.json: missing" in refused(call, 3, "-m", tmp_path / "empty")
    config.write_text("{")
    assert "not JSON" in refused(call, 3, "-m", config)
    config.write_text("[]")
    assert "not a JSON object" in refused(call, 3, "-m", config)


def test_bad_options(call: Cli, config: Path, tmp_path: Path) -> None:
    message = refused(call, 2, "-m", config, "--seq-len", "2048,64,4096", "--context", "1025")
    assert "--seq-len: 2048 is beyond the model's max_position_embeddings 1024" in message
    assert "--seq-len: 4096" in message
    assert "--context: 1025" in message
    both = refused(call, 2, "-m", config, "--rank", "0", "--optimizer", "adam")
    assert "'--rank'" in both
    assert "found 'adam'" in both
    assert "'sideways'" in refused(call, 2, "-m", config, "--target-modules", "sideways")
    assert "galaxy-s23" in refused(call, 3, "-m", config, "--device", "galaxy-s1")
    assert ".svg" in refused(call, 2, "-m", config, "--chart", tmp_path / "chart.png")
    assert not (tmp_path / "chart.png").exists()
