"""Finding, loading and checking libpocketlora.so; every call goes through `check`."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from functools import lru_cache
from pathlib import Path

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime import structs

LIBRARY_NAME = "libpocketlora.so"
LIBRARY_VARIABLE = "POCKETLORA_LIBRARY"
PACKAGE = Path(__file__).resolve().parent.parent

# name -> (result, arguments) of every function of pocketlora.h.
PROTOTYPES: dict[str, tuple[object, list[object]]] = {
    "pl_abi_version": (c_uint32, []),
    "pl_version": (c_char_p, []),
    "pl_status_name": (c_char_p, [c_int32]),
    "pl_last_error": (c_char_p, []),
    "pl_engine_options_init_sized": (None, [POINTER(structs.EngineOptions), c_size_t]),
    "pl_engine_open": (c_int32, [c_char_p, POINTER(structs.EngineOptions), POINTER(c_void_p)]),
    "pl_engine_close": (None, [c_void_p]),
    "pl_engine_get_info": (c_int32, [c_void_p, POINTER(structs.EngineInfo)]),
    "pl_engine_get_memory": (c_int32, [c_void_p, POINTER(structs.Memory)]),
    "pl_engine_verify_base": (c_int32, [c_void_p]),
    "pl_engine_self_test": (c_int32, [c_void_p]),
    "pl_engine_record_self_test": (c_int32, [c_void_p, c_char_p]),
    "pl_file_sha256": (c_int32, [c_char_p, c_char_p]),
    "pl_adapter_load": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "pl_adapter_save": (c_int32, [c_void_p, c_char_p]),
    "pl_adapter_free": (None, [c_void_p]),
    "pl_adapter_watch_options_init_sized": (None, [POINTER(structs.AdapterWatchOptions), c_size_t]),
    "pl_adapter_watch_open": (c_int32, [c_void_p, c_char_p, POINTER(structs.AdapterWatchOptions), POINTER(c_void_p)]),
    "pl_adapter_watch_close": (None, [c_void_p]),
    "pl_adapter_watch_poll": (c_int32, [c_void_p, c_int64, structs.AdapterCallback, c_void_p]),
    "pl_adapter_watch_get": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "pl_session_options_init_sized": (None, [POINTER(structs.SessionOptions), c_size_t]),
    "pl_session_create": (c_int32, [c_void_p, POINTER(structs.SessionOptions), POINTER(c_void_p)]),
    "pl_session_free": (None, [c_void_p]),
    "pl_session_set_adapters": (c_int32, [c_void_p, POINTER(structs.AdapterRef), c_size_t]),
    "pl_session_reset": (c_int32, [c_void_p]),
    "pl_session_truncate": (c_int32, [c_void_p, c_int64]),
    "pl_session_fork": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "pl_session_cancel": (c_int32, [c_void_p]),
    "pl_session_get_info": (c_int32, [c_void_p, POINTER(structs.SessionInfo)]),
    "pl_session_length": (c_int64, [c_void_p]),
    "pl_session_prefill": (c_int32, [c_void_p, POINTER(c_int64), c_size_t, POINTER(c_float)]),
    "pl_session_decode": (c_int32, [c_void_p, c_int64, POINTER(c_float)]),
    "pl_generate_options_init_sized": (None, [POINTER(structs.GenerateOptions), c_size_t]),
    "pl_session_generate": (
        c_int32,
        [
            c_void_p,
            POINTER(c_int64),
            c_size_t,
            POINTER(structs.GenerateOptions),
            structs.TokenCallback,
            c_void_p,
            POINTER(structs.GenerateReport),
        ],
    ),
    "pl_available_delegates": (c_char_p, []),
    "pl_executorch_version": (c_char_p, []),
    "pl_trainer_options_init_sized": (None, [POINTER(structs.TrainerOptions), c_size_t]),
    "pl_trainer_create": (c_int32, [c_void_p, POINTER(structs.TrainerOptions), c_void_p, POINTER(c_void_p)]),
    "pl_trainer_free": (None, [c_void_p]),
    "pl_trainer_get_info": (c_int32, [c_void_p, POINTER(structs.TrainerInfo)]),
    "pl_trainer_cancel": (c_int32, [c_void_p]),
    "pl_trainer_pause": (c_int32, [c_void_p]),
    "pl_trainer_resume": (c_int32, [c_void_p]),
    "pl_trainer_get_progress": (c_int32, [c_void_p, POINTER(structs.Progress)]),
    "pl_trainer_validate": (c_int32, [c_void_p, POINTER(structs.Batch), c_size_t, POINTER(structs.Validation)]),
    "pl_trainer_get_best_adapter": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "pl_checkpoint_options_init_sized": (None, [POINTER(structs.CheckpointOptions), c_size_t]),
    "pl_trainer_save_checkpoint": (
        c_int32,
        [c_void_p, c_char_p, POINTER(structs.CheckpointOptions), POINTER(structs.Checkpoint)],
    ),
    "pl_trainer_load_checkpoint": (c_int32, [c_void_p, c_char_p, POINTER(structs.Checkpoint)]),
    "pl_trainer_log_event": (c_int32, [c_void_p, c_char_p]),
    "pl_artifact_options_init_sized": (None, [POINTER(structs.ArtifactOptions), c_size_t]),
    "pl_trainer_save_artifact": (c_int32, [c_void_p, c_char_p, POINTER(structs.ArtifactOptions)]),
    "pl_trainer_set_learning_rate": (c_int32, [c_void_p, c_float]),
    "pl_trainer_step": (c_int32, [c_void_p, POINTER(structs.Batch), c_size_t, POINTER(structs.StepReport)]),
    "pl_trainer_forward_backward": (
        c_int32,
        [c_void_p, POINTER(structs.Batch), c_size_t, POINTER(structs.StepReport)],
    ),
    "pl_trainer_get_gradient": (c_int32, [c_void_p, c_char_p, POINTER(c_float), c_size_t]),
    "pl_trainer_get_adapter": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "pl_engine_evaluate": (
        c_int32,
        [
            c_void_p,
            POINTER(structs.AdapterRef),
            c_size_t,
            POINTER(structs.Batch),
            POINTER(c_float),
            POINTER(structs.EvalReport),
        ],
    ),
}


def candidates() -> list[Path]:
    """Where the library is looked for, in order; the environment variable alone when it is set."""
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        return [Path(chosen)]
    return [PACKAGE / "_lib" / LIBRARY_NAME, PACKAGE.parent / "build" / "host" / LIBRARY_NAME]


def find_library() -> Path:
    """Path of libpocketlora.so. Raises BACKEND_MISSING that says where it was looked for and how to build it."""
    places = candidates()
    for path in places:
        if path.is_file():
            return path
    looked = "\n".join(f"  - {path}" for path in places)
    raise PocketLoraError(
        Status.BACKEND_MISSING,
        f"the C++ runtime {LIBRARY_NAME} was not found; looked for\n{looked}\n"
        f"build it with 'make build' in the repository, or point {LIBRARY_VARIABLE} at it",
    )


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The loaded library, its functions declared and its ABI checked."""
    path = find_library()
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        raise PocketLoraError(Status.BACKEND_MISSING, f"{path} cannot be loaded: {error}") from error
    _declare(lib, path)
    found = lib.pl_abi_version()
    if found != structs.ABI_VERSION:
        raise PocketLoraError(
            Status.BACKEND_MISSING,
            f"{path} has ABI version {found}, this package needs {structs.ABI_VERSION}; rebuild it with 'make build'",
        )
    return lib


def _declare(lib: ctypes.CDLL, path: Path) -> None:
    missing = [name for name in PROTOTYPES if not hasattr(lib, name)]
    if missing:
        lacking = ", ".join(missing)
        raise PocketLoraError(Status.BACKEND_MISSING, f"{path} lacks {lacking}; rebuild it with 'make build'")
    for name, (result, arguments) in PROTOTYPES.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments


def check(status: int) -> None:
    """Raise the calling thread's last error as a PocketLoraError unless `status` is OK."""
    if status == Status.OK:
        return
    message = library().pl_last_error().decode("utf-8", "replace")
    known = Status(status) if status in set(Status) else Status.INTERNAL
    raise PocketLoraError(known, message or f"status {status} ({known.name}) without a message")
