"""README.md of a bundle: the model card."""

from __future__ import annotations

from pocketlora_export.bundle.manifest import Limits, Model, Quantization

_TEMPLATE = """---
library_name: pocketlora
base_model: {name}
tags: [pocketlora, lora, {scheme}, {family}]
---

# {name} as a PocketLoRA bundle

A 4-bit base and programs for fine-tuning LoRA adapters and for generating text on a phone, made from `{name}`
({architecture}, {parameters:.1f} M parameters, {source_dtype}). The licence is that of the model it was made from.

| | |
|---|---|
| weights | {scheme}, groups of {group}, fp16 scales; embedding {embedding}, head {head} |
| layers × hidden | {layers} × {hidden}, vocabulary {vocab} |
| longest context | {context} tokens |
| longest training row | {train} tokens |
| LoRA | {modules}; rank up to {rank} |

```
pocketlora-export inspect .
pocketlora-export train . --data notes.jsonl --output my-adapter
pocketlora-export generate . --adapter my-adapter --prompt "…"
```

`manifest.json` describes every file; `sha256sum -c manifest.sha256` and `pocketlora-export verify .` check them.
"""


def model_card(model: Model, quantization: Quantization, limits: Limits, modules: list[str]) -> str:
    """The card's text."""
    return _TEMPLATE.format(
        name=model.name,
        family=model.family,
        architecture=model.architecture,
        parameters=model.num_parameters / 1e6,
        source_dtype=model.source_dtype,
        scheme=quantization.scheme,
        group=quantization.group_size,
        embedding=f"{quantization.embedding.scheme}/{quantization.embedding.group_size}",
        head=f"{quantization.head.scheme}/{quantization.head.group_size}",
        layers=model.num_layers,
        hidden=model.hidden_size,
        vocab=model.vocab_size,
        context=limits.max_seq_len,
        train=limits.train_t_max,
        modules=", ".join(modules),
        rank=limits.max_rank,
    )
