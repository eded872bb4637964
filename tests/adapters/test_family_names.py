"""Every linear layer of every family has a name in GGUF, and rows of q are reordered where llama.cpp needs it."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pocketlora_export.adapters.gguf_file import ARCHITECTURES, BaseFacts, to_gguf
from pocketlora_export.adapters.lora import LoraAdapter, LoraSite
from pocketlora_export.adapters.raw_tensors import RawTensor, from_float32
from pocketlora_export.families.registry import decoder_model
from tests.support.families import FAMILY_MODELS

RANK = 2


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_every_site_has_a_name(name: str) -> None:
    config = FAMILY_MODELS[name].config().to_dict()
    model = decoder_model({**config, "architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config["model_type"]]]}, name)
    facts = model.facts
    random = np.random.default_rng(0)

    def matrix(rows: int, cols: int) -> RawTensor:
        return from_float32(random.standard_normal((rows, cols), dtype=np.float32))

    sites = {
        site.name: LoraSite(matrix(RANK, site.in_features), matrix(site.out_features, RANK), 4.0, 2.0)
        for site in model.sites(model.modules())
    }
    base = BaseFacts(facts.architecture, facts.num_layers, facts.num_heads, facts.num_kv_heads, True)
    found = to_gguf(LoraAdapter(sites), base)
    assert len(found.tensors) == 2 * len(sites)
    assert all(key.startswith("blk.") for key in found.tensors)
    if (query := sites.get("model.layers.0.self_attn.q_proj")) is not None:
        kept = np.array_equal(found.tensors["blk.0.attn_q.weight.lora_b"], query.b.data)
        assert kept != ARCHITECTURES[facts.architecture].interleaved
