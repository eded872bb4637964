"""From JSONL files to packed token rows (docs/text-rows.md). Needs `tokenizers` and `jinja2`, never torch."""

from __future__ import annotations
