"""The backends by their names. What a backend needs is imported when it is asked for."""

from __future__ import annotations

import importlib

from pocketlora_export.lower.backend import Backend

# name -> its module and the `Backend` in it.
_PLACES = {"cpu": ("cpu", "CPU"), "xnnpack": ("xnnpack", "XNNPACK"), "vulkan": ("vulkan.backend", "VULKAN")}


def backend_names() -> tuple[str, ...]:
    """Names of all backends."""
    return tuple(_PLACES)


def backend_named(name: str) -> Backend:
    """The description of a backend."""
    module, variable = _PLACES[name]
    found: Backend = getattr(importlib.import_module(f"pocketlora_export.lower.{module}"), variable)
    return found
