"""The kernels' own scratch, replayed: which frames each kernel opens and what it takes in them (kernels/, C++).

Every thread has a stack of chunks (kernels/common/scratch.cc) that only grows. The thread that calls a kernel holds
what the threads share and its part of the work; the other threads hold their part of the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pocketlora_export.graphs.trace import Extents, KernelCall

_ALIGNMENT, _PAGE, _SMALLEST_CHUNK = 64, 4096, 64 << 10
_SHORT, _FLOAT, _DOUBLE, _LONG, _ROW_STATE = 2, 4, 8, 8, 16
# kernels/q4: tiles of 16 rows x 128 columns, 16-wide panels, 256 rows of x at once, up to 16 rows without packing.
_TILE_ROWS, _TILE_COLUMNS, _PANEL, _ROW_BLOCK, _GEMV_ROWS = 16, 128, 16, 256, 16
# Products in 16-bit integers: rows of the largest register tile, rows of W in a chunk, columns in the smallest group.
_FIXED_TILE, _FIXED_CHUNK, _SMALLEST_GROUP = 12, 64, 32
_VOCABULARY_CHUNK, _NORM_BLOCK, _ATTENTION_TILE, _KEY_BLOCK, _ATTENTION_ROWS = 768, 16384, 4, 32, 32


@dataclass(frozen=True)
class Registers:
    """A register tile of the matrix kernels: rows, and panels of 16 columns (kTileRows, kTilePanels)."""

    rows: int
    panels: int


NEON = AVX2 = Registers(rows=6, panels=1)
AVX512 = Registers(rows=8, panels=2)


@dataclass(frozen=True)
class Setting:
    """What the scratch depends on besides a call's sizes.

    `segment`: rows of the longest sequence, None = all; `past`: cached rows that a prefill finds at most; `integers`:
    the head of training may compute in them as well.
    """

    registers: Registers = NEON
    dropout: bool = False
    segment: int | None = None
    past: int = 0
    integers: bool = False


def _up(value: int, step: int) -> int:
    return -(-value // step) * step


@dataclass
class _Stack:
    """One thread's chunks: scratch.cc's Arena."""

    chunks: list[int] = field(default_factory=list)
    current: int = 0
    offset: int = 0
    live: int = 0
    most: int = 0
    peak: int = 0
    depth: int = 0

    @property
    def held(self) -> int:
        """Bytes."""
        return sum(self.chunks)

    def take(self, count: int) -> None:
        """ScratchFrame::bytes."""
        size = _up(max(count, 1), _ALIGNMENT)
        if not self.chunks:
            self._grow(size)
        while self.offset + size > self.chunks[self.current]:
            if self.current + 1 == len(self.chunks):
                self._grow(size)
            self.current, self.offset = self.current + 1, 0
        self.offset += size
        self.live += size
        self.most = max(self.most, self.live)

    def _grow(self, size: int) -> None:
        self.chunks.append(_up(max(size, _SMALLEST_CHUNK), _PAGE))
        self.peak = max(self.peak, self.held)

    @contextlib.contextmanager
    def frame(self) -> Iterator[None]:
        """A ScratchFrame; the outermost one leaves a single chunk of as much as was handed out at once."""
        start = self.current, self.offset, self.live
        self.depth += 1
        yield
        self.current, self.offset, self.live = start
        self.depth -= 1
        if self.depth == 0 and len(self.chunks) > 1:
            self.chunks, self.current, self.offset, self.live = [], 0, 0, 0
            self._grow(self.most)


@dataclass
class Scratch:
    """The stacks of the calling thread and of one of the others."""

    setting: Setting
    caller: _Stack = field(default_factory=_Stack)
    worker: _Stack = field(default_factory=_Stack)

    def held(self, threads: int) -> int:
        """Bytes that stay between calls."""
        return self.caller.held + (threads - 1) * self.worker.held

    @property
    def shared_peak(self) -> int:
        """Bytes that the calling thread holds beyond what every thread holds, at the most."""
        return max(self.caller.peak - self.worker.peak, 0)

    @property
    def per_thread_peak(self) -> int:
        """Bytes that every thread holds at the most: while its stack grows, it holds the old chunk beside the new one.

        Which thread takes which part of the work is not known, so a thread may grow in one step what it grew in two
        here: another smallest chunk is allowed for.
        """
        return max(self.worker.peak, _SMALLEST_CHUNK) + _SMALLEST_CHUNK

    def frame(self) -> contextlib.AbstractContextManager[None]:
        """A frame of the calling thread."""
        return self.caller.frame()

    def floats(self, count: int) -> None:
        """Taken by the calling thread."""
        self.caller.take(count * _FLOAT)

    def parallel(self, count: int, grain: int, work: Callable[[_Stack], None]) -> None:
        """parallel_for over `count` items: work on every thread, or on the caller alone when there is one piece."""
        if count > 0:
            work(self.caller)
        if count > grain:
            work(self.worker)


def _project(s: Scratch, rows: int, depth: int, masked: bool) -> None:
    step = 4 * s.setting.registers.rows

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(step * depth * _FLOAT)
            t.take(step * depth * _FLOAT if masked else 0)

    s.parallel(-(-rows // step), 1, work)


def _down(s: Scratch, rows: int, columns: int, rank: int) -> None:
    with s.frame():
        s.floats(_up(rank, _PANEL) * _up(columns, 16))
        _project(s, rows, columns, s.setting.dropout)


def _up_transposed(s: Scratch, rows: int, features: int, rank: int) -> None:
    with s.frame():
        s.floats(_up(rank, _PANEL) * features)
        _project(s, rows, features, False)


def _gradient_b(s: Scratch, rows: int, features: int, rank: int) -> None:
    step = 8 * s.setting.registers.rows

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(step * rows * _FLOAT)

    with s.frame():
        s.floats(_up(rank, _PANEL) * rows)
        s.parallel(-(-features // step), 1, work)


def _gradient_a(s: Scratch, rows: int, columns: int, rank: int) -> None:
    step = s.setting.registers.panels * _PANEL

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(rows * step * _FLOAT)

    with s.frame():
        s.floats(rank * rows)
        s.parallel(-(-columns // step), 4, work)


def _pack_rows(s: Scratch, rows: int, columns: int) -> None:
    s.floats(_up(rows, _PANEL) * _up(columns, 16))


def _forward_product(s: Scratch, rows: int, features: int, rank: int = 0) -> None:
    """y = x · Wᵀ with the LoRA branch added."""
    tiles = -(-features // _TILE_ROWS)

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(3 * _TILE_ROWS * 2 * _TILE_COLUMNS * _FLOAT)
            t.take(3 * _TILE_ROWS * _up(rows, _PANEL) * _FLOAT)
            if rank > 0:
                with t.frame():
                    t.take(min(tiles, 3) * _TILE_ROWS * _up(rank, _PANEL) * _FLOAT)

    s.parallel(tiles, 3, work)


def _backward_product(s: Scratch, rows: int, columns: int, rank: int = 0) -> None:
    """dx = dy · W with the LoRA branch added."""
    tiles, wide = -(-columns // _TILE_COLUMNS), min(columns, 2 * _TILE_COLUMNS)

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(16 * _TILE_ROWS * 2 * _TILE_COLUMNS * _FLOAT)
            t.take(rows * 16 * _TILE_ROWS * _FLOAT)
            if rank > 0:
                with t.frame():
                    t.take(_up(wide, _PANEL) * rank * _FLOAT)
                    if s.setting.dropout:
                        t.take(rows * wide * _FLOAT)

    s.parallel(tiles, 2, work)


def _pack_fixed(s: Scratch, rows: int, columns: int, chunk: int) -> None:
    """Rows as 16-bit integers, and their scales."""
    padded = _up(rows, max(_PANEL, _FIXED_TILE))
    s.caller.take(padded * _up(columns, 16) * _SHORT)
    s.floats(padded * -(-columns // chunk))


def _fixed_backward_product(s: Scratch, rows: int, features: int, columns: int) -> None:
    """dx = dy · W in 16-bit integers."""

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(16 * _TILE_ROWS * 2 * _TILE_COLUMNS * _SHORT)
            t.take(16 * _TILE_ROWS // _FIXED_CHUNK * 2 * _TILE_COLUMNS * _FLOAT)
            t.take(rows * 2 * _TILE_COLUMNS * _FLOAT)

    with s.frame():
        _pack_fixed(s, rows, features, _FIXED_CHUNK)
        s.parallel(-(-columns // _TILE_COLUMNS), 2, work)


def _few_rows(s: Scratch, rows: int, columns: int) -> None:
    with s.frame():
        s.floats(rows * (_up(columns, _TILE_COLUMNS) + _TILE_COLUMNS))


def _blocks(rows: int) -> list[int]:
    """Row blocks of different sizes: the whole ones, and the rest."""
    return [count for count in (_ROW_BLOCK if rows >= _ROW_BLOCK else 0, rows % _ROW_BLOCK) if count > 0]


def _linear4(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows, features, columns = call.shapes["x"][0].at(extents), call.integers["n"], call.integers["k"]
    if rows <= _GEMV_ROWS:
        return _few_rows(s, rows, columns)
    for count in _blocks(rows):
        with s.frame():
            _pack_rows(s, count, columns)
            _forward_product(s, count, features)
    return None


def _linear4_backward(s: Scratch, call: KernelCall, extents: Extents) -> None:
    for count in _blocks(call.shapes["dy"][0].at(extents)):
        _backward_product(s, count, call.integers["k"])


def _lora_linear(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows, rank = call.shapes["x"][0].at(extents), call.shapes["a"][0].at(extents)
    features, columns = call.integers["n"], call.integers["k"]
    with s.frame():
        s.floats(rows * _up(rank, _PANEL))
        if rank > 0:
            _down(s, rows, columns, rank)
        if rows <= _GEMV_ROWS:
            return _few_rows(s, rows, columns)
        for count in _blocks(rows):
            with s.frame():
                _pack_rows(s, count, columns)
                if rank > 0:
                    s.floats(_up(count, _PANEL) * _up(rank, _PANEL))
                _forward_product(s, count, features, rank)
    return None


def _lora_linear_backward(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows, rank = call.shapes["x"][0].at(extents), call.shapes["a"][0].at(extents)
    features, columns = call.integers["n"], call.integers["k"]
    with s.frame():
        s.floats(rows * _up(rank, _PANEL))
        if rank > 0:
            with s.frame():
                s.floats(rows * _up(rank, _PANEL))
                _down(s, rows, columns, rank)
                _gradient_b(s, rows, features, rank)
                _up_transposed(s, rows, features, rank)
                _gradient_a(s, rows, columns, rank)
        for count in _blocks(rows):
            with s.frame():
                s.floats(count * rank)
                _backward_product(s, count, columns, rank)


def _attention_scores(s: Scratch, rows: int, past: int, kv_heads: int, window: int) -> None:
    """A tile's scores of all keys that it sees."""
    seen = min(past + rows, window + _ATTENTION_TILE) if window else past + rows

    def work(t: _Stack) -> None:
        with t.frame():
            t.take(_ATTENTION_TILE * seen * _FLOAT)

    s.parallel(kv_heads * -(-rows // _ATTENTION_ROWS), 1, work)


def _kv_heads(call: KernelCall, extents: Extents) -> int:
    return call.shapes["k"][1].at(extents) // call.integers["head_dim"]


def _attention(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows = call.shapes["q"][0].at(extents)
    segment = min(rows, s.setting.segment or rows)
    _attention_scores(s, segment, 0, _kv_heads(call, extents), call.integers.get("window", 0))


def _attention_cached(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows, row_bytes = call.shapes["q"][0].at(extents), call.shapes["k_cache"][1].at(extents)
    with s.frame():
        # The new rows are looked at as the cache stores them.
        if row_bytes != call.shapes["k"][1].at(extents) * _FLOAT:
            s.caller.take(rows * row_bytes)
            s.caller.take(rows * row_bytes)
        _attention_scores(s, rows, s.setting.past, _kv_heads(call, extents), call.integers.get("window", 0))


def _attention_backward(s: Scratch, call: KernelCall, extents: Extents) -> None:
    rows, dim, kv_heads = call.shapes["q"][0].at(extents), call.integers["head_dim"], _kv_heads(call, extents)
    segment = min(rows, s.setting.segment or rows)
    group = call.shapes["q"][1].at(extents) // dim // kv_heads

    def work(t: _Stack) -> None:
        with t.frame():
            t.take((4 * segment * dim + segment * group + 2 * _ATTENTION_TILE * _KEY_BLOCK) * _FLOAT)

    s.parallel(kv_heads * -(-rows // segment), 1, work)


def _head_loss(s: Scratch, call: KernelCall, extents: Extents) -> None:
    columns, vocabulary = call.integers["k"], call.integers["n"]

    def finish_row(t: _Stack) -> None:
        with t.frame():
            t.take(columns * _FLOAT)

    rows = call.shapes["h"][0].at(extents)
    sequences = -(-rows // (s.setting.segment or rows))
    blocks = _blocks(rows)
    for count in blocks:
        # The last row of a sequence predicts nothing; a block between others may hold no such row.
        active = count - sequences if len(blocks) == 1 else count
        with s.frame():
            for width in (_LONG, _LONG, _ROW_STATE):
                s.caller.take(count * width)
            with s.frame():
                _pack_rows(s, active, columns)
                with s.frame():
                    s.floats(active * _VOCABULARY_CHUNK)
                    _forward_product(s, active, min(vocabulary, _VOCABULARY_CHUNK))
                    _backward_product(s, active, columns)
            # In integers: more where a row of logits is longer than one of h.
            if s.setting.integers:
                with s.frame():
                    _pack_fixed(s, active, columns, _SMALLEST_GROUP)
                    with s.frame():
                        s.floats(active * _VOCABULARY_CHUNK)
                        _fixed_backward_product(s, active, min(vocabulary, _VOCABULARY_CHUNK), columns)
            s.parallel(active, 8, finish_row)


_KERNELS: dict[str, Callable[[Scratch, KernelCall, Extents], None]] = {
    "linear4": _linear4,
    "linear4_backward": _linear4_backward,
    "lora_linear": _lora_linear,
    "lora_linear_backward": _lora_linear_backward,
    "attention": _attention,
    "attention_cached": _attention_cached,
    "attention_backward": _attention_backward,
    "head_loss": _head_loss,
}
# These work in their outputs alone.
WITHOUT_SCRATCH = (
    *("embedding", "rope_table", "rope", "rms_norm", "rms_norm_backward", "swiglu", "swiglu_backward"),
    *("geglu_tanh", "geglu_tanh_backward", "gelu_tanh", "gelu_tanh_backward", "soft_cap"),
    *("layer_norm", "layer_norm_backward"),
)


def run(scratch: Scratch, calls: Sequence[KernelCall], extents: Extents) -> None:
    """Replay a stage's kernel calls.

    Raises:
        KeyError: for an op that is not known here.
    """
    for call in calls:
        if call.op not in WITHOUT_SCRATCH:
            _KERNELS[call.op](scratch, call, extents)


def gradient_norm(scratch: Scratch, parameters: int) -> None:
    """The norm of all gradients: one double a block of 16384."""
    with scratch.frame():
        scratch.caller.take(-(-parameters // _NORM_BLOCK) * _DOUBLE)
