"""Sessions that compute in integers against Hugging Face, and against themselves in fp32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pocketlora_export.runtime.engine import AdapterSet, Engine
from pocketlora_export.runtime.session import Compute, Session
from tests.conftest import BundleFactory
from tests.parity.test_gradients import MODELS
from tests.support.models import TinyModel
from tests.support.oracle import load_adapter, logits_of, random_rows, relative_error
from tests.support.tolerance import int8_bound, int16_bound

LENGTH, PROMPT = 48, 12


def _logits(engine: Engine, tokens: Any, adapters: AdapterSet, compute: Compute) -> Any:
    with Session(engine, compute=compute) as session:
        session.set_adapters(adapters)
        rows = [session.prefill(tokens[:PROMPT])]
        rows += [session.decode(int(token)) for token in tokens[PROMPT:]]
        assert session.info().compute == compute
    return np.stack(rows)


BOUNDS: dict[Compute, Callable[[TinyModel], float]] = {"int16": int16_bound, "int8": int8_bound}


@pytest.mark.parametrize("compute", BOUNDS)
@pytest.mark.parametrize("name", ["nf4-tied-gqa", "int4-untied-gqa-llama3-biases"])
def test_integers(
    name: str,
    compute: Compute,
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """Within what their bits may change, with an adapter; and another computation than fp32 where there is one."""
    tiny = MODELS[name]
    made = make_bundle(tiny)
    engine, folder = open_engine(made), peft_adapter(made)
    tokens = random_rows((LENGTH,), tiny.vocab, 11).tokens
    adapters = [engine.load_adapter(folder)]
    found = _logits(engine, tokens, adapters, compute)
    expected = logits_of(load_adapter(made.dequantized, folder), tokens)[PROMPT - 1 :]
    error = max(relative_error(f, e) for f, e in zip(found, expected, strict=True))
    record_property("error", error)
    bound = BOUNDS[compute](tiny)
    print(f"{error:.1e} of a bound of {bound:.1e}")
    assert error <= bound
    assert not np.array_equal(found, _logits(engine, tokens, adapters, "fp32"))


def test_auto_is_one_of_the_two(tiny_bundle: Any, open_engine: Any) -> None:
    """A session says which it chose."""
    engine = open_engine(tiny_bundle)
    with Session(engine) as session:
        assert session.info().compute in ("fp32", "int16")
