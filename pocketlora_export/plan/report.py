"""A plan: every asked setting with its memory, what fits a device, and the largest settings that do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pocketlora_export.plan.devices import Device
from pocketlora_export.plan.estimate import Estimate, Inference, Machine, Training, inference, training
from pocketlora_export.plan.fit import largest_inference, largest_micro_batch, largest_training, with_kept_blocks
from pocketlora_export.plan.model import PlannedModel
from pocketlora_export.plan.process import manifest_bytes

Setting = TypeVar("Setting", Training, Inference)
# train.pte and infer.pte together: they hold stages, not layers.
_PROGRAMS = 69_000


@dataclass(frozen=True)
class Asked:
    """The settings that a plan is wanted for."""

    training: list[Training]
    inference: list[Inference]


@dataclass(frozen=True)
class Row(Generic[Setting]):
    """A setting and its memory."""

    setting: Setting
    estimate: Estimate


@dataclass(frozen=True)
class Largest(Generic[Setting]):
    """What was varied (rank, formats), and the largest that fits; None = nothing does."""

    wanted: Setting
    found: Row[Setting] | None


@dataclass(frozen=True)
class Plan:
    """The whole plan. `files`: bytes by file of the bundle, the tokenizer's left out."""

    model: PlannedModel
    machine: Machine
    device: Device | None
    files: dict[str, int]
    training: list[Row[Training]]
    inference: list[Row[Inference]]
    largest_training: list[Largest[Training]]
    largest_inference: list[Largest[Inference]]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, in bytes."""
        facts, device = self.model.facts, self.device
        return {
            "model": {
                "name": facts.name,
                "architecture": facts.architecture,
                "num_layers": facts.num_layers,
                "hidden_size": facts.hidden_size,
                "scheme": self.model.quantization.linear.scheme,
                "group_size": self.model.quantization.linear.group_size,
                "target_modules": list(self.model.targets),
            },
            "threads": self.machine.threads,
            "files": self.files,
            "training": [self._row(row) for row in self.training],
            "inference": [self._row(row) for row in self.inference],
            "device": None if device is None else device.model_dump(),
            "largest": None
            if device is None
            else {
                "training": [self._largest(one) for one in self.largest_training],
                "inference": [self._largest(one) for one in self.largest_inference],
            },
        }

    def _row(self, row: Row[Any]) -> dict[str, Any]:
        estimate = row.estimate
        fits = {} if self.device is None else self._fits(self.device, estimate)
        memory = {**estimate.parts, "rss_anon": estimate.anonymous, "rss_file": estimate.file}
        return {**dataclasses.asdict(row.setting), "memory": memory, **fits}

    @staticmethod
    def _fits(device: Device, estimate: Estimate) -> dict[str, bool]:
        return {"fits": device.fits(estimate), "base_stays_in_memory": device.holds_files(estimate)}

    def _largest(self, one: Largest[Any]) -> dict[str, Any]:
        if one.found is not None:
            return self._row(one.found)
        wanted = dataclasses.asdict(one.wanted)
        # What was searched for: 1 stands for "as much as possible".
        sizes = {key: None for key in ("sequence", "micro_batch", "context") if wanted.get(key) == 1}
        return wanted | sizes | {"memory": None, "fits": False}


def make_plan(model: PlannedModel, asked: Asked, machine: Machine, device: Device | None) -> Plan:
    """Estimate every asked setting, and search for the largest ones when there is a device."""
    trained = [s if device is None else with_kept_blocks(model, s, device, machine) for s in asked.training]
    return Plan(
        model=model,
        machine=machine,
        device=device,
        files={
            "base.ptd": model.base_bytes,
            "programs": _PROGRAMS,
            "manifest.json": manifest_bytes(model.shape, model.num_tensors),
        },
        training=[Row(setting, training(model, setting, machine)) for setting in trained],
        inference=[Row(setting, inference(model, setting, machine)) for setting in asked.inference],
        largest_training=[] if device is None else list(_largest_trainings(model, asked, device, machine)),
        largest_inference=[] if device is None else list(_largest_inferences(model, asked, device, machine)),
    )


def _largest_trainings(
    model: PlannedModel, asked: Asked, device: Device, machine: Machine
) -> Iterable[Largest[Training]]:
    """The longest sequence of each kind of training, and then the most of each length that was asked for."""

    def largest(wanted: Training, found: Training | None) -> Largest[Training]:
        return Largest(wanted, None if found is None else Row(found, training(model, found, machine)))

    for wanted in dict.fromkeys(dataclasses.replace(s, sequence=1, micro_batch=1) for s in asked.training):
        yield largest(wanted, largest_training(model, wanted, device, machine))
    for wanted in dict.fromkeys(dataclasses.replace(s, micro_batch=1) for s in asked.training):
        yield largest(wanted, largest_micro_batch(model, wanted, device, machine))


def _largest_inferences(
    model: PlannedModel, asked: Asked, device: Device, machine: Machine
) -> Iterable[Largest[Inference]]:
    kinds = dict.fromkeys(dataclasses.replace(s, context=1) for s in asked.inference)
    for wanted in kinds:
        found = largest_inference(model, wanted, device, machine)
        yield Largest(wanted, None if found is None else Row(found, inference(model, found, machine)))
