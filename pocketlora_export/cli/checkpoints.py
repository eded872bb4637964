"""Checkpoints of a training job: when they are written, what they keep of the job, going on from one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pocketlora_export.cli.train_report import TrainReport
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import Checkpoint, Trainer


@dataclass
class Checkpoints:
    """Those of one job; `folder` None = it has none. `user_state` says which data it is trained on."""

    folder: Path | None
    every: int
    keep: int
    trainer: Trainer
    report: TrainReport
    user_state: dict[str, int]
    newest: int = -1

    def resume(self, wanted: bool) -> Checkpoint | None:
        """Go on from the newest checkpoint; None when there is none. Raises when there are some that are not wanted."""
        if self.folder is None:
            return None
        if not wanted:
            if self.folder.is_dir() and any(self.folder.glob("step-*")):
                message = f"--checkpoint-dir {self.folder} already holds checkpoints; go on from them with --resume, "
                raise PocketLoraError(Status.INVALID_ARGUMENT, message + "or choose another folder")
            return None
        try:
            found = self.trainer.load_checkpoint(self.folder)
        except PocketLoraError as error:
            if error.status == Status.INPUT_MISSING:
                return None
            raise
        self._check(found)
        self.newest = found.step
        self.report.resumed(found)
        return found

    def after(self, step: int, last: bool) -> None:
        """Write one when it is time to: every so many steps and after the last."""
        if self.folder is not None and (last or step % self.every == 0):
            self.save(step)

    def save(self, step: int) -> bool:
        """Write one, unless this step has one or there is no step yet. Returns whether there is one now."""
        if self.folder is None or step == 0:
            return False
        if step != self.newest:
            state = json.dumps(self.user_state)
            self.report.checkpoint(self.trainer.save_checkpoint(self.folder, keep=self.keep, user_state=state))
            self.newest = step
        return True

    def _check(self, found: Checkpoint) -> None:
        try:
            then = json.loads(found.user_state)
        except ValueError:
            then = None
        if then != self.user_state:
            message = f"training cannot go on with other rows: the checkpoint has {found.user_state}, now "
            raise PocketLoraError(Status.INPUT_MISMATCH, message + json.dumps(self.user_state))
