"""Every family against Hugging Face: loss, every LoRA gradient, prefill and 32 tokens of decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.runtime.engine import AdapterSet, Engine
from pocketlora_export.runtime.session import Session
from tests.parity import test_gradients
from tests.parity.test_logits import worst_row
from tests.support.bundles import Bundled, bundled
from tests.support.families import FAMILY_MODELS, MORE_FAMILY_MODELS
from tests.support.oracle import load_adapter, load_base, logits_of, random_rows
from tests.support.tolerance import forward_bound

PROMPT, DECODED = 20, 32
# Two passes: the longest row that fits, and three packed ones. None is short enough for Phi's short factors.
LENGTHS = [(48,), (12, 23, 9)]


def decoded_logits(engine: Engine, tokens: Any, adapters: AdapterSet) -> Any:
    """Logits of the prompt's last token and of the 32 tokens decoded after it."""
    session = Session(engine, compute="fp32")
    session.set_adapters(adapters)
    rows = [session.prefill(tokens[:PROMPT])]
    rows += [session.decode(int(token)) for token in tokens[PROMPT:]]
    return np.stack(rows)


def check_family(made: Bundled, adapter: Path, record: Callable[[str, object], None]) -> None:
    """Hold training and generation to the bounds of the other parity tests."""
    engine, tiny = Engine(made.bundle, num_threads=1), made.tiny
    batches = [random_rows(lengths, tiny.vocab, seed) for seed, lengths in enumerate(LENGTHS)]
    test_gradients.check(test_gradients.compare(engine, made, adapter, batches), tiny, record)
    tokens = random_rows((PROMPT + DECODED,), tiny.vocab, 11).tokens
    models: dict[str, tuple[Any, AdapterSet]] = {
        "base": (load_base(made.dequantized), ()),
        "adapter": (load_adapter(made.dequantized, adapter), [engine.load_adapter(adapter)]),
    }
    found = {}
    for name, (model, adapters) in models.items():
        found[name] = decoded_logits(engine, tokens, adapters)
        error = worst_row(found[name], logits_of(model, tokens)[PROMPT - 1 :])
        record(f"{name}_error", error)
        print(f"{name} {error:.1e}")
        assert error <= forward_bound(tiny)
    # The adapter is not small: without it the comparison would have failed.
    assert worst_row(found["base"], found["adapter"]) > 100 * forward_bound(tiny)


@pytest.mark.parametrize("name", FAMILY_MODELS)
def test_family(name: str, shared_tmp: Path, peft_adapter: Any, record_property: Callable[[str, object], None]) -> None:
    made = bundled(shared_tmp, FAMILY_MODELS[name])
    check_family(made, peft_adapter(made), record_property)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE_FAMILY_MODELS)
def test_more_variants(
    name: str, shared_tmp: Path, peft_adapter: Any, record_property: Callable[[str, object], None]
) -> None:
    made = bundled(shared_tmp, MORE_FAMILY_MODELS[name])
    check_family(made, peft_adapter(made), record_property)
