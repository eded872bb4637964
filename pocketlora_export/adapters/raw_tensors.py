"""Tensors of safetensors files with the bytes they have there, without PyTorch: numpy knows no bfloat16."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize, safe_open

from pocketlora_export.bundle.files import HashingFile
from pocketlora_export.errors import PocketLoraError, Status

# A bfloat16 is the upper half of a float32; numpy holds it as the 16 bits that it is.
STORAGE: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class RawTensor:
    """A tensor: `dtype` is the name in the file ("F32", "F16", "BF16"), `data` the bits in STORAGE[dtype]."""

    dtype: str
    data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        return self.data.shape

    @property
    def T(self) -> RawTensor:  # noqa: N802 - numpy's name
        """Transposed, contiguous."""
        return RawTensor(self.dtype, np.ascontiguousarray(self.data.T))

    def float32(self) -> NDArray[np.float32]:
        """The values, exactly."""
        if self.dtype == "BF16":
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        return self.data.astype(np.float32)

    def equals(self, other: RawTensor) -> bool:
        """Whether dtype, shape and every bit are the same."""
        same = self.dtype == other.dtype and self.shape == other.shape
        return same and self.data.tobytes() == other.data.tobytes()


def from_float32(values: NDArray[np.float32]) -> RawTensor:
    """A float32 tensor."""
    return RawTensor("F32", np.ascontiguousarray(values, dtype=np.float32))


@dataclass(frozen=True)
class Header:
    """What a file says before its data: dtype and shape by name, and the metadata."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises ADAPTER_MISSING_FILE or ADAPTER_CORRUPT naming the file."""
    try:
        with safe_open(str(existing(path)), framework="np") as file:
            # Not a mapping: `file` has keys() and no iterator.
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            tensors = {name: (str(view.get_dtype()), tuple(view.get_shape())) for name, view in slices.items()}
            return Header(tensors, dict(file.metadata() or {}))
    except SafetensorError as error:
        raise PocketLoraError(Status.ADAPTER_CORRUPT, f"{path}: not a safetensors file: {error}") from None


def read_tensors(path: Path) -> tuple[dict[str, RawTensor], Header]:
    """All tensors of a file with a dtype of STORAGE, and the header, which lists the others too."""
    header = read_header(path)
    entries: dict[str, Any] = dict(deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    tensors = {}
    for name, (dtype, shape) in header.tensors.items():
        if dtype in STORAGE:
            data = np.frombuffer(entries[name]["data"], dtype=STORAGE[dtype]).reshape(shape)
            tensors[name] = RawTensor(dtype, data)
    return tensors, header


def write_tensors(path: Path, tensors: Mapping[str, RawTensor], metadata: Mapping[str, str]) -> None:
    """Write a new safetensors file and fsync it."""
    fields: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.data.nbytes
        fields[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(fields, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with HashingFile(path) as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.data).tobytes())


def existing(path: Path) -> Path:
    """The path of a file that must be there. Raises ADAPTER_MISSING_FILE."""
    if not path.is_file():
        raise PocketLoraError(Status.ADAPTER_MISSING_FILE, f"{path} is missing; expected an adapter folder")
    return path
