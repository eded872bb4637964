"""A training job: its options checked against the bundle, the run itself, the adapter at the end."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.cli import console
from pocketlora_export.cli.checkpoints import Checkpoints
from pocketlora_export.cli.options import interrupts_ignored, load_adapter, load_rows, pack_limits
from pocketlora_export.cli.run_facts import RunFacts
from pocketlora_export.cli.train_report import TrainReport
from pocketlora_export.data.dataset import Dataset
from pocketlora_export.data.packing import pack, rows_crc32, steps
from pocketlora_export.errors import PocketLoraError, Status, all_of
from pocketlora_export.report.tensorboard import TensorBoardWriter
from pocketlora_export.runtime import (
    Activations,
    Adapter,
    Engine,
    EngineFacts,
    Loss,
    Optimizer,
    Recompute,
    Schedule,
    Step,
    Trainer,
    TrainerConfig,
    Weights,
)
from pocketlora_export.runtime.fit import fit
from pocketlora_export.runtime.session import Compute

DEFAULT_RANK = 8
DEFAULT_ITERS = 100
LION_BETA2 = 0.99
# What stands for several modules, as the runtime has it.
_PRESETS = ("attention", "all-linear")


@dataclass(frozen=True)
class TrainJob:
    """What `train` was asked for; None = the default that depends on the bundle or on another option."""

    bundle: Path
    data: Path
    output: Path
    iters: int | None = None
    epochs: float | None = None
    learning_rate: float = 1e-4
    optimizer: str = "adamw"
    batch_size: int = 4
    grad_accumulation_steps: int = 1
    rank: int | None = None
    alpha: float | None = None
    target_modules: str | None = None
    dropout: float = 0.0
    weight_decay: float = 0.0
    beta1: float | None = None
    beta2: float | None = None
    momentum: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 0.0
    max_skipped_steps: int = 3
    init_adapter: Path | None = None
    seed: int = 0
    valid: Path | None = None
    eval_every: int | None = None
    patience: int | None = None
    keep_best: bool = False
    checkpoint_dir: Path | None = None
    checkpoint_every: int = 50
    keep: int = 2
    resume: bool = False
    truncate: bool = False
    train_on_prompt: bool = False
    force: bool = False
    threads: int = 0
    backend: str = "auto"
    memory_limit: int | None = None
    activations: str = "auto"
    compute: Compute = "fp32"
    scratch_dir: Path | None = None
    weights: str = "auto"
    loss: str = "sft"
    beta: float | None = None
    label_smoothing: float | None = None
    recompute: str = "auto"
    verify_base: bool = False
    tensorboard: Path | None = None

    @property
    def learns_preferences(self) -> bool:
        """Whether rows are pairs of answers."""
        return self.loss == "dpo"

    @property
    def saves_best(self) -> bool:
        """Whether the adapter of the best evaluation is saved, not the last one."""
        return self.keep_best or self.patience is not None

    def steps(self, rows: int) -> int:
        """Optimizer steps for so many rows."""
        if self.epochs is None:
            return self.iters or DEFAULT_ITERS
        return max(1, math.ceil(self.epochs * rows / (self.batch_size * self.grad_accumulation_steps)))


def run_job(job: TrainJob, report: TrainReport) -> None:
    """Check everything, train, save. Ctrl-C before the end saves nothing and says so."""
    with ExitStack() as stack:
        engine, config, rows, held_out, init = all_of(
            lambda: check_options(job),
            lambda: check_output(job.output, force=job.force, bundle=job.bundle),
            lambda: _opened(job, stack),
        )[-1]
        writer = None if job.tensorboard is None else stack.enter_context(TensorBoardWriter(job.tensorboard))
        trainer = stack.enter_context(Trainer(engine, config, init))
        facts = RunFacts.of(job, rows, held_out)
        report.listen(lambda event: trainer.log_event(console.json_line(event)))
        if writer is not None:
            report.listen(writer.add)
        report.planned(trainer.plan)
        report.truncated(rows, engine.facts.train_t_max)
        run = _Run(job, engine, trainer, rows, held_out, report)
        with report.running(run.iters):
            facts.resumed_from = run.resume()
            if writer is not None and facts.resumed_from is not None:
                writer.restart(facts.resumed_from + 1)
            run.train()
        # The work is done and saving takes a moment: Ctrl-C no longer throws it away.
        with interrupts_ignored():
            changed = _base_problem(engine, facts) if job.verify_base else None
            save_adapter(_Artifact(trainer, facts), job.output)
        report.complete(job.output, trainer.progress(), engine.memory(), best=job.saves_best)
        if changed is not None:
            raise changed


def _base_problem(engine: Engine, facts: RunFacts) -> PocketLoraError | None:
    """Hash the base again and take a note of the outcome; what is wrong with it, if anything."""
    try:
        engine.verify_base()
    except PocketLoraError as error:
        facts.base_verified = False
        return PocketLoraError(error.status, f"the base has changed while it was trained on: {error}")
    facts.base_verified = True
    return None


@dataclass(frozen=True)
class _Artifact:
    """What a job leaves behind, to be saved like an adapter."""

    trainer: Trainer
    facts: RunFacts

    def save(self, directory: Path) -> None:
        self.trainer.save_artifact(directory, best=self.facts.job.saves_best, run_json=self.facts.text())


def _opened(job: TrainJob, stack: ExitStack) -> tuple[Engine, TrainerConfig, Dataset, Dataset | None, Adapter | None]:
    """The bundle and everything that must fit it, closed by `stack`; all problems of these at once."""
    engine = stack.enter_context(
        Engine(
            job.bundle,
            backend=job.backend,
            num_threads=job.threads,
            weights=Weights[job.weights.upper()],
            memory_limit=job.memory_limit or 0,
            verify_base=job.verify_base,
        )
    )
    config, rows, held_out, init = all_of(
        lambda: trainer_config(job, engine.facts),
        lambda: _rows(job, engine, job.data),
        lambda: None if job.valid is None else _rows(job, engine, job.valid),
        lambda: None if job.init_adapter is None else stack.enter_context(load_adapter(engine, job.init_adapter)),
    )
    return engine, replace(config, total_steps=job.steps(len(rows.rows))), rows, held_out, init


def check_options(job: TrainJob) -> None:
    """Raise INVALID_ARGUMENT for options that contradict each other."""
    problems = []
    fixed = {"--rank": job.rank, "--alpha": job.alpha, "--target-modules": job.target_modules}
    given = [name for name, value in fixed.items() if value is not None]
    if job.init_adapter is not None and given:
        problems.append(
            f"{', '.join(given)} cannot be combined with --init-adapter: training goes on with what the adapter has"
        )
    wanted = {"--eval-every": job.eval_every, "--patience": job.patience, "--keep-best": job.keep_best or None}
    problems += [f"{name} needs --valid FILE" for name, value in wanted.items() if value is not None and not job.valid]
    if job.iters is not None and job.epochs is not None:
        problems.append("--iters and --epochs say the same in two ways: give one of them")
    of_dpo = {"--beta": job.beta, "--label-smoothing": job.label_smoothing}
    if not job.learns_preferences:
        problems += [f"{name} needs --loss dpo" for name, value in of_dpo.items() if value is not None]
    elif job.train_on_prompt:
        problems.append("--train-on-prompt cannot be combined with --loss dpo: the prompt of both answers is the same")
    if job.resume and job.checkpoint_dir is None:
        problems.append("--resume needs --checkpoint-dir FOLDER")
    if problems:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "\n".join(problems))


def trainer_config(job: TrainJob, facts: EngineFacts) -> TrainerConfig:
    """The job's hyper-parameters. Raises when the rank or a target module is not the bundle's, naming all problems."""
    rank = job.rank if job.rank is not None else min(DEFAULT_RANK, facts.max_rank)
    modules = None if job.target_modules is None else tuple(filter(None, map(str.strip, job.target_modules.split(","))))
    _check_adapter_shape(rank, modules, facts)
    defaults, optimizer = TrainerConfig(), Optimizer[job.optimizer.replace("-", "_").upper()]
    return TrainerConfig(
        rank=rank,
        alpha=job.alpha if job.alpha is not None else 2.0 * rank,
        target_modules=modules,
        optimizer=optimizer,
        learning_rate=job.learning_rate,
        beta1=defaults.beta1 if job.beta1 is None else job.beta1,
        beta2=(LION_BETA2 if optimizer == Optimizer.LION else defaults.beta2) if job.beta2 is None else job.beta2,
        weight_decay=job.weight_decay,
        momentum=job.momentum,
        schedule=Schedule[job.schedule.upper()],
        warmup_steps=job.warmup_steps,
        max_grad_norm=job.max_grad_norm,
        max_skipped_steps=job.max_skipped_steps,
        keep_best=job.saves_best,
        patience=job.patience or 0,
        dropout=job.dropout,
        seed=job.seed,
        activations=Activations[job.activations.upper()],
        compute=job.compute,
        scratch_dir=job.scratch_dir,
        loss=Loss.DPO if job.learns_preferences else Loss.CROSS_ENTROPY,
        beta=defaults.beta if job.beta is None else job.beta,
        label_smoothing=job.label_smoothing or 0.0,
        recompute=Recompute[job.recompute.upper()],
    )


def _check_adapter_shape(rank: int, modules: tuple[str, ...] | None, facts: EngineFacts) -> None:
    problems: list[tuple[Status, str]] = []
    if not 1 <= rank <= facts.max_rank:
        problems.append((Status.RANK_TOO_LARGE, f"rank {rank}: the bundle allows 1 to {facts.max_rank}"))
    valid = [*facts.manifest["adapter"]["target_modules"], *_PRESETS]
    unknown = [name for name in modules or () if name not in valid]
    if unknown or modules == ():
        found = ", ".join(unknown) or "none"
        message = f"target modules: expected some of {', '.join(valid)}; not in this bundle: {found}"
        problems.append((Status.UNKNOWN_TARGET_MODULE, message))
    if problems:
        raise PocketLoraError(problems[0][0], "\n".join(message for _, message in problems))


def _rows(job: TrainJob, engine: Engine, path: Path) -> Dataset:
    return load_rows(
        engine,
        job.bundle,
        path,
        truncate=job.truncate,
        train_on_prompt=job.train_on_prompt,
        preferences=job.learns_preferences,
    )


class _Run:
    """The steps of one job, with what happens between them."""

    def __init__(
        self,
        job: TrainJob,
        engine: Engine,
        trainer: Trainer,
        rows: Dataset,
        held_out: Dataset | None,
        report: TrainReport,
    ) -> None:
        self.iters = job.steps(len(rows.rows))
        self._job, self._engine, self._trainer, self._rows, self._report = job, engine, trainer, rows, report
        self._held_out = None if held_out is None else pack(held_out.rows, pack_limits(engine))
        data = {
            "rows": len(rows.rows),
            "rows_crc32": rows_crc32(rows.rows),
            "batch_size": job.batch_size,
            "grad_accumulation_steps": job.grad_accumulation_steps,
        }
        self._checkpoints = Checkpoints(
            job.checkpoint_dir, job.checkpoint_every, job.keep, trainer, report, user_state=data
        )
        self._done = 0
        self._stopped_early = False

    def resume(self) -> int | None:
        """Go on from a checkpoint where that is asked for; the step that it is of, if there is one."""
        found = self._checkpoints.resume(self._job.resume)
        if found is None:
            return None
        self._done, self._stopped_early = found.step, found.should_stop
        return found.step

    def train(self) -> None:
        """All steps, or those that a checkpoint has left."""
        if self._stopped_early:
            return
        batches = steps(
            self._rows.rows,
            batch_size=self._job.batch_size,
            accumulation=self._job.grad_accumulation_steps,
            seed=self._job.seed,
            limits=pack_limits(self._engine),
            done=self._done,
        )
        try:
            if self._done == 0:
                self._validate(0)
            fit(self._trainer, batches, self.iters - self._done, self._after)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._stopped()) from None

    def _after(self, step: Step) -> bool:
        # First of all: whatever interrupts what follows, a checkpoint has the events of all its steps.
        self._report.step(step, self._trainer.progress(), self._engine.memory())
        self._done = step.step
        stop = self._validate(step.step)
        self._checkpoints.after(step.step, last=stop or step.step == self.iters)
        return stop

    def _validate(self, step: int) -> bool:
        """Before the first step, after the last, and every --eval-every steps between. True to stop early."""
        every = self._job.eval_every
        due = step in (0, self.iters) or (every is not None and step % every == 0)
        if self._held_out is None or not due:
            return False
        found = self._trainer.validate(self._held_out)
        self._report.validation(found)
        return found.should_stop

    def _stopped(self) -> str:
        where = f"after step {self._done} of {self.iters}"
        with interrupts_ignored():
            if self._checkpoints.save(self._done):
                return f"{where}; the same command with --resume goes on"
        kept = f"{self._job.output} is as it was before" if self._job.output.exists() else "nothing was saved"
        return f"{where}; {kept}"
