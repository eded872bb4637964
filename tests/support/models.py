"""Small random models of every family with a real tokenizer, written as ordinary Hugging Face folders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@dataclass(frozen=True)
class TinyModel:
    """A model and how it is bundled. Sizes that fill no tile are meant: padding is part of the layout.

    `family`: `model_type` of the config; Llama, unless a `window` makes it a Mistral, without biases. `options`: more
    keys of the config. `backends` of the bundle, best first.
    """

    quant: Literal["nf4", "int4"] = "nf4"
    tied: bool = True
    hidden: int = 96
    intermediate: int = 160
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 24
    vocab: int = 300
    biases: bool = False
    llama3_rope: bool = False
    window: int | None = None
    group_size: int | None = None
    target_modules: tuple[str, ...] = MODULES
    max_rank: int = 8
    train_len: int = 48
    prefill_len: int = 40
    max_len: int = 96
    backends: tuple[str, ...] = ("cpu",)
    seed: int = 0
    family: str | None = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def keeps_products(self) -> bool:
        """Whether its bundle can recompute selectively: the Llamas, and a family of each other form of MLP.

        Lowering the methods for it takes a third more time.
        """
        return self.family in (None, "phi3", "phi")

    @property
    def longest_reduction(self) -> int:
        """The longest sum in a forward or backward pass."""
        return max(self.hidden, self.intermediate, self.heads * self.head_dim)

    def config(self) -> PreTrainedConfig:
        """The Hugging Face configuration."""
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
        if self.llama3_rope:
            # Small enough wavelengths that all three bands of the scaling occur within a few tokens.
            rope |= {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            rope |= {"original_max_position_embeddings": 32}
        family: dict[str, Any] = {"attention_bias": self.biases, "mlp_bias": self.biases}
        if self.window is not None:
            family = {"sliding_window": self.window}
        if self.family is not None:
            family = {}
        options: dict[str, Any] = {
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": 4 * self.max_len,
            "tie_word_embeddings": self.tied,
            "rope_parameters": rope,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": None,
        }
        kind = self.family or ("llama" if self.window is None else "mistral")
        # A key that the family does not have would be written to config.json all the same.
        known = {key: value for key, value in options.items() if hasattr(CONFIG_MAPPING[kind], key)}
        return AutoConfig.for_model(kind, **(known | family | dict(self.options)))


TWO_BACKENDS = TinyModel(backends=("xnnpack", "cpu"), seed=7)


def write_model(directory: Path, tiny: TinyModel) -> None:
    """Write random weights (float32 safetensors), configuration and tokenizer to `directory`."""
    torch.manual_seed(tiny.seed)
    model = AutoModelForCausalLM.from_config(tiny.config())
    for name, parameter in model.named_parameters():
        parameter.data.copy_(_random(name, parameter))
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)


def _random(name: str, parameter: torch.Tensor) -> torch.Tensor:
    """Weights that keep activations near one; norms and biases around their initial values, and not trivial."""
    noise: torch.Tensor = torch.randn_like(parameter)
    if parameter.dim() == 1:
        return parameter.data + 0.1 * noise
    if "embed_tokens" in name:
        return 0.2 * noise
    return noise / math.sqrt(parameter.shape[1])


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer without merges: 3 special tokens and 256 bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = CHAT_TEMPLATE
    return fast
