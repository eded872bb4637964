"""base.ptd is what ExecuTorch's own serializer writes, and the small reader understands it."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from executorch.exir._serialize.data_serializer import DataEntry, DataPayload
from executorch.exir.tensor_layout import TensorLayout
from executorch.extension.flat_tensor.serialize.serialize import FlatTensorConfig, FlatTensorSerializer

from pocketlora_export.bundle import journal as journaling
from pocketlora_export.bundle.flat_header import FlatTensorError, read_flat_header
from pocketlora_export.bundle.flat_tensor import ALIGNMENT, FlatTensorFile, TensorMeta, file_size
from pocketlora_export.bundle.journal import JournaledFile, begin_journal, read_journal


def _tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {
        "model.embed_tokens.weight": torch.randint(0, 256, (3, 2, 1088), dtype=torch.uint8),
        "model.norm.weight": torch.randn(96),
        "model.layers.0.self_attn.q_proj.weight": torch.randint(0, 256, (8, 1, 1152), dtype=torch.uint8),
        "one": torch.randn(1),
    }


def _metas(tensors: dict[str, torch.Tensor]) -> list[TensorMeta]:
    return [TensorMeta(name, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()]


def _pieces(tensors: dict[str, torch.Tensor], size: int) -> Iterator[tuple[str, memoryview]]:
    for name, tensor in tensors.items():
        data = tensor.numpy().tobytes()
        for start in range(0, len(data), size):
            yield name, memoryview(data)[start : start + size]


def write_flat_tensor(path: Path, metas: list[TensorMeta], pieces: Iterable[tuple[str, memoryview]]) -> str:
    """Write a file in one go; its SHA-256."""
    journal = path.with_name("journal")
    with JournaledFile(path, journal, begin_journal(journal, {})) as file:
        FlatTensorFile(metas).write(file, pieces)
    return file.sha256()


def _reference(tensors: dict[str, torch.Tensor]) -> bytes:
    payload = DataPayload(
        buffers=[t.numpy().tobytes() for t in tensors.values()],
        named_data={
            n: DataEntry(i, ALIGNMENT, TensorLayout.from_tensor(t)) for i, (n, t) in enumerate(tensors.items())
        },
    )
    return bytes(FlatTensorSerializer(FlatTensorConfig(segment_alignment=ALIGNMENT)).serialize(payload))


@pytest.mark.parametrize("size", [1 << 20, 1000, 64])
def test_equals_executorchs_serializer(tmp_path: Path, size: int) -> None:
    tensors = _tensors()
    digest = write_flat_tensor(tmp_path / "base.ptd", _metas(tensors), _pieces(tensors, size))
    data = (tmp_path / "base.ptd").read_bytes()
    assert data == _reference(tensors)
    assert digest == hashlib.sha256(data).hexdigest()
    assert len(data) <= file_size(_metas(tensors))


def _after(pieces: Iterable[tuple[str, memoryview]], done: int) -> Iterator[tuple[str, memoryview]]:
    for name, piece in pieces:
        if done <= 0:
            yield name, piece
        done -= len(piece)


@pytest.mark.parametrize("size", [1 << 20, 1000])
def test_continued_behind_every_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(journaling, "SETTLE_BYTES", 1)
    tensors = _tensors()
    base, pieces = FlatTensorFile(_metas(tensors)), list(_pieces(tensors, size))
    for stop in range(1, len(pieces) + 1):
        path, journal = tmp_path / f"{stop}.ptd", tmp_path / f"{stop}.journal"
        with contextlib.suppress(ValueError), JournaledFile(path, journal, begin_journal(journal, {})) as file:
            base.write(file, pieces[:stop])
        found = read_journal(journal)
        assert found is not None
        assert base.tensor_bytes(found.size) == sum(len(piece) for _, piece in pieces[:stop])
        with JournaledFile(path, journal, found) as file:
            base.write(file, _after(pieces, base.tensor_bytes(file.size)))
        assert path.read_bytes() == _reference(tensors)
        assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_is_continued_between_two_tensors() -> None:
    tensors = _tensors()
    base = FlatTensorFile(_metas(tensors))
    with pytest.raises(ValueError, match="between two tensors"):
        base.tensor_bytes(4096 + 3 * 2 * 1088 + 1)


def test_read_back(tmp_path: Path) -> None:
    tensors, path = _tensors(), tmp_path / "base.ptd"
    write_flat_tensor(path, _metas(tensors), _pieces(tensors, 4096))
    data = path.read_bytes()
    entries = read_flat_header(path)
    assert [e.name for e in entries] == list(tensors)
    for entry, tensor in zip(entries, tensors.values(), strict=True):
        assert (entry.dtype, entry.shape) == (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        assert entry.offset % ALIGNMENT == 0
        assert data[entry.offset : entry.offset + entry.nbytes] == tensor.numpy().tobytes()


@pytest.mark.parametrize("change", ["short", "long", "order", "missing"])
def test_pieces_that_do_not_add_up(tmp_path: Path, change: str) -> None:
    tensors = _tensors()
    metas, pieces = _metas(tensors), list(_pieces(tensors, 1 << 20))
    broken = {
        "short": [*pieces[:-1], (pieces[-1][0], pieces[-1][1][:-1])],
        "long": [*pieces, (pieces[-1][0], memoryview(b"x"))],
        "order": [pieces[1], pieces[0], *pieces[2:]],
        "missing": pieces[:2],
    }[change]
    with pytest.raises((ValueError, IndexError)):
        write_flat_tensor(tmp_path / "base.ptd", metas, broken)


def test_truncated_and_foreign_files(tmp_path: Path) -> None:
    tensors, path = _tensors(), tmp_path / "base.ptd"
    write_flat_tensor(path, _metas(tensors), _pieces(tensors, 1 << 20))
    data = path.read_bytes()
    for length in (0, 7, 40, 100, 500, 4096, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(FlatTensorError):
            read_flat_header(path)
    path.write_bytes(b"PK" + data[2:8] + b"zzzz" + data[12:])
    with pytest.raises(FlatTensorError, match="not a FlatTensor file"):
        read_flat_header(path)


def test_damaged_tables_are_errors_or_other_tensors_never_crashes(tmp_path: Path) -> None:
    tensors, path = _tensors(), tmp_path / "base.ptd"
    write_flat_tensor(path, _metas(tensors), _pieces(tensors, 1 << 20))
    data, good = path.read_bytes(), read_flat_header(path)
    chance = random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[chance.randrange(0, 900)] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            refused += read_flat_header(path) != good
        except FlatTensorError:
            refused += 1
    assert refused > 150
