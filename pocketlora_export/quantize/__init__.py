"""From a Hugging Face checkpoint to 4-bit tiles, tensor by tensor."""
