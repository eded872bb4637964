"""A bundle's base back to an ordinary Hugging Face folder, streamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from pocketlora_export.bundle.files import HashingFile, new_folder, require_space
from pocketlora_export.bundle.flat_header import StoredEntry, read_flat_header
from pocketlora_export.bundle.manifest import BaseTensor, Q4Tensor
from pocketlora_export.bundle.reader import Bundle, open_bundle
from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.q4 import TILE_ROWS, Q4Spec, dequantize

Progress = Callable[[str, int, int], None]
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_DTYPES = {
    "float32": (torch.float32, "F32", 4),
    "float16": (torch.float16, "F16", 2),
    "bfloat16": (torch.bfloat16, "BF16", 2),
}
_PIECE_BYTES = 1 << 20


def _shape(tensor: BaseTensor) -> list[int]:
    return [tensor.rows, tensor.cols] if isinstance(tensor, Q4Tensor) else list(tensor.shape)


def _elements(tensor: BaseTensor) -> int:
    return torch.Size(_shape(tensor)).numel()


def _header(tensors: list[BaseTensor], dtype: str) -> bytes:
    """Length and header of a safetensors file, padded to 8 bytes."""
    _, code, item = _DTYPES[dtype]
    fields: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + _elements(tensor) * item
        fields[tensor.name] = {"dtype": code, "shape": _shape(tensor), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(fields, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


def _panels(path: Path, tensor: Q4Tensor, entry: StoredEntry) -> Iterator[Tensor]:
    """fp32 rows of one quantized matrix, some panels of 16 rows at a time."""
    panel = tensor.nbytes // tensor.shape[0]
    step = max(1, _PIECE_BYTES // panel)
    with path.open("rb") as file:
        file.seek(entry.offset)
        for first in range(0, tensor.shape[0], step):
            count = min(step, tensor.shape[0] - first)
            rows = min(tensor.rows - first * TILE_ROWS, count * TILE_ROWS)
            spec = Q4Spec(rows, tensor.cols, tensor.scheme, tensor.group_size)
            raw = bytearray(file.read(count * panel))
            yield dequantize(torch.frombuffer(raw, dtype=torch.uint8).view(spec.shape), spec)


def read_tensor(path: Path, tensor: BaseTensor, entry: StoredEntry) -> Iterator[Tensor]:
    """fp32 values of one tensor of base.ptd in pieces, rows in order.

    Args:
        path: base.ptd.
        tensor: its manifest entry.
        entry: where it lies.
    """
    if isinstance(tensor, Q4Tensor):
        yield from _panels(path, tensor, entry)
        return
    with path.open("rb") as file:
        file.seek(entry.offset)
        yield torch.frombuffer(bytearray(file.read(entry.nbytes)), dtype=torch.float32).view(tensor.shape)


def _write_weights(bundle: Bundle, target: Path, dtype: str, progress: Progress) -> None:
    tensors = list(bundle.manifest.base.tensors)
    path = bundle.file(bundle.manifest.base.file)
    entries = {entry.name: entry for entry in read_flat_header(path)}
    total = sum(_elements(t) for t in tensors)
    require_space(target.parent, total * _DTYPES[dtype][2])
    done = 0
    with HashingFile(target) as file:
        file.write(_header(tensors, dtype))
        for tensor in tensors:
            for piece in read_tensor(path, tensor, entries[tensor.name]):
                values = piece.to(_DTYPES[dtype][0]).contiguous()
                file.write(values.view(torch.uint8).view(-1).numpy().data)
                done += piece.numel()
                progress("dequantizing", done, total)


def _write_config(bundle: Bundle, target: Path, dtype: str) -> None:
    config = json.loads(bundle.file(CONFIG).read_text("utf-8"))
    config.pop("torch_dtype", None)
    config["dtype"] = dtype
    # Tying is what the bundle does, whatever default a reader of the config has.
    config["tie_word_embeddings"] = bundle.manifest.model.tie_word_embeddings
    (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _copied(bundle: Bundle) -> list[str]:
    tokenizer = bundle.manifest.tokenizer
    names = [*tokenizer.files, tokenizer.chat_template, "generation_config.json"]
    return [name for name in names if name is not None and bundle.manifest.file(name) is not None]


def dequantize_bundle(
    path: Path, output: Path, dtype: str = "float32", force: bool = False, progress: Progress = lambda *_: None
) -> None:
    """Write config.json, tokenizer and model.safetensors. A tied head stays tied: it is not written.

    Args:
        path: the bundle.
        output: folder to write; appears complete or not at all.
        dtype: "float32" (exact), "float16" or "bfloat16" (rounded to nearest).
        force: replace an older model folder.
        progress: called with (what, done, total).

    Raises:
        PocketLoraError: what open_bundle raises; BUNDLE_MISSING_FILE without config.json; INVALID_ARGUMENT, DISK_FULL
            or IO_WRITE for the output.
    """
    bundle = open_bundle(path)
    if bundle.manifest.file(CONFIG) is None:
        raise PocketLoraError(
            Status.BUNDLE_MISSING_FILE, f"{path}: {CONFIG} is missing, and a Hugging Face folder needs it"
        )
    with new_folder(output, CONFIG, force) as folder:
        _write_config(bundle, folder, dtype)
        for name in _copied(bundle):
            shutil.copyfile(bundle.file(name), folder / name)
        _write_weights(bundle, folder / WEIGHTS, dtype, progress)
