"""LoRA adapters on disk, as PEFT writes them."""

from __future__ import annotations
