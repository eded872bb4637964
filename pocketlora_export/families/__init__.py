"""One file per model family: from a Hugging Face config to weights, LoRA sites and stages."""
