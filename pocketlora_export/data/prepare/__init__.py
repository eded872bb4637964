"""From data sets as they come to rows that `train` reads (docs/data.md). Needs no torch."""

from __future__ import annotations
