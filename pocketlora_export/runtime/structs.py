"""The structs of pocketlora.h as ctypes sees them, field for field. A test compares them with the compiled header."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from typing import TypeVar

ABI_VERSION = 1
S = TypeVar("S", bound=ctypes.Structure)
TokenCallback = ctypes.CFUNCTYPE(c_int32, c_int64, c_void_p)
AdapterCallback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)


class EngineOptions(ctypes.Structure):
    """pl_engine_options."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("backend", c_char_p),
        ("num_threads", c_int32),
        ("verify_base", c_int32),
        ("weights", c_int32),
        ("memory_limit", c_int64),
        ("prefix_cache_bytes", c_int64),
        ("self_test", c_int32),
        ("state_dir", c_char_p),
    ]


class EngineInfo(ctypes.Structure):
    """pl_engine_info."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("vocab_size", c_int64),
        ("hidden_size", c_int64),
        ("num_layers", c_int64),
        ("max_seq_len", c_int64),
        ("train_t_max", c_int64),
        ("prefill_t_max", c_int64),
        ("max_rank", c_int64),
        ("max_segments", c_int64),
        ("bos_token_id", c_int64),
        ("base_sha256", c_char_p),
        ("manifest_json", c_char_p),
        ("backend", c_char_p),
        ("backend_note", c_char_p),
    ]


class Memory(ctypes.Structure):
    """pl_memory."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("arena", c_int64),
        ("block_inputs", c_int64),
        ("adapter", c_int64),
        ("gradients", c_int64),
        ("optimizer", c_int64),
        ("kv_cache", c_int64),
        ("scratch", c_int64),
        ("other", c_int64),
        ("rss_anon", c_int64),
        ("rss_file", c_int64),
        ("unexplained", c_int64),
        ("base_private_dirty", c_int64),
        ("base_resident", c_int64),
        ("peak", c_int64),
    ]


class AdapterRef(ctypes.Structure):
    """pl_adapter_ref."""

    _fields_ = [("adapter", c_void_p), ("weight", c_float)]


class AdapterWatchOptions(ctypes.Structure):
    """pl_adapter_watch_options."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("settle_ms", c_int64),
        ("interval_ms", c_int64),
        ("poll_only", c_int32),
    ]


class AdapterEvent(ctypes.Structure):
    """pl_adapter_event."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("change", c_int32),
        ("name", c_char_p),
        ("adapter", c_void_p),
        ("status", c_int32),
        ("message", c_char_p),
    ]


class SessionOptions(ctypes.Structure):
    """pl_session_options."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("context_length", c_int64),
        ("cache_dtype", c_int32),
        ("compute", c_int32),
    ]


class SessionInfo(ctypes.Structure):
    """pl_session_info."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("context_length", c_int64),
        ("length", c_int64),
        ("cache_dtype", c_int32),
        ("bytes_per_token", c_int64),
        ("cache_resident", c_int64),
        ("compute", c_int32),
        ("copied_tokens", c_int64),
        ("decode_compute", c_int32),
        ("prefill_compute", c_int32),
    ]


class GenerateOptions(ctypes.Structure):
    """pl_generate_options."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("max_new_tokens", c_int64),
        ("temperature", c_float),
        ("top_p", c_float),
        ("seed", c_uint64),
        ("stop_tokens", POINTER(c_int64)),
        ("num_stop_tokens", c_size_t),
        ("top_k", c_int64),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
    ]


class GenerateReport(ctypes.Structure):
    """pl_generate_report."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("prompt_tokens", c_int64),
        ("new_tokens", c_int64),
        ("prefill_seconds", c_double),
        ("decode_seconds", c_double),
        ("stop_reason", c_int32),
    ]


class Batch(ctypes.Structure):
    """pl_batch."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("tokens", POINTER(c_int64)),
        ("labels", POINTER(c_int64)),
        ("segments", POINTER(c_int64)),
        ("num_tokens", c_size_t),
        ("num_segments", c_size_t),
    ]


class TrainerOptions(ctypes.Structure):
    """pl_trainer_options."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("rank", c_int32),
        ("alpha", c_float),
        ("target_modules", c_char_p),
        ("optimizer", c_int32),
        ("learning_rate", c_float),
        ("beta1", c_float),
        ("beta2", c_float),
        ("epsilon", c_float),
        ("weight_decay", c_float),
        ("momentum", c_float),
        ("dropout", c_float),
        ("seed", c_uint64),
        ("activations", c_int32),
        ("max_rows", c_int64),
        ("scratch_dir", c_char_p),
        ("activation_limit", c_int64),
        ("schedule", c_int32),
        ("warmup_steps", c_int64),
        ("total_steps", c_int64),
        ("max_grad_norm", c_float),
        ("max_skipped_steps", c_int32),
        ("keep_best", c_int32),
        ("patience", c_int32),
        ("min_delta", c_float),
        ("loss", c_int32),
        ("beta", c_float),
        ("label_smoothing", c_float),
        ("compute", c_int32),
        ("recompute", c_int32),
    ]


