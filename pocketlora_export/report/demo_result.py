"""What the demo found out, as data: the table, the page and `--json` all read this."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Curve:
    """Loss over optimizer steps, as (step, loss)."""

    train: list[tuple[int, float]]
    held_out: list[tuple[int, float]]


@dataclass(frozen=True)
class AdapterResult:
    """One trained adapter. Perplexities are over the held-out rows of its own examples."""

    name: str
    path: str
    rank: int
    parameters: int
    train_rows: int
    held_out_rows: int
    steps: int
    tokens: int
    seconds: float
    perplexity_before: float
    perplexity_after: float
    curve: Curve

    @property
    def tokens_per_second(self) -> float:
        """Training speed."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Sample:
    """What one adapter set wrote after a prompt."""

    label: str
    prompt: str
    text: str
    tokens: list[int]


@dataclass(frozen=True)
class Swap:
    """Times of `pl_session_set_adapters` on a session that holds tokens, in milliseconds."""

    calls: int
    median_ms: float
    longest_ms: float
    kept_tokens: int
    next_token_ms: float


@dataclass(frozen=True)
class DemoResult:
    """The whole demo."""

    model: str
    parameters: int
    scheme: str
    base_bytes: int
    threads: int
    adapters: list[AdapterResult]
    samples: list[Sample]
    generation_tokens_per_second: float
    swap: Swap
    peak_rss_anon: int
    peak_rss_file: int
    base_private_dirty: int
    bundle_seconds: float
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; the curves stay in the page."""
        result = asdict(self)
        for adapter, source in zip(result["adapters"], self.adapters, strict=True):
            del adapter["curve"]
            adapter["tokens_per_second"] = source.tokens_per_second
        return result
