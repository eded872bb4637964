"""The largest settings that a device holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from pocketlora_export.plan.devices import Device
from pocketlora_export.plan.estimate import Inference, Machine, Training, inference, training
from pocketlora_export.plan.model import PlannedModel

# Beyond this nobody asks; a search must end.
_MOST_SEQUENCES = 1 << 16


def largest_that(holds: Callable[[int], bool], most: int) -> int:
    """The largest n in [0, most] that holds, for something that holds up to a point; 0 = none does."""
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def with_kept_blocks(model: PlannedModel, setting: Training, device: Device, machine: Machine) -> Training:
    """With "auto": as many blocks keep products for the backward as the device has room for."""
    if setting.recompute != "auto":
        return setting

    def at(blocks: int) -> Training:
        return dataclasses.replace(setting, kept_blocks=blocks)

    # With all of them the methods that recompute do not run: that may take less than with all but one.
    layers = model.shape.num_layers
    if device.fits(training(model, at(layers), machine)):
        return at(layers)
    return at(largest_that(lambda n: device.fits(training(model, at(n), machine)), layers))


def largest_training(model: PlannedModel, setting: Training, device: Device, machine: Machine) -> Training | None:
    """The largest that fits with the rank, optimizer and formats of a setting; None when not even one token does."""

    def fits(sequence: int, micro_batch: int) -> bool:
        return device.fits(training(model, _sized(setting, sequence, micro_batch), machine))

    sequence = largest_that(lambda n: fits(n, 1), model.facts.max_position_embeddings)
    if sequence == 0:
        return None
    found = _sized(setting, sequence, largest_that(lambda n: fits(sequence, n), _MOST_SEQUENCES))
    return with_kept_blocks(model, found, device, machine)


def largest_micro_batch(model: PlannedModel, setting: Training, device: Device, machine: Machine) -> Training | None:
    """The most sequences of a setting's length that fit in one pass; None when not even one does."""

    def fits(micro_batch: int) -> bool:
        return device.fits(training(model, _sized(setting, setting.sequence, micro_batch), machine))

    micro_batch = largest_that(fits, _MOST_SEQUENCES)
    found = _sized(setting, setting.sequence, micro_batch)
    return with_kept_blocks(model, found, device, machine) if micro_batch else None


def _sized(setting: Training, sequence: int, micro_batch: int) -> Training:
    return dataclasses.replace(setting, sequence=sequence, micro_batch=micro_batch)


def largest_inference(model: PlannedModel, setting: Inference, device: Device, machine: Machine) -> Inference | None:
    """The longest context that fits with a cache format and rank; None when none does."""

    def at(context: int) -> Inference:
        return dataclasses.replace(setting, context=context)

    context = largest_that(lambda n: device.fits(inference(model, at(n), machine)), model.facts.max_position_embeddings)
    return at(context) if context else None
