"""Sessions that compute in 16-bit integers against Hugging Face, and against themselves in fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pocketlora_export.runtime.engine import AdapterSet, Engine
from pocketlora_export.runtime.session import Compute, Session
from tests.conftest import BundleFactory
from tests.parity.test_gradients import MODELS
from tests.support.oracle import load_adapter, logits_of, random_rows, relative_error
from tests.support.tolerance import int16_bound

LENGTH, PROMPT = 48, 12


def _logits(engine: Engine, tokens: Any, adapters: AdapterSet, compute: Compute) -> Any:
    with Session(engine, compute=compute) as session:
        session.set_adapters(adapters)
        rows = [session.prefill(tokens[:PROMPT])]
        rows += [session.decode(int(token)) for token in tokens[PROMPT:]]
        assert session.info().compute == compute
    return np.stack(rows)


@pytest.mark.parametrize("name", ["nf4-tied-gqa", "int4-untied-gqa-llama3-biases"])
def test_int16(
    name: str,
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """Within what 15 bits may change, with an adapter; and another computation than fp32 where there is one."""
    tiny = MODELS[name]
    made = make_bundle(tiny)
    engine, folder = open_engine(made), peft_adapter(made)
    tokens = random_rows((LENGTH,), tiny.vocab, 11).tokens
    adapters = [engine.load_adapter(folder)]
    found = _logits(engine, tokens, adapters, "int16")
    expected = logits_of(load_adapter(made.dequantized, folder), tokens)[PROMPT - 1 :]
    error = max(relative_error(f, e) for f, e in zip(found, expected, strict=True))
    record_property("error", error)
    print(f"{error:.1e} of a bound of {int16_bound(tiny):.1e}")
    assert error <= int16_bound(tiny)
    assert not np.array_equal(found, _logits(engine, tokens, adapters, "fp32"))


def test_auto_is_one_of_the_two(tiny_bundle: Any, open_engine: Any) -> None:
    """A session says which it chose."""
    engine = open_engine(tiny_bundle)
    with Session(engine) as session:
        assert session.info().compute in ("fp32", "int16")
