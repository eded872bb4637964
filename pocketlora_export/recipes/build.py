"""From a model to a bundle: source -> quantize -> base.ptd -> lower -> manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pocketlora_export.bundle.card import model_card
from pocketlora_export.bundle.files import require_space
from pocketlora_export.bundle.flat_tensor import FlatTensorFile, TensorMeta, file_size
from pocketlora_export.bundle.manifest import BASE, MANIFEST, Manifest, Tokenizer
from pocketlora_export.bundle.partial import Work, resumable_folder
from pocketlora_export.bundle.tokenizer import write_tokenizer
from pocketlora_export.bundle.tokenizer_reading import read_chat_template
from pocketlora_export.bundle.writer import generator, list_files, write_manifest
from pocketlora_export.data.chat import ChatTemplate
from pocketlora_export.errors import PocketLoraError, Status, all_of, raise_all
from pocketlora_export.families.base import DecoderModel, ModelFacts
from pocketlora_export.families.registry import decoder_model
from pocketlora_export.graphs.decoder import LoraSite
from pocketlora_export.graphs.stage import Limits
from pocketlora_export.graphs.weights import Quantization
from pocketlora_export.lower.coverage import StageCoverage
from pocketlora_export.lower.model import lower_model, progress_steps
from pocketlora_export.lower.spec import ProgramSpec
from pocketlora_export.quantize.source import Source, check_tensors, open_source
from pocketlora_export.quantize.stored import StoredTensor
from pocketlora_export.quantize.stream import stream_tensors
from pocketlora_export.recipes import describe
from pocketlora_export.recipes.backends import chosen_backend
from pocketlora_export.recipes.fingerprint import fingerprint
from pocketlora_export.recipes.progress import Progress, Silent
from pocketlora_export.recipes.recipe import Recipe, choose_targets
from pocketlora_export.recipes.self_test import record

_CONFIG_FILES = ("config.json", "generation_config.json")
# What the programs, the tokenizer and the manifest take beside base.ptd.
_OTHER_BYTES = 32 << 20


@dataclass(frozen=True)
class Job:
    """Everything that is decided before the first byte is written."""

    source: Source
    model: DecoderModel
    facts: ModelFacts
    recipe: Recipe
    quantization: Quantization
    limits: Limits
    targets: tuple[str, ...]
    sites: tuple[LoraSite, ...]
    tensors: tuple[StoredTensor, ...]


@dataclass(frozen=True)
class Built:
    """A finished bundle. `seconds` by phase; `warnings` are for the user; bytes of base.ptd from an earlier run.

    `coverage`: what of each stage runs where, by backend.
    """

    path: Path
    manifest: Manifest
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    resumed_bytes: int
    coverage: dict[str, tuple[StageCoverage, ...]]


def prepare(model: str, recipe: Recipe) -> Job:
    """Open and check a model against a recipe; nothing is computed or written.

    Raises:
        PocketLoraError: whatever is wrong with the model folder, its config, its tensors or the recipe.
    """
    source = open_source(model)
    decoder = decoder_model(source.config, source.name)
    facts = _with_generation_eos(decoder.facts, source.folder)
    quantization = describe.quantization_of(recipe, facts.tie_word_embeddings)
    tensors = describe.stored_tensors(decoder.weights(), quantization)
    targets, *_ = all_of(
        lambda: choose_targets(recipe, decoder.modules(), decoder.target_presets()),
        lambda: _check_backends(recipe, quantization),
        lambda: _check_lengths(recipe, facts),
        lambda: check_tensors(source, tensors),
        lambda: _check_chat_template(source.folder),
    )
    sites = decoder.sites(targets)
    limits = describe.limits_of(recipe)
    return Job(source, decoder, facts, recipe, quantization, limits, targets, tuple(sites), tuple(tensors))


def _with_generation_eos(facts: ModelFacts, folder: Path) -> ModelFacts:
    """Chat models name further end tokens in generation_config.json."""
    path = folder / "generation_config.json"
    try:
        found = json.loads(path.read_text("utf-8")).get("eos_token_id") if path.is_file() else None
    except (ValueError, AttributeError) as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{path}: not a JSON object ({error})") from error
    extra = found if isinstance(found, list) else [found] if isinstance(found, int) else []
    return dataclasses.replace(facts, eos_token_ids=tuple(dict.fromkeys([*facts.eos_token_ids, *extra])))


def _check_backends(recipe: Recipe, quantization: Quantization) -> None:
    backends = [chosen_backend(name, recipe) for name in recipe.backends]
    problems = [problem for backend in backends for problem in backend.problems(quantization)]
    raise_all(Status.INPUT_UNSUPPORTED, "not every backend can do what the recipe asks for:", problems)


def _check_lengths(recipe: Recipe, facts: ModelFacts) -> None:
    longest = facts.max_position_embeddings
    lengths = {"max_seq_len": recipe.max_seq_len, "train_seq_len": recipe.train_seq_len}
    problems = [
        f"{key}: {n} is beyond the model's max_position_embeddings {longest}"
        for key, n in lengths.items()
        if n > longest
    ]
    raise_all(Status.SEQUENCE_TOO_LONG, "the recipe does not fit the model:", problems)


def _check_chat_template(folder: Path) -> None:
    """A template that does not compile is found now, not on the phone."""
    template = read_chat_template(folder)
    try:
        ChatTemplate(template or "", {})
    except ValueError as error:
        raise PocketLoraError(Status.INPUT_MALFORMED, f"{folder}: {error}") from error


def _write_base(job: Job, work: Work, threads: int, progress: Progress) -> tuple[str, int]:
    """Write base.ptd behind what an earlier run left of it: its SHA-256, and the bytes that were kept."""
    metas = [TensorMeta(t.name, t.dtype, t.shape) for t in job.tensors]
    if work.kept:
        progress.begin(f"checking what is kept of {BASE}", work.kept)
    with work.open(progress.advance) as file:
        kept = file.size
        _tell_of_earlier_work(work, kept, progress)
        require_space(work.folder, file_size(metas) - kept + _other_bytes(job, metas))
        progress.begin(f"quantizing to {job.quantization.linear.scheme}", sum(t.elements for t in job.tensors))
        base = FlatTensorFile(metas)
        pieces = stream_tensors(job.tensors, job.source.tensors, threads, progress.advance, base.tensor_bytes(kept))
        with contextlib.closing(pieces):
            base.write(file, pieces)
    return file.sha256(), kept


def _other_bytes(job: Job, metas: list[TensorMeta]) -> int:
    """What is written beside the base; programs that hold weights repack it, with fp32 scales where it has fp16."""
    holding = [name for name in job.recipe.backends if chosen_backend(name, job.recipe).lower_decoder is not None]
    return _OTHER_BYTES + len(holding) * 5 * file_size(metas) // 4


def _tell_of_earlier_work(work: Work, kept: int, progress: Progress) -> None:
    if work.fresh:
        progress.note(f"earlier work is dropped: {work.fresh}")
    if kept < work.kept:
        progress.note(f"{BASE} is damaged behind byte {kept}: {(work.kept - kept) / 1e6:.1f} MB are made again")
    if kept:
        progress.note(f"continuing: {kept / 1e6:.1f} MB of {BASE} are kept from an earlier run")


def _lower(job: Job, folder: Path, progress: Progress) -> list[ProgramSpec]:
    decoder = job.model.decoder(job.quantization, job.targets, job.limits.max_seq_len)
    backends = [chosen_backend(name, job.recipe) for name in job.recipe.backends]
    progress.begin("lowering", sum(progress_steps(decoder, backend) for backend in backends))

    def step(what: str) -> None:
        progress.advance(1, what)

    sites = list(job.sites)
    return [
        program for backend in backends for program in lower_model(decoder, sites, job.limits, backend, folder, step)
    ]


def _write_texts(job: Job, folder: Path) -> tuple[Tokenizer, list[str]]:
    """Tokenizer, configs and card; the manifest's tokenizer entry and what the user should know."""
    facts = job.facts
    found, warnings = write_tokenizer(job.source.folder, folder, facts.vocab_size, facts.bos_token_id)
    for name in _CONFIG_FILES:
        if (job.source.folder / name).is_file():
            shutil.copyfile(job.source.folder / name, folder / name)
    if found is not None:
        return found, warnings
    warning = f"{job.source.folder} has no tokenizer: the bundle takes token ids only"
    return Tokenizer(files=[], chat_template=None, add_bos=False, goldens=[]), [warning]


