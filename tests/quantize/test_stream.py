"""The stream delivers what quantizing whole tensors gives, in order, and names bad values."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.q4 import Q4Spec
from pocketlora_export.quantize import stream
from pocketlora_export.quantize.matrix import quantize_packed
from pocketlora_export.quantize.source import Source, open_source
from pocketlora_export.quantize.stored import StoredTensor


def _source(folder: Path, tensors: dict[str, torch.Tensor]) -> Source:
    (folder / "config.json").write_text(json.dumps({}))
    save_file(tensors, folder / "model.safetensors")
    return open_source(str(folder))


def _collect(source: Source, stored: list[StoredTensor], threads: int = 2) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, piece in stream.stream_tensors(stored, source.tensors, threads):
        found[name] = found.get(name, b"") + bytes(piece)
    return found


def _stored(name: str, shape: tuple[int, int], scheme: str = "nf4", group: int = 64) -> StoredTensor:
    return StoredTensor(name, shape, Q4Spec(*shape, scheme, group))  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("scheme", "group"), [("nf4", 64), ("int4", 32), ("int4", 128)])
def test_pieces_add_up_to_the_whole_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, scheme: str, group: int
) -> None:
    monkeypatch.setattr(stream, "PIECE_ELEMENTS", 16 * 200)
    torch.manual_seed(0)
    tensors = {"a": torch.randn(100, 200), "norm": torch.randn(77), "b": torch.randn(7, 130)}
    stored = [
        _stored("a", (100, 200), scheme, group),
        StoredTensor("norm", (77,), None),
        _stored("b", (7, 130), scheme, group),
    ]
    done: list[int] = []
    source = _source(tmp_path, tensors)
    found: dict[str, bytes] = {}
    for name, piece in stream.stream_tensors(stored, source.tensors, threads, done.append):
        found[name] = found.get(name, b"") + bytes(piece)
    assert list(found) == ["a", "norm", "b"]
    assert sum(done) == sum(t.numel() for t in tensors.values())
    for entry in stored:
        whole = tensors[entry.name] if entry.q4 is None else quantize_packed(tensors[entry.name], entry.q4)
        assert found[entry.name] == whole.numpy().tobytes()
        assert len(found[entry.name]) == entry.nbytes


def test_not_finite_values_are_counted_per_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PIECE_ELEMENTS", 16 * 64)
    tensors = {name: torch.randn(64, 64) for name in ("good", "bad", "worse")}
    tensors["bad"][3, 4] = float("nan")
    tensors["worse"][0, :2] = float("inf")
    tensors["worse"][60, 5] = -float("inf")
    stored = [_stored(name, (64, 64)) for name in tensors]
    with pytest.raises(PocketLoraError) as caught:
        _collect(_source(tmp_path, tensors), stored)
    assert caught.value.status is Status.INPUT_MALFORMED
    assert "bad: 1 values are NaN or Inf" in str(caught.value)
    assert "worse: 3 values are NaN or Inf" in str(caught.value)
    assert "good" not in str(caught.value)


def test_values_whose_sum_overflows_are_finite(tmp_path: Path) -> None:
    tensors = {"norm": torch.full((64,), 3e38)}
    found = _collect(_source(tmp_path, tensors), [StoredTensor("norm", (64,), None)])
    assert found["norm"] == tensors["norm"].numpy().tobytes()


def test_scale_beyond_fp16_names_the_tensor(tmp_path: Path) -> None:
    tensors = {"huge": torch.full((16, 64), 1e6)}
    with pytest.raises(PocketLoraError, match="huge"):
        _collect(_source(tmp_path, tensors), [_stored("huge", (16, 64))])


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    source = _source(tmp_path, {"a": torch.randn(64, 64)})
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"model\.safetensors ended at byte"):
        _collect(source, [_stored("a", (64, 64))])


def test_leaving_early_stops_the_workers(tmp_path: Path) -> None:
    source = _source(tmp_path, {"a": torch.randn(4096, 256)})
    before = threading.active_count()
    with contextlib.closing(stream.stream_tensors([_stored("a", (4096, 256))], source.tensors)) as pieces:
        next(pieces)
    assert threading.active_count() == before
