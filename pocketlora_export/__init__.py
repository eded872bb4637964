"""PocketLoRA: fine-tune language models on a phone. This package is the host-side toolchain."""

__version__ = "0.1.0"