def _manifest(job: Job, folder: Path, programs: list[ProgramSpec], tokenizer: Tokenizer, base_sha256: str) -> Manifest:
    model = describe.model_entry(job.facts, job.source.dtype, job.tensors)
    quantization, limits = describe.quantization_entry(job.quantization), describe.limits_entry(job.limits)
    card = model_card(model, quantization, limits, list(job.targets))
    (folder / "README.md").write_text(card, "utf-8")
    setting = describe.memory_setting(job.facts, job.sites, job.limits, programs)
    entries = describe.program_entries(programs, *setting)
    return Manifest(
        generator=generator(),
        model=model,
        quantization=quantization,
        limits=limits,
        adapter=describe.adapter_entry(job.sites, job.targets, job.recipe.max_rank),
        base=describe.base_entry(job.tensors, folder / BASE),
        programs=entries,
        stages=describe.stage_entries(programs),
        memory=describe.memory_entry(programs, entries, *setting),
        tokenizer=tokenizer,
        files=list_files(folder, {BASE: base_sha256}),
    )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def build_bundle(
    model: str,
    output: Path,
    recipe: Recipe,
    force: bool = False,
    threads: int = 2,
    progress: Progress | None = None,
    resume: bool = True,
    self_test: bool = False,
) -> Built:
    """Make a bundle. It appears under `output` complete, or not at all.

    What an interrupted run has quantized stays beside `output`, and the next run of the same job goes on from there.

    Args:
        model: folder or hub id.
        output: the bundle's folder.
        recipe: what to make.
        force: replace an older bundle.
        threads: threads that quantize.
        progress: listener.
        resume: continue an interrupted run.
        self_test: record a step for devices to repeat, where the C++ runtime is built.

    Raises:
        PocketLoraError: every failure that a user can cause.
    """
    progress, clock = progress or Silent(), _Clock()
    with clock.phase("check"):
        job = prepare(model, recipe)
    identity = fingerprint(job.source, recipe, job.tensors)
    with resumable_folder(output, MANIFEST, BASE, identity, force, resume) as work:
        folder = work.folder
        tokenizer, warnings = _write_texts(job, folder)
        with clock.phase("quantize"):
            base_sha256, kept = _write_base(job, work, threads, progress)
        with clock.phase("lower"):
            programs = _lower(job, folder, progress)
        with clock.phase("finish"):
            manifest = _manifest(job, folder, programs, tokenizer, base_sha256)
            write_manifest(folder, manifest)
        if self_test:
            progress.begin("recording the self-test", 1)
            with clock.phase("self-test"):
                manifest, missing = record(folder, manifest)
            warnings += [] if missing is None else [missing]
            progress.advance(1)
    notes = [note for name in recipe.backends for note in chosen_backend(name, recipe).notes]
    return Built(output, manifest, clock.seconds, (*job.model.notes, *notes, *warnings), kept, _coverage(programs))


def _coverage(programs: list[ProgramSpec]) -> dict[str, tuple[StageCoverage, ...]]:
    backends = dict.fromkeys(program.backend for program in programs)
    return {name: tuple(one for p in programs if p.backend == name for one in p.coverage) for name in backends}