class TrainerInfo(ctypes.Structure):
    """pl_trainer_info."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("max_rows", c_int64),
        ("activations", c_int32),
        ("streams_weights", c_int32),
        ("spilled", c_int64),
        ("memory_limit", c_int64),
        ("planned", c_int64),
        ("arena", c_int64),
        ("block_inputs", c_int64),
        ("adapter", c_int64),
        ("gradients", c_int64),
        ("optimizer", c_int64),
        ("kv_cache", c_int64),
        ("scratch", c_int64),
        ("other", c_int64),
        ("kept_blocks", c_int64),
        ("compute", c_int32),
        ("step_compute", c_int32),
    ]


class StepReport(ctypes.Structure):
    """pl_step_report."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("loss", c_double),
        ("num_tokens", c_int64),
        ("num_labels", c_int64),
        ("grad_norm", c_double),
        ("seconds", c_double),
        ("passes", c_int64),
        ("learning_rate", c_double),
        ("skipped", c_int32),
        ("skipped_steps", c_int64),
        ("num_pairs", c_int64),
        ("chosen_reward", c_double),
        ("rejected_reward", c_double),
        ("reward_margin", c_double),
        ("reward_accuracy", c_double),
    ]


class Progress(ctypes.Structure):
    """pl_progress."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("total_steps", c_int64),
        ("blocks_done", c_int64),
        ("blocks", c_int64),
        ("paused", c_int32),
        ("loss", c_double),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
        ("tokens", c_int64),
        ("skipped_steps", c_int64),
        ("tokens_per_second", c_double),
        ("seconds_left", c_double),
        ("chosen_reward", c_double),
        ("rejected_reward", c_double),
        ("reward_margin", c_double),
        ("reward_accuracy", c_double),
    ]


class Validation(ctypes.Structure):
    """pl_validation."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("loss", c_double),
        ("perplexity", c_double),
        ("num_labels", c_int64),
        ("improved", c_int32),
        ("should_stop", c_int32),
        ("best_step", c_int64),
        ("best_loss", c_double),
        ("seconds", c_double),
        ("num_pairs", c_int64),
        ("chosen_reward", c_double),
        ("rejected_reward", c_double),
        ("reward_margin", c_double),
        ("reward_accuracy", c_double),
    ]


class CheckpointOptions(ctypes.Structure):
    """pl_checkpoint_options."""

    _fields_ = [("struct_size", c_size_t), ("keep", c_int32), ("user_state", c_char_p)]


class Checkpoint(ctypes.Structure):
    """pl_checkpoint."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("step", c_int64),
        ("path", c_char_p),
        ("user_state", c_char_p),
        ("num_skipped", c_int64),
        ("skipped", c_char_p),
        ("nbytes", c_int64),
        ("seconds", c_double),
        ("should_stop", c_int32),
        ("best_step", c_int64),
    ]


class ArtifactOptions(ctypes.Structure):
    """pl_artifact_options."""

    _fields_ = [("struct_size", c_size_t), ("best", c_int32), ("run_json", c_char_p)]


class EvalReport(ctypes.Structure):
    """pl_eval_report."""

    _fields_ = [
        ("struct_size", c_size_t),
        ("sum_nll", c_double),
        ("num_labels", c_int64),
        ("num_tokens", c_int64),
        ("seconds", c_double),
    ]


# C name -> class, for every struct of the header.
STRUCTS: dict[str, type[ctypes.Structure]] = {
    "pl_engine_options": EngineOptions,
    "pl_engine_info": EngineInfo,
    "pl_memory": Memory,
    "pl_adapter_ref": AdapterRef,
    "pl_adapter_watch_options": AdapterWatchOptions,
    "pl_adapter_event": AdapterEvent,
    "pl_session_options": SessionOptions,
    "pl_session_info": SessionInfo,
    "pl_generate_options": GenerateOptions,
    "pl_generate_report": GenerateReport,
    "pl_batch": Batch,
    "pl_trainer_options": TrainerOptions,
    "pl_trainer_info": TrainerInfo,
    "pl_step_report": StepReport,
    "pl_progress": Progress,
    "pl_validation": Validation,
    "pl_checkpoint_options": CheckpointOptions,
    "pl_checkpoint": Checkpoint,
    "pl_artifact_options": ArtifactOptions,
    "pl_eval_report": EvalReport,
}


def sized(struct: type[S]) -> S:
    """A zeroed struct with its `struct_size` set."""
    value = struct()
    value.struct_size = ctypes.sizeof(struct)
    return value
