"""Loss, perplexity and log-probabilities over rows."""

from __future__ import annotations
