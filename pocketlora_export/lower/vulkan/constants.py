"""Constants of Vulkan delegates: one file for all programs, each tensor once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from executorch.exir import EdgeProgramManager
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir._serialize.data_serializer import DataPayload
from executorch.extension.flat_tensor.serialize.serialize import FlatTensorConfig, FlatTensorSerializer

# As in base.ptd: whole pages.
_ALIGNMENT = 4096


def merge_constants(managers: Iterable[EdgeProgramManager]) -> NamedDataStore:
    """The constants of several programs. A constant is named by the SHA-256 of its bytes, so what they share is one."""
    store = NamedDataStore()
    for manager in managers:
        data = manager._named_data_store.get_named_data_store_output()
        for entries in data.external_data.values():
            for key, entry in entries.items():
                store.add_named_data(key, data.buffers[entry.buffer_index], entry.alignment)
    return store


def constant_bytes(store: NamedDataStore) -> int:
    """Bytes of all constants, each counted once."""
    return sum(len(buffer) for buffer in store.buffers)


def write_constants(store: NamedDataStore, path: Path) -> None:
    """Write them as a FlatTensor file, flushed to the disk."""
    serializer = FlatTensorSerializer(FlatTensorConfig(segment_alignment=_ALIGNMENT))
    cord = serializer.serialize(DataPayload(store.buffers, store.pte_data))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        cord.write_to_file(file)
        file.flush()
        os.fsync(file.fileno())
