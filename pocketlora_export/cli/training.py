"""A training job: its options checked against the bundle, the run itself, the adapter at the end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pocketlora_export.adapters.output import check_output, save_adapter
from pocketlora_export.cli.options import interrupts_ignored, load_adapter, load_rows, pack_limits
from pocketlora_export.cli.train_report import TrainReport
from pocketlora_export.data.dataset import Dataset
from pocketlora_export.data.packing import MicroBatch, pack, steps
from pocketlora_export.errors import PocketLoraError, Status, all_of
from pocketlora_export.evaluate.metrics import Metrics, evaluate
from pocketlora_export.runtime import (
    Activations,
    Adapter,
    Engine,
    EngineFacts,
    Optimizer,
    Step,
    Trainer,
    TrainerConfig,
    Weights,
)
from pocketlora_export.runtime.fit import fit

DEFAULT_RANK = 8
# What stands for several modules, as the runtime has it.
_PRESETS = ("attention", "all-linear")


@dataclass(frozen=True)
class TrainJob:
    """What `train` was asked for; None = the default that depends on the bundle or on another option."""

    bundle: Path
    data: Path
    output: Path
    iters: int = 100
    learning_rate: float = 1e-4
    optimizer: str = "adamw"
    batch_size: int = 4
    grad_accumulation_steps: int = 1
    rank: int | None = None
    alpha: float | None = None
    target_modules: str | None = None
    dropout: float = 0.0
    weight_decay: float = 0.0
    init_adapter: Path | None = None
    seed: int = 0
    valid: Path | None = None
    eval_every: int | None = None
    truncate: bool = False
    train_on_prompt: bool = False
    force: bool = False
    threads: int = 0
    backend: str = "cpu"
    memory_limit: int | None = None
    activations: str = "auto"
    scratch_dir: Path | None = None
    weights: str = "auto"


def run_job(job: TrainJob, report: TrainReport) -> None:
    """Check everything, train, save. Ctrl-C before the end saves nothing and says so."""
    with ExitStack() as stack:
        engine, config, rows, held_out, init = all_of(
            lambda: check_options(job),
            lambda: check_output(job.output, force=job.force, bundle=job.bundle),
            lambda: _opened(job, stack),
        )[-1]
        trainer = stack.enter_context(Trainer(engine, config, init))
        report.planned(trainer.plan)
        batches = None if held_out is None else pack(held_out.rows, pack_limits(engine))
        validation = _Validation(job, engine, trainer, batches, report)
        with report.running(job.iters, config.learning_rate):
            _train(job, engine, trainer, rows, validation, report)
        # The work is done and saving takes a moment: Ctrl-C no longer throws it away.
        with trainer.adapter() as adapter, interrupts_ignored():
            save_adapter(adapter, job.output)
        report.complete(job.output, engine.memory())


def _opened(job: TrainJob, stack: ExitStack) -> tuple[Engine, TrainerConfig, Dataset, Dataset | None, Adapter | None]:
    """The bundle and everything that must fit it, closed by `stack`; all problems of these at once."""
    engine = stack.enter_context(
        Engine(
            job.bundle,
            backend=job.backend,
            num_threads=job.threads,
            weights=Weights[job.weights.upper()],
            memory_limit=job.memory_limit or 0,
        )
    )
    config, rows, held_out, init = all_of(
        lambda: trainer_config(job, engine.facts),
        lambda: _rows(job, engine, job.data),
        lambda: None if job.valid is None else _rows(job, engine, job.valid),
        lambda: None if job.init_adapter is None else stack.enter_context(load_adapter(engine, job.init_adapter)),
    )
    return engine, config, rows, held_out, init


def check_options(job: TrainJob) -> None:
    """Raise INVALID_ARGUMENT for options that contradict each other."""
    problems = []
    fixed = {"--rank": job.rank, "--alpha": job.alpha, "--target-modules": job.target_modules}
    given = [name for name, value in fixed.items() if value is not None]
    if job.init_adapter is not None and given:
        problems.append(
            f"{', '.join(given)} cannot be combined with --init-adapter: training goes on with what the adapter has"
        )
    if job.eval_every is not None and job.valid is None:
        problems.append("--eval-every needs --valid FILE")
    if problems:
        raise PocketLoraError(Status.INVALID_ARGUMENT, "\n".join(problems))


def trainer_config(job: TrainJob, facts: EngineFacts) -> TrainerConfig:
    """The job's hyper-parameters. Raises when the rank or a target module is not the bundle's, naming all problems."""
    rank = job.rank if job.rank is not None else min(DEFAULT_RANK, facts.max_rank)
    modules = None if job.target_modules is None else tuple(filter(None, map(str.strip, job.target_modules.split(","))))
    _check_adapter_shape(rank, modules, facts)
    return TrainerConfig(
        rank=rank,
        alpha=job.alpha if job.alpha is not None else 2.0 * rank,
        target_modules=modules,
        optimizer=Optimizer[job.optimizer.upper()],
        learning_rate=job.learning_rate,
        weight_decay=job.weight_decay,
        dropout=job.dropout,
        seed=job.seed,
        activations=Activations[job.activations.upper()],
        scratch_dir=job.scratch_dir,
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
    return load_rows(engine, job.bundle, path, truncate=job.truncate, train_on_prompt=job.train_on_prompt)


@dataclass(frozen=True)
class _Validation:
    """The held-out rows and when to evaluate them."""

    job: TrainJob
    engine: Engine
    trainer: Trainer
    batches: list[MicroBatch] | None
    report: TrainReport

    def due(self, step: int) -> bool:
        """Before the first step, after the last, and every --eval-every steps between."""
        every = self.job.eval_every
        return step in (0, self.job.iters) or (every is not None and step % every == 0)

    def run(self, step: int) -> None:
        """Evaluate with the adapter as it is now, when it is time to."""
        if self.batches is not None and self.due(step):
            with self.trainer.adapter() as adapter:
                self.report.validation(step, evaluate_adapter(self.engine, self.batches, adapter))


def evaluate_adapter(engine: Engine, batches: list[MicroBatch], adapter: Adapter | None = None) -> Metrics:
    """Metrics of packed rows with an adapter, or with the bare base."""
    active = [] if adapter is None else [adapter]
    return evaluate(batches, lambda batch: engine.evaluate(batch, active))


def _train(
    job: TrainJob, engine: Engine, trainer: Trainer, rows: Dataset, validation: _Validation, report: TrainReport
) -> None:
    report.truncated(rows, engine.facts.train_t_max)
    batches = steps(
        rows.rows,
        batch_size=job.batch_size,
        accumulation=job.grad_accumulation_steps,
        seed=job.seed,
        limits=pack_limits(engine),
    )

    def after(step: Step) -> None:
        report.step(step, engine.memory())
        validation.run(step.step)

    try:
        validation.run(0)
        fit(trainer, batches, job.iters, after)
    except KeyboardInterrupt:
        kept = f"{job.output} is as it was before" if job.output.exists() else "nothing was saved"
        raise KeyboardInterrupt(f"after step {report.steps_done} of {job.iters}; {kept}") from None
