"""What a config.json of the wrong shape is told."""

from __future__ import annotations

from typing import Any

import pytest

from pocketlora_export.errors import PocketLoraError, Status
from pocketlora_export.families.registry import get_family
from tests.support.models import TinyModel
from tests.support.tolerance import forward_bound


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": "LlamaForCausalLM"}, "architectures: expected a list, found a string"),
        ([], "expected an object, found a list"),
        ("llama", "expected an object, found a string"),
    ],
)
def test_wrong_types_are_named(config: Any, message: str) -> None:
    with pytest.raises(PocketLoraError, match=message) as caught:
        get_family(config)
    assert caught.value.status == Status.INPUT_MALFORMED


def test_the_loss_bound_never_exceeds_one_in_a_thousand() -> None:
    assert forward_bound(TinyModel(layers=64, hidden=1536, intermediate=8192)) == 1e-3
