"""An opened bundle and its adapters."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pocketlora_export.runtime import structs
from pocketlora_export.runtime.arrays import Batches, Float32Array, PackedRows, float_pointer
from pocketlora_export.runtime.handle import Handle
from pocketlora_export.runtime.library import check, library


@dataclass(frozen=True)
class EngineFacts:
    """Facts of an opened bundle; `manifest` is the whole manifest as parsed JSON."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    max_seq_len: int
    train_t_max: int
    prefill_t_max: int
    max_rank: int
    max_segments: int
    bos_token_id: int | None
    base_sha256: str
    manifest: dict[str, Any]
    backend: str
    backend_note: str


class SelfTest(IntEnum):
    """pl_self_test: when an opened bundle computes its recorded step (docs/self-test.md)."""

    AUTO = 0
    NEVER = 1
    ALWAYS = 2


class Weights(IntEnum):
    """pl_weights: what becomes of the base's pages while layers run."""

    AUTO = 0
    KEEP = 1
    STREAM = 2


@dataclass(frozen=True)
class MemoryAccount:
    """Bytes that the runtime allocated, by part, and what the kernel says of the process."""

    arena: int
    block_inputs: int
    adapter: int
    gradients: int
    optimizer: int
    kv_cache: int
    scratch: int
    other: int
    rss_anon: int
    rss_file: int
    unexplained: int
    base_private_dirty: int
    base_resident: int
    peak: int


@dataclass(frozen=True)
class Evaluation:
    """Result of one forward pass. `logprobs` is float32 [num_tokens], NaN for the first token of a row, or None."""

    sum_nll: float
    num_labels: int
    num_tokens: int
    seconds: float
    logprobs: Float32Array | None


def available_delegates() -> list[str]:
    """Names of ExecuTorch's delegates that the runtime has and that can run here."""
    names = library().pl_available_delegates().decode()
    return names.split(",") if names else []


def executorch_version() -> str:
    """The version of ExecuTorch that the runtime was built with."""
    version: str = library().pl_executorch_version().decode()
    return version


class Adapter(Handle):
    """An immutable LoRA adapter in memory."""

    def __init__(self, pointer: ctypes.c_void_p) -> None:
        super().__init__(pointer, library().pl_adapter_free)

    def save(self, directory: Path) -> None:
        """Write a PEFT folder; each file appears under its name only when it is complete."""
        check(library().pl_adapter_save(self.pointer, os.fsencode(directory)))


AdapterSet = Sequence[Adapter | tuple[Adapter, float]]


def adapter_refs(adapters: AdapterSet) -> Any:
    """A C array of pl_adapter_ref; an adapter without a weight counts with 1."""
    pairs = [item if isinstance(item, tuple) else (item, 1.0) for item in adapters]
    return (structs.AdapterRef * len(pairs))(*(structs.AdapterRef(a.pointer, w) for a, w in pairs))


class Engine(Handle):
    """A bundle, opened: checked, and its base mapped read-only."""

    def __init__(
        self,
        bundle: Path,
        *,
        backend: str | None = None,
        num_threads: int = 0,
        verify_base: bool = False,
        weights: Weights = Weights.AUTO,
        memory_limit: int = 0,
        prefix_cache_bytes: int = 0,
        self_test: SelfTest = SelfTest.AUTO,
        state_dir: Path | None = None,
    ) -> None:
        """Open a bundle. Raises the status of what is wrong with it.

        Args:
            bundle: its folder.
            backend: which of its programs; None or "auto" = the first that can run here.
            num_threads: 0 = the number of cores.
            verify_base: hash the base while opening.
            weights: whether pages of the base are released after use.
            memory_limit: bytes that training may allocate, as `memory` counts them; 0 = no limit.
            prefix_cache_bytes: for KV rows of prompts that sessions share; 0 = off.
            self_test: whether the bundle's recorded step is computed first.
            state_dir: where the outcome is remembered; None = nowhere.
        """
        lib = library()
        options = structs.EngineOptions()
        lib.pl_engine_options_init_sized(options, ctypes.sizeof(options))
        if backend is not None:
            options.backend = backend.encode()
        options.num_threads, options.verify_base = num_threads, int(verify_base)
        options.weights, options.memory_limit = int(weights), memory_limit
        options.prefix_cache_bytes, options.self_test = prefix_cache_bytes, int(self_test)
        if state_dir is not None:
            options.state_dir = os.fsencode(state_dir)
        pointer = ctypes.c_void_p()
        check(lib.pl_engine_open(os.fsencode(bundle), options, pointer))
        super().__init__(pointer, lib.pl_engine_close)

    @cached_property
    def facts(self) -> EngineFacts:
        """What the bundle says of itself."""
        info = structs.sized(structs.EngineInfo)
        check(library().pl_engine_get_info(self.pointer, info))
        numbers = {f.name: getattr(info, f.name) for f in fields(EngineFacts) if hasattr(info, f.name)}
        numbers["bos_token_id"] = None if info.bos_token_id < 0 else info.bos_token_id
        for text in ("base_sha256", "backend", "backend_note"):
            numbers[text] = getattr(info, text).decode()
        return EngineFacts(manifest=json.loads(info.manifest_json), **numbers)

    def memory(self) -> MemoryAccount:
        """The runtime's memory account of this moment."""
        memory = structs.sized(structs.Memory)
        check(library().pl_engine_get_memory(self.pointer, memory))
        return MemoryAccount(**{f.name: getattr(memory, f.name) for f in fields(MemoryAccount)})

    def verify_base(self) -> None:
        """Hash the base as it lies on the disk now. BUNDLE_CORRUPT when it is not what the manifest says."""
        check(library().pl_engine_verify_base(self.pointer))

    def self_test(self) -> None:
        """Compute the bundle's recorded step. BACKEND_SELF_TEST with everything that is off."""
        check(library().pl_engine_self_test(self.pointer))

    def record_self_test(self, path: Path) -> None:
        """Compute such a step and write it to a file."""
        check(library().pl_engine_record_self_test(self.pointer, os.fsencode(path)))

    def load_adapter(self, directory: Path) -> Adapter:
        """Load a PEFT folder. Raises with every mismatch listed when it does not fit this bundle."""
        pointer = ctypes.c_void_p()
        check(library().pl_adapter_load(self.pointer, os.fsencode(directory), pointer))
        return Adapter(pointer)

    def evaluate(self, batch: PackedRows, adapters: AdapterSet = (), *, logprobs: bool = False) -> Evaluation:
        """Run one packed batch forward.

        Args:
            batch: int64 tokens [N], labels [N] and segments [S + 1].
            adapters: the active set; empty = the bare base.
            logprobs: also return the log-probability of every token.
        """
        packed, refs = Batches([batch]), adapter_refs(adapters)
        values = np.empty(len(batch.tokens), dtype=np.float32) if logprobs else None
        report = structs.sized(structs.EvalReport)
        out = float_pointer(values)
        check(library().pl_engine_evaluate(self.pointer, refs, len(refs), packed.array, out, report))
        return Evaluation(report.sum_nll, report.num_labels, report.num_tokens, report.seconds, values)
