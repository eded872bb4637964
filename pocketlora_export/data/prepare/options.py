"""What `data prepare` was asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pocketlora_export.errors import PocketLoraError, Status

KINDS = ("text", "qa", "instruction", "prompt", "chat")
Near = Literal["keep", "remove", "group"]


@dataclass(frozen=True)
class PrepareOptions:
    """How rows are read, cleaned, rendered, filtered, split and packed.

    Attributes:
        kind: one of KINDS, or `auto`: told by each row's keys.
        mapping: canonical key -> key in the input.
        template: a name of `templates.TEMPLATES`.
        system: system message of rows that bring none.
        clean: see `clean.clean_text`; `unicode` is the normal form: nfc, nfkc or none.
        min_chars, max_chars, min_tokens, max_tokens: rows outside are removed; None = no limit.
        duplicates: remove rows whose text was there before.
        near: what happens to near-duplicates; `similarity` is the Jaccard similarity that makes one.
        valid_share, test_share: of the rows, by hash.
        tokenize: write rows of tokens; `pack`: several in one row of this many tokens, `max_segments` at most.
        max_bad_share: of the rows read; more that cannot be used is an error.
        seed: of the split.
        workers: processes; 0 = as many as pay.
    """

    kind: str = "auto"
    mapping: dict[str, str] = field(default_factory=dict)
    template: str = "model"
    system: str | None = None
    clean: bool = True
    unicode: str = "nfc"
    min_chars: int = 1
    max_chars: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    duplicates: bool = True
    near: Near = "keep"
    similarity: float = 0.8
    valid_share: float = 0.05
    test_share: float = 0.05
    seed: int = 0
    tokenize: bool = False
    pack: int | None = None
    max_segments: int = 64
    max_bad_share: float = 0.1
    workers: int = 0

    @property
    def tokens(self) -> bool:
        """Whether rows of tokens are written."""
        return self.tokenize or self.pack is not None

    def check(self, *, has_tokenizer: bool) -> None:
        """Raise INVALID_ARGUMENT that names every contradiction."""
        problems = []
        needs = {
            "--tokenize": self.tokenize,
            "--pack": self.pack is not None,
            "--min-tokens": self.min_tokens is not None,
            "--max-tokens": self.max_tokens is not None,
        }
        lacking = [name for name, given in needs.items() if given]
        if lacking and not has_tokenizer:
            problems.append(f"{', '.join(lacking)}: expected a tokenizer, from --bundle or --tokenizer; found none")
        if self.valid_share + self.test_share >= 1:
            total = self.valid_share + self.test_share
            problems.append(f"--valid-share and --test-share: expected less than 1 together, found {total:g}")
        for what, low, high in (
            ("chars", self.min_chars, self.max_chars),
            ("tokens", self.min_tokens, self.max_tokens),
        ):
            if low is not None and high is not None and low > high:
                problems.append(f"--min-{what} {low}: expected at most --max-{what}, which is {high}")
        if problems:
            raise PocketLoraError(Status.INVALID_ARGUMENT, "\n".join(problems))

    def as_json(self) -> dict[str, Any]:
        """For stats.json: everything that the output depends on."""
        return {key: value for key, value in asdict(self).items() if key != "workers"}
