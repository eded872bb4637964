"""Training LoRA tensors on a frozen bundle."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pocketlora_export.runtime import structs
from pocketlora_export.runtime.arrays import Batches, Float32Array, PackedRows, float_pointer
from pocketlora_export.runtime.engine import Adapter, Engine
from pocketlora_export.runtime.handle import Handle
from pocketlora_export.runtime.library import check, library
from pocketlora_export.runtime.session import COMPUTES
from pocketlora_export.runtime.training import (
    Activations,
    Checkpoint,
    Progress,
    Step,
    TrainerConfig,
    TrainerPlan,
    Validation,
    trainer_options,
)


class Trainer(Handle):
    """LoRA tensors, their gradients and the optimizer's state."""

    def __init__(self, engine: Engine, config: TrainerConfig | None = None, init: Adapter | None = None) -> None:
        """Create a trainer; `init` = start from a copy of this adapter."""
        pointer = ctypes.c_void_p()
        options = trainer_options(config or TrainerConfig())
        start = None if init is None else init.pointer
        check(library().pl_trainer_create(engine.pointer, options, start, pointer))
        super().__init__(pointer, library().pl_trainer_free)

    @cached_property
    def plan(self) -> TrainerPlan:
        """What was chosen for this trainer."""
        info = structs.sized(structs.TrainerInfo)
        check(library().pl_trainer_get_info(self.pointer, info))
        values = {f.name: getattr(info, f.name) for f in fields(TrainerPlan)}
        values["activations"] = Activations(info.activations)
        values["streams_weights"] = bool(info.streams_weights)
        values |= {name: COMPUTES[values[name]] for name in ("compute", "step_compute")}
        return TrainerPlan(**values)

    def cancel(self) -> None:
        """End the step that is running on another thread, or else the next one, with CANCELLED. For any thread."""
        check(library().pl_trainer_cancel(self.pointer))

    def pause(self) -> None:
        """Hold the running step, or else the next one, at its next block until `resume` or `cancel`. For any thread."""
        check(library().pl_trainer_pause(self.pointer))

    def resume(self) -> None:
        """Let a held step go on. For any thread."""
        check(library().pl_trainer_resume(self.pointer))

    def progress(self) -> Progress:
        """How far training is. For any thread, while a step runs as well."""
        found = structs.sized(structs.Progress)
        check(library().pl_trainer_get_progress(self.pointer, found))
        values = {f.name: getattr(found, f.name) for f in fields(Progress)}
        return Progress(**values | {"paused": bool(found.paused)})

    def validate(self, batches: Sequence[PackedRows]) -> Validation:
        """Evaluate the adapter as it is now on held-out batches, and remember which was best."""
        packed, found = Batches(batches), structs.sized(structs.Validation)
        check(library().pl_trainer_validate(self.pointer, packed.array, len(packed), found))
        values = {f.name: getattr(found, f.name) for f in fields(Validation)}
        return Validation(**values | {"improved": bool(found.improved), "should_stop": bool(found.should_stop)})

    def best_adapter(self) -> Adapter:
        """The adapter of the best validation, with `keep_best`. INVALID_STATE when there is none."""
        pointer = ctypes.c_void_p()
        check(library().pl_trainer_get_best_adapter(self.pointer, pointer))
        return Adapter(pointer)

    def save_checkpoint(self, folder: Path, *, keep: int = 2, user_state: str = "") -> Checkpoint:
        """Write everything that training needs to go on to a new folder in `folder`; the newest `keep` stay."""
        options, found = structs.CheckpointOptions(), structs.sized(structs.Checkpoint)
        library().pl_checkpoint_options_init_sized(options, ctypes.sizeof(options))
        options.keep, options.user_state = keep, user_state.encode()
        check(library().pl_trainer_save_checkpoint(self.pointer, os.fsencode(folder), options, found))
        return _checkpoint(found)

    def load_checkpoint(self, folder: Path) -> Checkpoint:
        """Go on from the newest undamaged checkpoint. INPUT_MISSING when there is none."""
        found = structs.sized(structs.Checkpoint)
        check(library().pl_trainer_load_checkpoint(self.pointer, os.fsencode(folder), found))
        return _checkpoint(found)

    def log_event(self, line: str) -> None:
        """Keep an event of this training, one line of JSON; checkpoints and artifacts have it."""
        check(library().pl_trainer_log_event(self.pointer, line.encode("utf-8", "backslashreplace")))

    def save_artifact(self, directory: Path, *, best: bool = False, run_json: str = "{}") -> None:
        """Write what this training leaves behind (docs/artifact.md).

        Args:
            directory: the folder, which appears complete.
            best: the adapter of the best validation, not the one as it is now.
            run_json: a JSON object, `run` of metadata.json.
        """
        options = structs.ArtifactOptions()
        library().pl_artifact_options_init_sized(options, ctypes.sizeof(options))
        options.best, options.run_json = int(best), run_json.encode("utf-8", "backslashreplace")
        check(library().pl_trainer_save_artifact(self.pointer, os.fsencode(directory), options))

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use another learning rate from the next step on."""
        check(library().pl_trainer_set_learning_rate(self.pointer, learning_rate))

    def step(self, batches: Sequence[PackedRows]) -> Step:
        """Forward and backward of every micro-batch, then one optimizer step."""
        return self._run(library().pl_trainer_step, batches)

    def forward_backward(self, batches: Sequence[PackedRows]) -> Step:
        """As `step` without the optimizer step; the gradients can then be read."""
        return self._run(library().pl_trainer_forward_backward, batches)

    def gradient(self, name: str, shape: tuple[int, ...]) -> Float32Array:
        """The gradient of the LoRA tensor with this PEFT key, float32 of `shape`."""
        values = np.empty(shape, dtype=np.float32)
        check(library().pl_trainer_get_gradient(self.pointer, name.encode(), float_pointer(values), values.size))
        return values

    def adapter(self) -> Adapter:
        """A snapshot of the trained adapter, independent of the trainer."""
        pointer = ctypes.c_void_p()
        check(library().pl_trainer_get_adapter(self.pointer, pointer))
        return Adapter(pointer)

    def _run(self, function: Any, batches: Sequence[PackedRows]) -> Step:
        packed, report = Batches(batches), structs.sized(structs.StepReport)
        check(function(self.pointer, packed.array, len(packed), report))
        values = {f.name: getattr(report, f.name) for f in fields(Step)}
        return Step(**values | {"skipped": bool(report.skipped)})


def _checkpoint(found: structs.Checkpoint) -> Checkpoint:
    skipped = tuple(found.skipped.decode(errors="replace").splitlines())
    path, state = Path(os.fsdecode(found.path)), found.user_state.decode(errors="replace")
    return Checkpoint(
        found.step, path, state, skipped, found.nbytes, found.seconds, bool(found.should_stop), found.best_step
    )
