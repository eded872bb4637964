"""Lowering does not grow with depth: a kind of layer is captured once and the programs are the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.capture import capture
from pocketlora_export.graphs.stage import Limits
from pocketlora_export.graphs.weights import Quantization, QuantScheme
from pocketlora_export.lower import backend
from pocketlora_export.lower import model as lowering
from pocketlora_export.lower.spec import ProgramSpec

LIMITS = Limits(max_seq_len=64, train_t_max=32, prefill_t_max=32, max_rank=8, max_segments=4)


def _lower(layers: int, out: Path) -> list[ProgramSpec]:
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    model = decoder_model(config, "depth")
    scheme, targets = QuantScheme("nf4", 64), model.modules()
    decoder = model.decoder(Quantization(scheme, scheme, scheme), targets, LIMITS.max_seq_len)
    return lowering.lower_model(decoder, model.sites(targets), LIMITS, "cpu", out)


def test_four_and_eighty_layers_give_the_same_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captured: list[str] = []

    def counting(stage: Any, *rest: Any) -> Any:
        captured.append(stage.name)
        return capture(stage, *rest)

    monkeypatch.setattr(backend, "capture", counting)
    shallow = _lower(4, tmp_path / "4")
    in_shallow = list(captured)
    captured.clear()
    deep = _lower(80, tmp_path / "80")
    assert captured == in_shallow
    assert [len(program.stages.blocks) for program in deep] == [80, 80]
    for small, large in zip(shallow, deep, strict=True):
        assert small.methods == large.methods
        assert (tmp_path / "4" / small.file).read_bytes() == (tmp_path / "80" / large.file).read_bytes()
