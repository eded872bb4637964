"""An adapter merged into the full-precision weights of a Hugging Face folder, tensor by tensor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pocketlora_export.adapters.lora import LoraAdapter, LoraSite
from pocketlora_export.adapters.raw_tensors import RawTensor
from pocketlora_export.bundle.checkpoint import INDEX, TensorEntry, read_checkpoint
from pocketlora_export.bundle.files import CHUNK, HashingFile, new_folder, require_space
from pocketlora_export.errors import PocketLoraError, Status, raise_all

CONFIG = "config.json"
Progress = Callable[[str, int, int], None]
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Files of a model folder that hold weights in another form: merged ones would not be what they say.
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".pte", ".ptd"}


@dataclass(frozen=True)
class _Shard:
    """One safetensors file of the base, its tensors in the order of their bytes."""

    path: Path
    entries: list[TensorEntry]

    @property
    def header_bytes(self) -> int:
        """Bytes before the first tensor."""
        with self.path.open("rb") as file:
            return 8 + int.from_bytes(file.read(8), "little")


def merge_adapter(
    base: Path, adapter: LoraAdapter, output: Path, force: bool = False, progress: Progress = lambda *_: None
) -> int:
    """Write base + scale · B · A as a folder of the same files, shards and dtypes. Returns how many matrices changed.

    Each shard keeps its header, so every other tensor keeps its bytes. The sum is what peft's `merge_and_unload`
    computes: W += float32(B) @ float32(A) · scale, rounded once to W's dtype. Memory: one matrix and its delta.

    Args:
        base: a Hugging Face folder with safetensors weights; that of `dequantize` is one.
        adapter: what to merge.
        output: folder to write; appears complete or not at all.
        force: replace an older model folder.
        progress: called with (what, bytes done, bytes in all).

    Raises:
        PocketLoraError: INPUT_MISSING or INPUT_MALFORMED for the base; ADAPTER_MISMATCH with every layer that is not
            there, of another size or not in a float dtype; INVALID_ARGUMENT, DISK_FULL or IO_WRITE for the output.
    """
    shards = _shards(base)
    targets = _targets(adapter, shards, base)
    if output.resolve() in (base.resolve(), *base.resolve().parents):
        raise PocketLoraError(Status.INVALID_ARGUMENT, f"output {output}: expected a folder other than the base {base}")
    total = sum(shard.path.stat().st_size for shard in shards)
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress("merging", done, total)

    with new_folder(output, CONFIG, force) as folder:
        require_space(folder, total)
        for path in _other_files(base):
            shutil.copyfile(path, folder / path.name)
        for shard in shards:
            _write_shard(shard, folder / shard.path.name, targets, advance)
    return len(targets)


def _shards(base: Path) -> list[_Shard]:
    if not (base / CONFIG).is_file():
        raise PocketLoraError(Status.INPUT_MISSING, f"{base / CONFIG}: missing; expected a Hugging Face model folder")
    entries, problems = read_checkpoint(base)
    raise_all(Status.INPUT_MALFORMED, f"{base} is not a readable model folder:", problems)
    by_path: dict[Path, list[TensorEntry]] = {}
    for entry in entries.values():
        by_path.setdefault(entry.path, []).append(entry)
    shards = [_Shard(path, sorted(found, key=lambda entry: entry.offset)) for path, found in sorted(by_path.items())]
    raise_all(Status.INPUT_MALFORMED, f"{base} is not a readable model folder:", filter(None, map(_gap, shards)))
    return shards


def _gap(shard: _Shard) -> str | None:
    """A line when the tensors do not fill their file without gaps, as safetensors demands."""
    end = shard.header_bytes
    for entry in shard.entries:
        if entry.offset != end:
            return f"{shard.path}: {entry.name}: expected to begin at byte {end}, found {entry.offset}"
        end += entry.nbytes
    size = shard.path.stat().st_size
    return None if end == size else f"{shard.path}: {size - end} bytes after the last tensor"


def _targets(adapter: LoraAdapter, shards: list[_Shard], base: Path) -> dict[str, LoraSite]:
    """The weight's name -> its site, once all fit."""
    entries = {entry.name: entry for shard in shards for entry in shard.entries}
    targets = {f"{site}.weight": found for site, found in adapter.sites.items()}
    problems = [line for name, site in targets.items() if (line := _mismatch(name, entries.get(name), site))]
    raise_all(Status.ADAPTER_MISMATCH, f"the adapter does not fit {base}:", problems)
    return targets


def _mismatch(name: str, entry: TensorEntry | None, site: LoraSite) -> str | None:
    shape = (site.b.shape[0], site.a.shape[1])
    if entry is None:
        return f"{name}: not in the model"
    if entry.shape != shape:
        return f"{name}: the adapter is for shape {list(shape)}, the model has {list(entry.shape)}"
    if entry.dtype not in _DTYPES:
        return f"{name}: expected dtype {', '.join(_DTYPES)}, found {entry.dtype} (dequantize the model first)"
    return None


def _other_files(base: Path) -> list[Path]:
    """Everything of the folder that says what the weights are, among it the index of the shards."""
    files = [path for path in sorted(base.iterdir()) if path.is_file() and not path.name.startswith(".")]
    kept = [path for path in files if path.suffix not in _WEIGHT_SUFFIXES]
    return [path for path in kept if not path.name.endswith(".index.json") or path.name == INDEX]


def _write_shard(shard: _Shard, target: Path, sites: Mapping[str, LoraSite], advance: Callable[[int], None]) -> None:
    with HashingFile(target) as file:
        with shard.path.open("rb") as source:
            file.write(source.read(shard.header_bytes))
        for entry in shard.entries:
            site = sites.get(entry.name)
            if site is not None:
                file.write(merged(entry, site).view(torch.uint8).view(-1).numpy().data)
                advance(entry.nbytes)
                continue
            for begin in range(0, entry.nbytes, CHUNK):
                piece = entry.read(begin, min(CHUNK, entry.nbytes - begin))
                file.write(memoryview(piece))
                advance(len(piece))


def merged(entry: TensorEntry, site: LoraSite) -> Tensor:
    """W + scale · B · A in W's dtype, [out_features, in_features], in the order of operations of peft."""
    weight = torch.frombuffer(entry.read(0, entry.nbytes), dtype=_DTYPES[entry.dtype]).view(entry.shape)
    delta = (_tensor(site.b) @ _tensor(site.a)).mul_(site.scale)
    weight += delta
    return weight


def _tensor(raw: RawTensor) -> Tensor:
    return torch.from_numpy(raw.float32().copy())
