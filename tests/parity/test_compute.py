"""Sessions that compute in integers or bf16 against Hugging Face, and against themselves in fp32."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.runtime.engine import AdapterSet, Engine
from pocketlora_export.runtime.session import COMPUTES, Compute, Session
from pocketlora_export.runtime.trainer import Trainer
from pocketlora_export.runtime.training import TrainerConfig
from tests.conftest import BundleFactory
from tests.parity.test_gradients import MODELS
from tests.support.models import TinyModel
from tests.support.oracle import gradients, load_adapter, logits_of, random_rows, relative_error
from tests.support.tolerance import (
    bf16_bound,
    bf16_gradient_bound,
    int8_bound,
    int8_gradient_bound,
    int16_bound,
    int16_gradient_bound,
)

LENGTH = 48


def _logits(engine: Engine, tokens: Any, adapters: AdapterSet, compute: Compute, prompt: int) -> Any:
    with Session(engine, compute=compute) as session:
        session.set_adapters(adapters)
        rows = [session.prefill(tokens[:prompt])]
        rows += [session.decode(int(token)) for token in tokens[prompt:]]
        assert session.info().compute == compute
    return np.stack(rows)


BOUNDS: dict[Compute, Callable[[TinyModel], float]] = {
    "int16": int16_bound,
    "int8": int8_bound,
    "bf16": bf16_bound,
}


@pytest.mark.parametrize("compute", BOUNDS)
@pytest.mark.parametrize("prompt", [12, 40], ids=["short", "long"])
@pytest.mark.parametrize("name", ["nf4-tied-gqa", "int4-untied-gqa-llama3-biases"])
def test_integers(
    name: str,
    compute: Compute,
    prompt: int,
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
    found = _logits(engine, tokens, adapters, compute, prompt)
    expected = logits_of(load_adapter(made.dequantized, folder), tokens)[prompt - 1 :]
    error = max(relative_error(f, e) for f, e in zip(found, expected, strict=True))
    record_property("error", error)
    bound = BOUNDS[compute](tiny)
    print(f"{error:.1e} of a bound of {bound:.1e}")
    assert error <= bound
    assert not np.array_equal(found, _logits(engine, tokens, adapters, "fp32", prompt))


def test_auto_is_one_of_the_two(tiny_bundle: Any, open_engine: Any) -> None:
    """A session says which it chose."""
    engine = open_engine(tiny_bundle)
    with Session(engine) as session:
        assert session.info().compute in ("fp32", "int16")


@pytest.mark.parametrize("compute", COMPUTES)
def test_a_session_says_what_it_computes(compute: Compute, tiny_bundle: Any, open_engine: Any) -> None:
    """A session that is asked for what another one makes of its setting gives the same bits."""
    engine = open_engine(tiny_bundle)
    tokens = random_rows((LENGTH,), tiny_bundle.tiny.vocab, 12).tokens
    with Session(engine, compute=compute) as session:
        info = session.info()
    # A prompt's last row is a product of one row in the last layer and the head.
    prompts = [(info.decode_compute, 1)]
    if info.prefill_compute == info.decode_compute:
        prompts.append((info.prefill_compute, LENGTH))
    for said, prompt in prompts:
        found, same, exact = (_logits(engine, tokens, [], asked, prompt) for asked in (info.compute, said, "fp32"))
        np.testing.assert_array_equal(found, same)
        assert np.array_equal(found, exact) == (said == "fp32")


@pytest.mark.parametrize("compute", COMPUTES)
def test_a_trainer_says_what_it_computes(
    compute: Compute, tiny_bundle: Any, open_engine: Any, peft_adapter: Any
) -> None:
    """The same for a step of training."""
    engine, batch = open_engine(tiny_bundle), random_rows((40,), tiny_bundle.tiny.vocab, 13)
    start = engine.load_adapter(peft_adapter(tiny_bundle))
    with Trainer(engine, TrainerConfig(compute=compute), start) as trainer:
        found, plan = trainer.forward_backward([batch]), trainer.plan
    with Trainer(engine, TrainerConfig(compute=plan.step_compute), start) as trainer:
        same = trainer.forward_backward([batch])
    assert compute in (plan.compute, "auto")
    assert (found.loss, found.grad_norm) == (same.loss, same.grad_norm)
    with Trainer(engine, TrainerConfig(), start) as trainer:
        assert (trainer.forward_backward([batch]).loss == found.loss) == (plan.step_compute == "fp32")


GRADIENT_BOUNDS: dict[Compute, Callable[[TinyModel], float]] = {
    "int16": int16_gradient_bound,
    "int8": int8_gradient_bound,
    "bf16": bf16_gradient_bound,
}


@pytest.mark.parametrize("compute", GRADIENT_BOUNDS)
@pytest.mark.parametrize("name", ["nf4-tied-gqa", "int4-untied-gqa-llama3-biases"])
def test_gradients(
    name: str,
    compute: Compute,
    make_bundle: BundleFactory,
    peft_adapter: Any,
    open_engine: Any,
    record_property: Callable[[str, object], None],
) -> None:
    """Loss and all LoRA gradients of a training step in integers or bf16, against autograd in fp32."""
    tiny = MODELS[name]
    made = make_bundle(tiny)
    engine, folder = open_engine(made), peft_adapter(made)
    batches = [random_rows((40,), tiny.vocab, 3), random_rows((19, 21), tiny.vocab, 4)]
    loss, expected = gradients(load_adapter(made.dequantized, folder), batches)
    trainer = Trainer(engine, TrainerConfig(compute=compute), engine.load_adapter(folder))
    found = trainer.forward_backward(batches).loss
    errors = {site: relative_error(trainer.gradient(site, g.shape), g) for site, g in expected.items()}
    worst = max(errors, key=lambda site: errors[site])
    record_property("loss_error", abs(found - loss) / loss)
    record_property("gradient_error", errors[worst])
    print(f"loss {abs(found - loss) / loss:.1e}, worst gradient {errors[worst]:.1e} ({worst})")
    # In 8 bits a bound on each token's error says little; those of different tokens are independent.
    tokens = sum(int((batch.labels >= 0).sum()) for batch in batches) if compute == "int8" else 1
    assert abs(found - loss) / loss <= BOUNDS[compute](tiny) / math.sqrt(tokens)
    assert errors[worst] <= GRADIENT_BOUNDS[compute](tiny), worst


def test_training_goes_on_as_it_was_computed(tiny_bundle: Any, open_engine: Any, tmp_path: Path) -> None:
    """A checkpoint knows how its steps were computed."""
    engine = open_engine(tiny_bundle)
    batches = [random_rows((24,), tiny_bundle.tiny.vocab, 5)]
    with Trainer(engine, TrainerConfig(compute="int16")) as trainer:
        trainer.step(batches)
        trainer.save_checkpoint(tmp_path)
    with Trainer(engine, TrainerConfig(compute="int16")) as trainer:
        assert trainer.load_checkpoint(tmp_path).step == 1
    with Trainer(engine) as trainer, pytest.raises(PocketLoraError) as caught:
        trainer.load_checkpoint(tmp_path)
    assert caught.value.status == Status.INPUT_MISMATCH
    assert 'compute: "int16" in the checkpoint, "fp32" now' in str(caught.value)
