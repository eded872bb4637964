"""The option `--adapter FOLDER[:WEIGHT]`: one adapter, or the weighted sum of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from typing_extensions import override

from pocketlora_export.cli.values import FiniteFloatRange

F = TypeVar("F", bound=Callable[..., Any])
_WEIGHT = FiniteFloatRange()


@dataclass(frozen=True)
class WeightedFolder:
    """An adapter folder, and how often its product counts."""

    folder: Path
    weight: float = 1.0


class WeightedFolderType(click.ParamType[WeightedFolder]):
    """FOLDER or FOLDER:WEIGHT. What exists under the whole text is a folder, whatever its name ends with."""

    name = "FOLDER[:WEIGHT]"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> WeightedFolder:
        """Split at the last colon when a number follows it; a usage error when that number is not finite."""
        text = str(value)
        folder, colon, weight = text.rpartition(":")
        if not colon or not folder or Path(text).exists() or not _is_number(weight):
            return WeightedFolder(Path(text))
        return WeightedFolder(Path(folder), float(_WEIGHT.convert(weight, param, ctx)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def adapters_option(function: F) -> F:
    """`--adapter`, parameter `adapters`: any number of them."""
    return click.option(
        "--adapter",
        "adapters",
        type=WeightedFolderType(),
        multiple=True,
        help="PEFT folder of an adapter; several, weighted, are added up: --adapter A:0.7 --adapter B:0.3.",
    )(function)
