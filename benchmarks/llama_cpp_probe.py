"""The peer's inference: llama.cpp, from the extension module of the xllamacpp wheel, whose C API is used directly."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.isa import ISAS
from benchmarks.proc_status import process_memory


class _Opaque(ctypes.Structure):
    """A structure that is only handed from one function to the next, as the last argument; larger than any of them."""

    _fields_ = (("words", ctypes.c_uint64 * 64),)


class _ContextParams(ctypes.Structure):
    """llama_context_params: what is set here, then the rest."""

    _fields_ = (("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("rest", ctypes.c_uint64 * 64))


def _library() -> ctypes.CDLL:
    package = importlib.util.find_spec("xllamacpp")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("xllamacpp is not installed")
    lib = ctypes.CDLL(str(next(Path(package.submodule_search_locations[0]).glob("xllamacpp*.so"))), ctypes.RTLD_GLOBAL)
    lib.llama_model_default_params.restype = _Opaque
    lib.llama_model_load_from_file.argtypes = (ctypes.c_char_p, _Opaque)
    lib.llama_model_load_from_file.restype = ctypes.c_void_p
    lib.llama_context_default_params.restype = _ContextParams
    lib.llama_init_from_model.argtypes = (ctypes.c_void_p, _ContextParams)
    lib.llama_init_from_model.restype = ctypes.c_void_p
    lib.llama_set_n_threads.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
    lib.llama_batch_get_one.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    lib.llama_batch_get_one.restype = _Opaque
    lib.llama_decode.argtypes = (ctypes.c_void_p, _Opaque)
    lib.llama_get_logits.argtypes = (ctypes.c_void_p,)
    lib.llama_get_logits.restype = ctypes.c_void_p
    return lib


def _check_cap(lib: ctypes.CDLL, isa: str) -> None:
    """llama.cpp uses what it was compiled for. SystemExit where that is more than the cap."""
    built = "amx" if lib.ggml_cpu_has_amx_int8() else "avx512" if lib.ggml_cpu_has_avx512() else "avx2"
    if isa != "native" and ISAS.index(built) > ISAS.index(isa):
        raise SystemExit(f"xllamacpp's llama.cpp is built for {built}: there is no cap to {isa}")


class _Session:
    """A loaded model with a context."""

    def __init__(self, model: Path, context: int, threads: int, isa: str) -> None:
        self._lib = _library()
        _check_cap(self._lib, isa)
        self._lib.llama_backend_init()
        loaded = self._lib.llama_model_load_from_file(str(model).encode(), self._lib.llama_model_default_params())
        params = self._lib.llama_context_default_params()
        params.n_ctx = params.n_batch = context
        self._context = self._lib.llama_init_from_model(loaded, params) if loaded else None
        if not self._context:
            raise SystemExit(f"llama.cpp does not load {model}")
        self._lib.llama_set_n_threads(self._context, threads, threads)

    def decode(self, tokens: list[int]) -> None:
        """Append tokens and compute the logits of the last."""
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        if self._lib.llama_decode(self._context, self._lib.llama_batch_get_one(ctypes.addressof(ids), len(tokens))):
            raise SystemExit("llama_decode failed")
        if not self._lib.llama_get_logits(self._context):
            raise SystemExit("llama.cpp gave no logits")


def probe(model: Path, context: int, prompt: int, new_tokens: int, threads: int, isa: str) -> dict[str, Any]:
    """Seconds of the prompt and a new token, and memory with an idle context and after generating."""
    session = _Session(model, context, threads, isa)
    idle = process_memory()
    session.decode([3])
    start = time.perf_counter()
    session.decode(list(range(3, 3 + prompt)))
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    for token in range(new_tokens):
        session.decode([3 + token])
    seconds = (time.perf_counter() - start) / new_tokens
    return {"seconds": seconds, "prefill": prefill, "idle": idle, "memory": process_memory()}


@click.command(help=__doc__)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--context", default=512, show_default=True)
@click.option("--prompt", default=128, show_default=True)
@click.option("--new-tokens", default=16, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--isa", type=click.Choice(ISAS), default="native", show_default=True, help="Refuse to use more.")
def main(model: Path, context: int, prompt: int, new_tokens: int, threads: int, isa: str) -> None:
    """Command line of this file."""
    click.echo(json.dumps(probe(model, context, prompt, new_tokens, threads, isa)))


if __name__ == "__main__":
    main()
