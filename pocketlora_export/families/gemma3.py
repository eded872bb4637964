"""Gemma 3's text models: Gemma 2 with norms of queries and keys, and a rotary table of their own for sliding layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pocketlora_export.families.base import RopeFacts, rope_facts_of
from pocketlora_export.families.config_keys import ConfigKeys, shown
from pocketlora_export.families.gemma2 import GEMMA_IGNORED, GEMMA_KEYS, Gemma2Model
from pocketlora_export.families.rotary import rope_parameters, rotary_table
from pocketlora_export.families.sliding import FULL, SLIDING
from pocketlora_export.graphs.parts.attention import Rotary
from pocketlora_export.graphs.parts.ends import RotaryTable
from pocketlora_export.graphs.parts.norm import Norm

# The table of each kind of layer, and transformers' name of the kind.
_TABLES = {"full": ("rope", FULL), "sliding": ("rope_local", SLIDING)}


def _table_problems(config: Mapping[str, Any]) -> list[str]:
    """`rope_parameters` has parameters for each type of layer, and nothing else."""
    found = config.get("rope_parameters")
    if not isinstance(found, Mapping) or set(found) <= {FULL, SLIDING}:
        return []
    return [f"rope_parameters: expected {FULL} and {SLIDING}, found {shown(sorted(found))}"]


class Gemma3Model(Gemma2Model):
    """Hugging Face `Gemma3ForCausalLM`."""

    family: ClassVar[str] = "gemma3"
    architecture: ClassVar[str] = "Gemma3ForCausalLM"
    keys: ClassVar[ConfigKeys] = ConfigKeys(
        understood=GEMMA_KEYS | {"rope_local_base_freq", "sliding_window_pattern", "_sliding_window_pattern"},
        # The reference model has no cap of the scores, whatever the config says.
        expected={"use_bidirectional_attention": (False,), "attn_logit_softcapping": (None,)},
        ignored=GEMMA_IGNORED,
    )

    @classmethod
    def check_values(cls, config: Mapping[str, Any]) -> list[str]:
        """See `DecoderModel.check_values`."""
        return super().check_values(config) + _table_problems(config)

    @property
    def attention_softcap(self) -> float:
        """See `Gemma2Model.attention_softcap`: never."""
        return 0.0

    def rotary_tables(self, context: int) -> list[RotaryTable]:
        """See `DecoderModel.rotary_tables`: one for each kind of layer that there is."""
        return [
            rotary_table(self._model_class(), self.config, name, context, layer_type)
            for kind, (name, layer_type) in _TABLES.items()
            if kind in self.layer_kinds()
        ]

    def rope_facts(self) -> list[RopeFacts]:
        """See `DecoderModel.rope_facts`."""
        types = dict(_TABLES.values())
        return [
            rope_facts_of(table, rope_parameters(self.config, types[table.name])) for table in self.rotary_tables(1)
        ]

    def rotary(self, kind: str) -> Rotary | None:
        """See `LlamaModel.rotary`."""
        return Rotary(_TABLES[kind][0], self.head_dim)

    def head_norm(self, name: str) -> Norm | None:
        """See `LlamaModel.head_norm`: each head by itself."""
        return self.offset_norm(name, self.head_dim)
