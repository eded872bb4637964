"""The demo's experiment on an opened bundle: two adapters, one live session, everything measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pocketlora_export.adapters.output import save_adapter
from pocketlora_export.adapters.peft_folder import read_card
from pocketlora_export.data.coder import TextCoder
from pocketlora_export.data.dataset import RowOptions, load_dataset
from pocketlora_export.data.encoded import Encoded
from pocketlora_export.data.packing import MicroBatch, PackLimits, pack, steps
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.evaluate.metrics import Metrics, evaluate, perplexity
from pocketlora_export.report.demo_result import AdapterResult, Curve, Sample, Swap
from pocketlora_export.runtime import Adapter, Engine, Sampling, Session, Step, Trainer, TrainerConfig
from pocketlora_export.runtime.fit import fit

SWAP_PAIRS = 20


@dataclass(frozen=True)
class DemoOptions:
    """How long and how strongly the demo trains, and what it asks the model to continue."""

    iters: int
    learning_rate: float
    rank: int
    batch_size: int
    eval_every: int
    sampling: Sampling
    prompts: tuple[str, ...]
    seed: int


@dataclass
class Peaks:
    """The highest memory figures of all samples taken."""

    rss_anon: int = 0
    rss_file: int = 0
    base_private_dirty: int = 0

    def sample(self, engine: Engine) -> None:
        """Look at the process now."""
        memory = engine.memory()
        self.rss_anon = max(self.rss_anon, memory.rss_anon)
        self.rss_file = max(self.rss_file, memory.rss_file)
        self.base_private_dirty = max(self.base_private_dirty, memory.base_private_dirty)


@dataclass
class Demo:
    """An opened bundle with everything that the parts of the demo need."""

    engine: Engine
    coder: TextCoder
    options: DemoOptions
    peaks: Peaks = field(default_factory=Peaks)

    @property
    def limits(self) -> PackLimits:
        """What a micro-batch may hold."""
        return PackLimits(self.engine.facts.train_t_max, self.engine.facts.max_segments)

    def rows(self, path: Path) -> list[Encoded]:
        """The rows of an example file; long ones are cut, for bundles of any length."""
        return load_dataset(path, self.coder, RowOptions(self.engine.facts.train_t_max, truncate=True)).rows

    def metrics(self, batches: Sequence[MicroBatch], adapters: Sequence[Adapter]) -> Metrics:
        """Forward passes over packed rows."""
        return evaluate(batches, lambda batch: self.engine.evaluate(batch, adapters))


def train_adapter(
    demo: Demo, name: str, examples: Path, output: Path, on_step: Callable[[Step], None]
) -> AdapterResult:
    """Train the adapter called `name` on `examples`/train.jsonl, watching its valid.jsonl; write it to `output`."""
    options = demo.options
    rows, held_out = demo.rows(examples / "train.jsonl"), demo.rows(examples / "valid.jsonl")
    batches = pack(held_out, demo.limits)
    before = demo.metrics(batches, [])
    curve, timed = Curve([], [(0, before.loss)]), _Timed()
    config = TrainerConfig(
        rank=options.rank, alpha=2.0 * options.rank, learning_rate=options.learning_rate, seed=options.seed
    )
    with Trainer(demo.engine, config) as trainer:

        def after(step: Step) -> None:
            curve.train.append((step.step, step.loss))
            timed.add(step)
            if step.step % options.eval_every == 0 or step.step == options.iters:
                with trainer.adapter() as adapter:
                    curve.held_out.append((step.step, demo.metrics(batches, [adapter]).loss))
            demo.peaks.sample(demo.engine)
            on_step(step)

        order = steps(rows, batch_size=options.batch_size, accumulation=1, seed=options.seed, limits=demo.limits)
        fit(trainer, order, options.iters, after)
        with trainer.adapter() as adapter:
            save_adapter(adapter, output)
    return AdapterResult(
        name=name,
        path=str(output),
        rank=options.rank,
        parameters=read_card(output).num_parameters,
        train_rows=len(rows),
        held_out_rows=len(held_out),
        steps=options.iters,
        tokens=timed.tokens,
        seconds=timed.seconds,
        perplexity_before=before.perplexity,
        perplexity_after=perplexity(curve.held_out[-1][1]),
        curve=curve,
    )


@dataclass
class _Timed:
    """Tokens and seconds of training steps, without the evaluations between."""

    tokens: int = 0
    seconds: float = 0.0

    def add(self, step: Step) -> None:
        self.tokens += step.num_tokens
        self.seconds += step.seconds


def write_samples(demo: Demo, first: tuple[str, Adapter], second: tuple[str, Adapter]) -> tuple[list[Sample], float]:
    """Base, first, second, base again, each prompt, in one live session: the samples and the tokens a second.

    Raises BACKEND_EXECUTION when the base does not write the same before and after.
    """
    turns: list[tuple[str, list[Adapter]]] = [("base", []), (first[0], [first[1]]), (second[0], [second[1]])]
    samples: list[Sample] = []
    speeds: list[float] = []
    with Session(demo.engine) as session:
        for label, adapters in (*turns, ("base again", [])):
            session.set_adapters(adapters)
            for prompt in demo.options.prompts:
                sample, speed = _write(demo, session, label, prompt)
                samples.append(sample)
                speeds.append(speed)
    check_base(samples, len(demo.options.prompts))
    return samples, statistics.median(speeds)


def _write(demo: Demo, session: Session, label: str, prompt: str) -> tuple[Sample, float]:
    session.reset()
    ids = demo.coder.encode_prompt(prompt)
    generation = session.generate(ids, demo.options.sampling)
    demo.peaks.sample(demo.engine)
    text = demo.coder.decode(generation.tokens, after=ids)
    return Sample(label, prompt, text, generation.tokens), generation.tokens_per_second


def check_base(samples: Sequence[Sample], prompts: int) -> None:
    """Raise BACKEND_EXECUTION unless the last `prompts` samples equal the first, token for token."""
    for before, after in zip(samples[:prompts], samples[-prompts:], strict=True):
        if before.tokens != after.tokens:
            raise PocketLoraError(
                Status.BACKEND_EXECUTION,
                f"the base wrote something else after the swaps: expected {before.text!r}, found {after.text!r}",
            )


def time_swaps(demo: Demo, first: Adapter, second: Adapter) -> Swap:
    """Swap back and forth on a session that holds a prompt and some new tokens."""
    with Session(demo.engine) as session:
        session.generate(demo.coder.encode_prompt(demo.options.prompts[0]), Sampling(max_new_tokens=16))
        kept = len(session)
        times = [_milliseconds(partial(session.set_adapters, [a])) for a in (first, second) * SWAP_PAIRS]
        token = demo.coder.encode_prompt(demo.options.prompts[0])[-1]
        session.set_adapters([first])
        next_token = _milliseconds(lambda: session.decode(token))
    return Swap(len(times), statistics.median(times), max(times), kept, next_token)


def _milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - start)
