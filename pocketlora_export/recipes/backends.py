"""The backends that a recipe names, with its options for them."""

from __future__ import annotations

from pocketlora_export.lower.backend import Backend
from pocketlora_export.lower.registry import backend_named
from pocketlora_export.plan.devices import load_device
from pocketlora_export.recipes.recipe import Recipe


def chosen_backend(name: str, recipe: Recipe) -> Backend:
    """A backend as a recipe wants it.

    Raises:
        PocketLoraError: INPUT_MISSING or INPUT_MALFORMED for the recipe's device.
    """
    if name != "vulkan":
        return backend_named(name)
    from pocketlora_export.lower.vulkan.backend import VulkanOptions, vulkan_backend
    from pocketlora_export.lower.vulkan.limits import GUARANTEED, DeviceLimits

    device = load_device(recipe.vulkan_device) if recipe.vulkan_device else None
    limits = DeviceLimits(**device.vulkan.model_dump()) if device else GUARANTEED
    return vulkan_backend(VulkanOptions(recipe.vulkan_fp16, limits))
