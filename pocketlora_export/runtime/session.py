"""A live generation session whose adapters can be replaced at any token."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from pocketlora_export.runtime import structs
from pocketlora_export.runtime.arrays import Float32Array, float_pointer, int64_array, int64_pointer
from pocketlora_export.runtime.engine import AdapterSet, Engine, adapter_refs
from pocketlora_export.runtime.handle import Handle
from pocketlora_export.runtime.library import check, library

CacheDtype = Literal["fp32", "fp16", "int8", "auto"]
CACHE_DTYPES: tuple[CacheDtype, ...] = ("fp32", "fp16", "int8", "auto")
Compute = Literal["fp32", "int16", "int8", "auto", "bf16"]
COMPUTES: tuple[Compute, ...] = ("fp32", "int16", "int8", "auto", "bf16")
StopReason = Literal["length", "stop_token", "callback"]
_STOP_REASONS: tuple[StopReason, ...] = ("length", "stop_token", "callback")


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: greedy at temperature 0; the same seed gives the same tokens.

    The penalty comes first; then top_k, top_p and min_p keep the most probable tokens (transformers' meanings).
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_tokens: Sequence[int] | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Generation:
    """What one call produced; `tokens` includes the stop token."""

    tokens: list[int]
    prompt_tokens: int
    prefill_seconds: float
    decode_seconds: float
    stop_reason: StopReason

    @property
    def tokens_per_second(self) -> float:
        """Decoded tokens a second; the first token comes from the prefill."""
        return (len(self.tokens) - 1) / self.decode_seconds if self.decode_seconds > 0 and len(self.tokens) > 1 else 0.0


@dataclass(frozen=True)
class SessionInfo:
    """What a session holds: tokens that it can hold and holds, its KV cache in bytes, and how it computes.

    `copied_tokens` counts those whose rows came from the engine's prefix cache. `decode_compute` and `prefill_compute`
    are what this machine makes of `compute` in products of at most 16 rows, and of more; not of what a delegate does.
    """

    context_length: int
    length: int
    cache_dtype: CacheDtype
    bytes_per_token: int
    cache_resident: int
    compute: Compute
    copied_tokens: int
    decode_compute: Compute
    prefill_compute: Compute


class Session(Handle):
    """Tokens, their KV cache and the active adapters."""

    def __init__(
        self,
        engine: Engine,
        *,
        context_length: int = 0,
        cache_dtype: CacheDtype = "fp32",
        compute: Compute = "auto",
    ) -> None:
        """Create a session.

        Args:
            engine: the opened bundle.
            context_length: number of KV rows, 0 = the bundle's max_seq_len, or what the memory limit leaves room for.
            cache_dtype: how keys and values are kept; "auto" is fp32 unless the memory limit asks for less.
            compute: products of prompts and new tokens: fp32, int16 (about 6e-5 off), int8 (about 1 % off), bf16
                (0.3 % off where the CPU has matrix products of bf16, elsewhere int16), or the faster of the first two
                here.
        """
        lib = library()
        self._vocab_size = engine.facts.vocab_size
        options = structs.SessionOptions()
        lib.pl_session_options_init_sized(options, ctypes.sizeof(options))
        options.context_length, options.cache_dtype = context_length, CACHE_DTYPES.index(cache_dtype)
        options.compute = COMPUTES.index(compute)
        pointer = ctypes.c_void_p()
        check(lib.pl_session_create(engine.pointer, options, pointer))
        super().__init__(pointer, lib.pl_session_free)

    def __len__(self) -> int:
        return int(library().pl_session_length(self.pointer))

    def info(self) -> SessionInfo:
        """What the session holds at this moment."""
        info = structs.sized(structs.SessionInfo)
        check(library().pl_session_get_info(self.pointer, info))
        values = {field.name: getattr(info, field.name) for field in fields(SessionInfo)}
        values |= {name: COMPUTES[values[name]] for name in ("compute", "decode_compute", "prefill_compute")}
        return SessionInfo(**values | {"cache_dtype": CACHE_DTYPES[info.cache_dtype]})

    def set_adapters(self, adapters: AdapterSet = ()) -> None:
        """Replace the whole set of active adapters; empty = the bare base. The tokens stay."""
        refs = adapter_refs(adapters)
        check(library().pl_session_set_adapters(self.pointer, refs, len(refs)))

    def reset(self) -> None:
        """Forget all tokens; keep the adapters."""
        check(library().pl_session_reset(self.pointer))

    def truncate(self, length: int) -> None:
        """Forget the tokens from `length` on."""
        check(library().pl_session_truncate(self.pointer, length))

    def fork(self) -> Session:
        """A session that goes on as this one would; neither sees what happens to the other."""
        pointer = ctypes.c_void_p()
        check(library().pl_session_fork(self.pointer, pointer))
        other = Session.__new__(Session)
        other._vocab_size = self._vocab_size
        Handle.__init__(other, pointer, library().pl_session_free)
        return other

    def cancel(self) -> None:
        """End the call that runs on another thread, or else the next one, with CANCELLED. From any thread."""
        check(library().pl_session_cancel(self.pointer))

    def prefill(self, tokens: ArrayLike) -> Float32Array:
        """Append tokens; return the logits of the last one, float32 [vocab_size]."""
        ids = int64_array(tokens)
        logits = np.empty(self._vocab_size, dtype=np.float32)
        check(library().pl_session_prefill(self.pointer, int64_pointer(ids), len(ids), float_pointer(logits)))
        return logits

    def decode(self, token: int) -> Float32Array:
        """Append one token; return its logits, float32 [vocab_size]."""
        logits = np.empty(self._vocab_size, dtype=np.float32)
        check(library().pl_session_decode(self.pointer, token, float_pointer(logits)))
        return logits

    def generate(
        self, prompt: ArrayLike, sampling: Sampling | None = None, on_token: Callable[[int], object] | None = None
    ) -> Generation:
        """Prefill a prompt and generate.

        Args:
            prompt: token ids; may be empty when the session holds tokens.
            sampling: greedy with the bundle's stop tokens when None.
            on_token: called with every new token; generation stops when it returns False. An exception in it
                (Ctrl-C included) stops generation and is raised here.
        """
        ids = int64_array(prompt)
        relay = _Relay(on_token)
        report = structs.sized(structs.GenerateReport)
        options, _stop = _generate_options(sampling or Sampling())
        status = library().pl_session_generate(
            self.pointer, int64_pointer(ids), len(ids), options, relay.callback, None, report
        )
        if relay.error is not None:
            raise relay.error
        check(status)
        reason = _STOP_REASONS[report.stop_reason]
        return Generation(relay.tokens, report.prompt_tokens, report.prefill_seconds, report.decode_seconds, reason)


def _generate_options(sampling: Sampling) -> tuple[structs.GenerateOptions, object]:
    """The C options, and the array that they point into."""
    options = structs.GenerateOptions()
    library().pl_generate_options_init_sized(options, ctypes.sizeof(options))
    options.max_new_tokens, options.seed = sampling.max_new_tokens, sampling.seed
    options.temperature, options.top_p = sampling.temperature, sampling.top_p
    options.top_k, options.min_p = sampling.top_k, sampling.min_p
    options.repetition_penalty = sampling.repetition_penalty
    stop = None if sampling.stop_tokens is None else int64_array(list(sampling.stop_tokens))
    if stop is not None:
        options.stop_tokens, options.num_stop_tokens = int64_pointer(stop), len(stop)
    return options, stop


class _Relay:
    """Collects tokens and carries an exception over the C frames between the callback and `generate`."""

    def __init__(self, on_token: Callable[[int], object] | None) -> None:
        self.tokens: list[int] = []
        self.error: BaseException | None = None
        self._on_token = on_token
        self.callback: Any = structs.TokenCallback(self._receive)

    def _receive(self, token: int, _user: object) -> int:
        try:
            self.tokens.append(token)
            return int(self._on_token is not None and self._on_token(token) is False)
        except BaseException as error:  # noqa: BLE001 - ctypes would print and drop it, KeyboardInterrupt too
            self.error = error
            return 1
