"""The `vulkan` backend: whole stages as one delegate. Lowered here, not run: the wheel holds no Vulkan runtime."""
